//! Validation of hub and group names.

use state::Instance;

use realtime_engine::{GroupName, Hub};

/// Longest hub name, in characters.
const HUB_CHARS_MAX: usize = 128;

/// Longest group name, in characters.
const GROUP_CHARS_MAX: usize = 1_024;

/// A hub name that the service does not allow.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "'{0}' is not a valid hub name; use a letter, then at most 127 letters, digits and characters of _`,.[]"
)]
pub struct InvalidHub(String);

/// A group name that the service does not allow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("invalid group name; use 1 to {GROUP_CHARS_MAX} characters, not only white space")]
pub(crate) struct InvalidGroup;

/// Checks a hub name and makes it lower case. The pattern is ^[A-Za-z][A-Za-z0-9_`,.[\]]{0,127}$ (reference, 1.9).
pub(crate) fn hub(name: &str, instance: &Instance) -> Result<Hub, InvalidHub> {
    let mut bytes = name.bytes();
    let first = bytes.next().is_some_and(|byte| byte.is_ascii_alphabetic());
    let rest = bytes
        .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'`' | b',' | b'.' | b'[' | b']'));
    if !first || !rest || name.len() > HUB_CHARS_MAX {
        return Err(InvalidHub(name.chars().take(HUB_CHARS_MAX).collect()));
    }
    Ok(Hub::new(instance.clone(), &name.to_ascii_lowercase()))
}

/// Checks a group name: 1 to 1,024 characters, not only white space.
pub(crate) fn group(name: &str) -> Result<GroupName, InvalidGroup> {
    if name.trim().is_empty() || name.chars().nth(GROUP_CHARS_MAX).is_some() {
        return Err(InvalidGroup);
    }
    Ok(GroupName::new(name))
}
