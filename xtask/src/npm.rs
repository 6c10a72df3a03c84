//! What the tests with real clients need: packages of the lock files, and a browser.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::Context;

use crate::step;

/// Folders with a `package-lock.json` whose packages the tests use.
pub(crate) const FOLDERS: [&str; 4] =
    ["examples/live-documents", "compat", "compat/documents", "compat/functions-worker"];

/// Installs exactly what the lock files say, where it is not there yet.
pub(crate) fn install(root: &Path) -> anyhow::Result<()> {
    for folder in FOLDERS {
        let folder = root.join(folder);
        let lock = folder.join("package-lock.json");
        if !lock.exists() {
            continue;
        }
        // npm notes what it installed in this file; when it is younger than the lock file, nothing changed.
        let noted = folder.join("node_modules/.package-lock.json");
        let modified = |path: &Path| path.metadata().and_then(|metadata| metadata.modified()).ok();
        if modified(&noted).is_some_and(|noted| modified(&lock).is_some_and(|lock| noted >= lock)) {
            continue;
        }
        println!("installing the packages of {}", folder.display());
        let mut npm = Command::new("npm");
        npm.args(["ci", "--no-audit", "--no-fund", "--loglevel=error"]).current_dir(&folder);
        step::run(&mut npm).context("npm is part of Node.js 20 or newer: install it and try again")?;
    }
    Ok(())
}

/// Sees to a Chromium: Debian's package, where we may install it.
pub(crate) fn install_browser() -> anyhow::Result<()> {
    if Path::new("/usr/bin/chromium").exists() {
        return Ok(());
    }
    println!("installing chromium (Debian's package) for the tests of the page");
    let quiet = |command: &mut Command| step::run(command.stdout(Stdio::null()));
    let apt = |arguments: &[&str]| {
        let mut command = Command::new("apt-get");
        command.args(arguments).env("DEBIAN_FRONTEND", "noninteractive");
        command
    };
    let installed = quiet(&mut apt(&["update", "-qq"]))
        .and_then(|()| quiet(&mut apt(&["install", "-y", "-qq", "--no-install-recommends", "chromium"])));
    if let Err(cause) = installed {
        // Without the right to install, the tests of the page report themselves as not run.
        println!(
            "chromium could not be installed ({cause:#}); the tests of the page will say that they did not run"
        );
    }
    Ok(())
}
