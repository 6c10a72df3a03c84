//! Dependencies that no source file names.

use std::fs;
use std::path::Path;

use anyhow::Context;
use cargo_metadata::{DependencyKind, Metadata};

pub(super) fn check(metadata: &Metadata, complaints: &mut Vec<String>) -> anyhow::Result<()> {
    for package in metadata.workspace_packages() {
        let folder = package.manifest_path.parent().context("a manifest lies in a folder")?;
        let mut library = String::new();
        read(folder.join("src").as_std_path(), &mut library)?;
        let mut all = library.clone();
        for folder in ["tests", "benches", "examples"].map(|name| folder.join(name)) {
            if folder.exists() {
                read(folder.as_std_path(), &mut all)?;
            }
        }
        let script = folder.join("build.rs");
        let script = if script.exists() { fs::read_to_string(&script)? } else { String::new() };
        for dependency in &package.dependencies {
            let name = dependency.rename.as_deref().unwrap_or(&dependency.name).replace('-', "_");
            let sources = match dependency.kind {
                DependencyKind::Development => &all,
                DependencyKind::Build => &script,
                _ => &library,
            };
            // A crate that depends on itself in tests does so to enable one of its own features.
            if name != package.name.replace('-', "_") && !names(sources, &name) {
                complaints
                    .push(format!("{} depends on {} and never names it", package.name, dependency.name));
            }
        }
    }
    Ok(())
}

fn read(folder: &Path, text: &mut String) -> anyhow::Result<()> {
    for entry in fs::read_dir(folder).with_context(|| format!("list {}", folder.display()))? {
        let path = entry?.path();
        if path.is_dir() {
            read(&path, text)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            text.push_str(&fs::read_to_string(&path)?);
        }
    }
    Ok(())
}

/// Whether the crate occurs as a path, an attribute of a macro, or a renamed import.
fn names(sources: &str, name: &str) -> bool {
    sources.match_indices(name).any(|(at, _)| {
        let before = sources[..at].chars().next_back();
        let after = sources[at + name.len()..].chars().next();
        let boundary =
            |character: Option<char>| !character.is_some_and(|one| one.is_alphanumeric() || one == '_');
        boundary(before) && boundary(after)
    })
}
