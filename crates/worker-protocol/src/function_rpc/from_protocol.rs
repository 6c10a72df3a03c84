//! Converts protobuf messages to the types of this crate.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use bytestring::ByteString;

use super::messages as proto;
use super::messages::StreamingMessage;
use super::messages::google::protobuf::{Duration as ProtoDuration, Timestamp};
use super::messages::rpc_log::{Level, RpcLogCategory};
use super::messages::streaming_message::Content;
use super::messages::typed_data::Data;
use crate::{
    FunctionMetadata, HostMessage, InitRequest, InitResponse, InvocationRequest, InvocationResponse,
    LoadRequest, LoadResponse, LogCategory, LogLevel, MetadataResponse, ModelBindingData, ParameterBinding,
    RetryContext, RetryOptions, RetryStrategy, RpcClaim, RpcClaimsIdentity, RpcException, RpcHttp,
    RpcHttpCookie, RpcLog, RpcTraceContext, SameSite, Status, StatusResult, TypedData, WorkerMessage,
    WorkerMetadata,
};

/// Converts a message of the host; for workers. `None` if this crate does not use the message.
pub fn decode_host(message: StreamingMessage) -> Option<HostMessage> {
    Some(match message.content? {
        Content::WorkerInitRequest(init) => HostMessage::Init(InitRequest {
            host_version: init.host_version,
            capabilities: init.capabilities.into_iter().collect(),
            log_categories: init.log_categories.into_iter().map(|(name, of)| (name, level(of))).collect(),
            worker_directory: init.worker_directory,
            function_app_directory: init.function_app_directory,
        }),
        Content::FunctionsMetadataRequest(request) => {
            HostMessage::Metadata { function_app_directory: request.function_app_directory }
        }
        Content::FunctionLoadRequest(load) => HostMessage::Load(LoadRequest {
            function_id: load.function_id.into(),
            metadata: load.metadata.map(metadata).unwrap_or_default(),
        }),
        Content::InvocationRequest(request) => HostMessage::Invoke(invocation_request(request)),
        Content::InvocationCancel(cancel) => {
            HostMessage::Cancel { invocation_id: cancel.invocation_id.into() }
        }
        Content::WorkerStatusRequest(_) => HostMessage::Status,
        Content::WorkerTerminate(terminate) => {
            HostMessage::Terminate { grace: terminate.grace_period.map(duration).unwrap_or_default() }
        }
        _ => return None,
    })
}

/// Converts a message of a worker; for hosts.
pub fn decode_worker(message: StreamingMessage) -> WorkerMessage {
    let Some(content) = message.content else { return WorkerMessage::Unused("a message of a later version") };
    match content {
        Content::StartStream(start) => WorkerMessage::Start { worker_id: start.worker_id.into() },
        Content::WorkerInitResponse(init) => WorkerMessage::Init(InitResponse {
            capabilities: init.capabilities.into_iter().collect(),
            result: result(init.result),
            worker_metadata: init.worker_metadata.map(worker_metadata).unwrap_or_default(),
        }),
        Content::FunctionMetadataResponse(response) => WorkerMessage::Metadata(MetadataResponse {
            functions: response.function_metadata_results.into_iter().map(metadata).collect(),
            result: result(response.result),
            use_default_metadata_indexing: response.use_default_metadata_indexing,
        }),
        Content::FunctionLoadResponse(load) => WorkerMessage::Load(LoadResponse {
            function_id: load.function_id.into(),
            result: result(load.result),
        }),
        Content::InvocationResponse(response) => WorkerMessage::Invoked(invocation_response(response)),
        Content::RpcLog(record) => WorkerMessage::Log(log(record)),
        Content::WorkerStatusResponse(_) => WorkerMessage::Status,
        other => WorkerMessage::Unused(name(&other)),
    }
}

fn name(content: &Content) -> &'static str {
    match content {
        Content::WorkerHeartbeat(_) => "WorkerHeartbeat",
        Content::WorkerActionResponse(_) => "WorkerActionResponse",
        Content::FunctionEnvironmentReloadResponse(_) => "FunctionEnvironmentReloadResponse",
        Content::CloseSharedMemoryResourcesResponse(_) => "CloseSharedMemoryResourcesResponse",
        Content::FunctionLoadResponseCollection(_) => "FunctionLoadResponseCollection",
        Content::WorkerWarmupResponse(_) => "WorkerWarmupResponse",
        _ => "a message that only hosts send",
    }
}

fn invocation_request(request: proto::InvocationRequest) -> InvocationRequest {
    let trace = request.trace_context.unwrap_or_default();
    InvocationRequest {
        invocation_id: request.invocation_id.into(),
        function_id: request.function_id.into(),
        input_data: request.input_data.into_iter().map(parameter).collect(),
        trigger_metadata: values(request.trigger_metadata),
        trace_context: RpcTraceContext {
            trace_parent: trace.trace_parent,
            trace_state: trace.trace_state,
            attributes: trace.attributes,
            baggage: trace.baggage,
        },
        retry_context: request.retry_context.map(|retry| RetryContext {
            retry_count: retry.retry_count,
            max_retry_count: retry.max_retry_count,
            exception: retry.exception.map(exception),
        }),
    }
}

fn invocation_response(response: proto::InvocationResponse) -> InvocationResponse {
    InvocationResponse {
        invocation_id: response.invocation_id.into(),
        output_data: response.output_data.into_iter().map(parameter).collect(),
        return_value: response.return_value.map(typed_data),
        result: result(response.result),
        trace_context_attributes: response.trace_context_attributes,
    }
}

/// The host does not announce shared memory, so no worker refers to it.
fn parameter(binding: proto::ParameterBinding) -> ParameterBinding {
    let data = match binding.rpc_data {
        Some(proto::parameter_binding::RpcData::Data(data)) => typed_data(data),
        Some(proto::parameter_binding::RpcData::RpcSharedMemory(_)) | None => TypedData::Null,
    };
    ParameterBinding { name: binding.name, data }
}

fn values(values: BTreeMap<String, proto::TypedData>) -> BTreeMap<String, TypedData> {
    values.into_iter().map(|(name, data)| (name, typed_data(data))).collect()
}

fn metadata(function: proto::RpcFunctionMetadata) -> FunctionMetadata {
    FunctionMetadata {
        name: function.name,
        function_id: function.function_id.into(),
        directory: function.directory,
        script_file: function.script_file,
        entry_point: function.entry_point,
        language: function.language,
        raw_bindings: function.raw_bindings,
        retry_options: function.retry_options.map(retry_options),
        properties: function.properties,
        status: function.status.map(|status| result(Some(status))),
    }
}

fn retry_options(retry: proto::RpcRetryOptions) -> RetryOptions {
    RetryOptions {
        max_retry_count: retry.max_retry_count,
        retry_strategy: match retry.retry_strategy() {
            proto::rpc_retry_options::RetryStrategy::FixedDelay => RetryStrategy::FixedDelay,
            proto::rpc_retry_options::RetryStrategy::ExponentialBackoff => RetryStrategy::ExponentialBackoff,
        },
        delay_interval: retry.delay_interval.map(duration),
        minimum_interval: retry.minimum_interval.map(duration),
        maximum_interval: retry.maximum_interval.map(duration),
    }
}

/// A negative duration counts as zero.
fn duration(duration: ProtoDuration) -> Duration {
    let seconds = u64::try_from(duration.seconds).unwrap_or_default();
    Duration::from_secs(seconds)
        .saturating_add(Duration::from_nanos(u64::try_from(duration.nanos).unwrap_or_default()))
}

/// A time before 1970 counts as 1970; `None` when the system clock cannot express it.
fn time(time: Timestamp) -> Option<SystemTime> {
    UNIX_EPOCH.checked_add(duration(ProtoDuration { seconds: time.seconds, nanos: time.nanos }))
}

fn worker_metadata(metadata: proto::WorkerMetadata) -> WorkerMetadata {
    WorkerMetadata {
        runtime_name: metadata.runtime_name,
        runtime_version: metadata.runtime_version,
        worker_version: metadata.worker_version,
        worker_bitness: metadata.worker_bitness,
        custom_properties: metadata.custom_properties,
    }
}

/// An absent status is a failure, as failure is the zero value.
fn result(result: Option<proto::StatusResult>) -> StatusResult {
    let result = result.unwrap_or_default();
    StatusResult {
        status: match result.status() {
            proto::status_result::Status::Success => Status::Success,
            proto::status_result::Status::Cancelled => Status::Cancelled,
            proto::status_result::Status::Failure => Status::Failure,
        },
        result: result.result,
        exception: result.exception.map(exception),
        logs: result.logs.into_iter().map(log).collect(),
    }
}

fn exception(exception: proto::RpcException) -> RpcException {
    RpcException {
        source: exception.source,
        stack_trace: exception.stack_trace,
        message: exception.message,
        is_user_exception: exception.is_user_exception,
        kind: exception.r#type,
    }
}

fn level(level: i32) -> LogLevel {
    match Level::try_from(level) {
        Ok(Level::Trace) => LogLevel::Trace,
        Ok(Level::Debug) => LogLevel::Debug,
        Ok(Level::Information) | Err(_) => LogLevel::Information,
        Ok(Level::Warning) => LogLevel::Warning,
        Ok(Level::Error) => LogLevel::Error,
        Ok(Level::Critical) => LogLevel::Critical,
        Ok(Level::None) => LogLevel::None,
    }
}

fn log(record: proto::RpcLog) -> RpcLog {
    let log_category = record.log_category();
    RpcLog {
        invocation_id: Some(record.invocation_id).filter(|id| !id.is_empty()).map(Into::into),
        category: record.category,
        level: level(record.level),
        message: record.message,
        event_id: record.event_id,
        exception: record.exception.map(exception),
        properties: record.properties,
        log_category: match log_category {
            RpcLogCategory::System => LogCategory::System,
            RpcLogCategory::CustomMetric => LogCategory::CustomMetric,
            RpcLogCategory::User => LogCategory::User,
        },
        properties_map: values(record.properties_map),
    }
}

fn typed_data(data: proto::TypedData) -> TypedData {
    match data.data {
        None => TypedData::Null,
        Some(Data::String(value)) => TypedData::String(text(value)),
        Some(Data::Json(value)) => TypedData::Json(text(value)),
        Some(Data::Bytes(value)) => TypedData::Bytes(value),
        Some(Data::Stream(value)) => TypedData::Stream(value),
        Some(Data::Http(value)) => TypedData::Http(Box::new(http(*value))),
        Some(Data::Int(value)) => TypedData::Int(value),
        Some(Data::Double(value)) => TypedData::Double(value),
        Some(Data::CollectionBytes(values)) => TypedData::CollectionBytes(values.bytes),
        Some(Data::CollectionString(values)) => {
            TypedData::CollectionString(values.string.into_iter().map(ByteString::from).collect())
        }
        Some(Data::CollectionDouble(values)) => TypedData::CollectionDouble(values.double),
        Some(Data::CollectionSint64(values)) => TypedData::CollectionSint64(values.sint64),
        Some(Data::ModelBindingData(value)) => TypedData::ModelBindingData(Box::new(model(value))),
        Some(Data::CollectionModelBindingData(values)) => {
            TypedData::CollectionModelBindingData(values.model_binding_data.into_iter().map(model).collect())
        }
    }
}

/// Protobuf texts are UTF-8. Of a worker that sends something else, what is not becomes replacement characters.
fn text(bytes: Bytes) -> ByteString {
    ByteString::try_from(bytes.clone())
        .unwrap_or_else(|_| ByteString::from(String::from_utf8_lossy(&bytes).into_owned()))
}

fn model(model: proto::ModelBindingData) -> ModelBindingData {
    ModelBindingData {
        version: model.version,
        source: model.source,
        content_type: model.content_type,
        content: model.content,
    }
}

/// A nullable map that is not empty comes before the plain one, as in the real host.
fn http(http: proto::RpcHttp) -> RpcHttp {
    RpcHttp {
        method: http.method,
        url: http.url,
        headers: prefer(http.nullable_headers, http.headers),
        body: http.body.or(http.raw_body).map(|body| typed_data(*body)).unwrap_or_default(),
        params: prefer(http.nullable_params, http.params),
        query: prefer(http.nullable_query, http.query),
        status_code: http.status_code,
        enable_content_negotiation: http.enable_content_negotiation,
        identities: http.identities.into_iter().map(identity).collect(),
        cookies: http.cookies.into_iter().map(cookie).collect(),
    }
}

fn prefer(
    nullable: BTreeMap<String, proto::NullableString>,
    plain: BTreeMap<String, String>,
) -> BTreeMap<String, String> {
    if nullable.is_empty() {
        return plain;
    }
    nullable.into_iter().map(|(name, value)| (name, string(value).unwrap_or_default())).collect()
}

fn string(nullable: proto::NullableString) -> Option<String> {
    nullable.string.map(|proto::nullable_string::String::Value(value)| value)
}

fn identity(identity: proto::RpcClaimsIdentity) -> RpcClaimsIdentity {
    let claim = |claim: proto::RpcClaim| RpcClaim { value: claim.value, kind: claim.r#type };
    RpcClaimsIdentity {
        authentication_type: identity.authentication_type.and_then(string),
        name_claim_type: identity.name_claim_type.and_then(string),
        role_claim_type: identity.role_claim_type.and_then(string),
        claims: identity.claims.into_iter().map(claim).collect(),
    }
}

fn cookie(cookie: proto::RpcHttpCookie) -> RpcHttpCookie {
    use proto::nullable_bool::Bool;
    use proto::nullable_double::Double;
    use proto::nullable_timestamp::Timestamp;

    let bool = |nullable: proto::NullableBool| nullable.bool.map(|Bool::Value(value)| value);
    let same_site = cookie.same_site();
    RpcHttpCookie {
        name: cookie.name,
        value: cookie.value,
        domain: cookie.domain.and_then(string),
        path: cookie.path.and_then(string),
        expires: cookie.expires.and_then(|at| at.timestamp).and_then(|Timestamp::Value(at)| time(at)),
        secure: cookie.secure.and_then(bool),
        http_only: cookie.http_only.and_then(bool),
        same_site: match same_site {
            proto::rpc_http_cookie::SameSite::None => SameSite::Unset,
            proto::rpc_http_cookie::SameSite::Lax => SameSite::Lax,
            proto::rpc_http_cookie::SameSite::Strict => SameSite::Strict,
            proto::rpc_http_cookie::SameSite::ExplicitNone => SameSite::None,
        },
        max_age: cookie.max_age.and_then(|seconds| seconds.double).map(|Double::Value(value)| value),
    }
}
