//! [`WorkerProcess`]: the process of one worker, from its start to its exit, with its output.

use std::collections::VecDeque;
use std::io;
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::{Child, Command};
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinHandle, JoinSet};

use super::observe::{Observer, WorkerEvent, WorkerLine};
use super::platform;

/// A running process. Dropping it kills the process and its descendants.
#[derive(Debug)]
pub(super) struct WorkerProcess {
    pub(super) pid: u32,
    stop: mpsc::Sender<ProcessCommand>,
    ended: watch::Receiver<Option<ProcessExit>>,
    tail: Arc<Tail>,
    task: JoinHandle<()>,
}

/// The exit status of a process; `None` if the system does not report it.
pub(super) type ProcessExit = Option<ExitStatus>;

#[derive(Clone, Copy, Debug)]
enum ProcessCommand {
    /// The exit that follows is expected.
    ExpectExit,
    Terminate,
    Kill,
}

/// The last lines of the output, for errors.
#[derive(Debug, Default)]
struct Tail(Mutex<VecDeque<String>>);

const TAIL_LINES_MAX: usize = 20;
const TAIL_LINE_BYTES_MAX: usize = 2000;

/// Lines with this prefix are records of the worker itself.
const SYSTEM_PREFIX: &str = "LanguageWorkerConsoleLog";

/// Time for remaining output after the exit; the whole process group is dead by then.
const OUTPUT_AFTER_END_MAX: Duration = Duration::from_secs(2);

impl WorkerProcess {
    pub(super) fn spawn(mut command: Command, observer: &Arc<dyn Observer>) -> io::Result<Self> {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        platform::lead_group(&mut command);
        let mut child = command.spawn()?;
        let pid = child.id().expect("a process that was not awaited has an id");
        let tail = Arc::new(Tail::default());
        let mut output = JoinSet::new();
        let stdout = child.stdout.take().expect("standard output is piped");
        let stderr = child.stderr.take().expect("standard error is piped");
        output.spawn(read_lines(stdout, pid, false, Arc::clone(observer), Arc::clone(&tail)));
        output.spawn(read_lines(stderr, pid, true, Arc::clone(observer), Arc::clone(&tail)));
        let (stop, stops) = mpsc::channel(4);
        let (sender, ended) = watch::channel(None);
        let group = Group(pid);
        let task = tokio::spawn(supervise(child, group, stops, output, sender, Arc::clone(observer)));
        Ok(Self { pid, stop, ended, tail, task })
    }

    /// Waits for the exit.
    pub(super) async fn ended(&self) -> ProcessExit {
        let mut ended = self.ended.clone();
        // The sender is dropped without a value only if the task was aborted; then the process is dead.
        ended.wait_for(Option::is_some).await.ok().and_then(|end| *end).flatten()
    }

    /// Marks the exit as expected.
    pub(super) fn expect_exit(&self) {
        let _ = self.stop.try_send(ProcessCommand::ExpectExit);
    }

    /// Sends the process and its descendants the signal to exit.
    pub(super) fn terminate(&self) {
        let _ = self.stop.try_send(ProcessCommand::Terminate);
    }

    /// Kills the process and its descendants.
    pub(super) fn kill(&self) {
        if self.stop.try_send(ProcessCommand::Kill).is_err() && self.ended.borrow().is_none() {
            platform::kill_group(self.pid);
        }
    }

    /// The last lines of its output, each after a line break.
    pub(super) fn last_lines(&self) -> String {
        let lines = self.tail.0.lock().unwrap_or_else(PoisonError::into_inner);
        lines.iter().fold(String::new(), |text, line| text + "\n" + line)
    }
}

impl Drop for WorkerProcess {
    fn drop(&mut self) {
        // Aborting drops the child and its group, which kills both.
        self.task.abort();
    }
}

/// Kills the process group on drop.
struct Group(u32);

impl Drop for Group {
    fn drop(&mut self) {
        platform::kill_group(self.0);
    }
}

async fn supervise(
    mut child: Child,
    group: Group,
    mut stops: mpsc::Receiver<ProcessCommand>,
    mut output: JoinSet<()>,
    ended: watch::Sender<Option<ProcessExit>>,
    observer: Arc<dyn Observer>,
) {
    let mut is_expected = false;
    let status = loop {
        tokio::select! {
            status = child.wait() => break status.ok(),
            Some(Err(error)) = output.join_next() => {
                // A process whose output is not read blocks, or fails later.
                tracing::error!(pid = group.0, %error, "a task that reads a worker's output panicked; this is a defect");
                platform::kill_group(group.0);
            }
            Some(stop) = stops.recv() => match stop {
                ProcessCommand::ExpectExit => is_expected = true,
                ProcessCommand::Terminate => {
                    is_expected = true;
                    platform::terminate_group(group.0);
                }
                ProcessCommand::Kill => {
                    platform::kill_group(group.0);
                    let _ = child.start_kill();
                }
            },
        }
    };
    let pid = group.0;
    drop(group);
    let drained = async { while output.join_next().await.is_some() {} };
    let _ = tokio::time::timeout(OUTPUT_AFTER_END_MAX, drained).await;
    ended.send_replace(Some(status));
    observer.event(&WorkerEvent::Exited { pid, status, is_expected });
}

async fn read_lines(
    mut from: impl AsyncRead + Unpin,
    pid: u32,
    is_error: bool,
    observer: Arc<dyn Observer>,
    tail: Arc<Tail>,
) {
    let report = |line: &[u8]| {
        let text = String::from_utf8_lossy(line);
        let text = text.trim_end_matches('\r');
        let system = text.strip_prefix(SYSTEM_PREFIX);
        tail.push(system.unwrap_or(text));
        observer.line(WorkerLine {
            pid,
            is_error,
            is_system: system.is_some(),
            text: system.unwrap_or(text),
        });
    };
    let mut lines = Lines::default();
    let mut chunk = vec![0; 8 * 1024];
    while let Ok(length @ 1..) = from.read(&mut chunk).await {
        lines.push(&chunk[..length], &report);
    }
    lines.finish(&report);
}

/// Splits output into lines, and cuts lines at the limit.
#[derive(Default)]
struct Lines {
    line: Vec<u8>,
}

impl Lines {
    fn push(&mut self, chunk: &[u8], report: &impl Fn(&[u8])) {
        for part in chunk.split_inclusive(|byte| *byte == b'\n') {
            let (text, ends) = match part.split_last() {
                Some((b'\n', text)) => (text, true),
                _ => (part, false),
            };
            let capacity = WorkerLine::BYTES_MAX - self.line.len();
            self.line.extend_from_slice(&text[..text.len().min(capacity)]);
            if ends {
                report(&self.line);
                self.line.clear();
            }
        }
    }

    fn finish(self, report: &impl Fn(&[u8])) {
        if !self.line.is_empty() {
            report(&self.line);
        }
    }
}

impl Tail {
    fn push(&self, line: &str) {
        let end = line.floor_char_boundary(TAIL_LINE_BYTES_MAX);
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.len() == TAIL_LINES_MAX {
            lines.pop_front();
        }
        lines.push_back(line[..end].to_owned());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_lines_are_split_at_the_limit() {
        let lines_seen = Mutex::new(Vec::new());
        let report = |line: &[u8]| lines_seen.lock().expect("one thread").push(line.to_vec());
        let mut lines = Lines::default();
        lines.push(b"a\nb", &report);
        lines.push(b"c\n\n", &report);
        lines.push(&vec![b'x'; WorkerLine::BYTES_MAX + 5], &report);
        lines.push(b"y\nlast", &report);
        lines.finish(&report);
        let lines_seen = lines_seen.into_inner().expect("one thread");
        let lengths: Vec<_> = lines_seen.iter().map(Vec::len).collect();
        assert_eq!(lengths, [1, 2, 0, WorkerLine::BYTES_MAX, 4]);
    }
}
