//! All messages between host and worker, in the order in which they occur:
//!
//! 1. The host starts the worker's process; the worker connects and sends [`WorkerMessage::Start`].
//! 2. [`HostMessage::Init`]; the response is [`WorkerMessage::Init`].
//! 3. If the worker indexes the app: [`HostMessage::Metadata`]; the response is [`WorkerMessage::Metadata`].
//! 4. [`HostMessage::Load`] for each function; the response is [`WorkerMessage::Load`].
//! 5. [`HostMessage::Invoke`] for each invocation, any number of them at a time; the response is [`WorkerMessage::Invoked`].
//! 6. [`HostMessage::Terminate`]: the worker exits.
//!
//! A worker may send [`WorkerMessage::Log`] at any time.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{
    Capabilities, FunctionId, FunctionMetadata, InvocationId, InvocationRequest, InvocationResponse,
    LogLevel, RpcLog, StatusResult, WorkerId,
};

/// A message of the host.
#[derive(Clone, Debug, PartialEq)]
pub enum HostMessage {
    /// Initialize.
    Init(InitRequest),
    /// List the functions of the app. Sent only to workers that index.
    Metadata {
        /// The app's folder.
        function_app_directory: String,
    },
    /// Load a function.
    Load(LoadRequest),
    /// Invoke a function.
    Invoke(InvocationRequest),
    /// Cancel an invocation. Needs [`Capabilities::HANDLES_INVOCATION_CANCEL_MESSAGE`].
    Cancel {
        /// The invocation.
        invocation_id: InvocationId,
    },
    /// A probe: the worker responds if it is able to. Needs [`Capabilities::WORKER_STATUS`].
    Status,
    /// Exit. Needs [`Capabilities::HANDLES_WORKER_TERMINATE_MESSAGE`].
    Terminate {
        /// Time until the host kills the process.
        grace: Duration,
    },
}

/// A message of a worker.
#[derive(Clone, Debug, PartialEq)]
pub enum WorkerMessage {
    /// The first message: the process that the host started has connected.
    Start {
        /// The id that the host gave it.
        worker_id: WorkerId,
    },
    /// Response to [`HostMessage::Init`].
    Init(InitResponse),
    /// Response to [`HostMessage::Metadata`].
    Metadata(MetadataResponse),
    /// Response to [`HostMessage::Load`].
    Load(LoadResponse),
    /// An invocation ended.
    Invoked(InvocationResponse),
    /// A log record.
    Log(RpcLog),
    /// Response to [`HostMessage::Status`].
    Status,
    /// A message that the host does not use; its name in the protocol, for the log.
    Unused(&'static str),
}

/// What a worker needs for its initialization.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct InitRequest {
    /// Version of the host.
    pub host_version: String,
    /// Capabilities of the host.
    pub capabilities: Capabilities,
    /// Lowest level to send, by log category.
    pub log_categories: BTreeMap<String, LogLevel>,
    /// The worker's own folder.
    pub worker_directory: String,
    /// The app's folder.
    pub function_app_directory: String,
}

/// The response to [`InitRequest`].
#[derive(Clone, Debug, Default, PartialEq)]
pub struct InitResponse {
    /// Capabilities of the worker.
    pub capabilities: Capabilities,
    /// Whether it is initialized.
    pub result: StatusResult,
    /// Which worker it is.
    pub worker_metadata: WorkerMetadata,
}

/// Runtime and version of a worker.
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
    /// Further properties.
    pub custom_properties: BTreeMap<String, String>,
}

/// The app's functions.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct MetadataResponse {
    /// The functions.
    pub functions: Vec<FunctionMetadata>,
    /// Whether the worker could index the app.
    pub result: StatusResult,
    /// Whether the host is to read the `function.json` files of the app instead.
    pub use_default_metadata_indexing: bool,
}

/// A function to load.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LoadRequest {
    /// Its id.
    pub function_id: FunctionId,
    /// Its metadata.
    pub metadata: FunctionMetadata,
}

/// Whether a function is loaded.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LoadResponse {
    /// Its id.
    pub function_id: FunctionId,
    /// Whether it could be loaded.
    pub result: StatusResult,
}
