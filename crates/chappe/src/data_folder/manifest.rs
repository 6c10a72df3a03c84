//! `manifest.json`: the parts of a data folder, each with the random id that was generated when it was created.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::error::DataFolderError;
use super::part::DataPart;

/// The list of a folder's parts.
pub(crate) struct Manifest {
    content: Content,
    is_changed: bool,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct Content {
    /// Version of this file.
    version: u32,
    parts: BTreeMap<DataPart, String>,
}

impl Manifest {
    /// Reads the list. A new folder gets an empty list before anything else, so that a part that is listed and missing was lost; a
    /// folder of an older version gets a list of the parts that every folder had.
    pub(super) fn read_or_create(folder: &Path) -> Result<Self, DataFolderError> {
        let path = path(folder);
        let failed = |cause| DataFolderError::Manifest(path.clone(), cause);
        match std::fs::read(&path) {
            Ok(bytes) => {
                let content = serde_json::from_slice(&bytes).map_err(|cause| failed(cause.into()))?;
                return Ok(Self { content, is_changed: false });
            }
            Err(cause) if cause.kind() != std::io::ErrorKind::NotFound => return Err(failed(cause)),
            Err(_) => {}
        }
        let mut manifest = Self { content: Content { version: 1, ..Content::default() }, is_changed: true };
        if folder.join("state").exists() || folder.join("documents").exists() {
            // Their ids are read when they are opened.
            for part in [DataPart::Journal, DataPart::Registry, DataPart::Documents(None)] {
                manifest.content.parts.insert(part, String::new());
            }
        } else {
            manifest.write_if_changed(folder)?;
        }
        Ok(manifest)
    }

    /// Reads the list of a folder; empty for a folder of an older version.
    pub(super) fn read(folder: &Path) -> Result<Self, DataFolderError> {
        let path = path(folder);
        let content = match std::fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(Into::into),
            Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => Ok(Content::default()),
            Err(cause) => Err(cause),
        };
        let content = content.map_err(|cause| DataFolderError::Manifest(path, cause))?;
        Ok(Self { content, is_changed: false })
    }

    pub(super) fn parts(&self) -> impl Iterator<Item = DataPart> {
        self.content.parts.keys().cloned()
    }

    /// The id of a part, if it is known.
    pub(super) fn id(&self, part: &DataPart) -> Option<&str> {
        self.content.parts.get(part).map(String::as_str).filter(|id| !id.is_empty())
    }

    pub(super) fn set(&mut self, part: &DataPart, id: &str) {
        let before = self.content.parts.insert(part.clone(), id.to_owned());
        self.is_changed |= before.as_deref() != Some(id);
    }

    /// Writes the list durably and atomically.
    pub(super) fn write_if_changed(&mut self, folder: &Path) -> Result<(), DataFolderError> {
        if !self.is_changed {
            return Ok(());
        }
        let path = path(folder);
        let text = serde_json::to_string_pretty(&self.content).expect("names and ids are text");
        let write = || {
            let mut temporary = tempfile::NamedTempFile::new_in(folder)?;
            std::io::Write::write_all(&mut temporary, text.as_bytes())?;
            temporary.as_file().sync_all()?;
            temporary.persist(&path).map_err(|error| error.error)?;
            crate::private::sync_folder(folder)
        };
        write().map_err(|cause| DataFolderError::Manifest(path.clone(), cause))?;
        self.is_changed = false;
        Ok(())
    }
}

fn path(folder: &Path) -> PathBuf {
    folder.join("manifest.json")
}
