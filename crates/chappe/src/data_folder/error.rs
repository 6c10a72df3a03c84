//! [`DataFolderError`]: why the data folder is not used.

use std::path::PathBuf;

use super::part::DataPart;
use crate::private;

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
        folder.display(), part, missing.display(), part.holds()
    )]
    Missing {
        /// The data folder.
        folder: PathBuf,
        /// The part.
        part: DataPart,
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
        part: DataPart,
        /// Its id.
        found: String,
        /// The id that the list names.
        expected: String,
    },
}
