//! [`ParseError`]: why a payload is not a hub message.

use crate::json::reader::JsonError;

/// Why a payload is not a hub message. Close the connection with this text; it is the text of ASP.NET Core if that has one.
#[derive(Debug, thiserror::Error)]
pub enum ParseError {
    /// It is not JSON.
    #[error("Error reading JSON.")]
    Json(#[from] JsonError),
    /// It is JSON, but not an object.
    #[error("Unexpected JSON Token Type '{0}'. Expected a JSON Object.")]
    NoObject(&'static str),
    /// A property has the wrong type.
    #[error("Expected '{name}' to be of type {expected}.")]
    Type {
        /// The property.
        name: &'static str,
        /// The required type, as ASP.NET Core names it.
        expected: &'static str,
    },
    /// The value of a header is not a string.
    #[error("Expected each header to be of type String.")]
    Header,
    /// It is not MessagePack, or not an array with the elements of a hub message.
    #[error("the message is not a MessagePack hub message: {0}")]
    MessagePack(&'static str),
    /// An element has the wrong type.
    #[error("Reading {0} failed.")]
    Reading(&'static str),
    /// An element is nil or empty.
    #[error("Null or empty {0}.")]
    Empty(&'static str),
    /// The result kind of a completion is unknown.
    #[error("Invalid invocation result kind.")]
    ResultKind,
    /// A required property or element is missing.
    #[error("Missing required property '{0}'.")]
    Missing(&'static str),
    /// A completion has both a result and an error.
    #[error("The 'error' and 'result' properties are mutually exclusive.")]
    ResultAndError,
}
