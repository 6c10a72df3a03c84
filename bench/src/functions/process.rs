//! Processes that are measured: started on the first processor, with their processor time.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::OnceLock;

use anyhow::{Context, bail};

use crate::core_time::processor;
use crate::fanout::process::pin_to;

/// A child process on the first processor; it is ended when this is dropped.
pub(super) struct Process {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Process {
    /// Starts it; its own children stay on that processor too.
    pub(super) fn start(command: &mut Command) -> anyhow::Result<Self> {
        let [servers, clients] = processors()?;
        // A child inherits the processors of the thread that starts it.
        pin_to(servers)?;
        let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        pin_to(clients)?;
        let mut child =
            child.with_context(|| format!("start {}", command.get_program().to_string_lossy()))?;
        let input = child.stdin.take();
        let output = BufReader::new(child.stdout.take().expect("the output is piped"));
        Ok(Self { child, input, output })
    }

    /// The next line that it prints.
    pub(super) fn line(&mut self) -> anyhow::Result<String> {
        let mut line = String::new();
        if self.output.read_line(&mut line)? == 0 {
            bail!("process {} ended; what it printed is above", self.child.id());
        }
        Ok(line.trim_end().to_owned())
    }

    /// Writes a line to its standard input.
    pub(super) fn send(&mut self, line: &str) -> anyhow::Result<()> {
        let input = self.input.as_mut().expect("the input stays open until the process is dropped");
        Ok(writeln!(input, "{line}")?)
    }

    pub(super) fn id(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.input.take());
        // SIGTERM, so that a host ends its workers.
        if let Some(id) = rustix::process::Pid::from_raw(self.child.id().cast_signed()) {
            let _ = rustix::process::kill_process(id, rustix::process::Signal::TERM);
        }
        let _ = self.child.wait();
    }
}

/// The processors of servers and of clients: the first two that this process could use when it started.
fn processors() -> anyhow::Result<[usize; 2]> {
    static PROCESSORS: OnceLock<[usize; 2]> = OnceLock::new();
    if let Some(found) = PROCESSORS.get() {
        return Ok(*found);
    }
    let found = [processor(0)?, processor(1)?];
    Ok(*PROCESSORS.get_or_init(|| found))
}

/// Processor time of a process so far, all threads, in nanoseconds (`/proc/PID/task/TID/schedstat`).
pub(super) fn processor_time_ns(process: u32) -> anyhow::Result<u64> {
    let mut total = 0;
    for thread in std::fs::read_dir(format!("/proc/{process}/task"))? {
        // A thread may end meanwhile.
        let Ok(text) = std::fs::read_to_string(thread?.path().join("schedstat")) else { continue };
        let time = text.split_whitespace().next().context("schedstat has three numbers")?;
        total += time.parse::<u64>()?;
    }
    Ok(total)
}

/// The processes that this one started.
pub(super) fn children(process: u32) -> anyhow::Result<Vec<u32>> {
    let mut found = Vec::new();
    for thread in std::fs::read_dir(format!("/proc/{process}/task"))? {
        let text = std::fs::read_to_string(thread?.path().join("children")).unwrap_or_default();
        found.extend(text.split_whitespace().filter_map(|id| id.parse::<u32>().ok()));
    }
    Ok(found)
}
