//! The values that triggers and bindings exchange with functions.

use bytes::Bytes;

/// A value on its way between an outside system and a function.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// No value: a document that does not exist, an output that the function did not set.
    Null,
    /// Plain text.
    Text(String),
    /// JSON, as its text: most values pass through without being parsed.
    Json(String),
    /// Bytes.
    Bytes(Bytes),
    /// A whole number.
    Integer(i64),
    /// A floating-point number.
    Double(f64),
    /// Several values, such as the messages of a batch.
    Many(Vec<Value>),
}
