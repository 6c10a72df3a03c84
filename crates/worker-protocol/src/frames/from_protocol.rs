//! Frames to our types.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use serde::de::IgnoredAny;

use super::VERSION;
use super::codec::{DecodeError, Hello, RawFrame};
use super::messages::{
    Double, HostHead, Http, Int, Log, Metadata, Model, Parameter, Place, Result as ResultHead, Text, Value,
    WorkerHead,
};
use crate::{
    FunctionMetadata, HostMessage, InitResponse, InvocationRequest, InvocationResponse, LoadRequest,
    LoadResponse, MetadataResponse, ModelBindingData, ParameterBinding, RpcHttp, RpcLog, StatusResult,
    TypedData, WorkerId, WorkerMessage,
};

type Decoded<T> = Result<T, DecodeError>;

impl Hello {
    /// Reads a worker's first frame.
    pub fn decode(frame: &RawFrame) -> Decoded<Self> {
        match serde_json::from_slice(&frame.head)? {
            WorkerHead::Start { version: VERSION, token, worker_id } => Ok(Self { token, worker_id }),
            WorkerHead::Start { version, .. } => Err(DecodeError::Version { found: version }),
            _ => Err(DecodeError::NotStart),
        }
    }
}

/// Reads a host's frame; for workers.
pub fn decode_host(frame: &RawFrame) -> Decoded<HostMessage> {
    let body = &frame.body;
    Ok(match serde_json::from_slice(&frame.head)? {
        HostHead::Init(init) => HostMessage::Init(init),
        HostHead::Metadata { function_app_directory } => HostMessage::Metadata { function_app_directory },
        HostHead::Load { function_id, metadata: of } => {
            HostMessage::Load(LoadRequest { function_id, metadata: metadata(*of, body)? })
        }
        HostHead::Invoke(request) => HostMessage::Invoke(InvocationRequest {
            invocation_id: request.invocation_id,
            function_id: request.function_id,
            input_data: parameters(request.input_data, body)?,
            trigger_metadata: values(request.trigger_metadata, body)?,
            trace_context: request.trace_context,
            retry_context: request.retry_context,
        }),
        HostHead::Cancel { invocation_id } => HostMessage::Cancel { invocation_id },
        HostHead::Status {} => HostMessage::Status,
        HostHead::Terminate { grace_ms } => HostMessage::Terminate { grace: Duration::from_millis(grace_ms) },
    })
}

/// Reads a worker's frame; for hosts.
pub fn decode_worker(frame: &RawFrame) -> Decoded<WorkerMessage> {
    let body = &frame.body;
    let head = match serde_json::from_slice(&frame.head) {
        Err(_) if is_unknown(&frame.head) => {
            return Ok(WorkerMessage::Unused("a message of a later version"));
        }
        head => head?,
    };
    Ok(match head {
        WorkerHead::Start { worker_id, .. } => WorkerMessage::Start { worker_id: WorkerId::new(worker_id) },
        WorkerHead::Init { capabilities, result: how, worker_metadata } => {
            WorkerMessage::Init(InitResponse { capabilities, result: result(how, body)?, worker_metadata })
        }
        WorkerHead::Metadata { functions, result: how, use_default_metadata_indexing } => {
            let functions = functions.into_iter().map(|each| metadata(each, body)).collect::<Decoded<_>>()?;
            let result = result(how, body)?;
            WorkerMessage::Metadata(MetadataResponse { functions, result, use_default_metadata_indexing })
        }
        WorkerHead::Load { function_id, result: how } => {
            WorkerMessage::Load(LoadResponse { function_id, result: result(how, body)? })
        }
        WorkerHead::Invoked(response) => WorkerMessage::Invoked(InvocationResponse {
            invocation_id: response.invocation_id,
            output_data: parameters(response.output_data, body)?,
            return_value: response.return_value.map(|data| value(data, body)).transpose()?,
            result: result(response.result, body)?,
            trace_context_attributes: response.trace_context_attributes,
        }),
        WorkerHead::Log(record) => WorkerMessage::Log(log(*record, body)?),
        WorkerHead::Status {} => WorkerMessage::Status,
    })
}

/// Whether a head is well-formed, but of a message that we do not know. A known one that is malformed must stay an error,
/// or whoever waits for it would wait for ever.
fn is_unknown(head: &[u8]) -> bool {
    let names: Result<BTreeMap<String, IgnoredAny>, _> = serde_json::from_slice(head);
    names.is_ok_and(|names| !names.keys().any(|name| WorkerHead::NAMES.contains(&name.as_str())))
}

fn parameters(parameters: Vec<Parameter>, body: &Bytes) -> Decoded<Vec<ParameterBinding>> {
    let one = |each: Parameter| Ok(ParameterBinding { name: each.name, data: value(each.data, body)? });
    parameters.into_iter().map(one).collect()
}

fn values(values: BTreeMap<String, Option<Value>>, body: &Bytes) -> Decoded<BTreeMap<String, TypedData>> {
    values.into_iter().map(|(name, data)| Ok((name, value(data, body)?))).collect()
}

fn result(result: ResultHead, body: &Bytes) -> Decoded<StatusResult> {
    Ok(StatusResult {
        status: result.status,
        result: result.result,
        exception: result.exception,
        logs: result.logs.into_iter().map(|record| log(record, body)).collect::<Decoded<_>>()?,
    })
}

fn log(record: Log, body: &Bytes) -> Decoded<RpcLog> {
    Ok(RpcLog {
        invocation_id: record.invocation_id,
        category: record.category,
        level: record.level,
        message: record.message,
        event_id: record.event_id,
        exception: record.exception,
        properties: record.properties,
        log_category: record.log_category,
        properties_map: values(record.properties_map, body)?,
    })
}

fn metadata(function: Metadata, body: &Bytes) -> Decoded<FunctionMetadata> {
    Ok(FunctionMetadata {
        name: function.name,
        function_id: function.function_id,
        directory: function.directory,
        script_file: function.script_file,
        entry_point: function.entry_point,
        language: function.language,
        raw_bindings: function.raw_bindings,
        retry_options: function.retry_options,
        properties: function.properties,
        status: function.status.map(|status| result(status, body)).transpose()?,
    })
}

fn value(data: Option<Value>, body: &Bytes) -> Decoded<TypedData> {
    let Some(data) = data else { return Ok(TypedData::Null) };
    Ok(match data {
        Value::String(value) => TypedData::String(text(value, body)?),
        Value::Json(value) => TypedData::Json(text(value, body)?),
        Value::Bytes(value) => TypedData::Bytes(slice(value, body)?),
        Value::Stream(value) => TypedData::Stream(slice(value, body)?),
        Value::Http(value) => TypedData::Http(Box::new(http(*value, body)?)),
        Value::Int(value) => int(value),
        Value::Double(value) => TypedData::Double(double(&value)),
        Value::CollectionBytes(values) => TypedData::CollectionBytes(
            values.into_iter().map(|value| slice(value, body)).collect::<Decoded<_>>()?,
        ),
        Value::CollectionString(values) => TypedData::CollectionString(
            values.into_iter().map(|value| text(value, body)).collect::<Decoded<_>>()?,
        ),
        Value::CollectionDouble(values) => TypedData::CollectionDouble(values.iter().map(double).collect()),
        Value::CollectionSint64(values) => {
            let whole = |value| match int(value) {
                TypedData::Int(value) => value,
                _ => i64::MAX,
            };
            TypedData::CollectionSint64(values.into_iter().map(whole).collect())
        }
        Value::ModelBindingData(value) => TypedData::ModelBindingData(Box::new(model(value, body)?)),
        Value::CollectionModelBindingData(values) => TypedData::CollectionModelBindingData(
            values.into_iter().map(|value| model(value, body)).collect::<Decoded<_>>()?,
        ),
    })
}

fn slice((at, length): Place, body: &Bytes) -> Decoded<Bytes> {
    let end = at.saturating_add(length);
    if end > body.len() {
        return Err(DecodeError::OutOfBody { at, end, bytes: body.len() });
    }
    Ok(body.slice(at..end))
}

fn text(text: Text, body: &Bytes) -> Decoded<String> {
    match text {
        Text::Here(text) => Ok(text),
        Text::There(place) => String::from_utf8(slice(place, body)?.into()).map_err(|_| DecodeError::NotText),
    }
}

/// A number that no 64-bit integer holds stays a number, as a float.
fn int(value: Int) -> TypedData {
    match value {
        Int::Number(value) => TypedData::Int(value),
        Int::Float(value) => TypedData::Double(value),
        Int::Text(text) => match text.parse() {
            Ok(value) => TypedData::Int(value),
            Err(_) => TypedData::Double(text.parse().unwrap_or(f64::NAN)),
        },
    }
}

fn double(value: &Double) -> f64 {
    match value {
        Double::Number(value) => *value,
        Double::Text(text) => text.parse().unwrap_or(f64::NAN),
    }
}

fn model(value: Model, body: &Bytes) -> Decoded<ModelBindingData> {
    Ok(ModelBindingData {
        version: value.version,
        source: value.source,
        content_type: value.content_type,
        content: slice(value.content, body)?,
    })
}

fn http(http: Http, body: &Bytes) -> Decoded<RpcHttp> {
    Ok(RpcHttp {
        method: http.method,
        url: http.url,
        headers: http.headers,
        body: value(http.body, body)?,
        params: http.params,
        query: http.query,
        status_code: http.status_code,
        enable_content_negotiation: http.enable_content_negotiation,
        identities: http.identities,
        cookies: http.cookies,
    })
}
