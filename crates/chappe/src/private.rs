//! A folder for its owner only: what the services keep holds data and keys of people who did not ask for it to be read by
//! others on the machine.

use std::io;
use std::path::Path;

/// Makes a folder unless it is there. One that is there keeps the mode that its owner gave it.
pub(crate) fn make_folder(folder: &Path) -> io::Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    std::fs::create_dir_all(folder)?;
    close(folder)
}

/// Takes a folder of ours away from everybody else.
pub(crate) fn close(folder: &Path) -> io::Result<()> {
    #[cfg(unix)]
    {
        let only_owner = std::os::unix::fs::PermissionsExt::from_mode(0o700);
        std::fs::set_permissions(folder, only_owner)
    }
    // Elsewhere folders inherit the access list of the user's own.
    #[cfg(not(unix))]
    {
        let _ = folder;
        Ok(())
    }
}
