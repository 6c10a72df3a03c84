//! [`OpenData`]: where a process stores its data.

use std::path::{Path, PathBuf};

use super::ephemeral::Ephemeral;
use super::error::DataFolderError;
use super::manifest::Manifest;
use super::part::DataPart;
use crate::{keys, private};

/// Where a process stores its data: in its data folder, or in a temporary one.
pub(crate) struct OpenData {
    path: PathBuf,
    /// `None` for an ephemeral process.
    folder: Option<DataFolder>,
    temporary: Option<Ephemeral>,
}

impl OpenData {
    /// The folder `path`, created if it does not exist; a temporary one if there is no path.
    ///
    /// # Errors
    ///
    /// See [`DataFolderError`]; also if no temporary folder can be created.
    pub(crate) fn open(path: Option<&Path>, accepted: &[DataPart]) -> anyhow::Result<Self> {
        let Some(path) = path else {
            let temporary = Ephemeral::make()?;
            return Ok(Self { path: temporary.path().to_owned(), folder: None, temporary: Some(temporary) });
        };
        let folder = DataFolder::open(path, accepted)?;
        Ok(Self { path: path.to_owned(), folder: Some(folder), temporary: None })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether to continue although data of a part is known to be lost.
    pub(crate) fn accepts(&self, part: &DataPart) -> bool {
        self.folder.as_ref().is_some_and(|folder| folder.accepts(part))
    }

    /// Checks that the opened parts belong to this folder, and records new ones.
    ///
    /// # Errors
    ///
    /// If a part is not the one in the list, or the list cannot be written.
    pub(crate) fn note(&mut self, mut parts: Vec<(DataPart, String)>) -> Result<(), DataFolderError> {
        let Some(folder) = &mut self.folder else { return Ok(()) };
        parts.extend(folder.keys());
        folder.note(&parts)
    }

    /// The folder of an ephemeral process; removed when it is dropped.
    pub(crate) fn into_temporary(self) -> Option<Ephemeral> {
        self.temporary
    }
}

/// A data folder that may be opened.
pub(super) struct DataFolder {
    path: PathBuf,
    manifest: Manifest,
    accepted: Vec<DataPart>,
}

impl DataFolder {
    /// Creates the folder if it does not exist, makes it private, and checks that no part of it is missing.
    ///
    /// # Errors
    ///
    /// See [`DataFolderError`]. Nothing in the folder is changed then.
    pub(super) fn open(path: &Path, accepted: &[DataPart]) -> Result<Self, DataFolderError> {
        make(path)?;
        let manifest = Manifest::read_or_create(path)?;
        let folder = Self { path: path.to_owned(), manifest, accepted: accepted.to_vec() };
        folder.refuse_missing_parts()?;
        Ok(folder)
    }

    /// Whether to continue although data of a part is known to be lost.
    pub(super) fn accepts(&self, part: &DataPart) -> bool {
        self.accepted.contains(part)
    }

    fn refuse_missing_parts(&self) -> Result<(), DataFolderError> {
        for part in self.manifest.parts().filter(|part| !self.accepts(part)) {
            for witness in part.required_files() {
                let missing = self.path.join(witness);
                if !missing.exists() {
                    return Err(DataFolderError::Missing {
                        folder: self.path.clone(),
                        part: part.clone(),
                        missing,
                    });
                }
            }
        }
        Ok(())
    }

    /// Compares the opened parts with the list, and records new ones.
    ///
    /// # Errors
    ///
    /// If a part is not the one in the list, or the list cannot be written.
    pub(super) fn note(&mut self, parts: &[(DataPart, String)]) -> Result<(), DataFolderError> {
        for (part, found) in parts {
            match self.manifest.id(part) {
                Some(expected) if expected != found && !self.accepts(part) => {
                    return Err(DataFolderError::Another {
                        folder: self.path.clone(),
                        part: part.clone(),
                        found: found.clone(),
                        expected: expected.to_owned(),
                    });
                }
                _ => self.manifest.set(part, found),
            }
        }
        self.manifest.write_if_changed(&self.path)
    }

    /// The generated keys, if there are any, as a part.
    pub(super) fn keys(&self) -> Option<(DataPart, String)> {
        Some((DataPart::Keys, keys::digest(&self.path)?))
    }
}

/// Creates the folder if it does not exist, and protects it from other users and from being committed to the app's repository.
///
/// # Errors
///
/// If it cannot be created, or others can read it.
pub(crate) fn make(path: &Path) -> Result<(), DataFolderError> {
    private::make_folder(path).map_err(|error| match error {
        private::FolderError::Io(folder, cause) => DataFolderError::Make(folder, cause),
        open @ private::FolderError::Open { .. } => open.into(),
    })?;
    let ignore = path.join(".gitignore");
    if !ignore.exists() {
        // Data beside an app must not be committed to its repository. If the folder is not writable, the caller finds out.
        let _ = std::fs::write(ignore, "*\n");
    }
    Ok(())
}
