//! Making the names in a folder durable.

use std::io;
use std::path::Path;

/// Makes the names in a file's folder durable: files created, renamed or removed there.
pub(crate) fn sync_folder_of(file: &Path) -> io::Result<()> {
    // Windows cannot open a folder; NTFS logs its changes.
    #[cfg(unix)]
    if let Some(folder) = file.parent() {
        return std::fs::File::open(folder)?.sync_all();
    }
    let _ = file;
    Ok(())
}
