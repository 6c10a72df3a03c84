//! One value on its way to or from a worker.

use bytes::Bytes;

use crate::{RpcHttp, Stored};

/// A value of a binding, a trigger's metadata or a result.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum TypedData {
    /// Nothing. On the wire: a `TypedData` whose oneof is not set.
    #[default]
    Null,
    /// Text, not looked into.
    String(String),
    /// JSON as its text.
    Json(String),
    /// Bytes.
    Bytes(Bytes),
    /// Bytes that the function declared as a stream.
    Stream(Bytes),
    /// Bytes that are not in memory; only towards workers, where they are [`TypedData::Bytes`].
    Stored(Stored),
    /// An HTTP request or response.
    Http(Box<RpcHttp>),
    /// A whole number.
    Int(i64),
    /// A number.
    Double(f64),
    /// Several byte strings; only for workers with the capability `TypedDataCollection`, as the next three.
    CollectionBytes(Vec<Bytes>),
    /// Several texts.
    CollectionString(Vec<String>),
    /// Several numbers.
    CollectionDouble(Vec<f64>),
    /// Several whole numbers.
    CollectionSint64(Vec<i64>),
    /// What an SDK-type binding is made from.
    ModelBindingData(Box<ModelBindingData>),
    /// Several of them.
    CollectionModelBindingData(Vec<ModelBindingData>),
}

/// Content from which a worker's extension makes an object of a vendor's SDK.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ModelBindingData {
    /// Version of the content's form.
    pub version: String,
    /// Who made it, such as `AzureStorageBlobs`.
    pub source: String,
    /// Media type of the content.
    pub content_type: String,
    /// The content.
    pub content: Bytes,
}

impl TypedData {
    /// Whether there is nothing.
    pub fn is_null(&self) -> bool {
        matches!(self, Self::Null)
    }
}

impl From<RpcHttp> for TypedData {
    fn from(http: RpcHttp) -> Self {
        Self::Http(Box::new(http))
    }
}
