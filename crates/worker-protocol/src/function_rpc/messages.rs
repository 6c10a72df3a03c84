//! The protobuf messages. Names and numbers are the protocol's; what each is for stands at our own types.
//!
//! Enumerations are plain numbers here: an unknown value must not make a message unreadable. Maps are sorted, so that the
//! same message always has the same bytes.
#![allow(
    missing_docs,
    reason = "names of the public protocol; our own types of the same names carry the prose"
)]

use std::collections::BTreeMap;

use bytes::Bytes;
use prost::{Message, Oneof};

/// The one message of the stream.
#[derive(Clone, PartialEq, Message)]
pub struct StreamingMessage {
    #[prost(string, tag = "1")]
    pub request_id: String,
    #[prost(
        oneof = "Content",
        tags = "20, 17, 16, 15, 14, 12, 13, 6, 7, 8, 9, 4, 5, 21, 2, 25, 26, 27, 28, 29, 30, 31, 32, 33, 34"
    )]
    pub content: Option<Content>,
}

#[derive(Clone, PartialEq, Oneof)]
#[allow(
    clippy::large_enum_variant,
    reason = "one of these lives at a time; boxing would cost more than it saves"
)]
pub enum Content {
    #[prost(message, tag = "2")]
    RpcLog(RpcLog),
    #[prost(message, tag = "4")]
    InvocationRequest(InvocationRequest),
    #[prost(message, tag = "5")]
    InvocationResponse(InvocationResponse),
    #[prost(message, tag = "6")]
    FileChangeEventRequest(FileChangeEventRequest),
    #[prost(message, tag = "7")]
    WorkerActionResponse(WorkerActionResponse),
    #[prost(message, tag = "8")]
    FunctionLoadRequest(FunctionLoadRequest),
    #[prost(message, tag = "9")]
    FunctionLoadResponse(FunctionLoadResponse),
    #[prost(message, tag = "12")]
    WorkerStatusRequest(Empty),
    #[prost(message, tag = "13")]
    WorkerStatusResponse(Empty),
    #[prost(message, tag = "14")]
    WorkerTerminate(WorkerTerminate),
    #[prost(message, tag = "15")]
    WorkerHeartbeat(Empty),
    #[prost(message, tag = "16")]
    WorkerInitResponse(WorkerInitResponse),
    #[prost(message, tag = "17")]
    WorkerInitRequest(WorkerInitRequest),
    #[prost(message, tag = "20")]
    StartStream(StartStream),
    #[prost(message, tag = "21")]
    InvocationCancel(InvocationCancel),
    #[prost(message, tag = "25")]
    FunctionEnvironmentReloadRequest(FunctionEnvironmentReloadRequest),
    #[prost(message, tag = "26")]
    FunctionEnvironmentReloadResponse(FunctionEnvironmentReloadResponse),
    #[prost(message, tag = "27")]
    CloseSharedMemoryResourcesRequest(CloseSharedMemoryResourcesRequest),
    #[prost(message, tag = "28")]
    CloseSharedMemoryResourcesResponse(CloseSharedMemoryResourcesResponse),
    #[prost(message, tag = "29")]
    FunctionsMetadataRequest(FunctionsMetadataRequest),
    #[prost(message, tag = "30")]
    FunctionMetadataResponse(FunctionMetadataResponse),
    #[prost(message, tag = "31")]
    FunctionLoadRequestCollection(FunctionLoadRequestCollection),
    #[prost(message, tag = "32")]
    FunctionLoadResponseCollection(FunctionLoadResponseCollection),
    #[prost(message, tag = "33")]
    WorkerWarmupRequest(WorkerWarmupRequest),
    #[prost(message, tag = "34")]
    WorkerWarmupResponse(WorkerWarmupResponse),
}

/// Several messages of the protocol have no fields.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct Empty {}

/// `google.protobuf.Duration` and `google.protobuf.Timestamp`, which have the same fields.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct Span {
    #[prost(int64, tag = "1")]
    pub seconds: i64,
    #[prost(int32, tag = "2")]
    pub nanos: i32,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub struct StartStream {
    #[prost(string, tag = "2")]
    pub worker_id: String,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub struct WorkerInitRequest {
    #[prost(string, tag = "1")]
    pub host_version: String,
    #[prost(btree_map = "string, string", tag = "2")]
    pub capabilities: BTreeMap<String, String>,
    #[prost(btree_map = "string, int32", tag = "3")]
    pub log_categories: BTreeMap<String, i32>,
    #[prost(string, tag = "4")]
    pub worker_directory: String,
    #[prost(string, tag = "5")]
    pub function_app_directory: String,
}

#[derive(Clone, PartialEq, Message)]
pub struct WorkerInitResponse {
    #[prost(string, tag = "1")]
    pub worker_version: String,
    #[prost(btree_map = "string, string", tag = "2")]
    pub capabilities: BTreeMap<String, String>,
    #[prost(message, optional, tag = "3")]
    pub result: Option<StatusResult>,
    #[prost(message, optional, tag = "4")]
    pub worker_metadata: Option<WorkerMetadata>,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub struct WorkerMetadata {
    #[prost(string, tag = "1")]
    pub runtime_name: String,
    #[prost(string, tag = "2")]
    pub runtime_version: String,
    #[prost(string, tag = "3")]
    pub worker_version: String,
    #[prost(string, tag = "4")]
    pub worker_bitness: String,
    #[prost(btree_map = "string, string", tag = "5")]
    pub custom_properties: BTreeMap<String, String>,
}

#[derive(Clone, PartialEq, Message)]
pub struct StatusResult {
    #[prost(string, tag = "1")]
    pub result: String,
    #[prost(message, optional, tag = "2")]
    pub exception: Option<RpcException>,
    #[prost(message, repeated, tag = "3")]
    pub logs: Vec<RpcLog>,
    /// Failure 0, Success 1, Cancelled 2.
    #[prost(int32, tag = "4")]
    pub status: i32,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub struct RpcException {
    #[prost(string, tag = "1")]
    pub stack_trace: String,
    #[prost(string, tag = "2")]
    pub message: String,
    #[prost(string, tag = "3")]
    pub source: String,
    #[prost(bool, tag = "4")]
    pub is_user_exception: bool,
    #[prost(string, tag = "5")]
    pub r#type: String,
}

#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct WorkerTerminate {
    #[prost(message, optional, tag = "1")]
    pub grace_period: Option<Span>,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub struct FileChangeEventRequest {
    /// Unknown 0, Created 1, Deleted 2, Changed 4, Renamed 8, All 15.
    #[prost(int32, tag = "1")]
    pub r#type: i32,
    #[prost(string, tag = "2")]
    pub full_path: String,
    #[prost(string, tag = "3")]
    pub name: String,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub struct WorkerActionResponse {
    /// Restart 0, Reload 1.
    #[prost(int32, tag = "1")]
    pub action: i32,
    #[prost(string, tag = "2")]
    pub reason: String,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub struct FunctionEnvironmentReloadRequest {
    #[prost(btree_map = "string, string", tag = "1")]
    pub environment_variables: BTreeMap<String, String>,
    #[prost(string, tag = "2")]
    pub function_app_directory: String,
}

#[derive(Clone, PartialEq, Message)]
pub struct FunctionEnvironmentReloadResponse {
    #[prost(message, optional, tag = "1")]
    pub worker_metadata: Option<WorkerMetadata>,
    #[prost(btree_map = "string, string", tag = "2")]
    pub capabilities: BTreeMap<String, String>,
    #[prost(message, optional, tag = "3")]
    pub result: Option<StatusResult>,
    /// merge 0, replace 1.
    #[prost(int32, tag = "4")]
    pub capabilities_update_strategy: i32,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub struct CloseSharedMemoryResourcesRequest {
    #[prost(string, repeated, tag = "1")]
    pub map_names: Vec<String>,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub struct CloseSharedMemoryResourcesResponse {
    #[prost(btree_map = "string, bool", tag = "1")]
    pub close_map_results: BTreeMap<String, bool>,
}

#[derive(Clone, PartialEq, Message)]
pub struct FunctionLoadRequestCollection {
    #[prost(message, repeated, tag = "1")]
    pub function_load_requests: Vec<FunctionLoadRequest>,
}

#[derive(Clone, PartialEq, Message)]
pub struct FunctionLoadResponseCollection {
    #[prost(message, repeated, tag = "1")]
    pub function_load_responses: Vec<FunctionLoadResponse>,
}

#[derive(Clone, PartialEq, Message)]
pub struct FunctionLoadRequest {
    #[prost(string, tag = "1")]
    pub function_id: String,
    #[prost(message, optional, tag = "2")]
    pub metadata: Option<RpcFunctionMetadata>,
    #[prost(bool, tag = "3")]
    pub managed_dependency_enabled: bool,
}

#[derive(Clone, PartialEq, Message)]
pub struct FunctionLoadResponse {
    #[prost(string, tag = "1")]
    pub function_id: String,
    #[prost(message, optional, tag = "2")]
    pub result: Option<StatusResult>,
    #[prost(bool, tag = "3")]
    pub is_dependency_downloaded: bool,
}

#[derive(Clone, PartialEq, Message)]
pub struct RpcFunctionMetadata {
    #[prost(string, tag = "1")]
    pub directory: String,
    #[prost(string, tag = "2")]
    pub script_file: String,
    #[prost(string, tag = "3")]
    pub entry_point: String,
    #[prost(string, tag = "4")]
    pub name: String,
    #[prost(btree_map = "string, message", tag = "6")]
    pub bindings: BTreeMap<String, BindingInfo>,
    #[prost(bool, tag = "7")]
    pub is_proxy: bool,
    #[prost(message, optional, tag = "8")]
    pub status: Option<StatusResult>,
    #[prost(string, tag = "9")]
    pub language: String,
    #[prost(string, repeated, tag = "10")]
    pub raw_bindings: Vec<String>,
    #[prost(string, tag = "13")]
    pub function_id: String,
    #[prost(bool, tag = "14")]
    pub managed_dependency_enabled: bool,
    #[prost(message, optional, tag = "15")]
    pub retry_options: Option<RpcRetryOptions>,
    #[prost(btree_map = "string, string", tag = "16")]
    pub properties: BTreeMap<String, String>,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub struct BindingInfo {
    #[prost(string, tag = "2")]
    pub r#type: String,
    /// in 0, out 1, inout 2.
    #[prost(int32, tag = "3")]
    pub direction: i32,
    /// undefined 0, string 1, binary 2, stream 3.
    #[prost(int32, tag = "4")]
    pub data_type: i32,
    #[prost(btree_map = "string, string", tag = "5")]
    pub properties: BTreeMap<String, String>,
}

#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct RpcRetryOptions {
    #[prost(int32, tag = "2")]
    pub max_retry_count: i32,
    #[prost(message, optional, tag = "3")]
    pub delay_interval: Option<Span>,
    #[prost(message, optional, tag = "4")]
    pub minimum_interval: Option<Span>,
    #[prost(message, optional, tag = "5")]
    pub maximum_interval: Option<Span>,
    /// exponential_backoff 0, fixed_delay 1.
    #[prost(int32, tag = "6")]
    pub retry_strategy: i32,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub struct FunctionsMetadataRequest {
    #[prost(string, tag = "1")]
    pub function_app_directory: String,
}

#[derive(Clone, PartialEq, Message)]
pub struct FunctionMetadataResponse {
    #[prost(message, repeated, tag = "1")]
    pub function_metadata_results: Vec<RpcFunctionMetadata>,
    #[prost(message, optional, tag = "2")]
    pub result: Option<StatusResult>,
    #[prost(bool, tag = "3")]
    pub use_default_metadata_indexing: bool,
}

#[derive(Clone, PartialEq, Message)]
pub struct InvocationRequest {
    #[prost(string, tag = "1")]
    pub invocation_id: String,
    #[prost(string, tag = "2")]
    pub function_id: String,
    #[prost(message, repeated, tag = "3")]
    pub input_data: Vec<ParameterBinding>,
    #[prost(btree_map = "string, message", tag = "4")]
    pub trigger_metadata: BTreeMap<String, TypedData>,
    #[prost(message, optional, tag = "5")]
    pub trace_context: Option<RpcTraceContext>,
    #[prost(message, optional, tag = "6")]
    pub retry_context: Option<RetryContext>,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub struct RpcTraceContext {
    #[prost(string, tag = "1")]
    pub trace_parent: String,
    #[prost(string, tag = "2")]
    pub trace_state: String,
    #[prost(btree_map = "string, string", tag = "3")]
    pub attributes: BTreeMap<String, String>,
    #[prost(btree_map = "string, string", tag = "4")]
    pub baggage: BTreeMap<String, String>,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub struct RetryContext {
    #[prost(int32, tag = "1")]
    pub retry_count: i32,
    #[prost(int32, tag = "2")]
    pub max_retry_count: i32,
    #[prost(message, optional, tag = "3")]
    pub exception: Option<RpcException>,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub struct InvocationCancel {
    #[prost(message, optional, tag = "1")]
    pub grace_period: Option<Span>,
    #[prost(string, tag = "2")]
    pub invocation_id: String,
}

#[derive(Clone, PartialEq, Message)]
pub struct InvocationResponse {
    #[prost(string, tag = "1")]
    pub invocation_id: String,
    #[prost(message, repeated, tag = "2")]
    pub output_data: Vec<ParameterBinding>,
    #[prost(message, optional, tag = "3")]
    pub result: Option<StatusResult>,
    #[prost(message, optional, tag = "4")]
    pub return_value: Option<TypedData>,
    #[prost(btree_map = "string, string", tag = "5")]
    pub trace_context_attributes: BTreeMap<String, String>,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub struct WorkerWarmupRequest {
    #[prost(string, tag = "1")]
    pub worker_directory: String,
}

#[derive(Clone, PartialEq, Message)]
pub struct WorkerWarmupResponse {
    #[prost(message, optional, tag = "1")]
    pub result: Option<StatusResult>,
}

#[derive(Clone, PartialEq, Message)]
pub struct ParameterBinding {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(oneof = "RpcData", tags = "2, 3")]
    pub rpc_data: Option<RpcData>,
}

#[derive(Clone, PartialEq, Oneof)]
pub enum RpcData {
    #[prost(message, tag = "2")]
    Data(TypedData),
    #[prost(message, tag = "3")]
    RpcSharedMemory(RpcSharedMemory),
}

#[derive(Clone, PartialEq, Eq, Message)]
pub struct RpcSharedMemory {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(int64, tag = "2")]
    pub offset: i64,
    #[prost(int64, tag = "3")]
    pub count: i64,
    /// unknown 0, then the numbers of [`TypedDataKind`]'s fields.
    #[prost(int32, tag = "4")]
    pub r#type: i32,
}

#[derive(Clone, PartialEq, Message)]
pub struct TypedData {
    #[prost(oneof = "TypedDataKind", tags = "1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13")]
    pub data: Option<TypedDataKind>,
}

#[derive(Clone, PartialEq, Oneof)]
pub enum TypedDataKind {
    #[prost(string, tag = "1")]
    String(String),
    #[prost(string, tag = "2")]
    Json(String),
    #[prost(bytes = "bytes", tag = "3")]
    Bytes(Bytes),
    #[prost(bytes = "bytes", tag = "4")]
    Stream(Bytes),
    #[prost(message, boxed, tag = "5")]
    Http(Box<RpcHttp>),
    #[prost(sint64, tag = "6")]
    Int(i64),
    #[prost(double, tag = "7")]
    Double(f64),
    #[prost(message, tag = "8")]
    CollectionBytes(CollectionBytes),
    #[prost(message, tag = "9")]
    CollectionString(CollectionString),
    #[prost(message, tag = "10")]
    CollectionDouble(CollectionDouble),
    #[prost(message, tag = "11")]
    CollectionSint64(CollectionSint64),
    #[prost(message, tag = "12")]
    ModelBindingData(ModelBindingData),
    #[prost(message, tag = "13")]
    CollectionModelBindingData(CollectionModelBindingData),
}

#[derive(Clone, PartialEq, Eq, Message)]
pub struct CollectionBytes {
    #[prost(bytes = "bytes", repeated, tag = "1")]
    pub bytes: Vec<Bytes>,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub struct CollectionString {
    #[prost(string, repeated, tag = "1")]
    pub string: Vec<String>,
}

#[derive(Clone, PartialEq, Message)]
pub struct CollectionDouble {
    #[prost(double, repeated, tag = "1")]
    pub double: Vec<f64>,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub struct CollectionSint64 {
    #[prost(sint64, repeated, tag = "1")]
    pub sint64: Vec<i64>,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub struct ModelBindingData {
    #[prost(string, tag = "1")]
    pub version: String,
    #[prost(string, tag = "2")]
    pub source: String,
    #[prost(string, tag = "3")]
    pub content_type: String,
    #[prost(bytes = "bytes", tag = "4")]
    pub content: Bytes,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub struct CollectionModelBindingData {
    #[prost(message, repeated, tag = "1")]
    pub model_binding_data: Vec<ModelBindingData>,
}

#[derive(Clone, PartialEq, Message)]
pub struct RpcLog {
    #[prost(string, tag = "1")]
    pub invocation_id: String,
    #[prost(string, tag = "2")]
    pub category: String,
    /// Trace 0, Debug 1, Information 2, Warning 3, Error 4, Critical 5, None 6.
    #[prost(int32, tag = "3")]
    pub level: i32,
    #[prost(string, tag = "4")]
    pub message: String,
    #[prost(string, tag = "5")]
    pub event_id: String,
    #[prost(message, optional, tag = "6")]
    pub exception: Option<RpcException>,
    #[prost(string, tag = "7")]
    pub properties: String,
    /// User 0, System 1, CustomMetric 2.
    #[prost(int32, tag = "8")]
    pub log_category: i32,
    #[prost(btree_map = "string, message", tag = "9")]
    pub properties_map: BTreeMap<String, TypedData>,
}

#[derive(Clone, PartialEq, Message)]
pub struct RpcHttp {
    #[prost(string, tag = "1")]
    pub method: String,
    #[prost(string, tag = "2")]
    pub url: String,
    #[prost(btree_map = "string, string", tag = "3")]
    pub headers: BTreeMap<String, String>,
    #[prost(message, optional, boxed, tag = "4")]
    pub body: Option<Box<TypedData>>,
    #[prost(btree_map = "string, string", tag = "10")]
    pub params: BTreeMap<String, String>,
    #[prost(string, tag = "12")]
    pub status_code: String,
    #[prost(btree_map = "string, string", tag = "15")]
    pub query: BTreeMap<String, String>,
    #[prost(bool, tag = "16")]
    pub enable_content_negotiation: bool,
    #[prost(message, optional, boxed, tag = "17")]
    pub raw_body: Option<Box<TypedData>>,
    #[prost(message, repeated, tag = "18")]
    pub identities: Vec<RpcClaimsIdentity>,
    #[prost(message, repeated, tag = "19")]
    pub cookies: Vec<RpcHttpCookie>,
    #[prost(btree_map = "string, message", tag = "20")]
    pub nullable_headers: BTreeMap<String, NullableString>,
    #[prost(btree_map = "string, message", tag = "21")]
    pub nullable_params: BTreeMap<String, NullableString>,
    #[prost(btree_map = "string, message", tag = "22")]
    pub nullable_query: BTreeMap<String, NullableString>,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub struct RpcClaimsIdentity {
    #[prost(message, optional, tag = "1")]
    pub authentication_type: Option<NullableString>,
    #[prost(message, optional, tag = "2")]
    pub name_claim_type: Option<NullableString>,
    #[prost(message, optional, tag = "3")]
    pub role_claim_type: Option<NullableString>,
    #[prost(message, repeated, tag = "4")]
    pub claims: Vec<RpcClaim>,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub struct RpcClaim {
    #[prost(string, tag = "1")]
    pub value: String,
    #[prost(string, tag = "2")]
    pub r#type: String,
}

#[derive(Clone, PartialEq, Message)]
pub struct RpcHttpCookie {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(string, tag = "2")]
    pub value: String,
    #[prost(message, optional, tag = "3")]
    pub domain: Option<NullableString>,
    #[prost(message, optional, tag = "4")]
    pub path: Option<NullableString>,
    #[prost(message, optional, tag = "5")]
    pub expires: Option<NullableTimestamp>,
    #[prost(message, optional, tag = "6")]
    pub secure: Option<NullableBool>,
    #[prost(message, optional, tag = "7")]
    pub http_only: Option<NullableBool>,
    /// None 0, Lax 1, Strict 2, ExplicitNone 3.
    #[prost(int32, tag = "8")]
    pub same_site: i32,
    #[prost(message, optional, tag = "9")]
    pub max_age: Option<NullableDouble>,
}

/// A oneof with a single field is encoded as an optional field is.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct NullableString {
    #[prost(string, optional, tag = "1")]
    pub value: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Message)]
pub struct NullableDouble {
    #[prost(double, optional, tag = "1")]
    pub value: Option<f64>,
}

#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct NullableBool {
    #[prost(bool, optional, tag = "1")]
    pub value: Option<bool>,
}

#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct NullableTimestamp {
    #[prost(message, optional, tag = "1")]
    pub value: Option<Span>,
}
