//! The `format` file: which version of the on-disk format a directory has, and the store's own number.
//!
//! ```text
//! chappe-state 1
//! store 8f14e45f
//! ```
//!
//! The first line stays as it is in every later version, so that an older program can tell that it must not go on.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

use crate::error::OpenError;
use crate::platform;

/// The on-disk format that this version writes, and the newest that it reads.
pub(super) const VERSION: u32 = 1;

/// What the file says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Format {
    /// Drawn when the store was made; its records carry it, so that another store's records are never taken for its own.
    pub(super) store: u32,
}

/// Reads the directory's format, or writes it where the directory is new.
pub(super) fn check_or_write(directory: &Path) -> Result<Format, OpenError> {
    let failed = |cause| OpenError::from_io(directory, cause);
    match std::fs::read_to_string(directory.join("format")) {
        Ok(text) => parse(&text, directory),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            if has_strangers(directory).map_err(failed)? {
                return Err(OpenError::NotOurs { directory: directory.to_owned() });
            }
            let format = Format { store: uuid::Uuid::new_v4().as_fields().0 };
            write(directory, format).map_err(failed)?;
            Ok(format)
        }
        Err(error) if error.kind() == io::ErrorKind::InvalidData => {
            Err(OpenError::NotOurs { directory: directory.to_owned() })
        }
        Err(error) => Err(failed(error)),
    }
}

fn parse(text: &str, directory: &Path) -> Result<Format, OpenError> {
    let not_ours = || OpenError::NotOurs { directory: directory.to_owned() };
    let mut lines = text.lines();
    let version = lines.next().and_then(|line| line.strip_prefix("chappe-state ")).ok_or_else(not_ours)?;
    let found: u32 = version.parse().map_err(|_| not_ours())?;
    if found > VERSION {
        return Err(OpenError::NewerFormat { directory: directory.to_owned(), found, known: VERSION });
    }
    let store = lines.next().and_then(|line| line.strip_prefix("store ")).ok_or_else(not_ours)?;
    Ok(Format { store: u32::from_str_radix(store, 16).map_err(|_| not_ours())? })
}

/// Writes beside and renames, so that there is never half a file.
fn write(directory: &Path, format: Format) -> io::Result<()> {
    let beside = directory.join("format.new");
    let mut file = File::create(&beside)?;
    writeln!(file, "chappe-state {VERSION}")?;
    writeln!(file, "store {:08x}", format.store)?;
    file.sync_all()?;
    std::fs::rename(&beside, directory.join("format"))?;
    platform::sync_directory(directory)
}

/// Whether there is anything in it but what an interrupted first start leaves.
fn has_strangers(directory: &Path) -> io::Result<bool> {
    for entry in std::fs::read_dir(directory)? {
        let name = entry?.file_name();
        if name != "lock" && name != "format.new" {
            return Ok(true);
        }
    }
    Ok(false)
}
