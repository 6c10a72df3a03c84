//! [`ServiceParseError`]: why a payload is not a service message.

/// Why a payload is not a service message. The text names the field, for the authors of app servers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ServiceParseError {
    /// It is not an array that begins with the number of a type.
    #[error("it is not a MessagePack array that begins with the number of a message type: {0}")]
    Type(&'static str),
    /// A required field is missing.
    #[error("'{0}' is missing")]
    Missing(&'static str),
    /// A field has an invalid value.
    #[error("'{field}': {why}")]
    Field {
        /// The SDK's name of the field.
        field: &'static str,
        /// What is wrong with it.
        why: &'static str,
    },
}
