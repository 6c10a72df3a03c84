//! Sends with a filter, to some of their receivers.

use std::sync::Arc;

use crate::filter::{Filter, FilteredConnection};
use realtime_engine::{Candidate, ConnectionId, Target, UserId};

/// The receivers of a send with a filter.
#[derive(Debug)]
pub(super) struct FilteredSend {
    pub(super) target: Target,
    pub(super) excluded: Vec<ConnectionId>,
    pub(super) excluded_users: Vec<UserId>,
    pub(super) filter: Arc<Filter>,
}

impl FilteredSend {
    /// Whether a connection is a receiver.
    pub(super) fn includes(&self, candidate: &Candidate<'_>) -> bool {
        let Candidate { connection, user, groups } = *candidate;
        let is_target = match &self.target {
            Target::All => true,
            Target::Connection(id) => *id == connection,
            Target::User(id) => Some(id.as_str()) == user,
            Target::Group(name) => groups.contains(&name.as_str()),
        };
        let is_excluded = || {
            self.excluded.contains(&connection)
                || self.excluded_users.iter().any(|excluded| Some(excluded.as_str()) == user)
        };
        is_target
            && !is_excluded()
            && self.filter.matches(FilteredConnection { connection: &connection.to_string(), user, groups })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use realtime_engine::GroupName;

    #[test]
    fn a_filter_selects_among_the_targets() {
        let (ada, bob) = ("AAAAAAAAAAAAAAAAAAAAAAAAAAA", "AAAAAAAAAAAAAAAAAAAAAAAAAAE");
        let id = |text| ConnectionId::parse(text).unwrap();
        let mut filtered = FilteredSend {
            target: Target::All,
            excluded: Vec::new(),
            excluded_users: Vec::new(),
            filter: Arc::new(Filter::parse("startswith(userId, 'a') or 'red' in groups").unwrap()),
        };
        let has = |filtered: &FilteredSend, connection, user, groups: &[&str]| {
            filtered.includes(&Candidate { connection: id(connection), user, groups })
        };
        assert!(has(&filtered, ada, Some("ada"), &[]));
        assert!(has(&filtered, bob, Some("bob"), &["blue", "red"]));
        assert!(!has(&filtered, bob, Some("bob"), &["blue"]));
        assert!(!has(&filtered, bob, None, &[]));
        filtered.excluded = vec![id(ada)];
        assert!(!has(&filtered, ada, Some("ada"), &[]));
        filtered.excluded_users = vec![UserId::new("bob")];
        assert!(!has(&filtered, bob, Some("bob"), &["red"]));
        assert!(has(&filtered, bob, None, &["red"]));
        for (target, expected) in [
            (Target::Connection(id(bob)), true),
            (Target::Connection(id(ada)), false),
            (Target::User(UserId::new("al")), true),
            (Target::User(UserId::new("ada")), false),
            (Target::Group(GroupName::new("blue")), true),
            (Target::Group(GroupName::new("red")), false),
        ] {
            filtered.target = target;
            assert_eq!(has(&filtered, bob, Some("al"), &["blue"]), expected, "{:?}", filtered.target);
        }
    }
}
