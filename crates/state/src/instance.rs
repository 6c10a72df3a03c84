//! [`Instance`] and [`Name`]: the owner of stored data, and the name of the data within it.

use std::fmt;
use std::sync::Arc;

/// The account, namespace, application or hub that stored data belongs to.
///
/// 1 to 128 bytes of `A-Z a-z 0-9 . _ -`. Two instances never see each other's journals, keys or leases.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Instance(Arc<str>);

/// The name of a journal or a lease within its [`Instance`].
///
/// 1 to 512 bytes without control characters. A backend that allows fewer characters escapes the others.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Name(Arc<str>);

/// An invalid instance, name or key; holds the text and the rule that it violates.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid name {0:?}: {1}")]
pub struct InvalidName(pub String, pub &'static str);

impl Instance {
    /// Longest instance name, in bytes.
    pub const BYTES_MAX: usize = 128;

    /// Validates a name.
    pub fn new(name: &str) -> Result<Self, InvalidName> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
        if name.is_empty() || name.len() > Self::BYTES_MAX {
            return Err(InvalidName(name.to_owned(), "an instance has 1 to 128 bytes"));
        }
        // A leading dot would name `.` or `..` where a backend uses the instance as a folder.
        if name.starts_with('.') || !name.bytes().all(allowed) {
            return Err(InvalidName(
                name.to_owned(),
                "an instance has only letters, digits, '.', '_' and '-'",
            ));
        }
        Ok(Self(name.into()))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Name {
    /// Longest name, in bytes.
    pub const BYTES_MAX: usize = 512;

    /// Validates a name.
    pub fn new(name: &str) -> Result<Self, InvalidName> {
        if name.is_empty() || name.len() > Self::BYTES_MAX {
            return Err(InvalidName(name.to_owned(), "a name has 1 to 512 bytes"));
        }
        if name.chars().any(char::is_control) {
            return Err(InvalidName(name.to_owned(), "a name has no control characters"));
        }
        Ok(Self(name.into()))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Instance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
