//! What a pool tells while it works.

use std::process::ExitStatus;
use std::time::Duration;

use worker_protocol::RpcLog;

/// Who is told. Calls come from the tasks that read a worker's connection and output, so they must not block.
///
/// # Guarantees
///
/// 1. Records of one worker's connection come in the order in which the worker sent them.
/// 2. Records of an invocation come before `Pool::invoke` returns for it.
pub trait Observer: Send + Sync + 'static {
    /// A log record that the worker sent.
    fn log(&self, record: &RpcLog);

    /// A line that the worker's process printed.
    fn line(&self, line: WorkerLine<'_>);

    /// A worker came or went.
    fn event(&self, event: &WorkerEvent);
}

/// A line that a worker's process printed, without its line break; cut at [`WorkerLine::BYTES_MAX`].
#[derive(Clone, Copy, Debug)]
pub struct WorkerLine<'a> {
    /// The process.
    pub pid: u32,
    /// Whether it came on standard error.
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

/// A worker came or went.
#[derive(Clone, Debug)]
pub enum WorkerEvent {
    /// It is ready for invocations.
    Started {
        /// Its process.
        pid: u32,
        /// From the start of the process until now.
        took: Duration,
        /// Whether it replaces one that died.
        is_restart: bool,
    },
    /// Its process ended.
    Exited {
        /// Its process.
        pid: u32,
        /// How; `None` when the system does not say.
        status: Option<ExitStatus>,
        /// Whether we asked for it.
        is_expected: bool,
    },
    /// A function timed out and did not react to its cancellation. The worker gets no new invocations, and another one is started.
    TimedOut {
        /// Its process.
        pid: u32,
        /// Whether the worker still responds: then its other invocations may end. Otherwise it is killed at once.
        is_responding: bool,
    },
    /// It could not be started; the next try comes after the delay.
    StartFailed {
        /// The error and its causes, as text.
        reason: String,
        /// How many failed in a row.
        failures: u32,
        /// When the next try comes.
        retry_in: Duration,
    },
}
