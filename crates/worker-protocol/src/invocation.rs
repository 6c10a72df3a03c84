//! The request and the response of an invocation.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{FunctionId, InvocationId, RpcException, StatusResult, TypedData};

/// The request to invoke a function.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct InvocationRequest {
    /// Id of the invocation.
    pub invocation_id: InvocationId,
    /// The function.
    pub function_id: FunctionId,
    /// The trigger data and the values of the input bindings.
    pub input_data: Vec<ParameterBinding>,
    /// The trigger metadata.
    pub trigger_metadata: BTreeMap<String, TypedData>,
    /// The trace context of the invocation.
    pub trace_context: RpcTraceContext,
    /// Present if the function has a retry policy.
    pub retry_context: Option<RetryContext>,
}

/// The response to an [`InvocationRequest`].
#[derive(Clone, Debug, Default, PartialEq)]
pub struct InvocationResponse {
    /// Id of the invocation.
    pub invocation_id: InvocationId,
    /// Values for the output bindings.
    pub output_data: Vec<ParameterBinding>,
    /// What the function returned.
    pub return_value: Option<TypedData>,
    /// Whether the function succeeded.
    pub result: StatusResult,
    /// Attributes that the worker adds to the span of the invocation.
    pub trace_context_attributes: BTreeMap<String, String>,
}

/// The value of one binding.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ParameterBinding {
    /// The binding's name.
    pub name: String,
    /// Its value.
    pub data: TypedData,
}

/// W3C trace context, as text.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RpcTraceContext {
    /// The `traceparent` value.
    pub trace_parent: String,
    /// The `tracestate` value.
    pub trace_state: String,
    /// Attributes of the span.
    pub attributes: BTreeMap<String, String>,
    /// W3C baggage (added in 2026; older workers ignore it).
    pub baggage: BTreeMap<String, String>,
}

/// Which retry an invocation is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RetryContext {
    /// Number of retries, this one included; 0 in the first attempt.
    pub retry_count: i32,
    /// Largest number of retries; -1: no limit.
    pub max_retry_count: i32,
    /// Why the last attempt failed.
    pub exception: Option<RpcException>,
}
