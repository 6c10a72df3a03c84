//! A peer as a separate process on processor 0, which ends with ours.

use std::convert::Infallible;
use std::ffi::OsString;
use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use rustix::process::{Signal, set_parent_process_death_signal};

use super::{Peer, Prepared, install};
use crate::fanout::process::pin;

/// Longest wait until a peer listens.
const LISTENS_WITHIN: Duration = Duration::from_secs(20);

/// Ports that are tried: another process may use one between our check and the peer's bind.
const PORTS_MAX: usize = 5;

/// Flags of the hidden command `peer-process`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true)]
    command: Vec<OsString>,
}

/// Replaces this process by another program that stays on processor 0 and ends with the process that started it.
pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    become_other(args).map(|never| match never {})
}

fn become_other(args: &Args) -> anyhow::Result<Infallible> {
    let (program, rest) = args.command.split_first().context("a program is expected")?;
    pin(0)?;
    set_parent_process_death_signal(Some(Signal::KILL))?;
    // Returns only if it fails.
    let error = Command::new(program).args(rest).exec();
    Err(error).with_context(|| format!("start {}", program.display()))
}

/// A listening peer. It is killed when this is dropped, and when the thread that started it ends.
pub(crate) struct RunningPeer {
    /// The peer itself, without a process between it and us.
    pub(crate) child: Child,
    /// Where clients connect.
    pub(crate) address: SocketAddr,
    /// Where [`super::PeerControl`] connects.
    pub(crate) control: SocketAddr,
}

impl Drop for RunningPeer {
    fn drop(&mut self) {
        // If it has already ended, that is fine.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Prepared {
    /// Starts the peer, for messages whose frames have this many bytes.
    pub(crate) fn start(&self, frame_bytes: usize) -> anyhow::Result<RunningPeer> {
        // Before anything runs: not every length is possible.
        let text_bytes = self.peer.text_bytes(frame_bytes)?;
        match self.peer {
            Peer::Centrifugo => self.start_centrifugo(),
            Peer::Ws | Peer::SocketIo => self.start_program(Path::new("node"), &["server.mjs"], text_bytes),
            Peer::Bun => self.start_program(&self.folder.join(install::BUN), &["server.mjs"], text_bytes),
            Peer::Gws => self.start_program(&self.folder.join(install::GWS), &[], text_bytes),
        }
    }

    /// Starts one of the programs in `bench/peers`, which prints its address.
    fn start_program(
        &self,
        program: &Path,
        arguments: &[&str],
        text_bytes: usize,
    ) -> anyhow::Result<RunningPeer> {
        let mut command = self.on_processor_0(program)?;
        command.args(arguments).arg(text_bytes.to_string()).stdout(Stdio::piped());
        let mut child = command.spawn().with_context(|| format!("start {}", self.peer.name()))?;
        let output = child.stdout.take().expect("the output is piped");
        // Until the line is read, nothing else would end the child.
        let nowhere = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut running = RunningPeer { child, address: nowhere, control: nowhere };
        let mut line = String::new();
        BufReader::new(output).read_line(&mut line)?;
        let (address, control) =
            line.trim().split_once(' ').with_context(|| format!("{} did not start", self.peer.name()))?;
        running.address = address.parse()?;
        running.control = control.parse()?;
        Ok(running)
    }

    /// Starts Centrifugo, which needs a port number: it does not report a port that the system chose.
    fn start_centrifugo(&self) -> anyhow::Result<RunningPeer> {
        let log = self.folder.join("log");
        for _ in 0..PORTS_MAX {
            let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
            let mut command = self.on_processor_0(&self.folder.join(install::CENTRIFUGO))?;
            command.args(["--config", "config.json"]);
            command.env("CENTRIFUGO_HTTP_SERVER_PORT", address.port().to_string());
            command.stdout(std::fs::File::create(&log)?);
            let child = command.spawn().context("start Centrifugo")?;
            let mut running = RunningPeer { child, address, control: address };
            if running.listens()? {
                return Ok(running);
            }
        }
        let said = std::fs::read_to_string(&log).unwrap_or_default();
        bail!("Centrifugo did not start: {}", said.lines().last().unwrap_or("it said nothing"))
    }

    fn on_processor_0(&self, program: &Path) -> anyhow::Result<Command> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("peer-process").arg("--").arg(program);
        command.current_dir(&self.folder).stdin(Stdio::null());
        Ok(command)
    }
}

impl RunningPeer {
    /// Waits until a connection succeeds; false if the process ended first.
    fn listens(&mut self) -> anyhow::Result<bool> {
        let began = Instant::now();
        while began.elapsed() < LISTENS_WITHIN {
            if self.child.try_wait()?.is_some() {
                return Ok(false);
            }
            if TcpStream::connect(self.address).is_ok() {
                return Ok(true);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        bail!("nobody listens on {} after {LISTENS_WITHIN:?}", self.address)
    }
}
