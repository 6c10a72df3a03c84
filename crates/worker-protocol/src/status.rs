//! The result of a worker's operation, and the capabilities of a worker.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{RpcException, RpcLog};

/// Whether an operation succeeded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Status {
    /// It failed. This is the zero value of the protocol, so an absent status is a failure.
    #[default]
    Failure,
    /// It succeeded.
    Success,
    /// It was cancelled.
    Cancelled,
}

/// The result of an operation.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StatusResult {
    /// Whether it succeeded.
    pub status: Status,
    /// A message for people; the Java worker sends one for successes too.
    pub result: String,
    /// The error, if it failed.
    pub exception: Option<RpcException>,
    /// Log records that belong to it.
    pub logs: Vec<RpcLog>,
}

impl StatusResult {
    /// A success without a message.
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

    /// What to show for a failure: the message of the exception, else [`StatusResult::result`], else a sentence that says that there is
    /// none.
    pub fn message(&self) -> &str {
        let message = self.exception.as_ref().map_or("", |exception| exception.message.as_str());
        [message, self.result.as_str(), "the worker gave no reason"]
            .into_iter()
            .find(|text| !text.is_empty())
            .unwrap_or_default()
    }
}

/// Capabilities of a worker or of the host, by name. A capability is on if its value is not empty.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Capabilities(BTreeMap<String, String>);

impl Capabilities {
    /// The body of an HTTP request is always sent as bytes.
    pub const RAW_HTTP_BODY_BYTES: &'static str = "RawHttpBodyBytes";
    /// Only `body` is sent, not `rawBody`.
    pub const RPC_HTTP_BODY_ONLY: &'static str = "RpcHttpBodyOnly";
    /// The trigger metadata has no second copy of the HTTP request.
    pub const RPC_HTTP_TRIGGER_METADATA_REMOVED: &'static str = "RpcHttpTriggerMetadataRemoved";
    /// The worker understands the `collection_*` kinds.
    pub const TYPED_DATA_COLLECTION: &'static str = "TypedDataCollection";
    /// Headers, params and query are sent in the `nullable_*` maps.
    pub const USE_NULLABLE_VALUE_DICTIONARY_FOR_HTTP: &'static str = "UseNullableValueDictionaryForHttp";
    /// Headers with an empty value are left out.
    pub const IGNORE_EMPTY_VALUED_RPC_HTTP_HEADERS: &'static str = "IgnoreEmptyValuedRpcHttpHeaders";
    /// The worker answers status requests.
    pub const WORKER_STATUS: &'static str = "WorkerStatus";
    /// The worker exits by itself on a terminate message.
    pub const HANDLES_WORKER_TERMINATE_MESSAGE: &'static str = "HandlesWorkerTerminateMessage";
    /// The worker can cancel an invocation.
    pub const HANDLES_INVOCATION_CANCEL_MESSAGE: &'static str = "HandlesInvocationCancelMessage";
    /// The address at which the worker accepts HTTP requests directly.
    pub const HTTP_URI: &'static str = "HttpUri";
    /// With [`Capabilities::HTTP_URI`]: the invocation carries the route values as parameters of the request.
    pub const REQUIRES_ROUTE_PARAMETERS: &'static str = "RequiresRouteParameters";

    /// Those that the host serves: it does what they ask for.
    const SERVED: [&'static str; 11] = [
        Self::RAW_HTTP_BODY_BYTES,
        Self::RPC_HTTP_BODY_ONLY,
        Self::RPC_HTTP_TRIGGER_METADATA_REMOVED,
        Self::TYPED_DATA_COLLECTION,
        Self::USE_NULLABLE_VALUE_DICTIONARY_FOR_HTTP,
        Self::IGNORE_EMPTY_VALUED_RPC_HTTP_HEADERS,
        Self::WORKER_STATUS,
        Self::HANDLES_WORKER_TERMINATE_MESSAGE,
        Self::HANDLES_INVOCATION_CANCEL_MESSAGE,
        Self::HTTP_URI,
        Self::REQUIRES_ROUTE_PARAMETERS,
    ];

    /// Those that permit messages or values which the host need not send, and those that only describe the worker: nothing is missing
    /// without them.
    const OPTIONAL: [&'static str; 9] = [
        "EnableUserCodeException",
        "FunctionDataCache",
        "HandlesWorkerWarmupMessage",
        "IncludeEmptyEntriesInMessagePayload",
        "SharedMemoryDataTransfer",
        "SupportsLoadResponseCollection",
        "WorkerApplicationInsightsLoggingEnabled",
        "WorkerOpenTelemetryEnabled",
        "WorkerOpenTelemetrySchemaVersion",
    ];

    /// The names of capabilities that are on and that the host does not know: functions may rely on them.
    pub fn unknown(&self) -> Vec<&str> {
        let is_known = |name: &str| Self::SERVED.contains(&name) || Self::OPTIONAL.contains(&name);
        self.iter()
            .filter(|(name, value)| !value.is_empty() && !is_known(name))
            .map(|(name, _)| name)
            .collect()
    }

    /// Whether a capability is on.
    pub fn has(&self, name: &str) -> bool {
        self.value(name).is_some()
    }

    /// The value of a capability, unless it is empty.
    pub fn value(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// All capabilities, with their values.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }
}

impl<N: Into<String>, V: Into<String>> FromIterator<(N, V)> for Capabilities {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(pairs: I) -> Self {
        Self(pairs.into_iter().map(|(name, value)| (name.into(), value.into())).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_capability_is_unknown_if_it_is_on_and_neither_served_nor_optional() {
        let named = |names: &[(&str, &str)]| names.iter().copied().collect::<Capabilities>();
        assert_eq!(
            named(&[("HttpUri", "http://x"), ("WorkerOpenTelemetryEnabled", "true")]).unknown(),
            [""; 0]
        );
        assert_eq!(named(&[("Teleport", ""), ("WorkerStatus", "true")]).unknown(), [""; 0]);
        assert_eq!(named(&[("Teleport", "true"), ("WorkerStatus", "true")]).unknown(), ["Teleport"]);
    }
}
