//! Operations on the files of a database: names, fsync, renaming.

use std::fs::File;
use std::path::{Path, PathBuf};

use crate::error::OpenDatabaseError;

/// Renames files that are no longer needed, to keep their content.
pub(crate) fn set_aside(files: &[&Path]) -> Result<(), OpenDatabaseError> {
    for file in files.iter().filter(|file| file.exists()) {
        let aside = with_ending(file, ".lost");
        std::fs::rename(file, &aside).map_err(|cause| OpenDatabaseError::Io((*file).to_owned(), cause))?;
        tracing::warn!(file = %aside.display(), "kept the remaining files of a lost database");
    }
    Ok(())
}

pub(crate) fn remove(path: &Path) -> Result<(), OpenDatabaseError> {
    match std::fs::remove_file(path) {
        Err(cause) if cause.kind() != std::io::ErrorKind::NotFound => {
            Err(OpenDatabaseError::Io(path.to_owned(), cause))
        }
        _ => Ok(()),
    }
}

pub(crate) fn sync(path: &Path) -> Result<(), OpenDatabaseError> {
    let synced = File::options().read(true).write(true).open(path).and_then(|file| file.sync_all());
    synced.map_err(|cause| OpenDatabaseError::Io(path.to_owned(), cause))
}

pub(crate) fn mark_path(path: &Path) -> PathBuf {
    path.with_extension("mark")
}

pub(crate) fn with_ending(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    PathBuf::from(name)
}
