//! A server and its generator; each process has a processor of its own.

use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context, bail};

use super::generator::Transport;
use super::peers::{self, Peer, RunningPeer};
use super::task::{Ready, Sample, Task};

/// A server to measure, and how clients are connected to it.
#[derive(Clone, Debug)]
pub(super) struct Setup {
    pub(super) server: Server,
    pub(super) connections: u32,
    pub(super) transport: Transport,
    pub(super) mixed: bool,
    pub(super) tls: bool,
    pub(super) slow_reader: bool,
    /// An app behind an upstream, and clients that call its methods.
    pub(super) app: bool,
    /// Shards of our server; each has a processor, and if there is more than one, they share the second processor with the generator.
    pub(super) shards: u16,
    /// Another build of this program whose server is measured; absent for this build.
    pub(super) program: Option<PathBuf>,
}

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Server {
    /// The baseline: a bare loop that sends a prepared buffer to each socket.
    Raw,
    /// A real listener and the real service.
    Chappe,
    /// A server of another project.
    Peer(Peer),
}

pub(super) struct Pair {
    pub(super) ready: Ready,
    name: String,
    server: Process,
    generator: Child,
    app: Option<Child>,
    commands: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

/// The server's process.
enum Process {
    Ours(Child),
    /// It ends by itself when this is dropped.
    Peer(RunningPeer),
}

/// Clients that invoke methods; as many as a burst has messages.
const CALLERS: u32 = 16;

impl Setup {
    /// Plain WebSockets with JSON.
    pub(super) fn new(server: Server, connections: u32) -> Self {
        let transport = Transport::WebSockets;
        Self {
            server,
            connections,
            transport,
            mixed: false,
            tls: false,
            slow_reader: false,
            app: false,
            shards: 1,
            program: None,
        }
    }
}

impl Pair {
    /// Starts both. The sizes of a peer's frames are set when it starts.
    pub(super) fn start(name: &str, setup: &Setup, frame_bytes: usize) -> anyhow::Result<Self> {
        let program = std::env::current_exe()?;
        let mut app = setup.app.then(|| start(Command::new(&program).arg("fanout-app"))).transpose()?;
        let upstream = app.as_mut().map(first_line).transpose()?;
        let mut authority = None;
        let (server, address, control) = match setup.server {
            Server::Peer(peer) => {
                let running = peers::prepare(peer)?.start(frame_bytes)?;
                let (address, control) = (running.address.to_string(), running.control.to_string());
                (Process::Peer(running), address, control)
            }
            Server::Raw | Server::Chappe => {
                let mut command = Command::new(setup.program.as_ref().unwrap_or(&program));
                command.arg("fanout-server");
                command.args((setup.server == Server::Raw).then_some("--raw"));
                command.args(setup.tls.then_some("--tls"));
                command.args(upstream.iter().flat_map(|upstream| ["--upstream", upstream]));
                command.args(setup.slow_reader.then_some("--keep-slow"));
                command.args(["--shards", &setup.shards.to_string()]);
                let mut server = start(&mut command)?;
                let line = first_line(&mut server)?;
                let mut words = line.split(' ').map(str::to_owned);
                let (address, control) = (words.next(), words.next());
                authority = words.next().filter(|path| !path.is_empty());
                (Process::Ours(server), address.context("an address")?, control.context("a control address")?)
            }
        };
        if let Some(app) = &mut app {
            writeln!(app.stdin.as_mut().context("the input is piped")?, "{address}")?;
        }
        let mut command = Command::new(&program);
        command.args(["fanout-generator", "--address", &address, "--control", &control]);
        command.args(["--connections", &setup.connections.to_string()]);
        let process = match &server {
            Process::Ours(child) | Process::Peer(RunningPeer { child, .. }) => child.id(),
        };
        command.args(["--process", &process.to_string()]);
        let transport = clap::ValueEnum::to_possible_value(&setup.transport).context("a name")?;
        command.args(["--transport", transport.get_name()]);
        if let Server::Peer(peer) = setup.server {
            let peer = clap::ValueEnum::to_possible_value(&peer).context("a name")?;
            command.args(["--peer", peer.get_name(), "--frame-bytes", &frame_bytes.to_string()]);
        }
        command.args(setup.mixed.then_some("--mixed"));
        command.args(setup.slow_reader.then_some("--slow-reader"));
        command.args(authority.iter().flat_map(|authority| ["--authority", authority]));
        if setup.app {
            command.args(["--callers", &CALLERS.to_string()]);
        }
        let mut generator = start(&mut command)?;
        let commands = generator.stdin.take();
        let mut answers = BufReader::new(generator.stdout.take().context("the output is piped")?);
        let ready = answer(&mut answers).with_context(|| format!("connect the clients of {name}"))?;
        Ok(Self { ready, name: name.to_owned(), server, generator, app, commands, answers })
    }

    /// Measures, and repeats a disturbed measurement. Counts the disturbed ones.
    pub(super) fn sample(
        &mut self,
        task: &Task,
        tries: usize,
        disturbed: &mut usize,
    ) -> anyhow::Result<Option<Sample>> {
        for _ in 0..tries {
            let commands = self.commands.as_mut().context("the pair runs")?;
            writeln!(commands, "{}", serde_json::to_string(task)?)?;
            let sample: Sample =
                answer(&mut self.answers).with_context(|| format!("{}, {task:?}", self.name))?;
            if !sample.core.is_disturbed() {
                return Ok(Some(sample));
            }
            let (name, burst, shape) = (&self.name, task.burst, task.shape.name());
            eprintln!("disturbed: {name}, {burst} at once, {shape}: {}", sample.core.disturbance());
            *disturbed += 1;
        }
        Ok(None)
    }

    /// Ends both processes; ours must exit with success.
    pub(super) fn stop(mut self) -> anyhow::Result<()> {
        // The generator and the app end when their input closes, our server when its control connection closes.
        drop(self.commands.take());
        let status = self.generator.wait()?;
        if !status.success() {
            bail!("the generator of {} ended with {status}", self.name);
        }
        if let Process::Ours(server) = &mut self.server {
            let status = server.wait()?;
            if !status.success() {
                bail!("the server of {} ended with {status}", self.name);
            }
        }
        Ok(())
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        let server = match &mut self.server {
            Process::Ours(child) => Some(child),
            Process::Peer(_) => None,
        };
        for child in [Some(&mut self.generator), server, self.app.as_mut()].into_iter().flatten() {
            // For a process that has already ended, only the exit status is read.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn start(command: &mut Command) -> anyhow::Result<Child> {
    let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
    child.with_context(|| format!("start {command:?}"))
}

fn first_line(child: &mut Child) -> anyhow::Result<String> {
    let mut line = String::new();
    BufReader::new(child.stdout.take().context("the output is piped")?).read_line(&mut line)?;
    let line = line.trim_end_matches('\n');
    if line.is_empty() {
        bail!("a process of the bench did not start; what it said is above");
    }
    Ok(line.to_owned())
}

fn answer<T: serde::de::DeserializeOwned>(answers: &mut BufReader<ChildStdout>) -> anyhow::Result<T> {
    let mut line = String::new();
    answers.read_line(&mut line)?;
    serde_json::from_str(&line).context("the generator ended; what it said is above")
}
