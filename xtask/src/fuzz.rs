//! Fuzzing: builds the targets of `fuzz/` with coverage instrumentation and runs each for a while, first over its corpus.
//!
//! The instrumentation is a compiler pass that stable Rust has, and the engine is libFuzzer, built from the source in `libfuzzer-sys`: only
//! a C++ compiler must be installed. The layout is that of cargo-fuzz, whose commands work too.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, bail};

use crate::{packages, step};

/// The same flags as those of cargo-fuzz: edges are counted, and operands of comparisons are reported to the engine.
const INSTRUMENTATION: &[&str] = &[
    "--cfg=fuzzing",
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
    "-Ccodegen-units=1",
];

/// Memory limit of one target, in megabytes; above it the target fails.
const MEMORY_MB_MAX: u32 = 1024;

/// Time limit of one input, in seconds; above it the input counts as a hang.
const INPUT_S_MAX: u32 = 10;

/// Longest input that is tried, in bytes.
const INPUT_BYTES_MAX: u32 = 4096;

/// Builds everything, checks its format and lints, and runs each target for an equal part of `total`.
pub(crate) fn run(root: &Path, total: Duration) -> anyhow::Result<()> {
    step::run(cargo(root, &["fmt", "--check"]).current_dir(root.join("fuzz")))?;
    step::run(&mut cargo(root, &["clippy", "--quiet", "--locked", "--", "-Dwarnings"]))?;
    let binaries = build(root)?;
    let targets = targets(root)?;
    let each_s = (total.as_secs() / targets.len() as u64).max(1);
    let time = format!("-max_total_time={each_s}");
    println!("{} targets, {each_s} s each", targets.len());
    // A finding in one target does not prevent the runs of the targets after it.
    let mut findings = Vec::new();
    for target in targets {
        if let Err(error) = run_target(root, &binaries, &target, &[&time]) {
            println!("{target}: failed");
            findings.push(format!("{error:#}"));
        }
    }
    if !findings.is_empty() {
        bail!("{}", findings.join("\n\n"));
    }
    Ok(())
}

/// Runs one target: without a time limit, or only on the given inputs, to investigate one.
pub(crate) fn run_one(root: &Path, target: &str, arguments: &[String]) -> anyhow::Result<()> {
    let binaries = build(root)?;
    if !targets(root)?.iter().any(|known| known == target) {
        bail!("there is no target {target}: {}", targets(root)?.join(", "));
    }
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    if arguments.iter().any(|argument| !argument.starts_with('-')) {
        return step::run(Command::new(binaries.join(target)).args(arguments).current_dir(root));
    }
    run_target(root, &binaries, target, &arguments)
}

/// Builds the targets; returns their folder.
fn build(root: &Path) -> anyhow::Result<PathBuf> {
    packages::cpp_compiler()?;
    let host = host()?;
    // With an explicit target triple, build scripts and macros are not instrumented.
    let mut command =
        cargo(root, &["build", "--release", "--quiet", "--bins", "--locked", "--target", &host]);
    step::run(command.env("CARGO_ENCODED_RUSTFLAGS", INSTRUMENTATION.join("\u{1f}")))?;
    Ok(root.join("target/fuzz").join(host).join("release"))
}

/// Cargo in the folder of the targets, with a separate folder for build output.
fn cargo(root: &Path, arguments: &[&str]) -> Command {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let mut command = Command::new(cargo);
    command.args(arguments).current_dir(root.join("fuzz")).env("CARGO_TARGET_DIR", root.join("target/fuzz"));
    command
}

fn run_target(root: &Path, binaries: &Path, target: &str, arguments: &[&str]) -> anyhow::Result<()> {
    // New inputs are written to the first folder, which git ignores; the second is in the repository.
    let (found, kept) = (root.join("target/fuzz/corpus").join(target), root.join("fuzz/corpus").join(target));
    let findings = root.join("target/fuzz/findings");
    for folder in [&found, &findings] {
        fs::create_dir_all(folder).with_context(|| format!("make {}", folder.display()))?;
    }
    let log = root.join(format!("target/fuzz/{target}.log"));
    let mut command = Command::new(binaries.join(target));
    command.args(arguments).args([&found, &kept]).current_dir(root);
    command.arg(format!("-artifact_prefix={}/{target}-", findings.display()));
    command.args([
        format!("-rss_limit_mb={MEMORY_MB_MAX}"),
        format!("-timeout={INPUT_S_MAX}"),
        format!("-max_len={INPUT_BYTES_MAX}"),
    ]);
    let dictionary = root.join("fuzz/dictionaries").join(target);
    if dictionary.exists() {
        command.arg(format!("-dict={}", dictionary.display()));
    }
    let output = fs::File::create(&log).with_context(|| format!("write {}", log.display()))?;
    command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
    let outcome = step::run(&mut command);
    let text = String::from_utf8_lossy(&fs::read(&log)?).into_owned();
    if let Err(error) = outcome {
        let last: Vec<&str> = text.lines().rev().take(40).collect();
        let last: Vec<&str> = last.into_iter().rev().collect();
        bail!(
            "{error:#}\n{}\nsee it again: cargo xtask fuzz {target} <the file named above>; \
             make it smaller: -minimize_crash=1 in front",
            last.join("\n")
        );
    }
    let done = text.lines().rfind(|line| line.starts_with("Done ")).unwrap_or("done");
    println!("{target}: {done}");
    Ok(())
}

/// The targets are the files of `fuzz/fuzz_targets`.
fn targets(root: &Path) -> anyhow::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(root.join("fuzz/fuzz_targets")).context("list the fuzz targets")? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "rs") {
            names.extend(path.file_stem().map(|stem| stem.to_string_lossy().into_owned()));
        }
    }
    names.sort();
    Ok(names)
}

/// The target triple of this machine, as the compiler reports it.
fn host() -> anyhow::Result<String> {
    let rustc = std::env::var("RUSTC").unwrap_or_else(|_| "rustc".to_owned());
    let output = Command::new(rustc).arg("-vV").output().context("ask the compiler for the host")?;
    let text = String::from_utf8(output.stdout)?;
    let host =
        text.lines().find_map(|line| line.strip_prefix("host: ")).context("the compiler names no host")?;
    Ok(host.to_owned())
}
