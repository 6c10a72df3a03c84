//! One worker's process: its start, its output, its end.

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

/// A running process. Dropping it kills the process and all that it started.
#[derive(Debug)]
pub(super) struct Process {
    pub(super) pid: u32,
    stop: mpsc::Sender<Stop>,
    ended: watch::Receiver<Option<End>>,
    tail: Arc<Tail>,
    task: JoinHandle<()>,
}

/// How a process ended; the status is `None` when the system does not say.
pub(super) type End = Option<ExitStatus>;

#[derive(Clone, Copy, Debug)]
enum Stop {
    /// We want it to end, by itself at first.
    Expect,
    Terminate,
    Kill,
}

/// The last lines that the process printed, for errors.
#[derive(Debug, Default)]
struct Tail(Mutex<VecDeque<String>>);

const TAIL_LINES_MAX: usize = 20;
const TAIL_LINE_BYTES_MAX: usize = 2000;

/// Lines of this beginning are the worker's own records.
const SYSTEM_PREFIX: &str = "LanguageWorkerConsoleLog";

/// How long output may still come after the process ended; by then the whole group is dead.
const OUTPUT_AFTER_END_MAX: Duration = Duration::from_secs(2);

impl Process {
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

    /// Waits for the end.
    pub(super) async fn ended(&self) -> End {
        let mut ended = self.ended.clone();
        // The sender is dropped without a value only if the task was aborted, and then the process is dead.
        ended.wait_for(Option::is_some).await.ok().and_then(|end| *end).flatten()
    }

    /// From now on its end is our wish.
    pub(super) fn expect_end(&self) {
        let _ = self.stop.try_send(Stop::Expect);
    }

    /// Asks it and all that it started to end.
    pub(super) fn terminate(&self) {
        let _ = self.stop.try_send(Stop::Terminate);
    }

    /// Ends it and all that it started.
    pub(super) fn kill(&self) {
        if self.stop.try_send(Stop::Kill).is_err() && self.ended.borrow().is_none() {
            platform::kill_group(self.pid);
        }
    }

    /// What it printed last: each line after a line break.
    pub(super) fn last_lines(&self) -> String {
        let lines = self.tail.0.lock().unwrap_or_else(PoisonError::into_inner);
        lines.iter().fold(String::new(), |text, line| text + "\n" + line)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Aborting drops the child and its group, which kills both.
        self.task.abort();
    }
}

/// Kills the group when it goes out of scope, however that comes about.
struct Group(u32);

impl Drop for Group {
    fn drop(&mut self) {
        platform::kill_group(self.0);
    }
}

async fn supervise(
    mut child: Child,
    group: Group,
    mut stops: mpsc::Receiver<Stop>,
    mut output: JoinSet<()>,
    ended: watch::Sender<Option<End>>,
    observer: Arc<dyn Observer>,
) {
    let mut is_expected = false;
    let status = loop {
        tokio::select! {
            status = child.wait() => break status.ok(),
            Some(Err(error)) = output.join_next() => {
                // A process whose output nobody reads stands still, or dies of it some time later.
                tracing::error!(pid = group.0, %error, "a task that reads a worker's output panicked; this is a defect");
                platform::kill_group(group.0);
            }
            Some(stop) = stops.recv() => match stop {
                Stop::Expect => is_expected = true,
                Stop::Terminate => {
                    is_expected = true;
                    platform::terminate_group(group.0);
                }
                Stop::Kill => {
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
    let tell = |line: &[u8]| {
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
        lines.push(&chunk[..length], &tell);
    }
    lines.finish(&tell);
}

/// Cuts output into lines; what a line has beyond the limit is dropped.
#[derive(Default)]
struct Lines {
    line: Vec<u8>,
}

impl Lines {
    fn push(&mut self, chunk: &[u8], tell: &impl Fn(&[u8])) {
        for piece in chunk.split_inclusive(|byte| *byte == b'\n') {
            let (text, ends) = match piece.split_last() {
                Some((b'\n', text)) => (text, true),
                _ => (piece, false),
            };
            let room = WorkerLine::BYTES_MAX - self.line.len();
            self.line.extend_from_slice(&text[..text.len().min(room)]);
            if ends {
                tell(&self.line);
                self.line.clear();
            }
        }
    }

    fn finish(self, tell: &impl Fn(&[u8])) {
        if !self.line.is_empty() {
            tell(&self.line);
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
    fn lines_are_cut_at_the_limit_and_at_chunks() {
        let told = Mutex::new(Vec::new());
        let tell = |line: &[u8]| told.lock().expect("one thread").push(line.to_vec());
        let mut lines = Lines::default();
        lines.push(b"a\nb", &tell);
        lines.push(b"c\n\n", &tell);
        lines.push(&vec![b'x'; WorkerLine::BYTES_MAX + 5], &tell);
        lines.push(b"y\nlast", &tell);
        lines.finish(&tell);
        let told = told.into_inner().expect("one thread");
        let lengths: Vec<_> = told.iter().map(Vec::len).collect();
        assert_eq!(lengths, [1, 2, 0, WorkerLine::BYTES_MAX, 4]);
    }
}
