//! Errors between the host and a worker.

use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::Duration;

use http_messages::ErrorDescription;
use worker_protocol::StatusResult;

use crate::error_table::{invocation, worker};

/// A worker did not start. The texts are for the user of the command line: what happened, why, what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// There is no worker for the language.
    #[error(
        "no worker for language '{language}': built in are {built_in}; for another, set \
         languageWorkers__{language}__workerDirectory to the folder of its worker.config.json"
    )]
    UnknownLanguage {
        /// The language.
        language: String,
        /// The languages with a built-in worker.
        built_in: &'static str,
    },
    /// The program of the runtime does not exist.
    #[error(
        "cannot start '{command}', which runs {language} functions: it is not installed or not on the PATH; {advice}"
    )]
    CommandNotFound {
        /// The language.
        language: String,
        /// The program.
        command: PathBuf,
        /// What to do.
        advice: String,
    },
    /// The program is not executable, for example after an archive lost its permissions.
    #[error(
        "cannot start '{command}', which runs {language} functions: this user may not run it; make it executable: \
         chmod +x '{command}'"
    )]
    NotExecutable {
        /// The language.
        language: String,
        /// The program.
        command: PathBuf,
    },
    /// The runtime is too old for our worker.
    #[error("'{command}' is version {found}, but {language} functions need {needed} or newer; {advice}")]
    RuntimeTooOld {
        /// The language.
        language: String,
        /// The program.
        command: PathBuf,
        /// Its version.
        found: String,
        /// The oldest version that works.
        needed: &'static str,
        /// What to do.
        advice: String,
    },
    /// A `worker.config.json` is missing or invalid.
    #[error("worker configuration {path}: {problem}")]
    Config {
        /// The file.
        path: PathBuf,
        /// What is wrong, and what to do.
        problem: String,
    },
    /// Files, socket or start of the process failed.
    #[error("{what}")]
    Io {
        /// What was attempted.
        what: String,
        /// The error of the system.
        #[source]
        cause: std::io::Error,
    },
    /// The process ended before it was ready.
    #[error("the {language} worker ended ({status}) while it was to {step}{last_lines}")]
    Exited {
        /// The language.
        language: String,
        /// Its exit status.
        status: ExitStatus,
        /// What it had to do.
        step: &'static str,
        /// The last lines that it printed, each after a line break; empty when there were none.
        last_lines: String,
    },
    /// The worker did not respond in time.
    #[error(
        "the {language} worker did not {step} within {waited:?}; raise the timeout or look at its output{last_lines}"
    )]
    TimedOut {
        /// The language.
        language: String,
        /// What it had to do.
        step: &'static str,
        /// The timeout.
        waited: Duration,
        /// As in [`StartError::Exited`].
        last_lines: String,
    },
    /// The worker reports a failure, for example a syntax error of the app.
    #[error("{}", with_stack(result))]
    Refused {
        /// What it had to do.
        step: &'static str,
        /// The result that it sent, with the stack.
        result: Box<StatusResult>,
    },
    /// The worker violated the protocol.
    #[error("the {language} worker violated the protocol: {problem}")]
    Protocol {
        /// The language.
        language: String,
        /// How.
        problem: String,
    },
    /// The pool is drained.
    #[error("the workers are being stopped")]
    Draining,
}

impl StartError {
    /// Its code, and what to do.
    #[must_use]
    pub fn description(&self) -> &'static ErrorDescription {
        match self {
            Self::UnknownLanguage { .. } => &worker::UNKNOWN_LANGUAGE,
            Self::CommandNotFound { .. } => &worker::RUNTIME_MISSING,
            Self::NotExecutable { .. } => &worker::RUNTIME_NOT_EXECUTABLE,
            Self::RuntimeTooOld { .. } => &worker::RUNTIME_TOO_OLD,
            Self::Config { .. } => &worker::WORKER_CONFIG,
            Self::Io { .. } => &worker::WORKER_FILES,
            Self::Exited { .. } => &worker::WORKER_EXITED,
            Self::TimedOut { .. } => &worker::WORKER_SILENT,
            Self::Refused { .. } => &worker::APP_NOT_LOADED,
            Self::Protocol { .. } => &worker::PROTOCOL_VIOLATED,
            Self::Draining => &invocation::DRAINING,
        }
    }
}

/// Number of lines of a stack that are shown.
const STACK_LINES_MAX: usize = 20;

/// The message of the worker, with the stack of an exception of the app.
fn with_stack(result: &StatusResult) -> String {
    let message = result.message();
    // The stack of a platform error leads into the worker and does not help the author of the app.
    let thrown = result.exception.as_ref().filter(|exception| exception.is_user_exception);
    let stack = thrown.map_or("", |exception| exception.stack_trace.trim());
    if stack.is_empty() || message.contains(stack) {
        return message.to_owned();
    }
    let mut text = message.to_owned();
    for line in stack.lines().take(STACK_LINES_MAX) {
        text.push('\n');
        text.push_str(line);
    }
    text
}

/// An invocation has no response. A function that failed is not such an error: see `InvocationResponse::result`.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InvokeError {
    /// The worker exited during the invocation; whether the function did anything is unknown. The caller decides about a retry.
    #[error("the worker process {pid} ended in the middle of the invocation")]
    WorkerGone {
        /// Id of the process.
        pid: u32,
    },
    /// The function did not end in time. It was cancelled; if it continues to run, its worker is replaced.
    #[error(
        "the function did not end within {limit:?}; it was told to stop, and its worker is replaced if it goes on"
    )]
    TimedOut {
        /// The timeout.
        limit: Duration,
    },
    /// No worker became ready in time.
    #[error("no worker is ready: {reason}")]
    NoWorker {
        /// Why the last start failed, that a worker is starting, or that workers exit before they receive the invocation.
        reason: String,
    },
    /// The request is larger than the protocol allows.
    #[error("the invocation is larger ({bytes} bytes) than the worker accepts ({bytes_max} bytes)")]
    TooLarge {
        /// Its size.
        bytes: usize,
        /// The limit.
        bytes_max: usize,
    },
    /// The stored body of the request cannot be read.
    #[error("cannot read the body of the request from its file")]
    Unreadable {
        /// Why.
        #[source]
        cause: std::io::Error,
    },
    /// The pool is drained.
    #[error("the workers are being stopped")]
    Draining,
    /// The invocation was cancelled before a worker had it; the function was not invoked.
    #[error("the caller went away before the function was called")]
    Cancelled,
}

impl InvokeError {
    /// Its code, and what to do.
    #[must_use]
    pub fn description(&self) -> &'static ErrorDescription {
        match self {
            Self::WorkerGone { .. } => &invocation::WORKER_ENDED,
            Self::TimedOut { .. } => &invocation::TIMED_OUT,
            Self::NoWorker { .. } => &invocation::NO_WORKER,
            Self::TooLarge { .. } => &invocation::INVOCATION_TOO_LARGE,
            Self::Unreadable { .. } => &invocation::BODY_FILE,
            Self::Draining => &invocation::DRAINING,
            Self::Cancelled => &invocation::CANCELLED,
        }
    }
}
