//! The steps of CI; those that find an error at the lowest cost come first.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::{compat, deny, fuzz, packages, reference, step, tidy};

/// How long all fuzz targets run together, in addition to the inputs of their corpus.
const FUZZ: Duration = Duration::from_secs(60);

pub(crate) fn run(root: &Path, only: Option<&str>) -> anyhow::Result<()> {
    let cargo = |arguments: &'static [&'static str]| move || step::cargo(root, arguments);
    let steps: Vec<step::Step<'_>> = vec![
        ("format", Box::new(cargo(&["fmt", "--all", "--check"]))),
        ("tidy", Box::new(|| tidy::run(root))),
        ("deny", Box::new(|| deny::run(root))),
        ("generated files", Box::new(|| reference::run(root, true))),
        (
            "lints",
            Box::new(cargo(&[
                "clippy",
                "--workspace",
                "--all-targets",
                "--all-features",
                "--locked",
                "--",
                "-Dwarnings",
            ])),
        ),
        ("redis server", Box::new(packages::install_redis)),
        ("rust tests", Box::new(cargo(&["test", "--workspace", "--all-features", "--locked"]))),
        ("simulation", Box::new(|| simulation(root))),
        ("each crate alone", Box::new(|| each_crate_alone(root))),
        ("documentation", Box::new(|| documentation(root))),
        ("fuzz", Box::new(|| fuzz::run(root, FUZZ))),
        ("packages of the real clients", Box::new(|| packages::install(root))),
        ("real clients", Box::new(|| real_clients(root))),
        ("recordings of the functions host", Box::new(|| compat::functions_host_if_recorded(root))),
        ("many connections", Box::new(|| connections(root))),
        ("fan-out", Box::new(|| fan_out(root))),
    ];
    step::run_steps(steps, only)?;
    println!("all steps passed");
    Ok(())
}

/// A crate that builds only because another crate enables a feature of a shared dependency is broken, and a build of the whole workspace
/// does not show it.
fn each_crate_alone(root: &Path) -> anyhow::Result<()> {
    let metadata = tidy::metadata(root)?;
    for package in metadata.workspace_packages() {
        if package.name.as_str() == "xtask" {
            continue;
        }
        step::cargo(root, &["check", "--quiet", "--package", package.name.as_str(), "--locked"])?;
    }
    Ok(())
}

/// The simulator with a few hundred seeds; `cargo xtask soak simulate` runs many more.
fn simulation(root: &Path) -> anyhow::Result<()> {
    step::cargo(root, &["build", "--package", "simulator", "--locked"])?;
    let mut simulator = Command::new(root.join("target/debug/simulator"));
    step::run(simulator.args(["--seeds", "500"]).current_dir(root))
}

fn documentation(root: &Path) -> anyhow::Result<()> {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let mut command = Command::new(cargo);
    command.args(["doc", "--workspace", "--no-deps", "--document-private-items", "--locked", "--quiet"]);
    step::run(command.env("RUSTDOCFLAGS", "-Dwarnings").current_dir(root))
}

/// The built binary against real clients and SDKs.
fn real_clients(root: &Path) -> anyhow::Result<()> {
    step::cargo(root, &["build", "--package", "chappe", "--locked"])?;
    let mut node = Command::new("node");
    node.args(["--test", "--test-concurrency=1", "--test-reporter=spec"]).current_dir(root.join("compat"));
    node.args(test_files(root)?);
    node.env("CHAPPE_BIN", root.join("target/debug/chappe"))
        .env("PYTHONPATH", root.join(packages::PYTHON_FOLDER));
    step::run(&mut node)
}

/// The load test with a small count, on the binary that the other tests used.
fn connections(root: &Path) -> anyhow::Result<()> {
    step::cargo(root, &["build", "--package", "chappe", "--package", "bench", "--locked"])?;
    let mut bench = Command::new(root.join("target/debug/bench"));
    bench.args(["connections", "--binary"]).arg(root.join("target/debug/chappe"));
    bench.args(["--connections", "400", "--flow-s", "3", "--every-ms", "200", "--kills", "1"]);
    step::run(bench.current_dir(root))
}

/// Every table of the fan-out that needs no installed peers, with small counts: the check is that each message arrives; times are not
/// checked.
fn fan_out(root: &Path) -> anyhow::Result<()> {
    step::cargo(root, &["build", "--package", "bench", "--locked"])?;
    let mut bench = Command::new(root.join("target/debug/bench"));
    bench.args(["fanout", "--connections", "200", "--rounds", "1", "--sample-ms", "50", "--tries", "1"]);
    bench.args(["--only", "fewer,1k,shapes,paths,shards,protocols,events,polls,tls,slow-reader,rest"]);
    step::run(bench.current_dir(root))
}

/// The test files of `compat/`. They are listed one by one, because some of its folders contain tests that another test starts.
fn test_files(root: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for folder in ["compat", "compat/functions-worker"] {
        for entry in std::fs::read_dir(root.join(folder))? {
            let path = entry?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if name.ends_with(".test.mjs") || name.ends_with(".test.js") {
                files.push(path);
            }
        }
    }
    files.sort();
    Ok(files)
}
