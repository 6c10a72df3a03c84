//! The servers that are measured, and how they are started.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

use super::frames::BareGenerator;
use super::http::Clients;
use super::kind::Kind;
use super::process::{Process, children, processor_time_ns};
use super::sample::Sample;
use super::stream::StreamTarget;

/// Requests at once.
pub(super) const CLIENTS: usize = 32;

const PATH: &str = "/api/hello";

/// How long a cold start may take.
const START_MAX: Duration = Duration::from_secs(20);

/// A running server with its clients.
pub(super) enum Target {
    /// A process that measures itself.
    Library(Process),
    Worker(Box<BareGenerator>),
    Http(HttpTarget),
    Stream(StreamTarget),
}

pub(super) struct HttpTarget {
    process: Process,
    server: SocketAddr,
    is_host: bool,
    _folder: Option<tempfile::TempDir>,
}

/// The paths of all programs and folders.
pub(super) struct Starter {
    root: PathBuf,
    chappe: PathBuf,
    workers: Option<PathBuf>,
    python: Option<PathBuf>,
}

impl Starter {
    /// `chappe` is the binary, by default the one beside this program; the others are as in the flags.
    pub(super) fn new(
        chappe: Option<&PathBuf>,
        workers: Option<&PathBuf>,
        python: Option<&PathBuf>,
    ) -> anyhow::Result<Self> {
        let beside = std::env::current_exe()?.with_file_name("chappe");
        let chappe = chappe.cloned().unwrap_or(beside);
        if !chappe.exists() {
            bail!(
                "there is no binary {}; build it: cargo build --release --package chappe",
                chappe.display()
            );
        }
        let root =
            Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("the bench lies in the workspace")?;
        let absolute = |path: Option<&PathBuf>| path.map(std::path::absolute).transpose();
        Ok(Self { root: root.to_owned(), chappe, workers: absolute(workers)?, python: absolute(python)? })
    }

    /// Starts a server; for a host also the time until its first response, in nanoseconds.
    pub(super) fn start(&self, kind: Kind) -> anyhow::Result<(Target, u64)> {
        let began = Instant::now();
        let target = match kind {
            Kind::NodeLibrary | Kind::PythonLibrary => Target::Library(self.library(kind)?),
            Kind::NodeWorker => {
                let app = self.node_app()?;
                Target::Worker(Box::new(BareGenerator::start(&self.root.join("workers/node"), app)?))
            }
            Kind::NodeHttp => {
                let script = self.root.join("bench/functions/http.cjs");
                let mut process = Process::start(Command::new("node").arg(script))?;
                let port: u16 = process.line()?.parse()?;
                let server = ([127, 0, 0, 1], port).into();
                Target::Http(HttpTarget { process, server, is_host: false, _folder: None })
            }
            Kind::NginxStream => {
                Target::Stream(StreamTarget::nginx(&self.root.join("bench/functions/stream.cjs"))?)
            }
            Kind::NodeStream => {
                let HttpTarget { process, server, _folder, .. } = self.host(kind)?;
                Target::Stream(StreamTarget::host(process, server, _folder))
            }
            Kind::Node | Kind::NodeOfficial | Kind::PythonOfficial => {
                let target = self.host(kind)?;
                let mut client = Clients::connect(target.server, PATH, 1)?;
                client.run(Duration::ZERO)?;
                let first = began.elapsed();
                if first > START_MAX {
                    bail!("{kind:?} needed {first:?} for its first response");
                }
                return Ok((Target::Http(target), u64::try_from(first.as_nanos())?));
            }
        };
        Ok((target, 0))
    }

    fn library(&self, kind: Kind) -> anyhow::Result<Process> {
        let functions = self.root.join("bench/functions");
        let mut command = match &self.python {
            Some(python) if kind == Kind::PythonLibrary => {
                let mut command = Command::new(python);
                command.arg(functions.join("library.py")).arg(functions.join("python-app"));
                command
            }
            _ => {
                let mut command = Command::new("node");
                command.arg(functions.join("library.cjs")).arg(self.node_app()?);
                command
            }
        };
        let mut process = Process::start(&mut command)?;
        let ready = process.line()?;
        if ready != "ready" {
            bail!("the library in a loop printed {ready}");
        }
        Ok(process)
    }

    /// The Node.js app with the library that the tests installed.
    fn node_app(&self) -> anyhow::Result<&'static Path> {
        static APP: std::sync::OnceLock<PathBuf> = std::sync::OnceLock::new();
        if let Some(app) = APP.get() {
            return Ok(app);
        }
        let folder = self.root.join("target/bench-functions/node");
        self.install(&self.root.join("bench/functions/app"), &folder)?;
        Ok(APP.get_or_init(|| folder))
    }

    /// Copies a Node.js app, and gives it the library that the tests installed.
    fn install(&self, app: &Path, folder: &Path) -> anyhow::Result<()> {
        let library = self.root.join("compat/functions-worker/node_modules");
        if !library.exists() {
            bail!("{} is missing; `npm ci` in compat/functions-worker installs it", library.display());
        }
        copy_files(app, folder)?;
        let link = folder.join("node_modules");
        if !link.exists() {
            std::os::unix::fs::symlink(library, link)?;
        }
        Ok(())
    }

    /// Starts the binary with default logs, which go to a file.
    fn host(&self, kind: Kind) -> anyhow::Result<HttpTarget> {
        let folder = tempfile::tempdir()?;
        let app = match kind {
            Kind::PythonOfficial => {
                let app = folder.path().join("app");
                copy_files(&self.root.join("bench/functions/python-app"), &app)?;
                app
            }
            Kind::NodeStream => {
                let app = folder.path().join("app");
                self.install(&self.root.join("bench/functions/stream-app"), &app)?;
                app
            }
            _ => self.node_app()?.to_owned(),
        };
        let language = if kind == Kind::PythonOfficial { "python" } else { "node" };
        let mut command = Command::new(&self.chappe);
        command
            .args(["start", "--json", "--data-dir"])
            .arg(folder.path().join("data"))
            .arg(app)
            .env("FUNCTIONS_WORKER_RUNTIME", language)
            .stderr(std::fs::File::create(folder.path().join("log"))?);
        for name in ["gateway", "functions", "realtime", "documents"] {
            command.args(["--set", &format!("listen.{name}=127.0.0.1:0")]);
        }
        if let (Kind::NodeOfficial | Kind::PythonOfficial, Some(workers)) = (kind, &self.workers) {
            command.env("languageWorkers__workersDirectory", workers);
        }
        if let (Kind::PythonOfficial, Some(python)) = (kind, &self.python) {
            command.env("languageWorkers__python__defaultExecutablePath", python);
        }
        let mut process = Process::start(&mut command)?;
        let line = process
            .line()
            .with_context(|| std::fs::read_to_string(folder.path().join("log")).unwrap_or_default())?;
        let ready: serde_json::Value = serde_json::from_str(&line)?;
        let url =
            ready["urls"]["functions"].as_str().context("the ready line names the functions' address")?;
        let port = url.rsplit(':').next().context("an address has a port")?.trim_end_matches('/').parse()?;
        let server = SocketAddr::from(([127, 0, 0, 1], port));
        Ok(HttpTarget { process, server, is_host: true, _folder: Some(folder) })
    }
}

/// Copies the files of a folder, not those of folders in it.
fn copy_files(from: &Path, to: &Path) -> anyhow::Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        if entry.file_type()?.is_file() {
            std::fs::copy(entry.path(), to.join(entry.file_name()))?;
        }
    }
    Ok(())
}

impl Target {
    pub(super) fn sample(&mut self, length: Duration) -> anyhow::Result<Sample> {
        match self {
            Self::Library(process) => {
                process.send(&length.as_millis().to_string())?;
                Ok(serde_json::from_str(&process.line()?)?)
            }
            Self::Worker(generator) => {
                generator.sample(CLIENTS, length / 10)?;
                generator.sample(CLIENTS, length)
            }
            Self::Http(target) => target.sample(length),
            Self::Stream(target) => target.sample(length),
        }
    }
}

impl HttpTarget {
    /// Latency of one client, then calls and processor time with all clients.
    fn sample(&self, length: Duration) -> anyhow::Result<Sample> {
        let mut one = Clients::connect(self.server, PATH, 1)?;
        one.run(length / 10)?;
        let mut latencies = one.run(length / 4)?;
        latencies.sort_unstable();
        let mut clients = Clients::connect(self.server, PATH, CLIENTS)?;
        clients.run(length / 10)?;
        let times = |own: &Self| -> anyhow::Result<(u64, u64)> {
            let mut of_children = 0;
            for child in children(own.process.id())? {
                of_children += processor_time_ns(child)?;
            }
            let first = processor_time_ns(own.process.id())?;
            Ok(if own.is_host { (first, of_children) } else { (0, first) })
        };
        let (host, worker) = times(self)?;
        let began = Instant::now();
        let calls = clients.run(length)?.len();
        let wall = began.elapsed();
        let (host_after, worker_after) = times(self)?;
        let at = |share: f64| latencies[((latencies.len() - 1) as f64 * share) as usize];
        Ok(Sample {
            calls: calls as u64,
            wall_ns: u64::try_from(wall.as_nanos())?,
            host_ns: host_after - host,
            worker_ns: worker_after - worker,
            p50_ns: at(0.5),
            p99_ns: at(0.99),
        })
    }
}
