//! The dependencies of the tests with real clients: packages of npm, Python and Maven, and a browser.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::Context;

use crate::step;

/// Folders with a `package-lock.json` whose packages the tests use.
pub(crate) const FOLDERS: [&str; 4] =
    ["examples/live-documents", "compat", "compat/documents", "compat/functions-worker"];

/// The folder of the tests' Python packages; tests add it to `PYTHONPATH`.
pub(crate) const PYTHON_FOLDER: &str = "target/python";

/// The files that list the Python packages of the tests.
const PYTHON_REQUIREMENTS: [&str; 3] = [
    "compat/telemetry/requirements.txt",
    "compat/realtime/python/requirements.txt",
    "compat/documents/python/requirements.txt",
];

/// The folders of the tests' jars, each with the project file that lists them. Separate, because one class path can have one version of a
/// jar.
const JAVA: [(&str, &str); 2] = [
    ("target/java", "compat/realtime/java/pom.xml"),
    ("target/java-documents", "compat/documents/java/pom.xml"),
];

/// Installs everything that is missing.
pub(crate) fn install(root: &Path) -> anyhow::Result<()> {
    install_redis()?;
    install_npm(root)?;
    install_python(root)?;
    install_java(root)?;
    install_browser()
}

/// Installs exactly the packages of the requirements files into a folder of ours: no environment and no system package changes.
fn install_python(root: &Path) -> anyhow::Result<()> {
    let requirements = PYTHON_REQUIREMENTS.map(|file| root.join(file));
    let folder = root.join(PYTHON_FOLDER);
    let noted = folder.join("installed.txt");
    let mut wanted = String::new();
    for file in &requirements {
        wanted += &std::fs::read_to_string(file).with_context(|| format!("read {}", file.display()))?;
    }
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
        python.arg("--upgrade").arg("--target").arg(&folder);
        for file in &requirements {
            python.arg("-r").arg(file);
        }
        python
    };
    if !answers("python3", &["-m", "pip", "--version"]) {
        apt(&["python3-pip"])
            .context("Python has no pip, and it could not be installed: apt-get install python3-pip")?;
    }
    step::run(&mut pip())?;
    Ok(std::fs::write(noted, wanted)?)
}

/// Installs a C++ compiler if it is missing; it builds the engine of the fuzz targets.
pub(crate) fn cpp_compiler() -> anyhow::Result<()> {
    let name = std::env::var("CXX").unwrap_or_else(|_| "c++".to_owned());
    let probe = Command::new(name).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    if probe.is_ok_and(|status| status.success()) {
        return Ok(());
    }
    println!("installing g++ (Debian's package) for the fuzz targets");
    apt(&["g++"]).context("there is no C++ compiler, and it could not be installed: apt-get install g++")
}

/// Installs the Redis server if it is missing; tests of `connect-redis` each start one. Debian's package would start it as a service, which
/// is not used; without a service manager, it does not run.
pub(crate) fn install_redis() -> anyhow::Result<()> {
    if answers("redis-server", &["--version"]) {
        return Ok(());
    }
    println!("installing redis-server (Debian's package) for the tests of its triggers");
    apt(&["redis-server"])
        .context("there is no Redis server, and it could not be installed: apt-get install redis-server")
}

/// Copies the jars of the project files into folders of ours.
fn install_java(root: &Path) -> anyhow::Result<()> {
    let has_java = || answers("java", &["-version"]) && answers("mvn", &["-version"]);
    if !has_java() {
        println!("installing Java (Debian's packages) for the tests of its clients");
        if let Err(cause) = apt(&["default-jdk-headless", "maven"]) {
            // As for the browser: the tests report that they did not run.
            println!(
                "Java could not be installed ({cause:#}); the tests of its clients will say that they did not run"
            );
            return Ok(());
        }
    }
    for (folder, project) in JAVA {
        install_jars(&root.join(folder), &root.join(project))?;
    }
    Ok(())
}

fn install_jars(folder: &Path, project: &Path) -> anyhow::Result<()> {
    let noted = folder.join("installed.xml");
    let wanted = std::fs::read_to_string(project).with_context(|| format!("read {}", project.display()))?;
    if std::fs::read_to_string(&noted).is_ok_and(|installed| installed == wanted) {
        return Ok(());
    }
    println!("installing the Java packages of {}", project.display());
    // With two versions of a jar on the class path, the one that is loaded would be undefined.
    if folder.exists() {
        std::fs::remove_dir_all(folder)?;
    }
    let mut maven = Command::new("mvn");
    maven
        .args(["--quiet", "--batch-mode", "--no-transfer-progress", "-Dstyle.color=never", "--file"])
        .arg(project);
    maven.arg("dependency:copy-dependencies").arg(format!("-DoutputDirectory={}", folder.display()));
    step::run(&mut maven)?;
    Ok(std::fs::write(noted, wanted)?)
}

/// Whether a program exists and succeeds with these arguments.
fn answers(program: &str, arguments: &[&str]) -> bool {
    let status = Command::new(program).args(arguments).stdout(Stdio::null()).stderr(Stdio::null()).status();
    status.is_ok_and(|status| status.success())
}

/// Installs Debian packages, without output.
fn apt(packages: &[&str]) -> anyhow::Result<()> {
    let run = |arguments: &[&str]| {
        let mut command = Command::new("apt-get");
        command.args(arguments).env("DEBIAN_FRONTEND", "noninteractive").stdout(Stdio::null());
        step::run(&mut command)
    };
    run(&["update", "-qq"])?;
    run(&[&["install", "-y", "-qq", "--no-install-recommends"], packages].concat())
}

/// Installs exactly the packages of the lock files, unless they are installed.
pub(crate) fn install_npm(root: &Path) -> anyhow::Result<()> {
    for folder in FOLDERS {
        let folder = root.join(folder);
        let lock = folder.join("package-lock.json");
        if !lock.exists() {
            continue;
        }
        // npm records in this file what it installed; if it is newer than the lock file, nothing changed.
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

/// Installs Chromium if it is missing: Debian's package, if we have the permission.
fn install_browser() -> anyhow::Result<()> {
    if Path::new("/usr/bin/chromium").exists() {
        return Ok(());
    }
    println!("installing chromium (Debian's package) for the tests of the page");
    if let Err(cause) = apt(&["chromium"]) {
        // Without the permission to install, the tests of the page report that they did not run.
        println!(
            "chromium could not be installed ({cause:#}); the tests of the page will say that they did not run"
        );
    }
    Ok(())
}
