//! The data folder: private to its owner, and complete. A folder that was used before and lacks a part is refused, never made
//! anew.

pub(crate) mod backup;
pub(crate) mod check;
pub(crate) mod ephemeral;
mod manifest;

use std::path::{Path, PathBuf};

pub(crate) use manifest::{Manifest, Part};

use crate::{keys, private};

/// Why the data folder is not used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DataFolderError {
    /// It cannot be made.
    #[error("cannot make the data folder {}; name another one with --data-dir", .0.display())]
    Make(PathBuf, #[source] std::io::Error),
    /// Others can read it, and this user may not change that.
    #[error("{0}")]
    Open(#[from] private::FolderError),
    /// The list of its parts cannot be read or written.
    #[error("cannot read or write {}; restore it from a backup", .0.display())]
    Manifest(PathBuf, #[source] std::io::Error),
    /// A part is not there.
    #[error(
        "the data folder {} lacks a part that it had: {} ({} is missing); nothing was changed. Restore a backup, or go on \
         without what it held ({}) with --accept-loss={part}",
        folder.display(), part.name(), missing.display(), part.holds()
    )]
    Missing {
        /// The data folder.
        folder: PathBuf,
        /// The part.
        part: Part,
        /// The file that is not there.
        missing: PathBuf,
    },
    /// A part was made by another data folder.
    #[error(
        "{} of the data folder {} are of another data folder (id {found} instead of {expected}); nothing was changed. Put back what \
         belongs together, restore a backup, or take what is there as it is with --accept-loss={part}",
        part.holds(), folder.display()
    )]
    Another {
        /// The data folder.
        folder: PathBuf,
        /// The part.
        part: Part,
        /// Its id.
        found: String,
        /// The id that the list names.
        expected: String,
    },
}

/// A data folder that may be opened.
pub(crate) struct DataFolder {
    path: PathBuf,
    manifest: Manifest,
    accepted: Vec<Part>,
}

impl DataFolder {
    /// Makes the folder where it is missing, keeps it from others, and sees to it that no part of it is missing.
    ///
    /// # Errors
    ///
    /// As [`DataFolderError`] says. Nothing in the folder is changed then.
    pub(crate) fn open(path: &Path, accepted: &[Part]) -> Result<Self, DataFolderError> {
        make(path)?;
        let manifest = Manifest::read_or_make(path)?;
        let folder = Self { path: path.to_owned(), manifest, accepted: accepted.to_vec() };
        folder.refuse_missing_parts()?;
        Ok(folder)
    }

    /// Whether to go on where data of a part is known to be lost.
    pub(crate) fn accepts(&self, part: Part) -> bool {
        self.accepted.contains(&part)
    }

    fn refuse_missing_parts(&self) -> Result<(), DataFolderError> {
        for part in self.manifest.parts().filter(|part| !self.accepts(*part)) {
            for witness in part.witnesses() {
                let missing = self.path.join(witness);
                if !missing.exists() {
                    return Err(DataFolderError::Missing { folder: self.path.clone(), part, missing });
                }
            }
        }
        Ok(())
    }

    /// Compares the parts that were opened with the list, and notes new ones.
    ///
    /// # Errors
    ///
    /// If a part is another than the one that was there, or the list cannot be written.
    pub(crate) fn note(&mut self, parts: &[(Part, String)]) -> Result<(), DataFolderError> {
        for (part, found) in parts {
            match self.manifest.id(*part) {
                Some(expected) if expected != found && !self.accepts(*part) => {
                    return Err(DataFolderError::Another {
                        folder: self.path.clone(),
                        part: *part,
                        found: found.clone(),
                        expected: expected.to_owned(),
                    });
                }
                _ => self.manifest.set(*part, found),
            }
        }
        self.manifest.write_if_changed(&self.path)
    }

    /// The keys that were made, if there are any, as a part.
    pub(crate) fn keys(&self) -> Option<(Part, String)> {
        Some((Part::Keys, keys::digest(&self.path)?))
    }
}

/// Makes the folder where it is missing, and keeps it from others: from other users, and from the app's repository.
///
/// # Errors
///
/// If it cannot be made, or others can read it.
pub(crate) fn make(path: &Path) -> Result<(), DataFolderError> {
    private::make_folder(path).map_err(|error| match error {
        private::FolderError::Io(folder, cause) => DataFolderError::Make(folder, cause),
        open @ private::FolderError::Open { .. } => open.into(),
    })?;
    let ignore = path.join(".gitignore");
    if !ignore.exists() {
        // Data beside an app must not end in its repository. A folder that cannot be written is found out by the caller.
        let _ = std::fs::write(ignore, "*\n");
    }
    Ok(())
}

#[cfg(test)]
mod tests;
