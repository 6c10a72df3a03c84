//! `chappe backup`: copies a data folder, also while a process uses it; the copy can replace the original.

use std::path::{Path, PathBuf};

use anyhow::Context;

use super::check::{check, databases};
use super::manifest::Manifest;
use crate::command_error::CommandError;
use crate::error_table::data;
use crate::private;

/// Files that are copied unchanged. They change atomically or never.
const PLAIN: [&str; 4] = ["manifest.json", "keys.json", "function-keys.json", ".gitignore"];

/// Copies the data folder to `to`, which must not exist; it exists once the copy is complete and was checked.
///
/// # Errors
///
/// If a part is damaged or missing, or a file cannot be read or written.
pub(crate) fn backup(folder: &Path, to: &Path) -> anyhow::Result<()> {
    copy(folder, to).map_err(|error| match error.is::<CommandError>() {
        true => error,
        false => error.context(CommandError::new(&data::BACKUP_FAILED, "back up the data folder")),
    })
}

fn copy(folder: &Path, to: &Path) -> anyhow::Result<()> {
    if to.exists() {
        let text = format!(
            "{} exists; name a folder that does not exist, so that no backup is overwritten",
            to.display()
        );
        return Err(CommandError::new(&data::BACKUP_TARGET, text).into());
    }
    let beside = beside(to);
    if beside.exists() {
        std::fs::remove_dir_all(&beside).with_context(|| format!("remove {}", beside.display()))?;
    }
    private::make_folder(&beside).with_context(|| format!("make {}", beside.display()))?;
    state_embedded::backup(&folder.join("state"), &beside.join("state")).context("back up the state")?;
    let manifest = Manifest::read(folder)?;
    for database in databases(&manifest) {
        if let Some(parent) = beside.join(&database).parent() {
            std::fs::create_dir_all(parent).with_context(|| format!("make {}", parent.display()))?;
        }
        documents::backup(&folder.join(&database), &beside.join(&database))
            .context("back up the documents")?;
    }
    // The other files of a named service: keys of apps.
    copy_named(folder, &beside)?;
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
        let text = format!("the copy is not complete: {complaint}");
        return Err(CommandError::new(&data::BACKUP_FAILED, text).into());
    }
    std::fs::rename(&beside, to)
        .with_context(|| format!("rename {} to {}", beside.display(), to.display()))?;
    Ok(())
}

/// Copies the keys of named functions hosts.
fn copy_named(folder: &Path, to: &Path) -> anyhow::Result<()> {
    let named = folder.join("instances");
    if !named.is_dir() {
        return Ok(());
    }
    for entry in std::fs::read_dir(&named).with_context(|| format!("list {}", named.display()))? {
        let service = Path::new("instances").join(entry?.file_name());
        let keys = service.join("function-keys.json");
        if folder.join(&keys).is_file() {
            private::make_folder(&to.join(&service)).context("make a folder for keys")?;
            copy_if_there(&folder.join(&keys), &to.join(&keys))?;
        }
    }
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
