//! `chappe backup`: a copy of a data folder that can be put in its place, also while a process works with it.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

use super::check::check;
use crate::private;

/// Files that are copied as they are. They change in one step or never.
const PLAIN: [&str; 4] = ["manifest.json", "keys.json", "function-keys.json", ".gitignore"];

/// Copies the data folder to `to`, which must not exist; it is there when the copy is complete and was checked.
///
/// # Errors
///
/// If something of it is damaged or missing, or cannot be read or written.
pub(crate) fn backup(folder: &Path, to: &Path) -> anyhow::Result<()> {
    if to.exists() {
        bail!("{} exists; name a folder that does not, so that no backup is overwritten", to.display());
    }
    let beside = beside(to);
    if beside.exists() {
        std::fs::remove_dir_all(&beside).with_context(|| format!("remove {}", beside.display()))?;
    }
    private::make_folder(&beside).with_context(|| format!("make {}", beside.display()))?;
    state_embedded::backup(&folder.join("state"), &beside.join("state")).context("back up the state")?;
    documents::backup(&folder.join("documents"), &beside.join("documents"))
        .context("back up the documents")?;
    for name in PLAIN {
        copy_if_there(&folder.join(name), &beside.join(name))?;
    }
    let tls = folder.join("tls");
    if tls.is_dir() {
        private::make_folder(&beside.join("tls")).context("make a folder for certificates")?;
        for entry in std::fs::read_dir(&tls).with_context(|| format!("list {}", tls.display()))? {
            let path = entry?.path();
            copy_if_there(&path, &beside.join("tls").join(path.file_name().unwrap_or_default()))?;
        }
    }
    let complaints = check(&beside)?;
    if let Some(complaint) = complaints.first() {
        bail!("the copy is not complete: {complaint}");
    }
    std::fs::rename(&beside, to)
        .with_context(|| format!("rename {} to {}", beside.display(), to.display()))?;
    Ok(())
}

fn copy_if_there(from: &Path, to: &Path) -> anyhow::Result<()> {
    if from.is_file() {
        std::fs::copy(from, to).with_context(|| format!("copy {} to {}", from.display(), to.display()))?;
        std::fs::File::open(to)
            .and_then(|file| file.sync_all())
            .with_context(|| format!("write {}", to.display()))?;
    }
    Ok(())
}

fn beside(to: &Path) -> PathBuf {
    let mut name = to.as_os_str().to_owned();
    name.push(".partial");
    PathBuf::from(name)
}
