//! The `format` file: the version of the on-disk format of a directory, the number of the store, and its generation.
//!
//! ```text
//! chappe-state 3
//! store 8f14e45f
//! generation 0
//! ```
//!
//! The first line has the same form in every later version, so that an older program can detect a newer format. While a new store
//! is created, the fourth line is `new`: parts may be missing. In a backup it is `copy`: the first opening draws another
//! generation. Version 1 had no marks, no checksums in the registry and no generation; version 2 could not remove journals.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

use crate::error::OpenStoreError;
use crate::platform;

/// The on-disk format that this version writes, and the newest that it reads.
pub(super) const VERSION: u32 = 3;

/// The content of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Format {
    /// Version of the on-disk format.
    pub(super) version: u32,
    /// Drawn when the store is created; its records contain it, so that records of another store are never read as its own.
    pub(super) store: u32,
    /// Changes when acknowledged records may have been lost; changes the epochs of all journals.
    pub(super) generation: u64,
    /// Whether the store has never been open.
    pub(super) is_new: bool,
    /// Whether it is a copy that has never been open: its journals are older than the positions that clients have.
    pub(super) is_copy: bool,
}

impl Format {
    /// Reads the directory's format.
    pub(super) fn read(directory: &Path) -> Result<Self, OpenStoreError> {
        match std::fs::read_to_string(directory.join("format")) {
            Ok(text) => parse(&text, directory),
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => {
                Err(OpenStoreError::NotOurs { directory: directory.to_owned() })
            }
            Err(cause) => Err(OpenStoreError::from_io(directory, cause)),
        }
    }

    /// Reads the directory's format; writes it if the directory is new.
    pub(super) fn read_or_create(directory: &Path) -> Result<Self, OpenStoreError> {
        let failed = |cause| OpenStoreError::from_io(directory, cause);
        match std::fs::read_to_string(directory.join("format")) {
            Ok(text) => parse(&text, directory),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                if has_other_files(directory).map_err(failed)? {
                    return Err(OpenStoreError::NotOurs { directory: directory.to_owned() });
                }
                let store = uuid::Uuid::new_v4().as_fields().0;
                let format = Self { version: VERSION, store, generation: 0, is_new: true, is_copy: false };
                format.write(directory)?;
                Ok(format)
            }
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                Err(OpenStoreError::NotOurs { directory: directory.to_owned() })
            }
            Err(error) => Err(failed(error)),
        }
    }

    /// Writes it durably, under a temporary name first, so that it is never incomplete.
    pub(super) fn write(&self, directory: &Path) -> Result<(), OpenStoreError> {
        let write = || {
            let temporary = directory.join("format.new");
            let mut file = File::create(&temporary)?;
            writeln!(file, "chappe-state {}", self.version)?;
            writeln!(file, "store {:08x}", self.store)?;
            writeln!(file, "generation {}", self.generation)?;
            if self.is_new {
                writeln!(file, "new")?;
            } else if self.is_copy {
                writeln!(file, "copy")?;
            }
            file.sync_all()?;
            std::fs::rename(&temporary, directory.join("format"))?;
            platform::sync_directory(directory)
        };
        write().map_err(|cause| OpenStoreError::from_io(directory, cause))
    }
}

fn parse(text: &str, directory: &Path) -> Result<Format, OpenStoreError> {
    let not_ours = || OpenStoreError::NotOurs { directory: directory.to_owned() };
    let mut lines = text.lines();
    let version = lines.next().and_then(|line| line.strip_prefix("chappe-state ")).ok_or_else(not_ours)?;
    let version: u32 = version.parse().map_err(|_| not_ours())?;
    if version > VERSION {
        let directory = directory.to_owned();
        return Err(OpenStoreError::NewerFormat { directory, found: version, known: VERSION });
    }
    let store = lines.next().and_then(|line| line.strip_prefix("store ")).ok_or_else(not_ours)?;
    let store = u32::from_str_radix(store, 16).map_err(|_| not_ours())?;
    if version < 2 {
        return Ok(Format { version, store, generation: 0, is_new: false, is_copy: false });
    }
    let generation = lines.next().and_then(|line| line.strip_prefix("generation ")).ok_or_else(not_ours)?;
    let generation = generation.parse().map_err(|_| not_ours())?;
    let state = lines.next();
    Ok(Format { version, store, generation, is_new: state == Some("new"), is_copy: state == Some("copy") })
}

/// Whether it contains files other than those of an interrupted first start.
fn has_other_files(directory: &Path) -> io::Result<bool> {
    for entry in std::fs::read_dir(directory)? {
        let name = entry?.file_name();
        if name != "lock" && name != "format.new" {
            return Ok(true);
        }
    }
    Ok(false)
}
