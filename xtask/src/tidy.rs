//! The house rules that a tool can check: the invariants of `ARCHITECTURE.md` and some rules of style.

mod edges;
mod error_pages;
mod sources;
mod unused;

use std::path::Path;

use anyhow::{Context, bail};
use cargo_metadata::{Metadata, MetadataCommand};

pub(crate) fn run(root: &Path) -> anyhow::Result<()> {
    let metadata = metadata(root)?;
    let mut complaints = edges::check(&metadata);
    unused::check(&metadata, &mut complaints)?;
    let scanned = sources::check(root, &mut complaints)?;
    if !complaints.is_empty() {
        bail!("{} complaint(s):\n{}", complaints.len(), complaints.join("\n"));
    }
    println!("{} crates and {scanned} files keep the house rules", metadata.workspace_members.len());
    Ok(())
}

/// The workspace as cargo sees it.
pub(crate) fn metadata(root: &Path) -> anyhow::Result<Metadata> {
    let mut command = MetadataCommand::new();
    command.manifest_path(root.join("Cargo.toml")).other_options(vec!["--locked".to_owned()]);
    command.exec().context("cargo metadata")
}
