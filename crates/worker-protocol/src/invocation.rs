//! One call of a function and its answer.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{FunctionId, InvocationId, RpcException, StatusResult, TypedData};

/// A call of a function.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct InvocationRequest {
    /// Its identity; no two calls share one.
    pub invocation_id: InvocationId,
    /// Which function.
    pub function_id: FunctionId,
    /// Values of the trigger and of the input bindings.
    pub input_data: Vec<ParameterBinding>,
    /// What is known about the trigger's value.
    pub trigger_metadata: BTreeMap<String, TypedData>,
    /// The span that the call belongs to.
    pub trace_context: TraceContext,
    /// How often it was tried before.
    pub retry_context: Option<RetryContext>,
}

/// The answer to a call.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct InvocationResponse {
    /// Which call.
    pub invocation_id: InvocationId,
    /// Values for the output bindings.
    pub output_data: Vec<ParameterBinding>,
    /// What the function returned.
    pub return_value: Option<TypedData>,
    /// How it ended.
    pub result: StatusResult,
    /// Attributes that the worker adds to the call's span.
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
pub struct TraceContext {
    /// The `traceparent` value.
    pub trace_parent: String,
    /// The `tracestate` value.
    pub trace_state: String,
    /// Attributes of the span.
    pub attributes: BTreeMap<String, String>,
    /// Baggage (2026 addition; older workers ignore it).
    pub baggage: BTreeMap<String, String>,
}

/// Which retry a call is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RetryContext {
    /// How many retries there were, this one included.
    pub retry_count: i32,
    /// How many there may be; -1 is for ever.
    pub max_retry_count: i32,
    /// What made the last try fail.
    pub exception: Option<RpcException>,
}
