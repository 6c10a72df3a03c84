//! Frames to our types.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use bytestring::ByteString;
use serde::de::IgnoredAny;

use super::codec::{DecodeError, ReceivedFrame, StartStream, VERSION};
use super::messages::{
    BodyRange, DoubleJson, HostHeader, HttpJson, IntJson, LogJson, MetadataJson, ModelJson, ParameterJson,
    ResultJson, TextJson, ValueJson, WorkerHeader,
};
use crate::{
    FunctionMetadata, HostMessage, InitResponse, InvocationRequest, InvocationResponse, LoadRequest,
    LoadResponse, MetadataResponse, ModelBindingData, ParameterBinding, RpcHttp, RpcLog, StatusResult,
    TypedData, WorkerId, WorkerMessage,
};

type Decoded<T> = Result<T, DecodeError>;

impl StartStream {
    /// Decodes the first frame of a worker.
    pub fn decode(frame: &ReceivedFrame) -> Decoded<Self> {
        match serde_json::from_slice(&frame.header)? {
            WorkerHeader::Start { version: VERSION, token, worker_id } => Ok(Self { token, worker_id }),
            WorkerHeader::Start { version, .. } => Err(DecodeError::Version { found: version }),
            _ => Err(DecodeError::NotStart),
        }
    }
}

/// Decodes a frame of the host; for workers.
pub fn decode_host(frame: &ReceivedFrame) -> Decoded<HostMessage> {
    let body = &frame.body;
    Ok(match serde_json::from_slice(&frame.header)? {
        HostHeader::Init(init) => HostMessage::Init(init),
        HostHeader::Metadata { function_app_directory } => HostMessage::Metadata { function_app_directory },
        HostHeader::Load { function_id, metadata: of } => {
            HostMessage::Load(LoadRequest { function_id, metadata: metadata(*of, body)? })
        }
        HostHeader::Invoke(request) => HostMessage::Invoke(InvocationRequest {
            invocation_id: request.invocation_id,
            function_id: request.function_id,
            input_data: parameters(request.input_data, body)?,
            trigger_metadata: values(request.trigger_metadata, body)?,
            trace_context: request.trace_context,
            retry_context: request.retry_context,
        }),
        HostHeader::Cancel { invocation_id } => HostMessage::Cancel { invocation_id },
        HostHeader::Status {} => HostMessage::Status,
        HostHeader::Terminate { grace_ms } => {
            HostMessage::Terminate { grace: Duration::from_millis(grace_ms) }
        }
    })
}

/// Decodes a frame of a worker; for hosts.
pub fn decode_worker(frame: &ReceivedFrame) -> Decoded<WorkerMessage> {
    let body = &frame.body;
    let header = match serde_json::from_slice(&frame.header) {
        Err(_) if is_unknown(&frame.header) => {
            return Ok(WorkerMessage::Unused("a message of a later version"));
        }
        header => header?,
    };
    Ok(match header {
        WorkerHeader::Start { worker_id, .. } => WorkerMessage::Start { worker_id: WorkerId::new(worker_id) },
        WorkerHeader::Init { capabilities, result: how, worker_metadata } => {
            WorkerMessage::Init(InitResponse { capabilities, result: result(how, body)?, worker_metadata })
        }
        WorkerHeader::Metadata { functions, result: how, use_default_metadata_indexing } => {
            let functions = functions.into_iter().map(|each| metadata(each, body)).collect::<Decoded<_>>()?;
            let result = result(how, body)?;
            WorkerMessage::Metadata(MetadataResponse { functions, result, use_default_metadata_indexing })
        }
        WorkerHeader::Load { function_id, result: how } => {
            WorkerMessage::Load(LoadResponse { function_id, result: result(how, body)? })
        }
        WorkerHeader::Invoked(response) => WorkerMessage::Invoked(InvocationResponse {
            invocation_id: response.invocation_id,
            output_data: parameters(response.output_data, body)?,
            return_value: response.return_value.map(|data| value(data, body)).transpose()?,
            result: result(response.result, body)?,
            trace_context_attributes: response.trace_context_attributes,
        }),
        WorkerHeader::Log(record) => WorkerMessage::Log(log(*record, body)?),
        WorkerHeader::Status {} => WorkerMessage::Status,
    })
}

/// Whether a header is well-formed, but of a message that we do not know. A known one that is malformed must stay an error,
/// or the caller that waits for it would wait forever.
fn is_unknown(header: &[u8]) -> bool {
    let names: Result<BTreeMap<String, IgnoredAny>, _> = serde_json::from_slice(header);
    names.is_ok_and(|names| !names.keys().any(|name| WorkerHeader::NAMES.contains(&name.as_str())))
}

fn parameters(parameters: Vec<ParameterJson>, body: &Bytes) -> Decoded<Vec<ParameterBinding>> {
    let one = |each: ParameterJson| Ok(ParameterBinding { name: each.name, data: value(each.data, body)? });
    parameters.into_iter().map(one).collect()
}

fn values(values: BTreeMap<String, Option<ValueJson>>, body: &Bytes) -> Decoded<BTreeMap<String, TypedData>> {
    values.into_iter().map(|(name, data)| Ok((name, value(data, body)?))).collect()
}

fn result(result: ResultJson, body: &Bytes) -> Decoded<StatusResult> {
    Ok(StatusResult {
        status: result.status,
        result: result.result,
        exception: result.exception,
        logs: result.logs.into_iter().map(|record| log(record, body)).collect::<Decoded<_>>()?,
    })
}

fn log(record: LogJson, body: &Bytes) -> Decoded<RpcLog> {
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

fn metadata(function: MetadataJson, body: &Bytes) -> Decoded<FunctionMetadata> {
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

fn value(data: Option<ValueJson>, body: &Bytes) -> Decoded<TypedData> {
    let Some(data) = data else { return Ok(TypedData::Null) };
    Ok(match data {
        ValueJson::String(value) => TypedData::String(text(value, body)?),
        ValueJson::Json(value) => TypedData::Json(text(value, body)?),
        ValueJson::Bytes(value) => TypedData::Bytes(slice(value, body)?),
        ValueJson::Stream(value) => TypedData::Stream(slice(value, body)?),
        ValueJson::Http(value) => TypedData::Http(Box::new(http(*value, body)?)),
        ValueJson::Int(value) => int(value),
        ValueJson::Double(value) => TypedData::Double(double(&value)),
        ValueJson::CollectionBytes(values) => TypedData::CollectionBytes(
            values.into_iter().map(|value| slice(value, body)).collect::<Decoded<_>>()?,
        ),
        ValueJson::CollectionString(values) => TypedData::CollectionString(
            values.into_iter().map(|value| text(value, body)).collect::<Decoded<_>>()?,
        ),
        ValueJson::CollectionDouble(values) => {
            TypedData::CollectionDouble(values.iter().map(double).collect())
        }
        ValueJson::CollectionSint64(values) => {
            let whole = |value| match int(value) {
                TypedData::Int(value) => value,
                _ => i64::MAX,
            };
            TypedData::CollectionSint64(values.into_iter().map(whole).collect())
        }
        ValueJson::ModelBindingData(value) => TypedData::ModelBindingData(Box::new(model(value, body)?)),
        ValueJson::CollectionModelBindingData(values) => TypedData::CollectionModelBindingData(
            values.into_iter().map(|value| model(value, body)).collect::<Decoded<_>>()?,
        ),
    })
}

fn slice((at, length): BodyRange, body: &Bytes) -> Decoded<Bytes> {
    let end = at.saturating_add(length);
    if end > body.len() {
        return Err(DecodeError::OutOfBody { at, end, bytes: body.len() });
    }
    Ok(body.slice(at..end))
}

fn text(text: TextJson, body: &Bytes) -> Decoded<ByteString> {
    match text {
        TextJson::Inline(text) => Ok(text),
        TextJson::InBody(place) => {
            ByteString::try_from(slice(place, body)?).map_err(|_| DecodeError::NotText)
        }
    }
}

/// A number beyond the range of 64-bit integers becomes a float.
fn int(value: IntJson) -> TypedData {
    match value {
        IntJson::Number(value) => TypedData::Int(value),
        IntJson::Float(value) => TypedData::Double(value),
        IntJson::Text(text) => match text.parse() {
            Ok(value) => TypedData::Int(value),
            Err(_) => TypedData::Double(text.parse().unwrap_or(f64::NAN)),
        },
    }
}

fn double(value: &DoubleJson) -> f64 {
    match value {
        DoubleJson::Number(value) => *value,
        DoubleJson::Text(text) => text.parse().unwrap_or(f64::NAN),
    }
}

fn model(value: ModelJson, body: &Bytes) -> Decoded<ModelBindingData> {
    Ok(ModelBindingData {
        version: value.version,
        source: value.source,
        content_type: value.content_type,
        content: slice(value.content, body)?,
    })
}

fn http(http: HttpJson, body: &Bytes) -> Decoded<RpcHttp> {
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
