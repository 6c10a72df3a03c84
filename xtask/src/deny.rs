//! Licences, bans and sources, as `deny.toml` specifies: checked by cargo-deny if it is installed, otherwise by our own implementation of
//! the same keys. Building cargo-deny takes longer than everything else in CI together (docs/decisions/0004-checks.md).

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, bail};
use cargo_metadata::Package;
use serde::Deserialize;

use crate::{step, tidy};

#[derive(Deserialize)]
struct Policy {
    licenses: Licences,
    bans: Bans,
}

#[derive(Deserialize)]
struct Licences {
    allow: BTreeSet<String>,
}

#[derive(Deserialize)]
struct Bans {
    deny: Vec<Named>,
    skip: Vec<Named>,
}

#[derive(Deserialize)]
struct Named {
    #[serde(rename = "crate")]
    name: String,
    reason: String,
}

pub(crate) fn run(root: &Path) -> anyhow::Result<()> {
    let probe =
        Command::new("cargo-deny").arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    // The fuzz targets are outside of the workspace, with their own lock file.
    let manifests = [root.to_owned(), root.join("fuzz")];
    if probe.is_ok_and(|status| status.success()) {
        for folder in &manifests {
            let config = root.join("deny.toml");
            let mut command = Command::new("cargo-deny");
            command
                .args(["--offline", "check", "--config"])
                .arg(config)
                .args(["bans", "licenses", "sources"]);
            step::run(command.current_dir(folder))?;
        }
        return Ok(());
    }
    let text = std::fs::read_to_string(root.join("deny.toml")).context("read deny.toml")?;
    let policy: Policy = toml::from_str(&text).context("deny.toml")?;
    let mut complaints = Vec::new();
    let mut count = 0;
    for folder in &manifests {
        let metadata = tidy::metadata(folder)?;
        let foreign: Vec<&Package> =
            metadata.packages.iter().filter(|package| package.source.is_some()).collect();
        for package in &foreign {
            complaints.extend(check_package(package, &policy));
        }
        complaints.extend(check_versions(&foreign, &policy.bans.skip));
        count += foreign.len();
    }
    if !complaints.is_empty() {
        bail!("{}", complaints.join("\n"));
    }
    println!(
        "{count} packages: licences, bans and sources are as deny.toml says (cargo-deny is not installed)"
    );
    Ok(())
}

fn check_package(package: &Package, policy: &Policy) -> Vec<String> {
    let mut complaints = Vec::new();
    if let Some(ban) = policy.bans.deny.iter().find(|ban| ban.name == package.name.as_str()) {
        complaints.push(format!("{} is banned: {}", package.name, ban.reason));
    }
    let registry = package.source.as_ref().is_some_and(cargo_metadata::Source::is_crates_io);
    if !registry {
        complaints.push(format!("{} comes from an unknown source", package.name));
    }
    let licence = package.license.clone().unwrap_or_default();
    if !permitted(&licence, &policy.licenses.allow) {
        complaints
            .push(format!("{} {}: the licence {licence:?} is not allowed", package.name, package.version));
    }
    complaints
}

/// Whether allowed licences satisfy an SPDX expression. `AND` has higher precedence than `OR`; parentheses group.
fn permitted(expression: &str, allowed: &BTreeSet<String>) -> bool {
    let spaced = expression.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let mut place = 0;
    let met = any_of(&words, &mut place, allowed);
    met && place == words.len()
}

fn any_of(words: &[&str], place: &mut usize, allowed: &BTreeSet<String>) -> bool {
    let mut met = all_of(words, place, allowed);
    while words.get(*place) == Some(&"OR") {
        *place += 1;
        met |= all_of(words, place, allowed);
    }
    met
}

fn all_of(words: &[&str], place: &mut usize, allowed: &BTreeSet<String>) -> bool {
    let mut met = one_of(words, place, allowed);
    while words.get(*place) == Some(&"AND") {
        *place += 1;
        met &= one_of(words, place, allowed);
    }
    met
}

fn one_of(words: &[&str], place: &mut usize, allowed: &BTreeSet<String>) -> bool {
    let Some(word) = words.get(*place) else { return false };
    *place += 1;
    if *word == "(" {
        let met = any_of(words, place, allowed);
        let closed = words.get(*place) == Some(&")");
        *place += 1;
        return met && closed;
    }
    if words.get(*place) == Some(&"WITH") {
        let whole = format!("{word} WITH {}", words.get(*place + 1).unwrap_or(&""));
        *place += 2;
        return allowed.contains(&whole);
    }
    allowed.contains(*word)
}

/// One version of each crate, except for the exceptions in `deny.toml`, which have a reason.
fn check_versions(packages: &[&Package], skip: &[Named]) -> Vec<String> {
    let mut versions: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    for package in packages {
        let skipped = skip.iter().any(|entry| {
            let (name, version) = entry.name.split_once('@').unwrap_or((&entry.name, ""));
            name == package.name.as_str() && package.version.to_string().starts_with(version)
        });
        // Bindings to other systems have several versions and are not built here.
        if !skipped && !package.name.starts_with("windows") {
            versions.entry(package.name.as_str()).or_default().insert(package.version.to_string());
        }
    }
    let twice = versions.into_iter().filter(|(_, versions)| versions.len() > 1);
    twice.map(|(name, versions)| format!("{name} is there in several versions: {versions:?}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn licence_expressions_are_parsed() {
        let allowed: BTreeSet<String> =
            ["MIT", "Apache-2.0", "ISC", "Apache-2.0 WITH LLVM-exception"].map(str::to_owned).into();
        let check = |text: &str| permitted(text, &allowed);
        assert!(
            check("MIT") && check("MIT OR GPL-3.0") && check("GPL-3.0/MIT") && check("Apache-2.0 AND ISC")
        );
        assert!(check("Apache-2.0 WITH LLVM-exception OR GPL-2.0") && check("(GPL-2.0 OR MIT) AND ISC"));
        assert!(
            !check("")
                && !check("GPL-3.0")
                && !check("MIT AND GPL-3.0")
                && !check("(MIT")
                && !check("MIT ISC")
        );
    }
}
