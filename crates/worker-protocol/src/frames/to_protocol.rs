//! Our types to frames.

use std::collections::BTreeMap;

use bytestring::ByteString;

use super::codec::{EncodeError, FrameBody, OutgoingFrame, StartStream, VERSION};
use super::messages::{
    DoubleJson, HostHeader, HostHeaderRef, HttpJson, HttpRef, IntJson, InvokeRef, InvokedJson, LogJson,
    MetadataJson, ModelJson, ParameterJson, ParameterRef, ResultJson, TextJson, ValueJson, ValueRef,
    WorkerHeader,
};
use crate::{
    Chunk, FunctionMetadata, HostMessage, InvocationRequest, InvocationResponse, ModelBindingData,
    ParameterBinding, RpcHttp, RpcLog, StatusResult, TypedData, WorkerMessage,
};

/// Texts of at least this size go into the body, where nothing is escaped.
const BODY_TEXT_BYTES_MIN: usize = 256;

/// Integers beyond this lose digits in a 64-bit float (JavaScript's `Number.MAX_SAFE_INTEGER`).
const SAFE_INTEGER_MAX: i64 = (1 << 53) - 1;

/// Encodes a message of the host.
pub fn encode_host(message: HostMessage, frame_bytes_max: usize) -> Result<OutgoingFrame, EncodeError> {
    let mut body = FrameBody::default();
    let header = match message {
        HostMessage::Init(init) => HostHeader::Init(init),
        HostMessage::Metadata { function_app_directory } => HostHeader::Metadata { function_app_directory },
        HostMessage::Load(load) => HostHeader::Load {
            function_id: load.function_id,
            metadata: Box::new(metadata(load.metadata, &mut body)),
        },
        HostMessage::Invoke(request) => return encode_invocation(&request, frame_bytes_max),
        HostMessage::Cancel { invocation_id } => HostHeader::Cancel { invocation_id },
        HostMessage::Status => HostHeader::Status {},
        HostMessage::Terminate { grace } => {
            HostHeader::Terminate { grace_ms: u64::try_from(grace.as_millis()).unwrap_or(u64::MAX) }
        }
    };
    body.into_frame(&header, frame_bytes_max)
}

/// Encodes [`HostMessage::Invoke`] without a copy of the request, which may have to be sent again.
pub fn encode_invocation(
    request: &InvocationRequest,
    frame_bytes_max: usize,
) -> Result<OutgoingFrame, EncodeError> {
    let mut body = FrameBody::default();
    let header = HostHeaderRef::Invoke(InvokeRef {
        invocation_id: &request.invocation_id,
        function_id: &request.function_id,
        input_data: request
            .input_data
            .iter()
            .map(|each| ParameterRef { name: &each.name, data: value_ref(&each.data, &mut body) })
            .collect(),
        trigger_metadata: request
            .trigger_metadata
            .iter()
            .map(|(name, data)| (name.as_str(), value_ref(data, &mut body)))
            .collect(),
        trace_context: &request.trace_context,
        retry_context: request.retry_context.as_ref(),
    });
    body.into_frame(&header, frame_bytes_max)
}

/// Encodes a message of a worker. `start` is used by [`WorkerMessage::Start`] only.
pub fn encode_worker(
    message: WorkerMessage,
    start: &StartStream,
    frame_bytes_max: usize,
) -> Result<OutgoingFrame, EncodeError> {
    let mut body = FrameBody::default();
    let header = match message {
        WorkerMessage::Start { worker_id } => WorkerHeader::Start {
            version: VERSION,
            token: start.token.clone(),
            worker_id: worker_id.into_string(),
        },
        WorkerMessage::Init(init) => WorkerHeader::Init {
            capabilities: init.capabilities,
            result: result(init.result, &mut body),
            worker_metadata: init.worker_metadata,
        },
        WorkerMessage::Metadata(answer) => WorkerHeader::Metadata {
            functions: answer.functions.into_iter().map(|each| metadata(each, &mut body)).collect(),
            result: result(answer.result, &mut body),
            use_default_metadata_indexing: answer.use_default_metadata_indexing,
        },
        WorkerMessage::Load(load) => {
            WorkerHeader::Load { function_id: load.function_id, result: result(load.result, &mut body) }
        }
        WorkerMessage::Invoked(response) => WorkerHeader::Invoked(Box::new(invoked(response, &mut body))),
        WorkerMessage::Log(record) => WorkerHeader::Log(Box::new(log(record, &mut body))),
        WorkerMessage::Status | WorkerMessage::Unused(_) => WorkerHeader::Status {},
    };
    body.into_frame(&header, frame_bytes_max)
}

fn invoked(response: InvocationResponse, body: &mut FrameBody) -> InvokedJson {
    InvokedJson {
        invocation_id: response.invocation_id,
        output_data: response.output_data.into_iter().map(|each| parameter(each, body)).collect(),
        return_value: response.return_value.map(|data| value(data, body)),
        result: result(response.result, body),
        trace_context_attributes: response.trace_context_attributes,
    }
}

fn parameter(binding: ParameterBinding, body: &mut FrameBody) -> ParameterJson {
    ParameterJson { name: binding.name, data: value(binding.data, body) }
}

fn values(values: BTreeMap<String, TypedData>, body: &mut FrameBody) -> BTreeMap<String, Option<ValueJson>> {
    values.into_iter().map(|(name, data)| (name, value(data, body))).collect()
}

fn result(result: StatusResult, body: &mut FrameBody) -> ResultJson {
    ResultJson {
        status: result.status,
        result: result.result,
        exception: result.exception,
        logs: result.logs.into_iter().map(|record| log(record, body)).collect(),
    }
}

fn log(record: RpcLog, body: &mut FrameBody) -> LogJson {
    LogJson {
        invocation_id: record.invocation_id,
        category: record.category,
        level: record.level,
        message: record.message,
        event_id: record.event_id,
        exception: record.exception,
        properties: record.properties,
        log_category: record.log_category,
        properties_map: values(record.properties_map, body),
    }
}

fn metadata(function: FunctionMetadata, body: &mut FrameBody) -> MetadataJson {
    MetadataJson {
        name: function.name,
        function_id: function.function_id,
        directory: function.directory,
        script_file: function.script_file,
        entry_point: function.entry_point,
        language: function.language,
        raw_bindings: function.raw_bindings,
        retry_options: function.retry_options,
        properties: function.properties,
        status: function.status.map(|status| result(status, body)),
    }
}

fn value(data: TypedData, body: &mut FrameBody) -> Option<ValueJson> {
    Some(match data {
        TypedData::Null => return None,
        TypedData::String(value) => ValueJson::String(text(value, body)),
        TypedData::Json(value) => ValueJson::Json(text(value, body)),
        TypedData::Bytes(value) => ValueJson::Bytes(body.push(value)),
        TypedData::Stored(value) => ValueJson::Bytes(body.push(Chunk::Stored(value))),
        TypedData::Stream(value) => ValueJson::Stream(body.push(value)),
        TypedData::Http(value) => ValueJson::Http(Box::new(http(*value, body))),
        TypedData::Int(value) => ValueJson::Int(int(value)),
        TypedData::Double(value) => ValueJson::Double(double(value)),
        TypedData::CollectionBytes(values) => {
            ValueJson::CollectionBytes(values.into_iter().map(|value| body.push(value)).collect())
        }
        TypedData::CollectionString(values) => {
            ValueJson::CollectionString(values.into_iter().map(|value| text(value, body)).collect())
        }
        TypedData::CollectionDouble(values) => {
            ValueJson::CollectionDouble(values.into_iter().map(double).collect())
        }
        TypedData::CollectionSint64(values) => {
            ValueJson::CollectionSint64(values.into_iter().map(int).collect())
        }
        TypedData::ModelBindingData(value) => ValueJson::ModelBindingData(model(*value, body)),
        TypedData::CollectionModelBindingData(values) => ValueJson::CollectionModelBindingData(
            values.into_iter().map(|value| model(value, body)).collect(),
        ),
    })
}

/// As [`value`]; only HTTP requests have parts that would be copied.
fn value_ref<'a>(data: &'a TypedData, body: &mut FrameBody) -> Option<ValueRef<'a>> {
    let TypedData::Http(http) = data else { return value(data.clone(), body).map(ValueRef::Other) };
    Some(ValueRef::Http(HttpRef {
        method: &http.method,
        url: &http.url,
        headers: &http.headers,
        body: value(http.body.clone(), body),
        params: &http.params,
        query: &http.query,
        status_code: &http.status_code,
        enable_content_negotiation: http.enable_content_negotiation,
        identities: &http.identities,
        cookies: &http.cookies,
    }))
}

fn text(value: ByteString, body: &mut FrameBody) -> TextJson {
    if value.len() < BODY_TEXT_BYTES_MIN {
        return TextJson::Inline(value);
    }
    TextJson::InBody(body.push(value.into_bytes()))
}

fn int(value: i64) -> IntJson {
    if value.unsigned_abs() <= SAFE_INTEGER_MAX.unsigned_abs() {
        return IntJson::Number(value);
    }
    IntJson::Text(value.to_string())
}

fn double(value: f64) -> DoubleJson {
    if value.is_finite() {
        return DoubleJson::Number(value);
    }
    let name = if value.is_nan() { "NaN" } else { ["Infinity", "-Infinity"][usize::from(value < 0.0)] };
    DoubleJson::Text(name.to_owned())
}

fn model(value: ModelBindingData, body: &mut FrameBody) -> ModelJson {
    ModelJson {
        version: value.version,
        source: value.source,
        content_type: value.content_type,
        content: body.push(value.content),
    }
}

fn http(http: RpcHttp, body: &mut FrameBody) -> HttpJson {
    HttpJson {
        method: http.method,
        url: http.url,
        headers: http.headers,
        body: value(http.body, body),
        params: http.params,
        query: http.query,
        status_code: http.status_code,
        enable_content_negotiation: http.enable_content_negotiation,
        identities: http.identities,
        cookies: http.cookies,
    }
}
