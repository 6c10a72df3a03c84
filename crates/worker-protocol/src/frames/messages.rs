//! The JSON headers of frames. The types of the same names in the crate root have the explanations.

use std::collections::BTreeMap;

use bytestring::ByteString;
use serde::{Deserialize, Serialize};

use crate::{
    Capabilities, FunctionId, InitRequest, InvocationId, LogCategory, LogLevel, RetryContext, RetryOptions,
    RpcClaimsIdentity, RpcException, RpcHttpCookie, RpcTraceContext, Status, WorkerMetadata,
};

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
pub(super) enum HostHeader {
    Init(InitRequest),
    Metadata { function_app_directory: String },
    Load { function_id: FunctionId, metadata: Box<MetadataJson> },
    Invoke(Box<InvokeJson>),
    Cancel { invocation_id: InvocationId },
    Status {},
    Terminate { grace_ms: u64 },
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
pub(super) enum WorkerHeader {
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
        result: ResultJson,
        #[serde(default)]
        worker_metadata: WorkerMetadata,
    },
    Metadata {
        #[serde(default)]
        functions: Vec<MetadataJson>,
        #[serde(default)]
        result: ResultJson,
        #[serde(default)]
        use_default_metadata_indexing: bool,
    },
    Load {
        function_id: FunctionId,
        #[serde(default)]
        result: ResultJson,
    },
    Invoked(Box<InvokedJson>),
    Log(Box<LogJson>),
    Status {},
}

impl WorkerHeader {
    /// Names of all messages.
    pub(super) const NAMES: [&'static str; 7] =
        ["start", "init", "metadata", "load", "invoked", "log", "status"];
}

/// `[offset, length]` in the body.
pub(super) type BodyRange = (usize, usize);

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum ValueJson {
    String(TextJson),
    Json(TextJson),
    Bytes(BodyRange),
    Stream(BodyRange),
    Http(Box<HttpJson>),
    Int(IntJson),
    Double(DoubleJson),
    CollectionBytes(Vec<BodyRange>),
    CollectionString(Vec<TextJson>),
    CollectionDouble(Vec<DoubleJson>),
    CollectionSint64(Vec<IntJson>),
    ModelBindingData(ModelJson),
    CollectionModelBindingData(Vec<ModelJson>),
}

/// A text, in the header or in the body.
#[derive(Debug, Serialize, Deserialize)]
#[serde(untagged)]
pub(super) enum TextJson {
    Inline(ByteString),
    InBody(BodyRange),
}

/// An integer; a text where a 64-bit float cannot represent it.
#[derive(Debug, Serialize, Deserialize)]
#[serde(untagged)]
pub(super) enum IntJson {
    Number(i64),
    Text(String),
    /// JavaScript writes `1e21` for integers beyond our range.
    Float(f64),
}

/// A number; a text where JSON has no number for it.
#[derive(Debug, Serialize, Deserialize)]
#[serde(untagged)]
pub(super) enum DoubleJson {
    Number(f64),
    Text(String),
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct ModelJson {
    pub(super) version: String,
    pub(super) source: String,
    pub(super) content_type: String,
    pub(super) content: BodyRange,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct HttpJson {
    pub(super) method: String,
    pub(super) url: String,
    pub(super) headers: BTreeMap<String, String>,
    pub(super) body: Option<ValueJson>,
    pub(super) params: BTreeMap<String, String>,
    pub(super) query: BTreeMap<String, String>,
    pub(super) status_code: String,
    pub(super) enable_content_negotiation: bool,
    pub(super) identities: Vec<RpcClaimsIdentity>,
    pub(super) cookies: Vec<RpcHttpCookie>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct ParameterJson {
    pub(super) name: String,
    pub(super) data: Option<ValueJson>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct InvokeJson {
    pub(super) invocation_id: InvocationId,
    pub(super) function_id: FunctionId,
    pub(super) input_data: Vec<ParameterJson>,
    pub(super) trigger_metadata: BTreeMap<String, Option<ValueJson>>,
    pub(super) trace_context: RpcTraceContext,
    pub(super) retry_context: Option<RetryContext>,
}

/// [`HostHeader::Invoke`] of a request that is borrowed. The fields are those of [`InvokeJson`], [`ParameterJson`] and [`HttpJson`].
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum HostHeaderRef<'a> {
    Invoke(InvokeRef<'a>),
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct InvokeRef<'a> {
    pub(super) invocation_id: &'a InvocationId,
    pub(super) function_id: &'a FunctionId,
    pub(super) input_data: Vec<ParameterRef<'a>>,
    pub(super) trigger_metadata: BTreeMap<&'a str, Option<ValueRef<'a>>>,
    pub(super) trace_context: &'a RpcTraceContext,
    pub(super) retry_context: Option<&'a RetryContext>,
}

#[derive(Debug, Serialize)]
pub(super) struct ParameterRef<'a> {
    pub(super) name: &'a str,
    pub(super) data: Option<ValueRef<'a>>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum ValueRef<'a> {
    Http(HttpRef<'a>),
    #[serde(untagged)]
    Other(ValueJson),
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct HttpRef<'a> {
    pub(super) method: &'a str,
    pub(super) url: &'a str,
    pub(super) headers: &'a BTreeMap<String, String>,
    pub(super) body: Option<ValueJson>,
    pub(super) params: &'a BTreeMap<String, String>,
    pub(super) query: &'a BTreeMap<String, String>,
    pub(super) status_code: &'a str,
    pub(super) enable_content_negotiation: bool,
    pub(super) identities: &'a [RpcClaimsIdentity],
    pub(super) cookies: &'a [RpcHttpCookie],
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct InvokedJson {
    pub(super) invocation_id: InvocationId,
    pub(super) output_data: Vec<ParameterJson>,
    /// `null` and absent differ: a function that returned nothing, and one that has no return binding.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    pub(super) return_value: Option<Option<ValueJson>>,
    pub(super) result: ResultJson,
    pub(super) trace_context_attributes: BTreeMap<String, String>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct ResultJson {
    pub(super) status: Status,
    pub(super) result: String,
    pub(super) exception: Option<RpcException>,
    pub(super) logs: Vec<LogJson>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct LogJson {
    pub(super) invocation_id: Option<InvocationId>,
    pub(super) category: String,
    pub(super) level: LogLevel,
    pub(super) message: String,
    pub(super) event_id: String,
    pub(super) exception: Option<RpcException>,
    pub(super) properties: String,
    pub(super) log_category: LogCategory,
    pub(super) properties_map: BTreeMap<String, Option<ValueJson>>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct MetadataJson {
    pub(super) name: String,
    pub(super) function_id: FunctionId,
    pub(super) directory: String,
    pub(super) script_file: String,
    pub(super) entry_point: String,
    pub(super) language: String,
    pub(super) raw_bindings: Vec<String>,
    pub(super) retry_options: Option<RetryOptions>,
    pub(super) properties: BTreeMap<String, String>,
    pub(super) status: Option<ResultJson>,
}

fn present<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Option<Option<ValueJson>>, D::Error> {
    Option::<ValueJson>::deserialize(from).map(Some)
}
