//! Messages that only some of their receivers are to get.

use std::sync::Arc;

use crate::engine::{Candidate, ConnectionId, Target, UserId};
use crate::filter::{Filter, Seen};

/// The receivers of one message.
#[derive(Debug)]
pub(super) struct Chosen {
    pub(super) target: Target,
    pub(super) excluded: Vec<ConnectionId>,
    pub(super) excluded_users: Vec<UserId>,
    pub(super) filter: Arc<Filter>,
}

impl Chosen {
    /// Whether this connection is one.
    pub(super) fn has(&self, candidate: &Candidate<'_>) -> bool {
        let Candidate { connection, user, groups } = *candidate;
        let is_meant = match &self.target {
            Target::All => true,
            Target::Connection(id) => *id == connection,
            Target::User(id) => Some(id.as_str()) == user,
            Target::Group(name) => groups.contains(&name.as_str()),
        };
        let is_excluded = || {
            self.excluded.contains(&connection)
                || self.excluded_users.iter().any(|excluded| Some(excluded.as_str()) == user)
        };
        is_meant
            && !is_excluded()
            && self.filter.matches(Seen { connection: &connection.to_string(), user, groups })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::GroupName;

    #[test]
    fn a_filter_chooses_among_those_who_are_meant() {
        let (ada, bob) = ("AAAAAAAAAAAAAAAAAAAAAAAAAAA", "AAAAAAAAAAAAAAAAAAAAAAAAAAE");
        let id = |text| ConnectionId::parse(text).unwrap();
        let mut chosen = Chosen {
            target: Target::All,
            excluded: Vec::new(),
            excluded_users: Vec::new(),
            filter: Arc::new(Filter::parse("startswith(userId, 'a') or 'red' in groups").unwrap()),
        };
        let has = |chosen: &Chosen, connection, user, groups: &[&str]| {
            chosen.has(&Candidate { connection: id(connection), user, groups })
        };
        assert!(has(&chosen, ada, Some("ada"), &[]));
        assert!(has(&chosen, bob, Some("bob"), &["blue", "red"]));
        assert!(!has(&chosen, bob, Some("bob"), &["blue"]));
        assert!(!has(&chosen, bob, None, &[]));
        chosen.excluded = vec![id(ada)];
        assert!(!has(&chosen, ada, Some("ada"), &[]));
        chosen.excluded_users = vec![UserId::new("bob")];
        assert!(!has(&chosen, bob, Some("bob"), &["red"]));
        assert!(has(&chosen, bob, None, &["red"]));
        for (target, expected) in [
            (Target::Connection(id(bob)), true),
            (Target::Connection(id(ada)), false),
            (Target::User(UserId::new("al")), true),
            (Target::User(UserId::new("ada")), false),
            (Target::Group(GroupName::new("blue")), true),
            (Target::Group(GroupName::new("red")), false),
        ] {
            chosen.target = target;
            assert_eq!(has(&chosen, bob, Some("al"), &["blue"]), expected, "{:?}", chosen.target);
        }
    }
}
