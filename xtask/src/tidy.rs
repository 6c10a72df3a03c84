//! The rules of the project that a tool can check: the invariants of `ARCHITECTURE.md` and some rules of style.

mod cycles;
mod edges;
mod error_pages;
mod modules;
mod sources;
mod type_names;
mod unused;

use std::path::Path;

use anyhow::{Context, bail};
use cargo_metadata::{Metadata, MetadataCommand, Package};

pub(crate) fn run(root: &Path) -> anyhow::Result<()> {
    let metadata = metadata(root)?;
    let mut complaints = edges::check(&metadata);
    unused::check(&metadata, &mut complaints)?;
    let mut type_names = type_names::TypeNames::default();
    for package in metadata.workspace_packages() {
        check_modules(package, &mut type_names, &mut complaints)?;
    }
    type_names.check(&mut complaints);
    let scanned = sources::check(root, &mut complaints)?;
    if !complaints.is_empty() {
        bail!("{} complaint(s):\n{}", complaints.len(), complaints.join("\n"));
    }
    println!("{} crates and {scanned} files keep the house rules", metadata.workspace_members.len());
    Ok(())
}

/// The checks of a crate that need all of its modules.
fn check_modules(
    package: &Package,
    type_names: &mut type_names::TypeNames,
    complaints: &mut Vec<String>,
) -> anyhow::Result<()> {
    for target in &package.targets {
        if target.is_lib() || target.is_bin() {
            let modules = modules::Modules::read(target.src_path.as_std_path())?;
            cycles::check(package.name.as_str(), &modules.dependencies(), complaints);
            // Tools choose their type names freely: no other crate uses them.
            if !matches!(package.name.as_str(), "bench" | "xtask") {
                type_names.add(package.name.as_str(), &modules);
            }
        }
    }
    Ok(())
}

/// The workspace as cargo sees it.
pub(crate) fn metadata(root: &Path) -> anyhow::Result<Metadata> {
    let mut command = MetadataCommand::new();
    command.manifest_path(root.join("Cargo.toml")).other_options(vec!["--locked".to_owned()]);
    command.exec().context("cargo metadata")
}
