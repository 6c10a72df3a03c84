//! A server and its generator: two processes that are started and ended together.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context, bail};

use super::kind::Kind;

/// What distinguishes this pair from others.
#[derive(Clone, Copy, Default)]
pub(crate) struct Setup<'a> {
    /// The listener of connection events, as `host:port`.
    pub(crate) upstream: Option<&'a str>,
    /// The folder of the certificate authority, if TLS is used.
    pub(crate) tls: Option<&'a Path>,
    /// Clients that connect at the same time.
    pub(crate) under_way: usize,
}

pub(crate) struct Pair {
    server: Child,
    generator: Child,
    commands: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Pair {
    pub(crate) fn start(kind: Kind, setup: Setup<'_>) -> anyhow::Result<Self> {
        let program = std::env::current_exe()?;
        let name = clap::ValueEnum::to_possible_value(&kind).expect("every kind has a name");
        let mut server = Command::new(&program);
        server
            .args(["connect-server", "--kind", name.get_name()])
            .stdin(Stdio::null())
            .stdout(Stdio::piped());
        if let Some(upstream) = setup.upstream {
            server.args(["--upstream", upstream]);
        }
        if let Some(folder) = setup.tls {
            server.arg("--tls").arg(folder);
        }
        let mut server = server.spawn().context("start the server")?;
        let mut addresses = String::new();
        BufReader::new(server.stdout.take().expect("the output is piped")).read_line(&mut addresses)?;
        let (address, control) = addresses.trim().split_once(' ').context("the server did not start")?;
        let mut generator = Command::new(&program);
        generator.args(["connect-generator", "--address", address, "--control", control]);
        generator.args(["--under-way", &setup.under_way.to_string()]);
        if let Some(folder) = setup.tls {
            generator.arg("--authority").arg(folder.join("authority.pem"));
        }
        let generator = generator.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let mut generator = generator.context("start the generator")?;
        let commands = generator.stdin.take().expect("the input is piped");
        let answers = BufReader::new(generator.stdout.take().expect("the output is piped"));
        Ok(Self { server, generator, commands, answers })
    }

    /// Sends the generator a command, and reads its report.
    pub(crate) fn ask<T: serde::de::DeserializeOwned>(&mut self, command: &str) -> anyhow::Result<T> {
        writeln!(self.commands, "{command}")?;
        let mut line = String::new();
        self.answers.read_line(&mut line)?;
        serde_json::from_str(&line).context("the generator ended; what it said is above")
    }

    pub(crate) fn stop(mut self) -> anyhow::Result<()> {
        // The generator ends when its input closes, the server when its control connection closes.
        drop(self.commands);
        for (child, name) in [(&mut self.generator, "generator"), (&mut self.server, "server")] {
            let status = child.wait()?;
            if !status.success() {
                bail!("the {name} ended with {status}");
            }
        }
        Ok(())
    }
}
