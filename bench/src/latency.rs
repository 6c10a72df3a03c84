//! The main job from outside: one process with the example app, one writer, one connected client, one edit at a time.
//!
//! Printed: the time until the process listens, until the first function responds, from an accepted write to its message at the client
//! (p50, p99), and the process's resident memory without its workers. The baseline of the same run is a bare durable write: the same number
//! of bytes, written and flushed to a file in the same folder between two edits.

pub(crate) mod peer;

use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use serde_json::{Value, json};

use peer::{Documents, Http, Hub};

/// Flags of `bench latency`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The binary to measure
    #[arg(long, default_value = "target/release/chappe")]
    binary: PathBuf,
    /// The app to run; its packages must be installed
    #[arg(long, default_value = "examples/live-documents")]
    app: PathBuf,
    /// Edits to measure, after a tenth as many to warm up
    #[arg(long, default_value_t = 500)]
    edits: usize,
    /// Also write the result as JSON to this file
    #[arg(long)]
    json: Option<PathBuf>,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let data = tempfile::tempdir()?;
    let mut process = Process::start(args, data.path())?;
    let mut gateway = Http::connect(&process.gateway)?;
    let first = measure(|| {
        // The worker starts at the same time as the listeners: until it is ready, the host keeps the request waiting.
        let (status, body) = gateway.request("POST", "/api/negotiate?negotiateVersion=1", &[], b"")?;
        if status != 200 {
            bail!("the first function answered {status}: {}", String::from_utf8_lossy(&body));
        }
        serde_json::from_slice::<Value>(&body).context("the answer of negotiate")
    })?;
    let (access, first_function) = first;
    let first_response_since_start = process.started.elapsed();
    let mut hub = Hub::connect(&process.gateway, &access)?;
    let resident = process.resident_bytes()?;
    // One edit through the app first: it creates the container, and its trigger listens when the message has arrived.
    let first_card = json!({ "text": "first card", "column": "todo", "colour": "sand" }).to_string();
    let json_body = [("content-type", "application/json")];
    gateway.request("PUT", "/api/cards/bench-0", &json_body, first_card.as_bytes())?;
    hub.wait_for("first card\"")?;
    let mut documents = Documents::connect(&process.documents)?;

    let mut scratch = std::fs::File::create(data.path().join("baseline"))?;
    let (mut sent, mut accepted, mut flushes) = (Vec::new(), Vec::new(), Vec::new());
    for edit in 0..args.edits + args.edits / 10 {
        let id = format!("bench-{}", edit % 16);
        let card = json!({ "id": id, "text": format!("edit {edit}"), "column": "todo", "colour": "sand", "rev": edit });
        let body = serde_json::to_vec(&card)?;
        let marker = format!("edit {edit}\"");
        let begun = Instant::now();
        let (status, answer) = documents.upsert(&id, &body)?;
        let answered = Instant::now();
        if !(200..300).contains(&status) {
            bail!("the write was answered {status}: {}", String::from_utf8_lossy(&answer));
        }
        let arrived = hub.wait_for(&marker)?;
        let (_, flush) = measure(|| Ok(scratch.write_all(&body).and_then(|()| scratch.sync_data())?))?;
        if edit >= args.edits / 10 {
            sent.push(arrived - begun);
            accepted.push(arrived.saturating_duration_since(answered));
            flushes.push(flush);
        }
    }
    let resident_after = process.resident_bytes()?;
    process.stop()?;

    let milliseconds = |duration: Duration| duration.as_secs_f64() * 1e3;
    let rows = [
        ("ready to listen (ms)", milliseconds(process.ready), 100.0),
        ("first function response since start (ms)", milliseconds(first_response_since_start), 500.0),
        ("of which waiting for the answer (ms)", milliseconds(first_function), f64::NAN),
        ("write sent to message, p50 (ms)", milliseconds(percentile(&mut sent, 50)), 5.0),
        ("write sent to message, p99 (ms)", milliseconds(percentile(&mut sent, 99)), 20.0),
        ("accepted write to message, p50 (ms)", milliseconds(percentile(&mut accepted, 50)), 5.0),
        ("accepted write to message, p99 (ms)", milliseconds(percentile(&mut accepted, 99)), 20.0),
        ("bare durable write, p50 (ms)", milliseconds(percentile(&mut flushes, 50)), f64::NAN),
        ("bare durable write, p99 (ms)", milliseconds(percentile(&mut flushes, 99)), f64::NAN),
        ("resident memory, one client (MB)", resident as f64 / 1e6, 30.0),
        ("resident memory after the edits (MB)", resident_after as f64 / 1e6, 30.0),
    ];
    println!("{:<44}{:>10}{:>10}", "main job, one edit at a time", "measured", "limit");
    for (name, measured, limit) in rows {
        let limit_text = if limit.is_nan() { String::new() } else { format!("{limit:.0}") };
        let over = if measured > limit { "  over" } else { "" };
        println!("{name:<44}{measured:>10.2}{limit_text:>10}{over}");
    }
    if let Some(file) = &args.json {
        let result: serde_json::Map<_, _> =
            rows.iter().map(|(name, value, _)| ((*name).to_owned(), json!(value))).collect();
        std::fs::write(file, serde_json::to_vec_pretty(&result)?)?;
    }
    Ok(())
}

fn measure<T>(work: impl FnOnce() -> anyhow::Result<T>) -> anyhow::Result<(T, Duration)> {
    let started = Instant::now();
    let result = work()?;
    Ok((result, started.elapsed()))
}

fn percentile(samples: &mut [Duration], percent: usize) -> Duration {
    samples.sort_unstable();
    samples[(samples.len() * percent / 100).min(samples.len() - 1)]
}

/// The process under test.
struct Process {
    child: Child,
    started: Instant,
    ready: Duration,
    gateway: String,
    documents: String,
}

impl Process {
    fn start(args: &Args, data: &std::path::Path) -> anyhow::Result<Self> {
        let mut command = Command::new(&args.binary);
        command.arg("start").arg(&args.app).arg("--json").arg("--data-dir").arg(data.join("data"));
        for service in ["gateway", "functions", "realtime", "documents"] {
            command.arg("--set").arg(format!("listen.{service}=localhost:0"));
        }
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(std::fs::File::create(data.join("log"))?);
        let started = Instant::now();
        let mut child = command.spawn().with_context(|| format!("start {}", args.binary.display()))?;
        let output = child.stdout.take().context("the output is a pipe")?;
        let mut line = String::new();
        BufReader::new(output).read_line(&mut line)?;
        let ready = started.elapsed();
        let facts: Value = serde_json::from_str(&line).with_context(|| {
            format!(
                "the ready line {line:?}; log: {}",
                std::fs::read_to_string(data.join("log")).unwrap_or_default()
            )
        })?;
        let authority = |service: &str| {
            let url =
                facts["urls"][service].as_str().with_context(|| format!("the ready line names {service}"))?;
            anyhow::Ok(url.trim_start_matches("http://").trim_end_matches('/').to_owned())
        };
        let (gateway, documents) = (authority("gateway")?, authority("documents")?);
        Ok(Self { child, started, ready, gateway, documents })
    }

    fn resident_bytes(&self) -> anyhow::Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).context("VmRSS")?;
        let kilobytes: u64 = line.split_whitespace().nth(1).context("a number")?.parse()?;
        Ok(kilobytes * 1024)
    }

    fn stop(&mut self) -> anyhow::Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // If `stop` was called, the process has already ended and this call fails, which is harmless.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
