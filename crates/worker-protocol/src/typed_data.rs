//! One value on its way to or from a worker, which may be an HTTP request or response.

use std::collections::BTreeMap;

use bytes::Bytes;
use bytestring::ByteString;

use crate::{RpcClaimsIdentity, RpcHttpCookie, StoredBytes};

/// A value of a binding, a trigger's metadata or a result. Clones share texts and bytes.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum TypedData {
    /// No value: in FunctionRpc, a `TypedData` whose oneof is not set.
    #[default]
    Null,
    /// Text.
    String(ByteString),
    /// JSON, as text.
    Json(ByteString),
    /// Bytes.
    Bytes(Bytes),
    /// Bytes that the function declared as a stream.
    Stream(Bytes),
    /// Bytes that are not in memory. Only in messages of the host; the worker receives [`TypedData::Bytes`].
    Stored(StoredBytes),
    /// An HTTP request or response.
    Http(Box<RpcHttp>),
    /// An integer.
    Int(i64),
    /// A float.
    Double(f64),
    /// Several byte strings. This kind and the next three are for workers with the capability `TypedDataCollection`.
    CollectionBytes(Vec<Bytes>),
    /// Several texts.
    CollectionString(Vec<ByteString>),
    /// Several floats.
    CollectionDouble(Vec<f64>),
    /// Several integers.
    CollectionSint64(Vec<i64>),
    /// What a worker builds an SDK type from.
    ModelBindingData(Box<ModelBindingData>),
    /// Several [`ModelBindingData`].
    CollectionModelBindingData(Vec<ModelBindingData>),
}

/// Content from which the extension of a worker builds a type of an SDK, for example a blob client.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ModelBindingData {
    /// Version of the content's format.
    pub version: String,
    /// The extension that defines the content, for example `AzureStorageBlobs`.
    pub source: String,
    /// Media type of the content.
    pub content_type: String,
    /// The content itself.
    pub content: Bytes,
}

/// An HTTP request (from the host) or response (from the worker); the protocol has one message for both.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RpcHttp {
    /// Request: the method, in upper case.
    pub method: String,
    /// Request: the absolute address, `scheme://host[:port]/path?query`.
    pub url: String,
    /// Headers. In requests, names are lower-case and several values of a name are joined by `,`.
    pub headers: BTreeMap<String, String>,
    /// The body; [`TypedData::Null`] when there is none.
    pub body: TypedData,
    /// Request: values of the route's parameters.
    pub params: BTreeMap<String, String>,
    /// Request: the query's parameters, the last value of each name.
    pub query: BTreeMap<String, String>,
    /// Response: the status in decimal digits; empty stands for 200.
    pub status_code: String,
    /// Response: whether the host may choose the format of the body by the `Accept` header of the request.
    pub enable_content_negotiation: bool,
    /// Request: the identities of the caller.
    pub identities: Vec<RpcClaimsIdentity>,
    /// Response: cookies to set.
    pub cookies: Vec<RpcHttpCookie>,
}

impl TypedData {
    /// Whether this is [`TypedData::Null`].
    pub fn is_null(&self) -> bool {
        matches!(self, Self::Null)
    }
}

impl From<RpcHttp> for TypedData {
    fn from(http: RpcHttp) -> Self {
        Self::Http(Box::new(http))
    }
}
