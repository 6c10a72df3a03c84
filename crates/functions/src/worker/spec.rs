//! Which worker to start, and how.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

/// By which road a worker speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Road {
    /// Our own frames on a Unix (or loopback) socket.
    Frames,
    /// FunctionRpc over gRPC, as the official workers speak it.
    FunctionRpc,
}

/// How to start one worker of one app.
#[derive(Clone, Debug)]
pub struct WorkerSpec {
    /// The language, such as `node`.
    pub language: String,
    /// The road.
    pub road: Road,
    /// The program, looked up on the `PATH` of [`WorkerSpec::env`].
    pub command: PathBuf,
    /// Its arguments; those of the road come behind them.
    pub arguments: Vec<OsString>,
    /// The app's folder: the process's working directory.
    pub app_dir: PathBuf,
    /// The worker's own folder.
    pub worker_dir: PathBuf,
    /// The whole environment of the process; nothing is inherited beside it.
    pub env: BTreeMap<String, String>,
    /// Whether the worker finds the app's functions itself.
    pub indexes: bool,
    /// Version of the host, as told to the worker.
    pub host_version: String,
    /// How long we wait for it.
    pub timeouts: Timeouts,
}

/// How long we wait for a worker. Names and defaults are those of `processOptions` in `worker.config.json`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Timeouts {
    /// From the start of the process until it connects. Default 60 s.
    pub startup: Duration,
    /// For the answer to the init request. Default 10 s; 120 s for node, which loads the app meanwhile.
    pub initialization: Duration,
    /// For the list of functions, and for each function to load. Default 60 s.
    pub load: Duration,
    /// From the request to end until the process is killed. Default 10 s.
    pub shutdown: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            startup: Duration::from_secs(60),
            initialization: Duration::from_secs(10),
            load: Duration::from_secs(60),
            shutdown: Duration::from_secs(10),
        }
    }
}

/// How many workers, and how they are replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PoolOptions {
    /// How many processes, from 1 to [`PoolOptions::PROCESSES_MAX`]. Default 1. Core Tools' `FUNCTIONS_WORKER_PROCESS_COUNT`.
    pub processes: usize,
    /// Pause before the second restart in a row; it doubles from there. The first comes at once. Default 250 ms.
    pub restart_delay_min: Duration,
    /// Longest pause between restarts. Default 10 s (`processRestartInterval`).
    pub restart_delay_max: Duration,
    /// How long an invocation waits for a worker while none is ready. Default 30 s.
    pub ready_wait: Duration,
    /// How many invocations may be under way or waiting. Default 10000. More wait for their turn.
    pub invocations_max: usize,
    /// Largest message to or from a worker on our own road, in bytes. Default 256 MiB.
    pub frame_bytes_max: usize,
}

impl PoolOptions {
    /// More processes than this are not started, as in the real host.
    pub const PROCESSES_MAX: usize = 10;
}

impl Default for PoolOptions {
    fn default() -> Self {
        Self {
            processes: 1,
            restart_delay_min: Duration::from_millis(250),
            restart_delay_max: Duration::from_secs(10),
            ready_wait: Duration::from_secs(30),
            invocations_max: 10_000,
            frame_bytes_max: 256 * 1024 * 1024,
        }
    }
}
