//! [`WorkerLog`]: writes log records, output and events of workers to the log of the app.

use worker_protocol::{LogCategory, RpcLog};

use super::ActiveInvocations;
use crate::error_table::{invocation, worker};
use crate::log::{Level, Logs};
use crate::metrics::{Metrics, WorkerChange, WorkerLabel};
use crate::worker::{Observer, RetireReason, WorkerEvent, WorkerLine};

/// Observes the workers of an app.
#[derive(Debug)]
pub(crate) struct WorkerLog {
    pub(crate) logs: Logs,
    pub(crate) active: ActiveInvocations,
    pub(crate) metrics: Metrics,
}

impl Observer for WorkerLog {
    fn log(&self, record: &RpcLog) {
        let id = record.invocation_id.as_ref().map(worker_protocol::InvocationId::as_str);
        let id = id.filter(|id| !id.is_empty());
        let function = id.and_then(|id| self.active.function(id));
        let mut text = record.message.clone();
        if let Some(exception) = &record.exception
            && !text.contains(&exception.message)
        {
            text = format!("{text}\n{}\n{}", exception.message, exception.stack_trace);
        }
        let level = Level::from_protocol(record.level);
        match record.log_category {
            LogCategory::User => self.logs.user(level, function.as_deref(), id, text),
            // Records of the worker itself help its authors; users get only warnings and errors.
            LogCategory::System if level < Level::Warn => {
                tracing::debug!(worker = text, "log record of a worker");
            }
            LogCategory::System => self.logs.host(level, text),
            LogCategory::CustomMetric => tracing::debug!(metric = text, "custom metric of a function"),
        }
    }

    fn line(&self, line: WorkerLine<'_>) {
        if line.is_system {
            tracing::debug!(worker = line.text, pid = line.pid, "output of a worker");
            return;
        }
        // The level of a printed line is guessed from its words, as the real host does for standard error.
        let lower = line.text.to_ascii_lowercase();
        let level = match line.is_error {
            true if lower.contains("warn") => Level::Warn,
            true if lower.contains("error") || lower.contains("exception") => Level::Error,
            _ => Level::Info,
        };
        self.logs.user(level, None, None, line.text.to_owned());
    }

    fn event(&self, event: &WorkerEvent) {
        let (change, level, error, text) = match event {
            WorkerEvent::Started { pid, took, is_restart } => {
                tracing::debug!(pid, took_ms = took.as_millis(), is_restart, "worker is ready");
                let change = if *is_restart { WorkerChange::Restarted } else { WorkerChange::Started };
                (change, Level::Info, None, "Worker process started and initialized.".to_owned())
            }
            WorkerEvent::Exited { pid, status, is_expected } => {
                let how = status
                    .map_or_else(|| "with an unknown status".to_owned(), |status| format!("with {status}"));
                if *is_expected {
                    (WorkerChange::Exited, Level::Debug, None, format!("Worker process {pid} ended {how}."))
                } else {
                    let text = format!("Worker process {pid} ended {how}; another one is being started.");
                    (WorkerChange::Exited, Level::Error, Some(&worker::WORKER_EXITED), text)
                }
            }
            WorkerEvent::TimedOut { pid, is_responding } => {
                let rest = if *is_responding {
                    "it ends once its other invocations have ended"
                } else {
                    "it does not answer either, and is killed"
                };
                let text = format!(
                    "A function went on beyond functionTimeout after it was told to stop: worker process {pid} is replaced, and {rest}."
                );
                (WorkerChange::Overran, Level::Error, Some(&invocation::OVERRAN), text)
            }
            WorkerEvent::Retired { pid, reason } => {
                let why = match reason {
                    RetireReason::Idle => "the app has no invocations",
                    RetireReason::Excess => "the load is low",
                    RetireReason::Memory => "it has more memory than functions.workers.memory_bytes_max",
                    RetireReason::Age => "it has the age functions.workers.age_ms_max",
                };
                let text = format!("Worker process {pid} ends once its invocations have ended: {why}.");
                (WorkerChange::Retired, Level::Info, None, text)
            }
            WorkerEvent::Quarantined { function } => {
                let text = format!(
                    "Functions.{function} ended its worker process more than once. It runs in a process of its own from now on, so that \
                     other functions are not affected. Look for exit calls, errors that nobody catches, and memory in its code."
                );
                (WorkerChange::Quarantined, Level::Error, Some(&worker::QUARANTINED), text)
            }
            WorkerEvent::Released { function } => {
                let text = format!(
                    "Functions.{function} has not ended its worker process for a while, and shares the processes of the other functions again."
                );
                (WorkerChange::Released, Level::Info, None, text)
            }
            WorkerEvent::UnknownCapabilities { names } => {
                let text = format!(
                    "The worker announces capabilities that this host does not know: {}. Functions that need them may fail: update Chappe, or \
                     use an older version of the worker or of its extension.",
                    names.join(", ")
                );
                return self.logs.host(Level::Warn, text);
            }
            WorkerEvent::StartFailed { reason, failures, retry_in } => {
                let text = format!(
                    "Worker process could not be started ({failures} in a row): {reason}. Next try in {retry_in:?}."
                );
                (WorkerChange::StartFailed, Level::Error, Some(&worker::START_FAILED), text)
            }
        };
        self.metrics.worker_starts.get_or_create(&WorkerLabel { event: change }).inc();
        match error {
            Some(error) => self.logs.host_error(error, text),
            None => self.logs.host(level, text),
        }
    }
}
