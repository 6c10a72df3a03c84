//! What can go wrong between this host and a worker.

use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::Duration;

use worker_protocol::StatusResult;

/// Why a worker did not start. The texts are for whoever typed the command: what happened, why, what to do.
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
        /// What there is, as text.
        built_in: &'static str,
    },
    /// The runtime's program is not there.
    #[error(
        "cannot start '{command}', which runs {language} functions: it is not installed or not on the PATH; {advice}"
    )]
    CommandNotFound {
        /// The language.
        language: String,
        /// What we tried to start.
        command: PathBuf,
        /// What to do.
        advice: String,
    },
    /// The program may not be run, which the archive or the system that it came from has lost.
    #[error(
        "cannot start '{command}', which runs {language} functions: this user may not run it; make it executable: \
         chmod +x '{command}'"
    )]
    NotExecutable {
        /// The language.
        language: String,
        /// What we tried to start.
        command: PathBuf,
    },
    /// The runtime is too old for our worker.
    #[error("'{command}' is version {found}, but {language} functions need {needed} or newer; {advice}")]
    RuntimeTooOld {
        /// The language.
        language: String,
        /// What was started.
        command: PathBuf,
        /// Its version.
        found: String,
        /// The oldest version that works.
        needed: &'static str,
        /// What to do.
        advice: String,
    },
    /// A `worker.config.json` is not there or makes no sense.
    #[error("worker configuration {path}: {problem}")]
    Config {
        /// The file.
        path: PathBuf,
        /// What is wrong, and what to do.
        problem: String,
    },
    /// Something around the process failed: its files, its socket, its start.
    #[error("{what}")]
    Io {
        /// What was attempted.
        what: String,
        /// What came back.
        #[source]
        cause: std::io::Error,
    },
    /// The process ended before it was ready.
    #[error("the {language} worker ended ({status}) while it was to {step}{last_lines}")]
    Exited {
        /// The language.
        language: String,
        /// How it ended.
        status: ExitStatus,
        /// What it was to do.
        step: &'static str,
        /// The last lines that it printed, each after a line break; empty when there were none.
        last_lines: String,
    },
    /// The worker did not answer in time.
    #[error(
        "the {language} worker did not {step} within {waited:?}; raise the timeout or look at its output{last_lines}"
    )]
    TimedOut {
        /// The language.
        language: String,
        /// What it was to do.
        step: &'static str,
        /// How long we waited.
        waited: Duration,
        /// As in [`StartError::Exited`].
        last_lines: String,
    },
    /// The worker says that it cannot; the message is its own, such as a syntax error of the app.
    #[error("{}", with_stack(result))]
    Refused {
        /// What it was to do.
        step: &'static str,
        /// What it said, stack included.
        result: Box<StatusResult>,
    },
    /// The worker broke the protocol.
    #[error("the {language} worker broke the protocol: {problem}")]
    Protocol {
        /// The language.
        language: String,
        /// How.
        problem: String,
    },
    /// The pool was told to end meanwhile.
    #[error("the workers are being stopped")]
    Draining,
}

/// Most lines of a stack that are shown.
const STACK_LINES_MAX: usize = 20;

/// What the worker said, with the stack of an exception that the app threw.
fn with_stack(result: &StatusResult) -> String {
    let message = result.message();
    // The stack of an error of the platform leads into the worker, and says nothing to the app's author.
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

/// Why an invocation has no answer. An invocation that the function itself failed is no such error: see
/// `InvocationResponse::result`.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InvokeError {
    /// The worker died in the middle; whether the function did anything is unknown. Trying again is the caller's choice.
    #[error("the worker process {pid} ended in the middle of the invocation")]
    WorkerGone {
        /// The process that died.
        pid: u32,
    },
    /// The function did not answer in time. It was told to stop; if it goes on, its worker is replaced.
    #[error(
        "the function did not end within {limit:?}; it was told to stop, and its worker is replaced if it goes on"
    )]
    TimedOut {
        /// The limit.
        limit: Duration,
    },
    /// No worker became ready in time.
    #[error("no worker is ready: {reason}")]
    NoWorker {
        /// Why the last start failed, that it is under way, or that workers end before they take the invocation.
        reason: String,
    },
    /// The request is larger than what the protocol to the worker carries.
    #[error("the invocation is larger ({bytes} bytes) than the worker accepts ({bytes_max} bytes)")]
    TooLarge {
        /// Its size.
        bytes: usize,
        /// The limit.
        bytes_max: usize,
    },
    /// The body of the request cannot be read from the file in which it waits.
    #[error("read the body of the request from its file")]
    Unreadable {
        /// Why.
        #[source]
        cause: std::io::Error,
    },
    /// The pool was told to end.
    #[error("the workers are being stopped")]
    Draining,
    /// Nobody wanted the answer any more before a worker had the invocation; the function was not called.
    #[error("the caller went away before the function was called")]
    Cancelled,
}
