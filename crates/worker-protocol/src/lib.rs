//! Invocations, bindings and results as language workers see them, and the two protocols that carry them.
//!
//! Names are those of FunctionRpc: a [`TypedData`] here is its `TypedData`.
//!
//! * [`function_rpc`]: the protocol of the official workers, protobuf messages on one gRPC stream that the worker opens.
//! * [`frames`]: our own protocol, with the same meaning: a length, a JSON header and raw bytes on a Unix or loopback socket.
//!
//! Both translate to and from [`HostMessage`] and [`WorkerMessage`], so that the host's code does not depend on the protocol.
//!
//! Out of scope: sockets, processes, clocks; which functions exist; what a binding means.
//! Know these first: [`HostMessage`], [`WorkerMessage`], [`TypedData`].
//! Start reading at `message.rs`.

mod exception;
pub mod frames;
pub mod function_rpc;
mod http;
mod id;
mod invocation;
mod log;
mod message;
mod metadata;
mod status;
mod stored;
mod typed_data;

pub use exception::RpcException;
pub use http::{RpcClaim, RpcClaimsIdentity, RpcHttpCookie, SameSite};
pub use id::{FunctionId, InvocationId, WorkerId};
pub use invocation::{
    InvocationRequest, InvocationResponse, ParameterBinding, RetryContext, RpcTraceContext,
};
pub use log::{LogCategory, LogLevel, RpcLog};
pub use message::{
    HostMessage, InitRequest, InitResponse, LoadRequest, LoadResponse, MetadataResponse, WorkerMessage,
    WorkerMetadata,
};
pub use metadata::{BindingInfo, DataType, Direction, FunctionMetadata, RetryOptions, RetryStrategy};
pub use status::{Capabilities, Status, StatusResult};
pub use stored::{Chunk, ReadStoredBytes, StoredBytes};
pub use typed_data::{ModelBindingData, RpcHttp, TypedData};
