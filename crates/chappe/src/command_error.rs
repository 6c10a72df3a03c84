//! [`CommandError`]: an error of a command without an error type of its own.

use http_messages::ErrorDescription;

/// An error of a command, or the context of one: what failed, and its stable code.
#[derive(Debug, thiserror::Error)]
#[error("{text}")]
pub(crate) struct CommandError {
    pub(crate) description: &'static ErrorDescription,
    text: String,
}

impl CommandError {
    pub(crate) fn new(description: &'static ErrorDescription, text: impl Into<String>) -> Self {
        Self { description, text: text.into() }
    }
}
