//! Invocations, bindings and results as language workers see them, and the two roads that carry them.
//!
//! Words are the peer's: a [`TypedData`] here is a `TypedData` of the FunctionRpc protocol.
//!
//! * FunctionRpc is the official road: protobuf messages on one gRPC stream, which the worker opens.
//! * Frames is ours: a length, a JSON head and raw body bytes on a Unix or loopback socket, with the same meaning.
//!
//! Both translate to and from the same [`HostMessage`] and [`WorkerMessage`], so that who speaks to a worker need not know
//! which road it came by.
//!
//! Not its concern: sockets, processes, clocks; which functions exist; what a binding means.
//! Know these first: [`HostMessage`], [`WorkerMessage`], [`TypedData`].
//! Start reading at `message.rs`.

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

pub use http::{RpcClaim, RpcClaimsIdentity, RpcHttp, RpcHttpCookie, SameSite};
pub use id::{FunctionId, InvocationId, WorkerId};
pub use invocation::{InvocationRequest, InvocationResponse, ParameterBinding, RetryContext, TraceContext};
pub use log::{LogCategory, LogLevel, RpcLog};
pub use message::{
    HostMessage, InitRequest, InitResponse, LoadRequest, LoadResponse, MetadataResponse, WorkerMessage,
    WorkerMetadata,
};
pub use metadata::{BindingInfo, DataType, Direction, FunctionMetadata, RetryOptions, RetryStrategy};
pub use status::{Capabilities, RpcException, Status, StatusResult};
pub use stored::{Piece, ReadStored, Stored};
pub use typed_data::{ModelBindingData, TypedData};
