//! The `format` file: which version of the on-disk format a directory has, the store's own number, and its generation.
//!
//! ```text
//! chappe-state 3
//! store 8f14e45f
//! generation 0
//! ```
//!
//! The first line stays as it is in every later version, so that an older program can tell that it must not go on. While a new
//! store is made, a fourth line says `new`: until it is gone, parts may be missing. A backup has the line `copy`, and draws another generation when it is
//! opened first. Version 1 had neither marks, checksums in the
//! registry, nor a generation; version 2 removed no journals.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

use crate::error::OpenStoreError;
use crate::platform;

/// The on-disk format that this version writes, and the newest that it reads.
pub(super) const VERSION: u32 = 3;

/// What the file says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Format {
    /// Version of the on-disk format.
    pub(super) version: u32,
    /// Drawn when the store was made; its records carry it, so that another store's records are never taken for its own.
    pub(super) store: u32,
    /// Raised whenever acknowledged records may have been lost: it changes the epochs of all journals.
    pub(super) generation: u64,
    /// Whether the store was never open yet.
    pub(super) is_new: bool,
    /// Whether it is a copy that was never open yet: its journals are older than what clients know.
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

    /// Reads the directory's format, or writes it where the directory is new.
    pub(super) fn read_or_make(directory: &Path) -> Result<Self, OpenStoreError> {
        let failed = |cause| OpenStoreError::from_io(directory, cause);
        match std::fs::read_to_string(directory.join("format")) {
            Ok(text) => parse(&text, directory),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                if has_strangers(directory).map_err(failed)? {
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

    /// Writes it durably, beside its place first, so that there is never half a file.
    pub(super) fn write(&self, directory: &Path) -> Result<(), OpenStoreError> {
        let write = || {
            let beside = directory.join("format.new");
            let mut file = File::create(&beside)?;
            writeln!(file, "chappe-state {}", self.version)?;
            writeln!(file, "store {:08x}", self.store)?;
            writeln!(file, "generation {}", self.generation)?;
            if self.is_new {
                writeln!(file, "new")?;
            } else if self.is_copy {
                writeln!(file, "copy")?;
            }
            file.sync_all()?;
            std::fs::rename(&beside, directory.join("format"))?;
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
