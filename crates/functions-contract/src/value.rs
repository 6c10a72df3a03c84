//! The values that triggers and bindings exchange with functions.

use bytes::Bytes;
use bytestring::ByteString;

/// A value on its way between an outside system and a function. Clones share texts and bytes.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// No value: a document that does not exist, an output that the function did not set.
    Null,
    /// Plain text.
    Text(ByteString),
    /// JSON, as its text: most values pass through without being parsed.
    Json(ByteString),
    /// Bytes.
    Bytes(Bytes),
    /// A whole number.
    Integer(i64),
    /// A floating-point number.
    Double(f64),
    /// Several values, such as the messages of a batch.
    Many(Vec<Value>),
}
