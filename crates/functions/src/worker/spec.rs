//! [`WorkerSpec`]: how to start a worker.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

/// The protocol of a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WorkerProtocol {
    /// Our own frames on a Unix (or loopback) socket.
    Frames,
    /// FunctionRpc over gRPC, the protocol of the official workers.
    FunctionRpc,
}

/// How to start one worker of one app.
#[derive(Clone, Debug)]
pub struct WorkerSpec {
    /// The language, such as `node`.
    pub language: String,
    /// The protocol.
    pub protocol: WorkerProtocol,
    /// The program, looked up on the `PATH` of [`WorkerSpec::env`].
    pub command: PathBuf,
    /// Its arguments; those of the protocol follow them.
    pub arguments: Vec<OsString>,
    /// The app's folder: the process's working directory.
    pub app_dir: PathBuf,
    /// The worker's own folder.
    pub worker_dir: PathBuf,
    /// The complete environment of the process; nothing else is inherited.
    pub env: BTreeMap<String, String>,
    /// Whether the worker indexes the app.
    pub indexes: bool,
    /// Version of the host, for the worker.
    pub host_version: String,
    /// How long to wait for the worker.
    pub timeouts: WorkerTimeouts,
}

impl WorkerSpec {
    /// What to do if the runtime is missing or too old.
    pub(super) fn advice(&self) -> String {
        let language = &self.language;
        let install = match language.as_str() {
            "node" => "install Node.js 20 or newer (https://nodejs.org)".to_owned(),
            _ => format!("install the runtime for {language}"),
        };
        format!("{install}, or set languageWorkers__{language}__defaultExecutablePath to its program")
    }
}

/// How long to wait for a worker. Names and defaults are those of `processOptions` in `worker.config.json`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WorkerTimeouts {
    /// From the start of the process until it connects. Default 60 s.
    pub startup: Duration,
    /// For the response to the init request. Default 10 s; 120 s for Node.js, which loads the app meanwhile.
    pub initialization: Duration,
    /// For the list of functions, and for each function to load. Default 60 s.
    pub load: Duration,
    /// From the terminate message until the process is killed. Default 10 s.
    pub shutdown: Duration,
}

impl Default for WorkerTimeouts {
    fn default() -> Self {
        Self {
            startup: Duration::from_secs(60),
            initialization: Duration::from_secs(10),
            load: Duration::from_secs(60),
            shutdown: Duration::from_secs(10),
        }
    }
}
