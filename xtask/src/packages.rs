//! What the tests with real clients need: packages of npm and Python, and a browser.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::Context;

use crate::step;

/// Folders with a `package-lock.json` whose packages the tests use.
pub(crate) const FOLDERS: [&str; 4] =
    ["examples/live-documents", "compat", "compat/documents", "compat/functions-worker"];

/// Where the Python packages of the tests go; tests put it on `PYTHONPATH`.
pub(crate) const PYTHON_FOLDER: &str = "target/python";

/// Sees to everything.
pub(crate) fn install(root: &Path) -> anyhow::Result<()> {
    install_npm(root)?;
    install_python(root)?;
    install_browser()
}

/// Installs exactly what the requirements say into a folder of our own: no environment, and nothing of the system's, changes.
fn install_python(root: &Path) -> anyhow::Result<()> {
    let requirements = root.join("compat/telemetry/requirements.txt");
    let folder = root.join(PYTHON_FOLDER);
    let noted = folder.join("installed.txt");
    let wanted = std::fs::read_to_string(&requirements).context("read the requirements")?;
    if std::fs::read_to_string(&noted).is_ok_and(|installed| installed == wanted) {
        return Ok(());
    }
    println!("installing the Python packages of the tests");
    let pip = || {
        let mut python = Command::new("python3");
        python.args([
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
            "--root-user-action=ignore",
        ]);
        python.arg("--upgrade").arg("--target").arg(&folder).arg("-r").arg(&requirements);
        python
    };
    let probe = Command::new("python3")
        .args(["-m", "pip", "--version"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    if !probe.is_ok_and(|status| status.success()) {
        apt(&["python3-pip"])
            .context("Python has no pip, and it could not be installed: apt-get install python3-pip")?;
    }
    step::run(&mut pip())?;
    Ok(std::fs::write(noted, wanted)?)
}

/// Sees to a C++ compiler, which the engine of the fuzz targets is built with.
pub(crate) fn cpp_compiler() -> anyhow::Result<()> {
    let name = std::env::var("CXX").unwrap_or_else(|_| "c++".to_owned());
    let probe = Command::new(name).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    if probe.is_ok_and(|status| status.success()) {
        return Ok(());
    }
    println!("installing g++ (Debian's package) for the fuzz targets");
    apt(&["g++"]).context("there is no C++ compiler, and it could not be installed: apt-get install g++")
}

/// Installs packages of Debian, quietly.
fn apt(packages: &[&str]) -> anyhow::Result<()> {
    let run = |arguments: &[&str]| {
        let mut command = Command::new("apt-get");
        command.args(arguments).env("DEBIAN_FRONTEND", "noninteractive").stdout(Stdio::null());
        step::run(&mut command)
    };
    run(&["update", "-qq"])?;
    run(&[&["install", "-y", "-qq", "--no-install-recommends"], packages].concat())
}

/// Installs exactly what the lock files say, where it is not there yet.
pub(crate) fn install_npm(root: &Path) -> anyhow::Result<()> {
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
fn install_browser() -> anyhow::Result<()> {
    if Path::new("/usr/bin/chromium").exists() {
        return Ok(());
    }
    println!("installing chromium (Debian's package) for the tests of the page");
    if let Err(cause) = apt(&["chromium"]) {
        // Without the right to install, the tests of the page report themselves as not run.
        println!(
            "chromium could not be installed ({cause:#}); the tests of the page will say that they did not run"
        );
    }
    Ok(())
}
