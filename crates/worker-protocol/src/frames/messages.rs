//! The JSON heads. What each thing is for stands at our own types.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    Capabilities, FunctionId, InitRequest, InvocationId, LogCategory, LogLevel, RetryContext, RetryOptions,
    RpcClaimsIdentity, RpcException, RpcHttpCookie, Status, TraceContext, WorkerMetadata,
};

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
pub(super) enum HostHead {
    Init(InitRequest),
    Metadata { function_app_directory: String },
    Load { function_id: FunctionId, metadata: Box<Metadata> },
    Invoke(Box<Invoke>),
    Cancel { invocation_id: InvocationId },
    Status {},
    Terminate { grace_ms: u64 },
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
pub(super) enum WorkerHead {
    Start {
        version: u32,
        #[serde(default)]
        token: String,
        worker_id: String,
    },
    Init {
        #[serde(default)]
        capabilities: Capabilities,
        #[serde(default)]
        result: Result,
        #[serde(default)]
        worker_metadata: WorkerMetadata,
    },
    Metadata {
        #[serde(default)]
        functions: Vec<Metadata>,
        #[serde(default)]
        result: Result,
        #[serde(default)]
        use_default_metadata_indexing: bool,
    },
    Load {
        function_id: FunctionId,
        #[serde(default)]
        result: Result,
    },
    Invoked(Box<Invoked>),
    Log(Box<Log>),
    Status {},
}

impl WorkerHead {
    /// The names of all messages.
    pub(super) const NAMES: [&'static str; 7] =
        ["start", "init", "metadata", "load", "invoked", "log", "status"];
}

/// `[at, length]` in the body.
pub(super) type Place = (usize, usize);

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Value {
    String(Text),
    Json(Text),
    Bytes(Place),
    Stream(Place),
    Http(Box<Http>),
    Int(Int),
    Double(Double),
    CollectionBytes(Vec<Place>),
    CollectionString(Vec<Text>),
    CollectionDouble(Vec<Double>),
    CollectionSint64(Vec<Int>),
    ModelBindingData(Model),
    CollectionModelBindingData(Vec<Model>),
}

/// A text in the head or in the body.
#[derive(Debug, Serialize, Deserialize)]
#[serde(untagged)]
pub(super) enum Text {
    Here(String),
    There(Place),
}

/// A whole number; as text where a 64-bit float does not hold it.
#[derive(Debug, Serialize, Deserialize)]
#[serde(untagged)]
pub(super) enum Int {
    Number(i64),
    Text(String),
    /// JavaScript writes `1e21` for whole numbers that are too large for any of ours.
    Float(f64),
}

/// A number; as text where JSON has none for it.
#[derive(Debug, Serialize, Deserialize)]
#[serde(untagged)]
pub(super) enum Double {
    Number(f64),
    Text(String),
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Model {
    pub(super) version: String,
    pub(super) source: String,
    pub(super) content_type: String,
    pub(super) content: Place,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Http {
    pub(super) method: String,
    pub(super) url: String,
    pub(super) headers: BTreeMap<String, String>,
    pub(super) body: Option<Value>,
    pub(super) params: BTreeMap<String, String>,
    pub(super) query: BTreeMap<String, String>,
    pub(super) status_code: String,
    pub(super) enable_content_negotiation: bool,
    pub(super) identities: Vec<RpcClaimsIdentity>,
    pub(super) cookies: Vec<RpcHttpCookie>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Parameter {
    pub(super) name: String,
    pub(super) data: Option<Value>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Invoke {
    pub(super) invocation_id: InvocationId,
    pub(super) function_id: FunctionId,
    pub(super) input_data: Vec<Parameter>,
    pub(super) trigger_metadata: BTreeMap<String, Option<Value>>,
    pub(super) trace_context: TraceContext,
    pub(super) retry_context: Option<RetryContext>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Invoked {
    pub(super) invocation_id: InvocationId,
    pub(super) output_data: Vec<Parameter>,
    /// `null` and absent differ: a function that returned nothing, and one that has no return binding.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    pub(super) return_value: Option<Option<Value>>,
    pub(super) result: Result,
    pub(super) trace_context_attributes: BTreeMap<String, String>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Result {
    pub(super) status: Status,
    pub(super) result: String,
    pub(super) exception: Option<RpcException>,
    pub(super) logs: Vec<Log>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Log {
    pub(super) invocation_id: Option<InvocationId>,
    pub(super) category: String,
    pub(super) level: LogLevel,
    pub(super) message: String,
    pub(super) event_id: String,
    pub(super) exception: Option<RpcException>,
    pub(super) properties: String,
    pub(super) log_category: LogCategory,
    pub(super) properties_map: BTreeMap<String, Option<Value>>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Metadata {
    pub(super) name: String,
    pub(super) function_id: FunctionId,
    pub(super) directory: String,
    pub(super) script_file: String,
    pub(super) entry_point: String,
    pub(super) language: String,
    pub(super) raw_bindings: Vec<String>,
    pub(super) retry_options: Option<RetryOptions>,
    pub(super) properties: BTreeMap<String, String>,
    pub(super) status: Option<Result>,
}

fn present<'de, D: serde::Deserializer<'de>>(
    from: D,
) -> std::result::Result<Option<Option<Value>>, D::Error> {
    Option::<Value>::deserialize(from).map(Some)
}
