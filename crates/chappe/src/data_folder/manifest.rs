//! `manifest.json`: which parts a data folder has, each with the id that was drawn when it was made.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::DataFolderError;

/// A part of the data folder that holds what was acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Part {
    /// Kept messages, connection events.
    Journal,
    /// Users' groups, function keys, positions of triggers, leases.
    Registry,
    /// Databases, containers and items.
    Documents,
    /// Account keys that were made on first start.
    Keys,
}

/// A text that names no part.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is no part of a data folder; the parts are journal, registry, documents and keys")]
pub(crate) struct UnknownPart(String);

impl Part {
    pub(crate) const ALL: [Self; 4] = [Self::Journal, Self::Registry, Self::Documents, Self::Keys];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Journal => "journal",
            Self::Registry => "registry",
            Self::Documents => "documents",
            Self::Keys => "keys",
        }
    }

    /// What is lost with it, for people.
    pub(super) const fn holds(self) -> &'static str {
        match self {
            Self::Journal => "kept messages and connection events",
            Self::Registry => {
                "function keys, users' groups, positions of triggers and the list of kept messages"
            }
            Self::Documents => "databases, containers and items",
            Self::Keys => "the account keys that clients use",
        }
    }

    /// Files that are there whenever the part is.
    pub(super) const fn witnesses(self) -> &'static [&'static str] {
        match self {
            Self::Journal => &["state/format", "state/journal"],
            Self::Registry => &["state/format", "state/registry.sqlite"],
            Self::Documents => &["documents/documents.sqlite"],
            Self::Keys => &["keys.json"],
        }
    }
}

impl fmt::Display for Part {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

impl FromStr for Part {
    type Err = UnknownPart;

    fn from_str(text: &str) -> Result<Self, UnknownPart> {
        let found = Self::ALL.into_iter().find(|part| part.name() == text);
        found.ok_or_else(|| UnknownPart(text.to_owned()))
    }
}

/// The list of a folder's parts.
pub(crate) struct Manifest {
    content: Content,
    is_changed: bool,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct Content {
    /// Version of this file.
    version: u32,
    parts: BTreeMap<Part, String>,
}

impl Manifest {
    /// Reads the list. A new folder gets an empty one before anything else, so that a part that is missing later was there; a
    /// folder of before gets one that names the parts that every folder had.
    pub(super) fn read_or_make(folder: &Path) -> Result<Self, DataFolderError> {
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
            // Which ids they have is seen when they are opened.
            for part in [Part::Journal, Part::Registry, Part::Documents] {
                manifest.content.parts.insert(part, String::new());
            }
        } else {
            manifest.write_if_changed(folder)?;
        }
        Ok(manifest)
    }

    /// Reads the list of a folder; an empty one for a folder of before.
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

    pub(super) fn parts(&self) -> impl Iterator<Item = Part> {
        self.content.parts.keys().copied()
    }

    /// The id of a part, where it is known.
    pub(super) fn id(&self, part: Part) -> Option<&str> {
        self.content.parts.get(&part).map(String::as_str).filter(|id| !id.is_empty())
    }

    pub(super) fn set(&mut self, part: Part, id: &str) {
        let before = self.content.parts.insert(part, id.to_owned());
        self.is_changed |= before.as_deref() != Some(id);
    }

    /// Writes the list durably, in one step.
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
