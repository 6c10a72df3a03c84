//! `cargo xtask compat`: compares the built binary with other implementations, by recordings of them and with their programs.

use std::path::Path;
use std::process::Command;

use crate::{packages, step};

/// The folder of the recordings of the vendor's functions host, relative to the root of the repository: outside of it, because they are
/// large.
const FUNCTIONS_HOST_VECTORS: &str = "../shared/vectors/functions-host";

/// Replays the recordings of the vendor's functions host. `arguments` are those of the replay: which cases, and the folder of the
/// recordings.
///
/// # Errors
///
/// If the recordings are missing, or if a case differs and is not in the list of deliberate differences.
pub(crate) fn functions_host(root: &Path, arguments: &[String]) -> anyhow::Result<()> {
    run_script(root, "compat/functions-host/replay.mjs", arguments)
}

/// Runs the vendor's language workers on the built binary; `arguments` name their folders (`compat/official-workers/README.md`). Not part
/// of CI: no package registry has these workers.
///
/// # Errors
///
/// If the workers are missing, or if a test fails that is not listed with its reason.
pub(crate) fn official_workers(root: &Path, arguments: &[String]) -> anyhow::Result<()> {
    run_script(root, "compat/official-workers/run.mjs", arguments)
}

/// Builds the binary and runs a script of `compat/` with it.
fn run_script(root: &Path, script: &str, arguments: &[String]) -> anyhow::Result<()> {
    packages::install_npm(root)?;
    step::cargo(root, &["build", "--package", "chappe", "--locked"])?;
    let mut node = Command::new("node");
    node.arg(root.join(script)).args(arguments);
    step::run(node.env("CHAPPE_BIN", root.join("target/debug/chappe")).current_dir(root))
}

/// The same in CI, where the recordings may be missing: then a message says so.
pub(crate) fn functions_host_if_recorded(root: &Path) -> anyhow::Result<()> {
    if !root.join(FUNCTIONS_HOST_VECTORS).is_dir() {
        println!("not replayed: there are no recordings of the functions host at {FUNCTIONS_HOST_VECTORS}");
        return Ok(());
    }
    functions_host(root, &[])
}
