//! Temporary data folders, removed at the end of the process. A killed process leaves its folder; the next start with a temporary
//! folder removes it.

use std::fs::{File, Metadata};
use std::path::Path;

use anyhow::Context;
use tempfile::TempDir;

use crate::command_error::CommandError;
use crate::error_table::data;
use crate::private;

const PREFIX: &str = "chappe-";

/// Locked while the folder is in use; the operating system releases the lock when the process ends, for whatever reason.
const LOCK: &str = "ephemeral.lock";

/// Most entries of the temporary folder that are examined, so that a folder with very many does not delay a start.
const ENTRIES_MAX: usize = 10_000;

/// A temporary data folder in use.
pub(crate) struct Ephemeral {
    _lock: File,
    folder: TempDir,
}

impl Ephemeral {
    /// Removes the folders of killed processes, and creates a folder.
    pub(crate) fn make() -> anyhow::Result<Self> {
        Self::create_in(&std::env::temp_dir())
    }

    fn create_in(parent: &Path) -> anyhow::Result<Self> {
        let folder = tempfile::Builder::new().prefix(PREFIX).tempdir_in(parent).context(failed(
            "cannot create a temporary folder; set TMPDIR, or name a folder with --data-dir",
        ))?;
        private::close(folder.path()).context(failed("set the mode of the temporary folder"))?;
        let lock = File::create(folder.path().join(LOCK));
        let lock = lock.context(failed("write to the temporary folder; set TMPDIR to another one"))?;
        lock.try_lock().context(failed("lock the temporary folder; set TMPDIR to another one"))?;
        if let Ok(own) = folder.path().symlink_metadata() {
            remove_abandoned(parent, folder.path(), &own);
        }
        Ok(Self { _lock: lock, folder })
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }
}

fn failed(text: &str) -> CommandError {
    CommandError::new(&data::TEMPORARY_FOLDER, text)
}

/// Removes folders of this user whose process has ended.
fn remove_abandoned(parent: &Path, own_path: &Path, own: &Metadata) {
    let Ok(entries) = std::fs::read_dir(parent) else { return };
    let candidates = entries.take(ENTRIES_MAX).flatten().map(|entry| entry.path());
    for folder in candidates.filter(|path| path != own_path && is_abandoned(path, own)) {
        match std::fs::remove_dir_all(&folder) {
            Ok(()) => {
                tracing::info!(folder = %folder.display(), "removed the temporary folder of a killed process");
            }
            Err(error) => {
                tracing::warn!(%error, folder = %folder.display(), "the temporary folder of a killed process stays");
            }
        }
    }
}

fn is_abandoned(folder: &Path, own: &Metadata) -> bool {
    let is_named = folder.file_name().is_some_and(|name| name.to_string_lossy().starts_with(PREFIX));
    let is_own = || {
        folder.symlink_metadata().is_ok_and(|found| found.is_dir() && private::have_one_owner(&found, own))
    };
    let is_free = || File::open(folder.join(LOCK)).is_ok_and(|lock| lock.try_lock().is_ok());
    is_named && is_own() && is_free()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_of_ended_processes_are_removed_and_those_in_use_stay() {
        let parent = tempfile::tempdir().expect("a folder can be made");
        let living = Ephemeral::create_in(parent.path()).expect("a folder can be made");
        let killed = parent.path().join("chappe-killed");
        let foreign = parent.path().join("chappe-foreign");
        let other = parent.path().join("other");
        for folder in [&killed, &foreign, &other] {
            std::fs::create_dir_all(folder.join("state")).expect("a folder can be made");
        }
        for folder in [&killed, &other] {
            std::fs::write(folder.join(LOCK), "").expect("a file can be written");
        }
        let next = Ephemeral::create_in(parent.path()).expect("a folder can be made");
        assert!(living.path().exists() && next.path().exists());
        assert!(!killed.exists(), "its process has ended");
        assert!(foreign.exists() && other.exists(), "these are not ours");
    }
}
