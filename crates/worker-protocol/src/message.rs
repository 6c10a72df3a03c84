//! Everything that host and worker say to each other, in the order in which a worker's life goes.
//!
//! 1. The host starts the worker's process; the worker connects and sends [`WorkerMessage::Start`].
//! 2. [`HostMessage::Init`], answered by [`WorkerMessage::Init`].
//! 3. Where the worker indexes the app: [`HostMessage::Metadata`], answered by [`WorkerMessage::Metadata`].
//! 4. [`HostMessage::Load`] for each function, answered by [`WorkerMessage::Load`].
//! 5. [`HostMessage::Invoke`], answered by [`WorkerMessage::Invoked`], as many at once as the host likes.
//! 6. [`HostMessage::Terminate`]: the worker ends.
//!
//! [`WorkerMessage::Log`] comes at any time.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{
    Capabilities, FunctionId, FunctionMetadata, InvocationId, InvocationRequest, InvocationResponse,
    LogLevel, RpcLog, StatusResult, WorkerId,
};

/// What the host says.
#[derive(Clone, Debug, PartialEq)]
pub enum HostMessage {
    /// Make yourself ready.
    Init(InitRequest),
    /// Tell which functions the app has. Never sent to a worker that does not index.
    Metadata {
        /// The app's folder.
        function_app_directory: String,
    },
    /// Load a function.
    Load(LoadRequest),
    /// Call a function.
    Invoke(InvocationRequest),
    /// A call is no longer wanted. Needs [`Capabilities::HANDLES_INVOCATION_CANCEL_MESSAGE`].
    Cancel {
        /// Which.
        invocation_id: InvocationId,
    },
    /// Are you there? Needs [`Capabilities::WORKER_STATUS`].
    Status,
    /// End. Needs [`Capabilities::HANDLES_WORKER_TERMINATE_MESSAGE`].
    Terminate {
        /// How long the host waits before it kills the process.
        grace: Duration,
    },
}

/// What a worker says.
#[derive(Clone, Debug, PartialEq)]
pub enum WorkerMessage {
    /// I am the process that you started.
    Start {
        /// The id that the host gave it.
        worker_id: WorkerId,
    },
    /// Ready, or not.
    Init(InitResponse),
    /// The app's functions.
    Metadata(MetadataResponse),
    /// A function is loaded, or not.
    Load(LoadResponse),
    /// A call ended.
    Invoked(InvocationResponse),
    /// A log record.
    Log(RpcLog),
    /// I am here.
    Status,
    /// Something that we do not use; holds its name in the protocol, for the log.
    Unused(&'static str),
}

/// What a worker needs to get ready.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct InitRequest {
    /// Version of the host.
    pub host_version: String,
    /// What the host can do.
    pub capabilities: Capabilities,
    /// Lowest level of each log category that the host wants.
    pub log_categories: BTreeMap<String, LogLevel>,
    /// The worker's own folder.
    pub worker_directory: String,
    /// The app's folder.
    pub function_app_directory: String,
}

/// Answer to [`InitRequest`].
#[derive(Clone, Debug, Default, PartialEq)]
pub struct InitResponse {
    /// What the worker can do.
    pub capabilities: Capabilities,
    /// Whether it is ready.
    pub result: StatusResult,
    /// What it is.
    pub worker_metadata: WorkerMetadata,
}

/// What a worker is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct WorkerMetadata {
    /// Its runtime, such as `node`.
    pub runtime_name: String,
    /// The runtime's version.
    pub runtime_version: String,
    /// The worker's version.
    pub worker_version: String,
    /// The processor's architecture.
    pub worker_bitness: String,
    /// More.
    pub custom_properties: BTreeMap<String, String>,
}

/// The app's functions.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct MetadataResponse {
    /// Each function.
    pub functions: Vec<FunctionMetadata>,
    /// Whether indexing worked.
    pub result: StatusResult,
    /// Whether the host shall read the app's `function.json` files instead.
    pub use_default_metadata_indexing: bool,
}

/// A function to load.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LoadRequest {
    /// Its id.
    pub function_id: FunctionId,
    /// What it is.
    pub metadata: FunctionMetadata,
}

/// Whether a function is loaded.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LoadResponse {
    /// Its id.
    pub function_id: FunctionId,
    /// How it went.
    pub result: StatusResult,
}
