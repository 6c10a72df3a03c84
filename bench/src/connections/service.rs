//! The binary under load: started, measured, killed; and the publisher, which runs all the time.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use identity::{AccessKey, Algorithm, Claims, DEVELOPMENT_SIGNALR_KEY};
use serde_json::Value;

use super::client::{HUB, TARGETS};
use crate::latency::peer::Http;

/// Groups that the first clients are in, one each.
pub(super) const GROUPS: u32 = 10;

/// How often a publisher tries again while the service is unavailable.
const RETRY_EVERY: Duration = Duration::from_millis(100);

/// A running binary.
pub(super) struct Service {
    child: Child,
    pub(super) realtime: String,
    gateway: String,
    pub(super) ready: Duration,
}

impl Service {
    /// Starts it on its previous ports, or on free ones.
    pub(super) fn start(binary: &Path, folder: &Path, ports: Option<&Self>) -> anyhow::Result<Self> {
        let mut command = Command::new(binary);
        command.args(["start", "--no-functions", "--json", "--data-dir"]).arg(folder.join("data"));
        let port = |authority: &str| authority.rsplit(':').next().unwrap_or("0").to_owned();
        let realtime = ports.map_or("0".to_owned(), |ports| port(&ports.realtime));
        let gateway = ports.map_or("0".to_owned(), |ports| port(&ports.gateway));
        for (name, port) in [("realtime", realtime.as_str()), ("gateway", &gateway), ("documents", "0")] {
            command.arg("--set").arg(format!("listen.{name}=localhost:{port}"));
        }
        let log = std::fs::OpenOptions::new().create(true).append(true).open(folder.join("log"))?;
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log);
        let began = Instant::now();
        let mut child = command.spawn().with_context(|| format!("start {}", binary.display()))?;
        let mut line = String::new();
        BufReader::new(child.stdout.take().context("the output is a pipe")?).read_line(&mut line)?;
        let facts: Value = serde_json::from_str(&line).with_context(|| {
            let log = std::fs::read_to_string(folder.join("log")).unwrap_or_default();
            format!("the ready line {line:?}; log: {log}")
        })?;
        let authority = |name: &str| -> anyhow::Result<String> {
            let url = facts["urls"][name].as_str().with_context(|| facts.to_string())?;
            Ok(url.trim_start_matches("http://").trim_end_matches('/').to_owned())
        };
        let (realtime, gateway) = (authority("realtime")?, authority("gateway")?);
        if ports.is_some_and(|ports| port(&ports.realtime) != port(&realtime)) {
            bail!("the port of before is taken");
        }
        Ok(Self { child, realtime, gateway, ready: began.elapsed() })
    }

    /// `kill -9`.
    pub(super) fn kill(&mut self) -> anyhow::Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Connections that it counts.
    pub(super) fn connections(&self) -> anyhow::Result<u64> {
        let (status, body) = Http::connect(&self.gateway)?.request("GET", "/chappe/api/info", &[], b"")?;
        let info: Value = serde_json::from_slice(&body).with_context(|| status.to_string())?;
        info["connections"].as_u64().with_context(|| info.to_string())
    }

    /// Memory in bytes: anonymous memory (allocated and touched), and the resident part of all mapped memory.
    pub(super) fn memory(&self) -> anyhow::Result<Memory> {
        let text = std::fs::read_to_string(format!("/proc/{}/smaps_rollup", self.child.id()))?;
        let field = |name: &str| -> anyhow::Result<u64> {
            let line =
                text.lines().find_map(|line| line.strip_prefix(name)).context("a field of the memory map")?;
            Ok(line.trim().trim_end_matches("kB").trim().parse::<u64>()? * 1024)
        };
        Ok(Memory { anonymous: field("Anonymous:")?, resident: field("Rss:")? })
    }

    /// Adds the first clients to groups by their users, so that the membership still exists when a client reconnects.
    pub(super) fn join_groups(&self, grouped: u32) -> anyhow::Result<()> {
        let mut http = Http::connect(&self.realtime)?;
        for number in 0..grouped {
            let path = format!("/api/v1/hubs/{HUB}/users/u{number}/groups/g{}", number % GROUPS);
            let (status, body) =
                http.request("PUT", &path, &[("authorization", &authorization(&path))], b"")?;
            if !(200..300).contains(&status) {
                bail!("{path} was answered {status}: {}", String::from_utf8_lossy(&body));
            }
        }
        Ok(())
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // A process that has already ended needs no kill.
        let _ = self.kill();
    }
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Memory {
    pub(super) anonymous: u64,
    pub(super) resident: u64,
}

/// Sends numbers to all clients and to each group, one after the other, at a constant rate, whether the service is available or not: a
/// number that was not accepted is sent again until it is.
pub(super) struct Publisher {
    stop: Arc<AtomicBool>,
    taken: Arc<AtomicU64>,
    thread: Option<JoinHandle<anyhow::Result<()>>>,
}

impl Publisher {
    pub(super) fn start(realtime: &str, first: u64, every: Duration) -> Self {
        let (stop, taken) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(first - 1)));
        let thread = {
            let (stop, taken, realtime) = (Arc::clone(&stop), Arc::clone(&taken), realtime.to_owned());
            std::thread::spawn(move || {
                let mut next = Instant::now();
                for number in first.. {
                    if stop.load(Ordering::Relaxed) {
                        break;
                    }
                    publish(&realtime, number)?;
                    taken.store(number, Ordering::Relaxed);
                    next = (next + every).max(Instant::now());
                    std::thread::sleep(next.saturating_duration_since(Instant::now()));
                }
                Ok(())
            })
        };
        Self { stop, taken, thread: Some(thread) }
    }

    /// The newest number that the service accepted.
    pub(super) fn taken(&self) -> u64 {
        self.taken.load(Ordering::Relaxed)
    }

    /// Stops, and returns the last number.
    pub(super) fn stop(mut self) -> anyhow::Result<u64> {
        self.stop.store(true, Ordering::Relaxed);
        let thread = self.thread.take().context("it stops once")?;
        thread.join().map_err(|_| anyhow::anyhow!("the publisher panicked"))??;
        Ok(self.taken())
    }
}

/// Sends one number to all clients and to each group. Waits while the service is unavailable.
pub(super) fn publish(realtime: &str, number: u64) -> anyhow::Result<()> {
    let all = format!("/api/v1/hubs/{HUB}");
    send(realtime, &all, TARGETS[0], number)?;
    for group in 0..GROUPS {
        send(realtime, &format!("{all}/groups/g{group}"), TARGETS[1], number)?;
    }
    Ok(())
}

fn send(realtime: &str, path: &str, target: &str, number: u64) -> anyhow::Result<()> {
    // About as long as a chat message.
    let body = format!("{{\"target\":\"{target}\",\"arguments\":[{number},\"{}\"]}}", "x".repeat(80));
    let began = Instant::now();
    loop {
        let headers = [("authorization", &*authorization(path)), ("content-type", "application/json")];
        let outcome = Http::connect(realtime)
            .and_then(|mut http| http.request("POST", path, &headers, body.as_bytes()));
        match outcome {
            Ok((202, _)) => return Ok(()),
            Ok((status, body)) if status < 500 => {
                bail!("{path} was answered {status}: {}", String::from_utf8_lossy(&body));
            }
            Err(error) if began.elapsed() > Duration::from_secs(60) => {
                return Err(error.context("the service stays away"));
            }
            Ok(_) | Err(_) => std::thread::sleep(RETRY_EVERY),
        }
    }
}

fn authorization(path: &str) -> String {
    let key = AccessKey::new(DEVELOPMENT_SIGNALR_KEY).expect("the constant is not empty");
    let now = super::clock::unix_now();
    let audience = format!("http://localhost{path}");
    format!("Bearer {}", identity::sign(&Claims::new(), &audience, now, now + 600, &key, Algorithm::Hs256))
}

/// The folder for one run.
pub(super) fn folder() -> anyhow::Result<(tempfile::TempDir, PathBuf)> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().to_owned();
    Ok((folder, path))
}
