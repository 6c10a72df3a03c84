//! Copying a log that may be written meanwhile.
//!
//! The mark is copied first, so that everything that was acknowledged by then must be in the copy; then the segments. A segment
//! that is given up and used again while it is copied, or a group that is only half there, shows when the copy is read; a copy
//! that is not whole up to its mark is made again.

use std::path::Path;

use checked_files::AtLoss;

use super::recovery::{Before, Recovery};
use crate::error::OpenError;
use crate::platform;

/// How often a copy is begun again.
const TRIES_MAX: usize = 20;

/// Copies the log in `directory` to the new folder `to`, and its mark beside it.
pub(crate) fn backup(directory: &Path, to: &Path, store: u32) -> Result<(), OpenError> {
    let mut tries = 0;
    loop {
        tries += 1;
        let copied = copy(directory, to).map_err(|cause| OpenError::from_io(directory, cause));
        let before = Before { store, has_no_mark: false, at_loss: AtLoss::Refuse };
        let read = copied.and_then(|()| Recovery::read(to, before));
        match read {
            Ok(recovery) if recovery.verify().is_empty() => return Ok(()),
            Err(error) if tries == TRIES_MAX => return Err(error),
            Ok(_) if tries == TRIES_MAX => {
                let what = "records of it cannot be read";
                return Err(OpenError::Corrupt { file: directory.to_owned(), position: 0, what });
            }
            Ok(_) | Err(_) => {}
        }
    }
}

fn copy(directory: &Path, to: &Path) -> std::io::Result<()> {
    if to.exists() {
        std::fs::remove_dir_all(to)?;
    }
    std::fs::create_dir(to)?;
    std::fs::copy(directory.with_extension("mark"), to.with_extension("mark"))?;
    for entry in std::fs::read_dir(directory)? {
        let path = entry?.path();
        // The index files are made again where they are missing.
        if path.extension().is_some_and(|extension| extension == "log") {
            let copied = to.join(path.file_name().unwrap_or_default());
            std::fs::copy(&path, &copied)?;
            std::fs::File::open(&copied)?.sync_all()?;
        }
    }
    platform::sync_directory(to)
}
