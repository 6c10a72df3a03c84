//! How an operation of a worker ended, and what a worker can do.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::RpcLog;

/// How an operation ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Status {
    /// It failed. This is the zero value of the protocol, so a status that is not there is a failure.
    #[default]
    Failure,
    /// It succeeded.
    Success,
    /// It was cancelled.
    Cancelled,
}

/// How an operation ended, and why.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StatusResult {
    /// How.
    pub status: Status,
    /// A text about it; java gives one for successes too.
    pub result: String,
    /// What went wrong.
    pub exception: Option<RpcException>,
    /// Log records that belong to it.
    pub logs: Vec<RpcLog>,
}

/// An error of the worker or of the user's code.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RpcException {
    /// Where it comes from.
    pub source: String,
    /// The stack, one frame a line.
    pub stack_trace: String,
    /// The message.
    pub message: String,
    /// Whether the user's code raised it.
    pub is_user_exception: bool,
    /// Its type.
    #[serde(rename = "type")]
    pub kind: String,
}

impl StatusResult {
    /// A success without a text.
    pub fn success() -> Self {
        Self { status: Status::Success, ..Self::default() }
    }

    /// A failure with this message.
    pub fn failure(message: impl Into<String>) -> Self {
        let exception = RpcException { message: message.into(), ..RpcException::default() };
        Self { exception: Some(exception), ..Self::default() }
    }

    /// Whether the operation succeeded.
    pub fn is_success(&self) -> bool {
        self.status == Status::Success
    }

    /// What to show for a failure: the exception's message, or the text, or a sentence that says that there is none.
    pub fn message(&self) -> &str {
        let message = self.exception.as_ref().map_or("", |exception| exception.message.as_str());
        [message, self.result.as_str(), "the worker gave no reason"]
            .into_iter()
            .find(|text| !text.is_empty())
            .unwrap_or_default()
    }
}

/// What one side can do, by name; any value that is not empty means yes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Capabilities(BTreeMap<String, String>);

impl Capabilities {
    /// The body of an HTTP request always travels as bytes.
    pub const RAW_HTTP_BODY_BYTES: &'static str = "RawHttpBodyBytes";
    /// Only `body` is filled, and no `rawBody` beside it.
    pub const RPC_HTTP_BODY_ONLY: &'static str = "RpcHttpBodyOnly";
    /// The trigger metadata has no second copy of the HTTP request.
    pub const RPC_HTTP_TRIGGER_METADATA_REMOVED: &'static str = "RpcHttpTriggerMetadataRemoved";
    /// The worker understands the `collection_*` kinds.
    pub const TYPED_DATA_COLLECTION: &'static str = "TypedDataCollection";
    /// Headers, params and query travel in the `nullable_*` maps.
    pub const USE_NULLABLE_VALUE_DICTIONARY_FOR_HTTP: &'static str = "UseNullableValueDictionaryForHttp";
    /// Headers without a value are left out.
    pub const IGNORE_EMPTY_VALUED_RPC_HTTP_HEADERS: &'static str = "IgnoreEmptyValuedRpcHttpHeaders";
    /// The worker answers status requests.
    pub const WORKER_STATUS: &'static str = "WorkerStatus";
    /// The worker ends by itself when told to.
    pub const HANDLES_WORKER_TERMINATE_MESSAGE: &'static str = "HandlesWorkerTerminateMessage";
    /// The worker can be told that an invocation is no longer wanted.
    pub const HANDLES_INVOCATION_CANCEL_MESSAGE: &'static str = "HandlesInvocationCancelMessage";
    /// Where the worker takes HTTP requests directly.
    pub const HTTP_URI: &'static str = "HttpUri";
    /// With [`Capabilities::HTTP_URI`]: the invocation has the values of the route as the request's parameters.
    pub const REQUIRES_ROUTE_PARAMETERS: &'static str = "RequiresRouteParameters";

    /// Whether it is on.
    pub fn has(&self, name: &str) -> bool {
        self.value(name).is_some()
    }

    /// Its value, unless it is empty.
    pub fn value(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }
}

impl<N: Into<String>, V: Into<String>> FromIterator<(N, V)> for Capabilities {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(pairs: I) -> Self {
        Self(pairs.into_iter().map(|(name, value)| (name.into(), value.into())).collect())
    }
}
