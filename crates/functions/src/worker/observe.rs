//! [`Observer`]: receives log records, output and events of the workers.

use std::process::ExitStatus;
use std::time::Duration;

use worker_protocol::RpcLog;

use super::retire_reason::RetireReason;

/// Receives what workers log and print, and their starts and exits. Called by the tasks that read channels and output, so it must not
/// block.
///
/// # Guarantees
///
/// 1. Log records of one worker come in the order in which the worker sent them.
/// 2. Log records of an invocation come before `Pool::invoke` returns for it.
pub trait Observer: Send + Sync + 'static {
    /// A log record that the worker sent.
    fn log(&self, record: &RpcLog);

    /// A line that the worker's process printed.
    fn line(&self, line: WorkerLine<'_>);

    /// Something happened to a worker.
    fn event(&self, event: &WorkerEvent);
}

/// A line that a worker's process printed, without its line break; cut at [`WorkerLine::BYTES_MAX`].
#[derive(Clone, Copy, Debug)]
pub struct WorkerLine<'a> {
    /// Id of the process.
    pub pid: u32,
    /// Whether it was printed to standard error.
    pub is_error: bool,
    /// Whether it is the worker's own record (the line began with `LanguageWorkerConsoleLog`), not the user's.
    pub is_system: bool,
    /// The text.
    pub text: &'a str,
}

impl WorkerLine<'_> {
    /// Longer lines are cut.
    pub const BYTES_MAX: usize = 64 * 1024;
}

/// What happened to a worker.
#[derive(Clone, Debug)]
pub enum WorkerEvent {
    /// It is ready for invocations.
    Started {
        /// Id of its process.
        pid: u32,
        /// Time since the start of the process.
        took: Duration,
        /// Whether it replaces one that died.
        is_restart: bool,
    },
    /// Its process ended.
    Exited {
        /// Id of its process.
        pid: u32,
        /// Exit status; `None` if the system does not report it.
        status: Option<ExitStatus>,
        /// Whether the pool stopped it.
        is_expected: bool,
    },
    /// A function timed out and did not react to its cancellation. The worker gets no new invocations, and another one is started.
    TimedOut {
        /// Id of its process.
        pid: u32,
        /// Whether the worker still responds: then its other invocations may end. Otherwise it is killed at once.
        is_responding: bool,
    },
    /// A worker that still works is ended, once its invocations have ended.
    Retired {
        /// Id of its process.
        pid: u32,
        /// Why.
        reason: RetireReason,
    },
    /// A function ended its worker again and again, and gets a worker of its own.
    Quarantined {
        /// The name of the function.
        function: String,
    },
    /// A function has not ended its own worker for a while, and uses those of all functions again.
    Released {
        /// The name of the function.
        function: String,
    },
    /// The first worker of the app announced capabilities that this host does not know, so that functions may rely on what is missing.
    UnknownCapabilities {
        /// Their names.
        names: Vec<String>,
    },
    /// It could not be started; the next attempt follows after a delay.
    StartFailed {
        /// The error and its causes, as text.
        reason: String,
        /// Number of failed attempts in a row.
        failures: u32,
        /// Delay until the next attempt.
        retry_in: Duration,
    },
}
