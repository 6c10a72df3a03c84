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
    /// A reference from which the worker reads the value itself, or from which its extension builds a client of the outside
    /// system: deferred binding. Only for bindings that ask for it, see [`BindingSpec::is_deferred`](crate::BindingSpec::is_deferred).
    Deferred(Box<DeferredValue>),
}

/// A reference to a value, in a form that the worker's extension for an outside system defines (`ModelBindingData` of the worker
/// protocol).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeferredValue {
    /// Version of the content's format, such as `1.0`.
    pub version: String,
    /// The extension that defines the content, such as `CosmosDB`.
    pub source: String,
    /// Media type of the content, such as `application/json`.
    pub content_type: String,
    /// The content.
    pub content: Bytes,
}
