//! Our types to frames.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::VERSION;
use super::codec::{Body, EncodeError, Frame, Hello};
use super::messages::{
    Double, HostHead, Http, Int, Invoke, Invoked, Log, Metadata, Model, Parameter, Result as ResultHead,
    Text, Value, WorkerHead,
};
use crate::{
    FunctionMetadata, HostMessage, InvocationRequest, InvocationResponse, ModelBindingData, ParameterBinding,
    Piece, RpcHttp, RpcLog, StatusResult, TypedData, WorkerMessage,
};

/// Texts of at least this size travel in the body, where nothing is escaped.
const BODY_TEXT_BYTES_MIN: usize = 256;

/// Whole numbers beyond this lose digits in a 64-bit float (JavaScript's `Number.MAX_SAFE_INTEGER`).
const SAFE_INTEGER_MAX: i64 = (1 << 53) - 1;

/// Makes the frame of a host's message.
pub fn encode_host(message: HostMessage, frame_bytes_max: usize) -> Result<Frame, EncodeError> {
    let mut body = Body::default();
    let head = match message {
        HostMessage::Init(init) => HostHead::Init(init),
        HostMessage::Metadata { function_app_directory } => HostHead::Metadata { function_app_directory },
        HostMessage::Load(load) => HostHead::Load {
            function_id: load.function_id,
            metadata: Box::new(metadata(load.metadata, &mut body)),
        },
        HostMessage::Invoke(request) => HostHead::Invoke(Box::new(invoke(request, &mut body))),
        HostMessage::Cancel { invocation_id } => HostHead::Cancel { invocation_id },
        HostMessage::Status => HostHead::Status {},
        HostMessage::Terminate { grace } => {
            HostHead::Terminate { grace_ms: u64::try_from(grace.as_millis()).unwrap_or(u64::MAX) }
        }
    };
    body.into_frame(&head, frame_bytes_max)
}

/// Makes the frame of a worker's message. The hello is needed for [`WorkerMessage::Start`] only.
pub fn encode_worker(
    message: WorkerMessage,
    hello: &Hello,
    frame_bytes_max: usize,
) -> Result<Frame, EncodeError> {
    let mut body = Body::default();
    let head = match message {
        WorkerMessage::Start { worker_id } => WorkerHead::Start {
            version: VERSION,
            token: hello.token.clone(),
            worker_id: worker_id.into_string(),
        },
        WorkerMessage::Init(init) => WorkerHead::Init {
            capabilities: init.capabilities,
            result: result(init.result, &mut body),
            worker_metadata: init.worker_metadata,
        },
        WorkerMessage::Metadata(answer) => WorkerHead::Metadata {
            functions: answer.functions.into_iter().map(|each| metadata(each, &mut body)).collect(),
            result: result(answer.result, &mut body),
            use_default_metadata_indexing: answer.use_default_metadata_indexing,
        },
        WorkerMessage::Load(load) => {
            WorkerHead::Load { function_id: load.function_id, result: result(load.result, &mut body) }
        }
        WorkerMessage::Invoked(response) => WorkerHead::Invoked(Box::new(invoked(response, &mut body))),
        WorkerMessage::Log(record) => WorkerHead::Log(Box::new(log(record, &mut body))),
        WorkerMessage::Status | WorkerMessage::Unused(_) => WorkerHead::Status {},
    };
    body.into_frame(&head, frame_bytes_max)
}

fn invoke(request: InvocationRequest, body: &mut Body) -> Invoke {
    Invoke {
        invocation_id: request.invocation_id,
        function_id: request.function_id,
        input_data: request.input_data.into_iter().map(|each| parameter(each, body)).collect(),
        trigger_metadata: values(request.trigger_metadata, body),
        trace_context: request.trace_context,
        retry_context: request.retry_context,
    }
}

fn invoked(response: InvocationResponse, body: &mut Body) -> Invoked {
    Invoked {
        invocation_id: response.invocation_id,
        output_data: response.output_data.into_iter().map(|each| parameter(each, body)).collect(),
        return_value: response.return_value.map(|data| value(data, body)),
        result: result(response.result, body),
        trace_context_attributes: response.trace_context_attributes,
    }
}

fn parameter(binding: ParameterBinding, body: &mut Body) -> Parameter {
    Parameter { name: binding.name, data: value(binding.data, body) }
}

fn values(values: BTreeMap<String, TypedData>, body: &mut Body) -> BTreeMap<String, Option<Value>> {
    values.into_iter().map(|(name, data)| (name, value(data, body))).collect()
}

fn result(result: StatusResult, body: &mut Body) -> ResultHead {
    ResultHead {
        status: result.status,
        result: result.result,
        exception: result.exception,
        logs: result.logs.into_iter().map(|record| log(record, body)).collect(),
    }
}

fn log(record: RpcLog, body: &mut Body) -> Log {
    Log {
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

fn metadata(function: FunctionMetadata, body: &mut Body) -> Metadata {
    Metadata {
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

fn value(data: TypedData, body: &mut Body) -> Option<Value> {
    Some(match data {
        TypedData::Null => return None,
        TypedData::String(value) => Value::String(text(value, body)),
        TypedData::Json(value) => Value::Json(text(value, body)),
        TypedData::Bytes(value) => Value::Bytes(body.push(value)),
        TypedData::Stored(value) => Value::Bytes(body.push(Piece::Stored(value))),
        TypedData::Stream(value) => Value::Stream(body.push(value)),
        TypedData::Http(value) => Value::Http(Box::new(http(*value, body))),
        TypedData::Int(value) => Value::Int(int(value)),
        TypedData::Double(value) => Value::Double(double(value)),
        TypedData::CollectionBytes(values) => {
            Value::CollectionBytes(values.into_iter().map(|value| body.push(value)).collect())
        }
        TypedData::CollectionString(values) => {
            Value::CollectionString(values.into_iter().map(|value| text(value, body)).collect())
        }
        TypedData::CollectionDouble(values) => {
            Value::CollectionDouble(values.into_iter().map(double).collect())
        }
        TypedData::CollectionSint64(values) => Value::CollectionSint64(values.into_iter().map(int).collect()),
        TypedData::ModelBindingData(value) => Value::ModelBindingData(model(*value, body)),
        TypedData::CollectionModelBindingData(values) => {
            Value::CollectionModelBindingData(values.into_iter().map(|value| model(value, body)).collect())
        }
    })
}

fn text(value: String, body: &mut Body) -> Text {
    if value.len() < BODY_TEXT_BYTES_MIN {
        return Text::Here(value);
    }
    Text::There(body.push(Bytes::from(value)))
}

fn int(value: i64) -> Int {
    if value.unsigned_abs() <= SAFE_INTEGER_MAX.unsigned_abs() {
        return Int::Number(value);
    }
    Int::Text(value.to_string())
}

fn double(value: f64) -> Double {
    if value.is_finite() {
        return Double::Number(value);
    }
    let name = if value.is_nan() { "NaN" } else { ["Infinity", "-Infinity"][usize::from(value < 0.0)] };
    Double::Text(name.to_owned())
}

fn model(value: ModelBindingData, body: &mut Body) -> Model {
    Model {
        version: value.version,
        source: value.source,
        content_type: value.content_type,
        content: body.push(value.content),
    }
}

fn http(http: RpcHttp, body: &mut Body) -> Http {
    Http {
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
