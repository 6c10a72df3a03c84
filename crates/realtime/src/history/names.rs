//! Names: the journal of a hub or a group, and its key in the list of logs. Pure.

use state::{Key, Name};

use realtime_engine::{GroupName, Hub, Target};

/// Prefix of the keys in the list of logs.
pub(super) const LIST: &str = "realtime/history/";

/// The group whose log stores messages to a target; `Some(None)` is the log of the hub. Messages to users and connections are not stored.
pub(super) fn logged_group(target: &Target) -> Option<Option<&GroupName>> {
    match target {
        Target::All => Some(None),
        Target::Group(group) => Some(Some(group)),
        Target::User(_) | Target::Connection(_) => None,
    }
}

/// The journal of a hub or of a group.
pub(super) fn journal_name(hub: &Hub, group: Option<&GroupName>) -> Name {
    let name = match group {
        None => format!("history/{}", hub.name()),
        Some(group) => {
            // A group name may be longer than a journal name, and have characters that a journal name must not have.
            let digest = ring::digest::digest(&ring::digest::SHA256, group.as_str().as_bytes());
            let hex: String = digest.as_ref()[..16].iter().map(|byte| format!("{byte:02x}")).collect();
            format!("history/{}/{hex}", hub.name())
        }
    };
    Name::new(&name).expect("a hub name with hexadecimal digits is a valid journal name")
}

/// Whether a journal is the log of a group.
pub(super) fn is_of_group(name: &Name) -> bool {
    let digits = name.as_str().strip_prefix("history/").and_then(|name| name.rsplit_once('/'));
    digits
        .is_some_and(|(_, digits)| digits.len() == 32 && digits.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

/// The key of a log in the list of logs.
pub(super) fn key(name: &Name) -> Key {
    Key::new(format!("{LIST}{}", name.as_str())).expect("a journal name is a valid part of a key")
}
