//! Which messages are stored, and for how long.

use std::num::{NonZeroU32, NonZeroU64};

use serde::{Deserialize, Serialize};

use realtime_engine::{GroupName, Hub};

/// Which messages are stored, and for how long. The first rule that matches a message applies.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// The hub, in lower case, or `*` for every hub. Since 0.1.0.
    pub hub: String,
    /// The group, or `*` for every group. Default: absent, which means messages to the whole hub. Since 0.1.0.
    #[serde(default)]
    pub group: Option<String>,
    /// Most messages that are stored. Default: 100. Since 0.1.0.
    #[serde(default = "messages")]
    pub messages: NonZeroU32,
    /// Longest time for which a message is stored, in seconds. Default: 300. Since 0.1.0.
    #[serde(default = "seconds")]
    pub seconds: NonZeroU64,
}

fn messages() -> NonZeroU32 {
    NonZeroU32::new(100).expect("not zero")
}

fn seconds() -> NonZeroU64 {
    NonZeroU64::new(300).expect("not zero")
}

/// Why the history cannot be read at the start.
#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    /// The list of logs cannot be read.
    #[error("cannot read the list of message logs")]
    Registry(#[from] state::RegistryError),
    /// A log cannot be read.
    #[error("cannot read stored messages")]
    Journal(#[from] state::JournalReadError),
}

impl Rule {
    pub(super) fn matches(&self, hub: &Hub, group: Option<&GroupName>) -> bool {
        let hub_fits = self.hub == "*" || self.hub.eq_ignore_ascii_case(hub.name());
        let group_fits = match (&self.group, group) {
            (None, None) => true,
            (Some(pattern), Some(group)) => pattern == "*" || pattern == group.as_str(),
            _ => false,
        };
        hub_fits && group_fits
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_matches_its_hub_and_its_group_or_every_one() {
        let hub = |name: &str| Hub::new(state::Instance::new("test").unwrap(), name);
        let rule = |text: &str| serde_json::from_str::<Rule>(text).unwrap();
        let check = |text: &str, name: &str, group: Option<&str>, expected: bool| {
            let group = group.map(GroupName::new);
            assert_eq!(rule(text).matches(&hub(name), group.as_ref()), expected, "{text} {name} {group:?}");
        };
        check(r#"{"hub":"chat"}"#, "chat", None, true);
        check(r#"{"hub":"chat"}"#, "chat", Some("g"), false);
        check(r#"{"hub":"Chat","group":"*"}"#, "chat", Some("g"), true);
        check(r#"{"hub":"*","group":"g"}"#, "any", Some("g"), true);
        check(r#"{"hub":"*","group":"g"}"#, "any", Some("G"), false);
        check(r#"{"hub":"*","group":"g"}"#, "any", None, false);
        assert!(serde_json::from_str::<Rule>(r#"{"hub":"chat","messages":0}"#).is_err());
        let defaults = rule(r#"{"hub":"chat"}"#);
        assert_eq!((defaults.messages.get(), defaults.seconds.get()), (100, 300));
    }
}
