//! [`DataFolderError`]: why the data folder cannot be used.

use std::path::PathBuf;

use checked_files::OpenDatabaseError;
use http_messages::ErrorDescription;
use state_embedded::OpenStoreError;

use super::part::DataPart;
use crate::error_table::data;
use crate::private::FolderError;

/// Why the data folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DataFolderError {
    /// It cannot be created.
    #[error("cannot create the data folder {}; name another one with --data-dir", .0.display())]
    Make(PathBuf, #[source] std::io::Error),
    /// Other users can read it, and this user may not change its mode.
    #[error("{0}")]
    Open(#[from] FolderError),
    /// The list of its parts cannot be read or written.
    #[error("cannot read or write {}; restore it from a backup", .0.display())]
    Manifest(PathBuf, #[source] std::io::Error),
    /// A part is missing.
    #[error(
        "the data folder {} lacks a part that it had: {} ({} is missing); nothing was changed. Restore a backup, or continue \
         without its contents ({}) with --accept-loss={part}",
        folder.display(), part, missing.display(), part.holds()
    )]
    Missing {
        /// The data folder.
        folder: PathBuf,
        /// The part.
        part: DataPart,
        /// The missing file.
        missing: PathBuf,
    },
    /// A part was created by another data folder.
    #[error(
        "{} of the data folder {} are of another data folder (id {found} instead of {expected}); nothing was changed. Put back the \
         files that belong together, restore a backup, or accept these files with --accept-loss={part}",
        part.holds(), folder.display()
    )]
    Another {
        /// The data folder.
        folder: PathBuf,
        /// The part.
        part: DataPart,
        /// The part's id.
        found: String,
        /// The id in the list.
        expected: String,
    },
}

impl DataFolderError {
    /// Its code, and what to do.
    pub(crate) fn description(&self) -> &'static ErrorDescription {
        match self {
            Self::Make(..) => &data::FOLDER,
            Self::Open(error) => of_folder(error),
            Self::Manifest(..) => &data::MANIFEST,
            Self::Missing { .. } => &data::PART_MISSING,
            Self::Another { .. } => &data::MIXED,
        }
    }
}

/// The description of an error of a folder's mode.
pub(crate) fn of_folder(error: &FolderError) -> &'static ErrorDescription {
    match error {
        FolderError::Open { .. } => &data::READABLE_BY_OTHERS,
        FolderError::Io(..) => &data::FOLDER,
    }
}

/// The description of an error of the embedded store.
pub(crate) fn of_store(error: &OpenStoreError) -> &'static ErrorDescription {
    match error {
        OpenStoreError::InUse { .. } => &data::IN_USE,
        OpenStoreError::NewerFormat { .. } => &data::NEWER_FORMAT,
        OpenStoreError::NotOurs { .. } => &data::NOT_A_DATA_FOLDER,
        OpenStoreError::Permission { .. } | OpenStoreError::ReadOnly { .. } => &data::PERMISSION,
        OpenStoreError::NoSpace { .. } => &data::NO_SPACE,
        OpenStoreError::Corrupt { .. } => &data::DAMAGED,
        OpenStoreError::LostTail { .. } => &data::LOST_END,
        OpenStoreError::AnotherStore { .. } => &data::MIXED,
        OpenStoreError::Missing { .. } => &data::PART_MISSING,
        OpenStoreError::Part(error) => of_database(error),
        OpenStoreError::Database { .. } => &data::DATABASE,
        _ => &data::INPUT_OUTPUT,
    }
}

/// The description of an error of a database file.
pub(crate) fn of_database(error: &OpenDatabaseError) -> &'static ErrorDescription {
    match error {
        OpenDatabaseError::Missing { .. } => &data::PART_MISSING,
        OpenDatabaseError::AnotherStore { .. } => &data::MIXED,
        OpenDatabaseError::NoMark { .. } | OpenDatabaseError::LostEnd(_) => &data::LOST_END,
        OpenDatabaseError::Damaged { .. } => &data::DAMAGED,
        OpenDatabaseError::Format { .. } => &data::NEWER_FORMAT,
        OpenDatabaseError::Database { .. } => &data::DATABASE,
        _ => &data::INPUT_OUTPUT,
    }
}
