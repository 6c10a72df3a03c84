//! Converts the types of this crate to protobuf messages.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytestring::ByteString;
use serde_json::Value as Json;

use super::messages as proto;
use super::messages::StreamingMessage;
use super::messages::google::protobuf::{Duration as ProtoDuration, Timestamp};
use super::messages::rpc_log::{Level, RpcLogCategory};
use super::messages::streaming_message::Content;
use super::messages::typed_data::Data;
use crate::{
    BindingInfo, Capabilities, DataType, Direction, FunctionMetadata, HostMessage, InvocationRequest,
    InvocationResponse, LogCategory, LogLevel, MetadataResponse, ModelBindingData, ParameterBinding,
    RetryOptions, RetryStrategy, RpcException, RpcHttp, RpcHttpCookie, RpcLog, SameSite, Status,
    StatusResult, TypedData, WorkerMessage, WorkerMetadata,
};

/// Converts a message of the host. The capabilities of the worker decide about the form of HTTP requests and of collections. Stored
/// bytes must have been replaced by [`super::Placeholder::insert`].
pub fn encode_host(message: HostMessage, worker: &Capabilities, request_id: String) -> StreamingMessage {
    let content = match message {
        HostMessage::Init(init) => Content::WorkerInitRequest(proto::WorkerInitRequest {
            host_version: init.host_version,
            capabilities: capabilities(&init.capabilities),
            log_categories: init.log_categories.into_iter().map(|(name, of)| (name, level(of))).collect(),
            worker_directory: init.worker_directory,
            function_app_directory: init.function_app_directory,
        }),
        HostMessage::Metadata { function_app_directory } => {
            Content::FunctionsMetadataRequest(proto::FunctionsMetadataRequest { function_app_directory })
        }
        HostMessage::Load(load) => Content::FunctionLoadRequest(proto::FunctionLoadRequest {
            function_id: load.function_id.into_string(),
            metadata: Some(metadata(load.metadata, worker)),
            managed_dependency_enabled: false,
        }),
        HostMessage::Invoke(request) => Content::InvocationRequest(invocation_request(request, worker)),
        HostMessage::Cancel { invocation_id } => Content::InvocationCancel(proto::InvocationCancel {
            grace_period: None,
            invocation_id: invocation_id.into_string(),
        }),
        HostMessage::Status => Content::WorkerStatusRequest(proto::WorkerStatusRequest {}),
        HostMessage::Terminate { grace } => {
            Content::WorkerTerminate(proto::WorkerTerminate { grace_period: Some(duration(grace)) })
        }
    };
    StreamingMessage { request_id, content: Some(content) }
}

/// Converts a message of a worker.
pub fn encode_worker(message: WorkerMessage, request_id: String) -> StreamingMessage {
    // The host has all capabilities.
    let host = Capabilities::from_iter([(Capabilities::TYPED_DATA_COLLECTION, "1")]);
    let content = match message {
        WorkerMessage::Start { worker_id } => {
            Content::StartStream(proto::StartStream { worker_id: worker_id.into_string() })
        }
        WorkerMessage::Init(init) => Content::WorkerInitResponse(proto::WorkerInitResponse {
            worker_version: String::new(),
            capabilities: capabilities(&init.capabilities),
            result: Some(result(init.result, &host)),
            worker_metadata: Some(worker_metadata(init.worker_metadata)),
        }),
        WorkerMessage::Metadata(response) => {
            Content::FunctionMetadataResponse(metadata_response(response, &host))
        }
        WorkerMessage::Load(load) => Content::FunctionLoadResponse(proto::FunctionLoadResponse {
            function_id: load.function_id.into_string(),
            result: Some(result(load.result, &host)),
            is_dependency_downloaded: false,
        }),
        WorkerMessage::Invoked(response) => Content::InvocationResponse(invocation_response(response, &host)),
        WorkerMessage::Log(record) => Content::RpcLog(log(record, &host)),
        WorkerMessage::Status => Content::WorkerStatusResponse(proto::WorkerStatusResponse {}),
        WorkerMessage::Unused(_) => Content::WorkerHeartbeat(proto::WorkerHeartbeat {}),
    };
    StreamingMessage { request_id, content: Some(content) }
}

fn capabilities(capabilities: &Capabilities) -> BTreeMap<String, String> {
    capabilities.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

fn invocation_request(request: InvocationRequest, worker: &Capabilities) -> proto::InvocationRequest {
    let value = |(name, data)| (name, typed_data(data, worker));
    proto::InvocationRequest {
        invocation_id: request.invocation_id.into_string(),
        function_id: request.function_id.into_string(),
        input_data: request.input_data.into_iter().map(|each| parameter(each, worker)).collect(),
        trigger_metadata: request.trigger_metadata.into_iter().map(value).collect(),
        trace_context: Some(proto::RpcTraceContext {
            trace_parent: request.trace_context.trace_parent,
            trace_state: request.trace_context.trace_state,
            attributes: request.trace_context.attributes,
            baggage: request.trace_context.baggage,
        }),
        retry_context: request.retry_context.map(|retry| proto::RetryContext {
            retry_count: retry.retry_count,
            max_retry_count: retry.max_retry_count,
            exception: retry.exception.map(exception),
        }),
    }
}

fn invocation_response(response: InvocationResponse, host: &Capabilities) -> proto::InvocationResponse {
    proto::InvocationResponse {
        invocation_id: response.invocation_id.into_string(),
        output_data: response.output_data.into_iter().map(|each| parameter(each, host)).collect(),
        result: Some(result(response.result, host)),
        return_value: response.return_value.map(|data| typed_data(data, host)),
        trace_context_attributes: response.trace_context_attributes,
    }
}

fn parameter(binding: ParameterBinding, worker: &Capabilities) -> proto::ParameterBinding {
    let data = proto::parameter_binding::RpcData::Data(typed_data(binding.data, worker));
    proto::ParameterBinding { name: binding.name, rpc_data: Some(data) }
}

fn metadata_response(response: MetadataResponse, host: &Capabilities) -> proto::FunctionMetadataResponse {
    proto::FunctionMetadataResponse {
        function_metadata_results: response.functions.into_iter().map(|each| metadata(each, host)).collect(),
        result: Some(result(response.result, host)),
        use_default_metadata_indexing: response.use_default_metadata_indexing,
    }
}

fn metadata(function: FunctionMetadata, to: &Capabilities) -> proto::RpcFunctionMetadata {
    let bindings = function.raw_bindings.iter().filter_map(|raw| BindingInfo::parse(raw));
    proto::RpcFunctionMetadata {
        bindings: bindings.map(|(name, info)| (name, binding_info(info))).collect(),
        directory: function.directory,
        script_file: function.script_file,
        entry_point: function.entry_point,
        name: function.name,
        is_proxy: false,
        status: function.status.map(|status| result(status, to)),
        language: function.language,
        raw_bindings: function.raw_bindings,
        function_id: function.function_id.into_string(),
        managed_dependency_enabled: false,
        retry_options: function.retry_options.as_ref().map(retry_options),
        properties: function.properties,
    }
}

fn binding_info(info: BindingInfo) -> proto::BindingInfo {
    proto::BindingInfo {
        r#type: info.kind,
        direction: match info.direction {
            Direction::In => proto::binding_info::Direction::In,
            Direction::Out => proto::binding_info::Direction::Out,
            Direction::InOut => proto::binding_info::Direction::Inout,
        }
        .into(),
        data_type: match info.data_type {
            DataType::Undefined => proto::binding_info::DataType::Undefined,
            DataType::String => proto::binding_info::DataType::String,
            DataType::Binary => proto::binding_info::DataType::Binary,
            DataType::Stream => proto::binding_info::DataType::Stream,
        }
        .into(),
        properties: BTreeMap::new(),
    }
}

fn retry_options(retry: &RetryOptions) -> proto::RpcRetryOptions {
    proto::RpcRetryOptions {
        max_retry_count: retry.max_retry_count,
        delay_interval: retry.delay_interval.map(duration),
        minimum_interval: retry.minimum_interval.map(duration),
        maximum_interval: retry.maximum_interval.map(duration),
        retry_strategy: match retry.retry_strategy {
            RetryStrategy::ExponentialBackoff => proto::rpc_retry_options::RetryStrategy::ExponentialBackoff,
            RetryStrategy::FixedDelay => proto::rpc_retry_options::RetryStrategy::FixedDelay,
        }
        .into(),
    }
}

fn duration(duration: Duration) -> ProtoDuration {
    let seconds = i64::try_from(duration.as_secs()).unwrap_or(i64::MAX);
    let nanos = i32::try_from(duration.subsec_nanos()).expect("less than a second of nanoseconds");
    ProtoDuration { seconds, nanos }
}

/// A time before 1970 becomes 1970.
fn timestamp(time: SystemTime) -> Timestamp {
    let since = duration(time.duration_since(UNIX_EPOCH).unwrap_or_default());
    Timestamp { seconds: since.seconds, nanos: since.nanos }
}

fn worker_metadata(metadata: WorkerMetadata) -> proto::WorkerMetadata {
    proto::WorkerMetadata {
        runtime_name: metadata.runtime_name,
        runtime_version: metadata.runtime_version,
        worker_version: metadata.worker_version,
        worker_bitness: metadata.worker_bitness,
        custom_properties: metadata.custom_properties,
    }
}

fn result(result: StatusResult, to: &Capabilities) -> proto::StatusResult {
    proto::StatusResult {
        result: result.result,
        exception: result.exception.map(exception),
        logs: result.logs.into_iter().map(|record| log(record, to)).collect(),
        status: match result.status {
            Status::Failure => proto::status_result::Status::Failure,
            Status::Success => proto::status_result::Status::Success,
            Status::Cancelled => proto::status_result::Status::Cancelled,
        }
        .into(),
    }
}

fn exception(exception: RpcException) -> proto::RpcException {
    proto::RpcException {
        stack_trace: exception.stack_trace,
        message: exception.message,
        source: exception.source,
        is_user_exception: exception.is_user_exception,
        r#type: exception.kind,
    }
}

fn level(level: LogLevel) -> i32 {
    match level {
        LogLevel::Trace => Level::Trace,
        LogLevel::Debug => Level::Debug,
        LogLevel::Information => Level::Information,
        LogLevel::Warning => Level::Warning,
        LogLevel::Error => Level::Error,
        LogLevel::Critical => Level::Critical,
        LogLevel::None => Level::None,
    }
    .into()
}

fn log(record: RpcLog, to: &Capabilities) -> proto::RpcLog {
    let values = record.properties_map.into_iter();
    proto::RpcLog {
        invocation_id: record.invocation_id.unwrap_or_default().into_string(),
        category: record.category,
        level: level(record.level),
        message: record.message,
        event_id: record.event_id,
        exception: record.exception.map(exception),
        properties: record.properties,
        log_category: match record.log_category {
            LogCategory::User => RpcLogCategory::User,
            LogCategory::System => RpcLogCategory::System,
            LogCategory::CustomMetric => RpcLogCategory::CustomMetric,
        }
        .into(),
        properties_map: values.map(|(name, data)| (name, typed_data(data, to))).collect(),
    }
}

fn typed_data(data: TypedData, worker: &Capabilities) -> proto::TypedData {
    let data = if worker.has(Capabilities::TYPED_DATA_COLLECTION) { data } else { without_collection(data) };
    let kind = match data {
        TypedData::Null => return proto::TypedData { data: None },
        TypedData::String(value) => Data::String(value.into_bytes()),
        TypedData::Json(value) => Data::Json(value.into_bytes()),
        TypedData::Bytes(value) => Data::Bytes(value),
        TypedData::Stream(value) => Data::Stream(value),
        TypedData::Stored(_) => {
            unreachable!("a placeholder replaces stored bytes before a message is encoded")
        }
        TypedData::Http(value) => Data::Http(Box::new(http(*value, worker))),
        TypedData::Int(value) => Data::Int(value),
        TypedData::Double(value) => Data::Double(value),
        TypedData::CollectionBytes(bytes) => Data::CollectionBytes(proto::CollectionBytes { bytes }),
        TypedData::CollectionString(values) => {
            let string = values.into_iter().map(String::from).collect();
            Data::CollectionString(proto::CollectionString { string })
        }
        TypedData::CollectionDouble(double) => Data::CollectionDouble(proto::CollectionDouble { double }),
        TypedData::CollectionSint64(sint64) => Data::CollectionSint64(proto::CollectionSInt64 { sint64 }),
        TypedData::ModelBindingData(value) => Data::ModelBindingData(model(*value)),
        TypedData::CollectionModelBindingData(values) => {
            let model_binding_data = values.into_iter().map(model).collect();
            Data::CollectionModelBindingData(proto::CollectionModelBindingData { model_binding_data })
        }
    };
    proto::TypedData { data: Some(kind) }
}

/// A worker that does not know the `collection_*` kinds gets a JSON array, in which byte strings are base64, as .NET writes them.
fn without_collection(data: TypedData) -> TypedData {
    let array: Vec<Json> = match data {
        TypedData::CollectionBytes(items) => {
            items.into_iter().map(|bytes| STANDARD.encode(bytes).into()).collect()
        }
        TypedData::CollectionString(items) => {
            items.into_iter().map(|text| Json::String(text.into())).collect()
        }
        TypedData::CollectionDouble(items) => items.into_iter().map(json_number).collect(),
        TypedData::CollectionSint64(items) => items.into_iter().map(Json::from).collect(),
        other => return other,
    };
    TypedData::Json(Json::Array(array).to_string().into())
}

/// JSON has no infinite numbers and no NaN; .NET writes these texts.
fn json_number(number: f64) -> Json {
    serde_json::Number::from_f64(number).map_or_else(
        || {
            let text = if number.is_nan() { "NaN" } else { "Infinity" };
            Json::String(if number < 0.0 { format!("-{text}") } else { text.to_owned() })
        },
        Json::Number,
    )
}

fn model(model: ModelBindingData) -> proto::ModelBindingData {
    proto::ModelBindingData {
        version: model.version,
        source: model.source,
        content_type: model.content_type,
        content: model.content,
    }
}

/// A worker with the nullable maps reads only those, and one without does not know them. A worker without
/// [`Capabilities::RPC_HTTP_BODY_ONLY`] may read `rawBody`.
fn http(http: RpcHttp, worker: &Capabilities) -> proto::RpcHttp {
    let is_request = !http.method.is_empty();
    let is_nullable = worker.has(Capabilities::USE_NULLABLE_VALUE_DICTIONARY_FOR_HTTP);
    // Node.js announces both, and gets empty values, as from the real host: the nullable maps can tell them from absent ones.
    let skips_empty = worker.has(Capabilities::IGNORE_EMPTY_VALUED_RPC_HTTP_HEADERS) && !is_nullable;
    let mut headers = http.headers;
    headers.retain(|_, value| !(is_request && skips_empty && value.is_empty()));
    let is_text = is_request && !worker.has(Capabilities::RAW_HTTP_BODY_BYTES);
    let body = if is_text { text_body(http.body, headers.get("content-type")) } else { http.body };
    let body = typed_data(body, worker);
    let wants_raw = is_request && !worker.has(Capabilities::RPC_HTTP_BODY_ONLY);
    let body = body.data.is_some().then(|| Box::new(body));
    let mut message = proto::RpcHttp {
        method: http.method,
        url: http.url,
        status_code: http.status_code,
        enable_content_negotiation: http.enable_content_negotiation,
        raw_body: if wants_raw { body.clone() } else { None },
        body,
        identities: http.identities.into_iter().map(identity).collect(),
        cookies: http.cookies.into_iter().map(cookie).collect(),
        ..proto::RpcHttp::default()
    };
    if is_request && is_nullable {
        message.nullable_headers = nullable(headers);
        message.nullable_params = nullable(http.params);
        message.nullable_query = nullable(http.query);
    } else {
        (message.headers, message.params, message.query) = (headers, http.params, http.query);
    }
    message
}

/// The body for a worker that expects text (the Java worker). Binary media types stay bytes, and so do bytes that are not UTF-8, as
/// replacement characters would destroy them.
fn text_body(body: TypedData, content_type: Option<&String>) -> TypedData {
    let media_type = content_type.map_or("", |value| value.split(';').next().unwrap_or_default().trim());
    let media_type = media_type.to_ascii_lowercase();
    if media_type == "application/octet-stream" || media_type.starts_with("multipart/") {
        return body;
    }
    match body {
        TypedData::Bytes(bytes) => match ByteString::try_from(bytes.clone()) {
            Ok(text) => TypedData::String(text),
            Err(_) => TypedData::Bytes(bytes),
        },
        other => other,
    }
}

fn nullable(values: BTreeMap<String, String>) -> BTreeMap<String, proto::NullableString> {
    values.into_iter().map(|(name, value)| (name, present(value))).collect()
}

fn nullable_string(value: Option<String>) -> Option<proto::NullableString> {
    value.map(present)
}

fn present(value: String) -> proto::NullableString {
    proto::NullableString { string: Some(proto::nullable_string::String::Value(value)) }
}

fn identity(identity: crate::RpcClaimsIdentity) -> proto::RpcClaimsIdentity {
    let claim = |claim: crate::RpcClaim| proto::RpcClaim { value: claim.value, r#type: claim.kind };
    proto::RpcClaimsIdentity {
        authentication_type: nullable_string(identity.authentication_type),
        name_claim_type: nullable_string(identity.name_claim_type),
        role_claim_type: nullable_string(identity.role_claim_type),
        claims: identity.claims.into_iter().map(claim).collect(),
    }
}

fn cookie(cookie: RpcHttpCookie) -> proto::RpcHttpCookie {
    use proto::nullable_bool::Bool;
    use proto::nullable_double::Double;
    use proto::nullable_timestamp::Timestamp;

    let bool = |value| proto::NullableBool { bool: Some(Bool::Value(value)) };
    let time = |at| proto::NullableTimestamp { timestamp: Some(Timestamp::Value(timestamp(at))) };
    let double = |value| proto::NullableDouble { double: Some(Double::Value(value)) };
    proto::RpcHttpCookie {
        name: cookie.name,
        value: cookie.value,
        domain: nullable_string(cookie.domain),
        path: nullable_string(cookie.path),
        expires: cookie.expires.map(time),
        secure: cookie.secure.map(bool),
        http_only: cookie.http_only.map(bool),
        same_site: match cookie.same_site {
            SameSite::Unset => proto::rpc_http_cookie::SameSite::None,
            SameSite::Lax => proto::rpc_http_cookie::SameSite::Lax,
            SameSite::Strict => proto::rpc_http_cookie::SameSite::Strict,
            SameSite::None => proto::rpc_http_cookie::SameSite::ExplicitNone,
        }
        .into(),
        max_age: cookie.max_age.map(double),
    }
}
