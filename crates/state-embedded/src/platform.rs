//! The platform seam: what files need beyond the standard library, for each platform.
//!
//! Everything that differs between Linux, macOS and Windows stands here and nowhere else in this crate.

use std::fs::File;
use std::io;
use std::path::Path;

/// Makes the names in a directory durable: files made, renamed or removed in it.
pub(crate) fn sync_directory(directory: &Path) -> io::Result<()> {
    #[cfg(unix)]
    return File::open(directory)?.sync_all();
    // Windows has no such call; NTFS logs its directory changes.
    #[cfg(not(unix))]
    return directory.try_exists().map(|_| ());
}

/// Whether a failed write means that there is no room: the device is full or a quota is used up.
pub(crate) fn is_no_space(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// Keeps what is in `directory` from other users of the machine.
pub(crate) fn make_private(directory: &Path) -> io::Result<()> {
    #[cfg(unix)]
    return std::fs::set_permissions(directory, std::os::unix::fs::PermissionsExt::from_mode(0o700));
    // On Windows a new folder takes its access list from the one above it.
    #[cfg(not(unix))]
    return directory.try_exists().map(|_| ());
}
