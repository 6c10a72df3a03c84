//! The demo's folder: unpacks the example in the binary if the folder does not have it, and installs its packages with visible
//! progress.

mod files;

use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use tokio::process::Command;

/// Why the demo cannot start. Says what to do.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PrepareError {
    /// The folder contains other files.
    #[error(
        "{} is not the example: it has no host.json. Name another folder with --folder, or remove this one",
        folder.display()
    )]
    NotTheExample { folder: PathBuf },
    /// The user did not agree to write the example here.
    #[error(
        "the example is not in {} yet, and was not confirmed; use --yes to write it there, or name a folder with --folder",
        folder.display()
    )]
    NotAsked { folder: PathBuf },
    /// The example could not be written.
    #[error("cannot write the example to {}; name another folder with --folder", folder.display())]
    Unpack {
        folder: PathBuf,
        #[source]
        cause: std::io::Error,
    },
    /// Node.js is not installed.
    #[error(
        "the demo needs Node.js 20 or newer: `{program}` was not found. Install Node.js with npm and try again"
    )]
    NoNode { program: &'static str },
    /// npm failed; its own output is printed above.
    #[error(
        "npm could not install the packages of the example (its message is above). Check the network and the npm registry, \
         or run `npm ci` in {} yourself",
        folder.display()
    )]
    Npm { folder: PathBuf },
}

/// The example's folder in a checkout, and its default folder elsewhere.
pub(crate) const FOLDER: &str = "examples/live-documents";

/// Whether the example may be written into a folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Consent {
    /// A flag allows it.
    Given,
    /// Ask at the terminal; without a terminal, it is refused.
    Ask,
}

/// Writes the example into `folder`, unless the folder already has an app.
pub(crate) fn unpack(folder: &Path, consent: Consent) -> Result<(), PrepareError> {
    if folder.join("host.json").exists() {
        return Ok(());
    }
    let empty = std::fs::read_dir(folder).map_or(true, |mut entries| entries.next().is_none());
    if !empty {
        return Err(PrepareError::NotTheExample { folder: folder.to_owned() });
    }
    if consent == Consent::Ask && !is_confirmed(folder) {
        let folder = std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned());
        return Err(PrepareError::NotAsked { folder });
    }
    let write = || {
        for (name, content) in files::FILES {
            let path = folder.join(name);
            if let Some(parent) = path.parent() {
                std::fs::create_dir_all(parent)?;
            }
            std::fs::write(path, content)?;
        }
        Ok(())
    };
    write().map_err(|cause| PrepareError::Unpack { folder: folder.to_owned(), cause })
}

/// Asks at the terminal. Without a terminal, and for any response but yes, the result is no.
fn is_confirmed(folder: &Path) -> bool {
    if !std::io::stdin().is_terminal() || !std::io::stderr().is_terminal() {
        return false;
    }
    let folder = std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned());
    eprint!("Write the example, and its packages and data, into {}? [y/N] ", folder.display());
    // Without a terminal nothing can be read.
    let _ = std::io::stderr().flush();
    let mut answer = String::new();
    let read = std::io::stdin().read_line(&mut answer).is_ok();
    read && matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes")
}

/// Installs the example's packages if they are not installed yet.
pub(crate) async fn install_packages(folder: &Path, pretty: bool) -> Result<(), PrepareError> {
    if packages_are_current(folder) { Ok(()) } else { install(folder, pretty).await }
}

/// npm records what it installed in its own file; if that file is not older than the lock file, nothing is missing.
fn packages_are_current(folder: &Path) -> bool {
    let modified = |name: &str| folder.join(name).metadata().and_then(|metadata| metadata.modified()).ok();
    match (modified("node_modules/.package-lock.json"), modified("package-lock.json")) {
        (Some(installed), Some(wanted)) => installed >= wanted,
        _ => false,
    }
}

async fn install(folder: &Path, pretty: bool) -> Result<(), PrepareError> {
    let mut npm = Command::new("npm");
    npm.args(["ci", "--no-audit", "--no-fund", "--loglevel=error", "--progress=false"]);
    npm.current_dir(folder).stdin(Stdio::null()).stdout(Stdio::null()).kill_on_drop(true);
    let mut child = npm.spawn().map_err(|_| PrepareError::NoNode { program: "npm" })?;
    let started = Instant::now();
    let terminal = std::io::stderr().is_terminal();
    if pretty {
        eprint!("Installing the packages of the example (only once) ");
    } else {
        tracing::info!("installing the packages of the example (only once)");
    }
    let mut tick = tokio::time::interval(Duration::from_secs(1));
    let status = loop {
        tokio::select! {
            status = child.wait() => break status,
            _ = tick.tick(), if pretty => {
                eprint!(".");
                // Flush: if the dots stay in a buffer, the process looks as if it hangs.
                let _ = std::io::stderr().flush();
            }
        }
    };
    let seconds = started.elapsed().as_secs_f64();
    match status {
        Ok(status) if status.success() && !pretty => {
            tracing::info!(seconds, "the packages of the example are installed");
            Ok(())
        }
        Ok(status) if status.success() => {
            eprintln!(" done in {seconds:.1} s{}", if terminal { "\n" } else { "" });
            Ok(())
        }
        _ => {
            if pretty {
                eprintln!();
            }
            Err(PrepareError::Npm { folder: folder.to_owned() })
        }
    }
}
