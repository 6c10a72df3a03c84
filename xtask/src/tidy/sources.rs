//! What a source file may contain.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;

use super::edges::WITHOUT_IO;

/// Longest source file, in lines: a longer one should be split (style rule S3).
const LINES_MAX: usize = 800;

/// Files that may allow unsafe code, with the reason in the file itself (style rule X3).
const UNSAFE_ALLOWED: [&str; 3] =
    ["crates/checked-files/src/vfs.rs", "crates/simulator/src/system.rs", "fuzz/src/memory.rs"];

/// Crates that may contain code for one platform (invariant 11). `functions` only below `worker`, where processes start; the binary only
/// where it handles shutdown signals, and where it creates its data folder.
const PLATFORM_ALLOWED: [&str; 10] = [
    "crates/checked-files/src/folder.rs",
    "crates/edge/",
    "crates/egress/",
    "crates/state-embedded/",
    "crates/functions/src/worker",
    "crates/chappe/src/private.rs",
    "crates/chappe/src/signals.rs",
    "bench/",
    "crates/testkit/",
    "crates/simulator/",
];

/// Words that may not be committed. In two parts, so that this file does not contain them itself.
const NEVER: [(&str, &str); 6] =
    [("FIX", "ME"), ("dbg", "!("), ("todo", "!("), ("unimplemented", "!("), ("#[ign", "ore"), ("XX", "X:")];

pub(super) fn check(root: &Path, complaints: &mut Vec<String>) -> anyhow::Result<usize> {
    let mut files = Vec::new();
    for folder in ["crates", "xtask", "bench", "fuzz", "workers", "compat", "examples"] {
        collect(&root.join(folder), &mut files)?;
    }
    for file in &files {
        let name = file.strip_prefix(root).unwrap_or(file).to_string_lossy().replace('\\', "/");
        let text = fs::read_to_string(file).with_context(|| format!("read {name}"))?;
        if name.ends_with("package-lock.json") {
            check_lock_file(&name, &text, complaints);
        } else {
            check_text(&name, &text, complaints);
        }
        if name.ends_with(".rs") {
            check_rust(&name, &text, complaints);
        }
    }
    super::error_pages::check(root, &files, complaints)?;
    Ok(files.len())
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> anyhow::Result<()> {
    if !folder.exists() {
        return Ok(());
    }
    for entry in fs::read_dir(folder).with_context(|| format!("list {}", folder.display()))? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if path.is_dir() {
            let generated = ["node_modules", "target", "dist", "corpus", ".chappe"].contains(&name.as_str());
            if !generated {
                collect(&path, files)?;
            }
        } else if [".rs", ".js", ".mjs", ".cjs", ".py", ".java", "package-lock.json"]
            .iter()
            .any(|end| name.ends_with(end))
        {
            files.push(path);
        }
    }
    Ok(())
}

fn check_text(name: &str, text: &str, complaints: &mut Vec<String>) {
    for (first, second) in NEVER {
        let word = format!("{first}{second}");
        if let Some(line) = text.lines().position(|line| line.contains(&word)) {
            complaints.push(format!("{name}:{}: {word} never lands", line + 1));
        }
    }
    let lines = text.lines().count();
    if lines > LINES_MAX {
        complaints.push(format!("{name} has {lines} lines, more than {LINES_MAX}: which wall is missing?"));
    }
}

fn check_rust(name: &str, text: &str, complaints: &mut Vec<String>) {
    let stem = Path::new(name).file_stem().unwrap_or_default().to_string_lossy().into_owned();
    if stem == "mod" {
        complaints.push(format!("{name}: write foo.rs beside foo/, not mod.rs (style rule S4)"));
    }
    if ["common", "utils", "util", "helpers", "misc", "core", "types"].contains(&stem.as_str()) {
        complaints.push(format!("invariant 8: no module is called {stem}: {name}"));
    }
    if !text.starts_with("//!") && stem != "tests" {
        complaints.push(format!("{name}: a file opens with //! and says what it is (style rule S1)"));
    }
    let code: Vec<(usize, &str)> = text
        .lines()
        .enumerate()
        .map(|(number, line)| (number + 1, line.trim_start()))
        .filter(|(_, line)| !line.starts_with("//"))
        .collect();
    let mut forbid = |words: &[&str], rule: &str| {
        for (number, line) in &code {
            if let Some(word) = words.iter().find(|word| line.contains(*word)) {
                complaints.push(format!("{name}:{number}: {word}: {rule}"));
            }
        }
    };
    let scanner = name == "xtask/src/tidy/sources.rs";
    if !UNSAFE_ALLOWED.contains(&name) && !scanner {
        forbid(&["allow(unsafe_code"], "unsafe code only in the files that tidy lists");
    }
    let tests = name.contains("/tests/") || stem == "tests";
    let without_io = WITHOUT_IO.iter().any(|one| name.starts_with(&format!("crates/{one}/src/")));
    if (without_io || stem == "decide" || name.contains("/decide/")) && !tests {
        let io = [
            "std::fs",
            "std::net",
            "std::process",
            "std::env",
            "std::thread",
            "tokio::",
            "SystemTime::now",
            "Instant::now",
            "SystemRandom",
        ];
        forbid(&io, "invariant 1: no input, output, clock or randomness here");
    }
    if !PLATFORM_ALLOWED.iter().any(|allowed| name.starts_with(allowed)) && !tests && !scanner {
        let platform = ["std::os::", "cfg(unix)", "cfg(windows)", "target_os", "rustix::", "libc::"];
        forbid(&platform, "invariant 11: code for one platform stands behind its seam");
    }
    if name.starts_with("crates/")
        && !name.starts_with("crates/chappe/")
        && !name.starts_with("crates/state-embedded/")
        && !name.starts_with("crates/simulator/")
        && !tests
    {
        forbid(&["state_embedded::"], "invariant 3: only chappe names a backend of state");
    }
}

/// A lock file that names download addresses works on one network only.
fn check_lock_file(name: &str, text: &str, complaints: &mut Vec<String>) {
    if text.contains("\"resolved\": \"http") {
        complaints.push(format!(
            "{name} names download addresses: set omit-lockfile-registry-resolved=true and make it anew"
        ));
    }
}
