//! [`ChildProcess`]: the binary, started on free ports, and killed by its process id.

use std::path::Path;
use std::process::Stdio;

use anyhow::{Context, bail};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::{Http, PATIENCE};

/// A running binary. Dropping it kills it.
pub struct ChildProcess {
    child: Child,
    facts: Value,
    log: JoinHandle<String>,
}

impl ChildProcess {
    /// Starts `binary` with `arguments`, every service on a free port, and waits for its ready line.
    pub async fn start(binary: &str, folder: &Path, arguments: &[&str]) -> anyhow::Result<Self> {
        let ports = ["gateway", "functions", "realtime", "documents"]
            .map(|name| format!("listen.{name}=localhost:0"));
        let ports = ports.iter().flat_map(|port| ["--set", port]);
        let arguments: Vec<&str> = arguments.iter().copied().chain(ports).collect();
        Self::start_as_configured(binary, folder, &arguments).await
    }

    /// Like [`ChildProcess::start`], on the ports that its configuration names.
    pub async fn start_as_configured(
        binary: &str,
        folder: &Path,
        arguments: &[&str],
    ) -> anyhow::Result<Self> {
        let mut command = Command::new(binary);
        command.args(arguments).arg("--json").current_dir(folder).kill_on_drop(true);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().with_context(|| format!("start {binary}"))?;
        let output = child.stdout.take().context("the output is a pipe")?;
        let mut errors = child.stderr.take().context("the errors are a pipe")?;
        let log = tokio::spawn(async move {
            let mut text = String::new();
            // If the log is not UTF-8, the text before the error is still useful.
            let _ = errors.read_to_string(&mut text).await;
            text
        });
        let mut line = String::new();
        let mut output = BufReader::new(output);
        timeout(PATIENCE, output.read_line(&mut line)).await.context("no ready line")??;
        if line.is_empty() {
            let status = child.wait().await?;
            bail!("{binary} ended with {status}: {}", log.await?);
        }
        let facts = serde_json::from_str(&line).with_context(|| format!("the ready line {line:?}"))?;
        Ok(Self { child, facts, log })
    }

    /// A client for one of its services: `gateway`, `functions`, `realtime` or `documents`.
    pub fn http(&self, service: &str) -> Http {
        let url = self.facts["urls"][service].as_str();
        Http::new(url.unwrap_or_else(|| panic!("{service} listens: {}", self.facts)))
    }

    /// The ready line.
    pub fn facts(&self) -> &Value {
        &self.facts
    }

    /// Its process id.
    pub fn id(&self) -> Option<u32> {
        self.child.id()
    }

    /// Anonymous memory: what it allocated and touched, in bytes. `None` if the system does not report it.
    pub fn anonymous_bytes(&self) -> Option<u64> {
        let text = std::fs::read_to_string(format!("/proc/{}/smaps_rollup", self.id()?)).ok()?;
        let line = text.lines().find_map(|line| line.strip_prefix("Anonymous:"))?;
        let kilobytes: u64 = line.trim().trim_end_matches("kB").trim().parse().ok()?;
        Some(kilobytes * 1024)
    }

    /// Peak memory use, in bytes, with mapped files. `None` if the system does not report it.
    pub fn peak_resident_bytes(&self) -> Option<u64> {
        let text = std::fs::read_to_string(format!("/proc/{}/status", self.id()?)).ok()?;
        let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
        let kilobytes: u64 = line.trim().trim_end_matches("kB").trim().parse().ok()?;
        Some(kilobytes * 1024)
    }

    /// Processor time so far, user and system, in clock ticks of a hundredth of a second. `None` if the system does not report
    /// it.
    pub fn cpu_ticks(&self) -> Option<u64> {
        let text = std::fs::read_to_string(format!("/proc/{}/stat", self.id()?)).ok()?;
        // The name is in parentheses and may contain anything; user and system time are the 12th and 13th field after it.
        let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
        Some(fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?)
    }

    /// Sends SIGKILL; returns its log.
    pub async fn kill(mut self) -> anyhow::Result<String> {
        self.child.kill().await?;
        Ok(self.log.await?)
    }

    /// Sends SIGTERM, so that it shuts down.
    pub async fn terminate(&self) -> anyhow::Result<()> {
        let id = self.id().context("it runs")?.to_string();
        let status = Command::new("kill").args(["-TERM", &id]).status().await?;
        if status.success() { Ok(()) } else { bail!("kill -TERM {id} ended with {status}") }
    }

    /// Starts it, expecting that it ends by itself; returns its exit code and its output and log.
    pub async fn fail(
        binary: &str,
        folder: &Path,
        arguments: &[&str],
    ) -> anyhow::Result<(Option<i32>, String)> {
        let mut command = Command::new(binary);
        command.args(arguments).current_dir(folder).stdin(Stdio::null()).kill_on_drop(true);
        let output = timeout(PATIENCE, command.output()).await.context("it does not end")??;
        let text = [output.stdout, output.stderr].concat();
        Ok((output.status.code(), String::from_utf8_lossy(&text).into_owned()))
    }

    /// Waits for its end; returns its exit code and its log.
    pub async fn wait(mut self) -> anyhow::Result<(Option<i32>, String)> {
        let status = timeout(PATIENCE, self.child.wait()).await.context("it does not end")??;
        Ok((status.code(), self.log.await?))
    }
}
