//! Installs a peer: its program from our binary, its packages from a registry, in the versions of the lock files.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use rustix::process::{Pid, Signal, kill_process_group};

use super::Peer;

/// The folder of the peers, relative to the root of the repository.
const ROOT: &str = "target/peers";

/// Longest wait for an installation; Centrifugo takes minutes to compile.
const INSTALL_WITHIN: Duration = Duration::from_secs(20 * 60);

/// The result of an installation, in the peer's folder.
pub(super) const CENTRIFUGO: &str = "centrifugo";
pub(super) const GWS: &str = "server";
#[cfg(target_arch = "aarch64")]
pub(super) const BUN: &str = "node_modules/@oven/bun-linux-aarch64/bin/bun";
#[cfg(not(target_arch = "aarch64"))]
pub(super) const BUN: &str = "node_modules/@oven/bun-linux-x64/bin/bun";

/// The record of an installation, in the same folder: the runtime on the first line, then all files of the peer.
const NOTED: &str = "installed";

/// A peer that can be started.
pub(crate) struct Prepared {
    pub(super) peer: Peer,
    pub(super) folder: PathBuf,
    /// The runtime or compiler, such as `Go 1.26.8`.
    runtime: String,
}

impl Prepared {
    /// Name and version, and its runtime.
    pub(crate) fn describe(&self) -> String {
        let (name, version) = (self.peer.name(), self.peer.version());
        if self.runtime.is_empty() {
            return format!("{name} {version}");
        }
        format!("{name} {version}, {}", self.runtime)
    }
}

/// Installs a peer unless this version is already installed. An error says why it cannot run here.
pub(crate) fn prepare(peer: Peer) -> anyhow::Result<Prepared> {
    let recipe = Recipe::of(peer);
    let folder = std::path::absolute(Path::new(ROOT).join(recipe.folder))?;
    let wanted: String = recipe.files.iter().map(|(_, content)| *content).collect();
    let noted = folder.join(NOTED);
    let before = fs::read_to_string(&noted).unwrap_or_default();
    if let Some((runtime, files)) = before.split_once('\n')
        && files == format!("{wanted}{}", peer.version())
        && folder.join(recipe.result).exists()
    {
        // The compiler may have been removed since; the runtime must be present.
        let runtime = if recipe.runs_on_node { node()? } else { runtime.to_owned() };
        return Ok(Prepared { peer, folder, runtime });
    }
    let runtime = match peer {
        Peer::Ws | Peer::SocketIo => node()?,
        Peer::Bun => String::new(),
        Peer::Centrifugo | Peer::Gws => go()?,
    };
    fs::create_dir_all(&folder)?;
    for (name, content) in recipe.files {
        fs::write(folder.join(name), content)?;
    }
    eprintln!("installing {} {}", peer.name(), peer.version());
    install(peer, &folder)?;
    if !folder.join(recipe.result).exists() {
        // npm reports no error if it cannot install a package that a lock file calls optional.
        bail!(
            "npm brings nothing for this system: {} is not built for it, or there is no network",
            peer.name()
        );
    }
    fs::write(noted, format!("{runtime}\n{wanted}{}", peer.version()))?;
    Ok(Prepared { peer, folder, runtime })
}

/// The parts of a peer.
struct Recipe {
    /// Its folder in [`ROOT`].
    folder: &'static str,
    files: &'static [(&'static str, &'static str)],
    /// The file that exists when it is installed.
    result: &'static str,
    runs_on_node: bool,
}

/// A file of `bench/peers`, included in our own binary, so that it is available wherever the binary runs.
macro_rules! file {
    ($path:literal) => {
        include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/peers/", $path))
    };
}

impl Recipe {
    fn of(peer: Peer) -> Self {
        match peer {
            Peer::Ws => Self {
                folder: "ws",
                files: &[
                    ("package.json", file!("ws/package.json")),
                    ("package-lock.json", file!("ws/package-lock.json")),
                    ("control.mjs", file!("control.mjs")),
                    ("server.mjs", file!("ws/server.mjs")),
                ],
                result: "node_modules/ws/package.json",
                runs_on_node: true,
            },
            Peer::SocketIo => Self {
                folder: "socketio",
                files: &[
                    ("package.json", file!("socketio/package.json")),
                    ("package-lock.json", file!("socketio/package-lock.json")),
                    ("control.mjs", file!("control.mjs")),
                    ("server.mjs", file!("socketio/server.mjs")),
                ],
                result: "node_modules/socket.io/package.json",
                runs_on_node: true,
            },
            Peer::Bun => Self {
                folder: "bun",
                files: &[
                    ("package.json", file!("bun/package.json")),
                    ("package-lock.json", file!("bun/package-lock.json")),
                    ("control.mjs", file!("control.mjs")),
                    ("server.mjs", file!("bun/server.mjs")),
                ],
                result: BUN,
                runs_on_node: false,
            },
            Peer::Gws => Self {
                folder: "gws",
                files: &[
                    ("go.mod", file!("gws/go.mod")),
                    ("go.sum", file!("gws/go.sum")),
                    ("main.go", file!("gws/main.go")),
                ],
                result: GWS,
                runs_on_node: false,
            },
            Peer::Centrifugo => Self {
                folder: "centrifugo",
                files: &[("config.json", file!("centrifugo/config.json"))],
                result: CENTRIFUGO,
                runs_on_node: false,
            },
        }
    }
}

fn install(peer: Peer, folder: &Path) -> anyhow::Result<()> {
    let mut command = match peer {
        Peer::Ws | Peer::SocketIo | Peer::Bun => {
            let mut npm = Command::new("npm");
            npm.args(["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]);
            npm.arg("--fetch-retries=1");
            npm
        }
        Peer::Gws => {
            let mut go = Command::new("go");
            go.args(["build", "-trimpath", "-o", GWS, "."]);
            go
        }
        // Built as its releases are, in the version that Go's checksum database lists.
        Peer::Centrifugo => {
            let (module, version) = ("github.com/centrifugal/centrifugo/v6", peer.version());
            let mut go = Command::new("go");
            go.args(["install", "-trimpath", "-ldflags"]);
            go.arg(format!("-s -w -X {module}/internal/build.Version={version}"));
            go.arg(format!("{module}@v{version}"));
            go.env("CGO_ENABLED", "0").env("GOBIN", folder);
            go
        }
    };
    let log = folder.join("install.log");
    let output = fs::File::create(&log)?;
    command.current_dir(folder).stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
    // A process group of its own, so that a timeout ends all of its processes.
    let program = command.get_program().to_string_lossy().into_owned();
    let child = std::os::unix::process::CommandExt::process_group(&mut command, 0).spawn();
    let mut child = child.with_context(|| format!("{program} is not installed"))?;
    if !wait(&mut child).with_context(|| format!("{program} cannot install {}", peer.name()))? {
        let said = fs::read_to_string(&log).unwrap_or_default();
        // Progress lines come first, and the reason is on the first line after them.
        let reason = said.lines().find(|line| !line.starts_with("go: downloading"));
        bail!("{program} cannot install {}: {}", peer.name(), reason.unwrap_or("it does not say why"));
    }
    Ok(())
}

/// Waits for an installation; returns whether it succeeded.
fn wait(child: &mut Child) -> anyhow::Result<bool> {
    let began = Instant::now();
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status.success());
        }
        if began.elapsed() > INSTALL_WITHIN {
            kill_process_group(Pid::from_child(child), Signal::KILL)?;
            child.wait()?;
            bail!("it was not done after {} minutes", INSTALL_WITHIN.as_secs() / 60);
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn node() -> anyhow::Result<String> {
    let said = said("node", "--version").context("Node.js is not installed")?;
    Ok(format!("Node.js {}", said.trim().trim_start_matches('v')))
}

fn go() -> anyhow::Result<String> {
    let said = said("go", "version").context("Go is not installed")?;
    // go version go1.26.8 linux/amd64
    let version = said.split_whitespace().nth(2).context("Go does not tell its version")?;
    Ok(format!("Go {}", version.trim_start_matches("go")))
}

fn said(program: &str, argument: &str) -> anyhow::Result<String> {
    let output = Command::new(program).arg(argument).stdin(Stdio::null()).output()?;
    if !output.status.success() {
        bail!("{program} {argument} ended with {}", output.status);
    }
    Ok(String::from_utf8(output.stdout)?)
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum;

    use super::*;

    #[test]
    fn the_reported_version_is_the_pinned_one() {
        for peer in Peer::value_variants().iter().filter(|peer| **peer != Peer::Centrifugo) {
            for (name, content) in Recipe::of(*peer).files {
                if ["package.json", "package-lock.json", "go.mod", "go.sum"].contains(name) {
                    assert!(content.contains(peer.version()), "{name} of {peer:?}");
                }
            }
        }
    }

    #[test]
    fn lock_files_have_checksums_and_name_no_registry() {
        for peer in Peer::value_variants() {
            let lock = Recipe::of(*peer).files.iter().find(|(name, _)| *name == "package-lock.json");
            if let Some((_, lock)) = lock {
                assert!(
                    lock.contains("\"integrity\": \"sha512-") && !lock.contains("\"resolved\""),
                    "{peer:?}"
                );
            }
        }
    }
}
