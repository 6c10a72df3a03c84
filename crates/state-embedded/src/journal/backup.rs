//! Copies a log that another process may be writing.
//!
//! The mark is copied first, so that the copy must hold everything that was acknowledged until then; then the segments. A
//! segment that is reused while it is copied, or an incomplete group, is noticed when the copy is read. A copy that is not
//! complete up to its mark is made again.

use std::path::Path;

use checked_files::LossPolicy;

use super::recovery::{Recovery, RecoveryOptions};
use crate::error::OpenStoreError;
use crate::platform;

/// How often a copy is tried.
const TRIES_MAX: usize = 20;

/// Copies the log in `directory` to the new folder `to`, and its mark beside it.
pub(crate) fn backup(directory: &Path, to: &Path, store: u32) -> Result<(), OpenStoreError> {
    let mut tries = 0;
    loop {
        tries += 1;
        let copied = copy(directory, to).map_err(|cause| OpenStoreError::from_io(directory, cause));
        let options = RecoveryOptions { store, has_no_mark: false, loss_policy: LossPolicy::Refuse };
        let read = copied.and_then(|()| Recovery::read(to, options));
        match read {
            Ok(recovery) if recovery.verify().is_empty() => return Ok(()),
            Err(error) if tries == TRIES_MAX => return Err(error),
            Ok(_) if tries == TRIES_MAX => {
                let what = "records of it cannot be read";
                return Err(OpenStoreError::Corrupt { file: directory.to_owned(), position: 0, what });
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
        // Missing index files are written again at the next start.
        if path.extension().is_some_and(|extension| extension == "log") {
            let copied = to.join(path.file_name().unwrap_or_default());
            std::fs::copy(&path, &copied)?;
            std::fs::File::open(&copied)?.sync_all()?;
        }
    }
    platform::sync_directory(to)
}
