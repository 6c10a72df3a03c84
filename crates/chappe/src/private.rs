//! A folder for its owner only: what the services keep holds data and keys of people who did not ask for it to be read by
//! others on the machine.

use std::fs::Metadata;
use std::io;
use std::path::{Path, PathBuf};

/// Why a folder cannot be used for data.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FolderError {
    /// Other users can read it, and it is not for us to change that.
    #[error(
        "other users of this machine can read the data folder {} (mode {mode:o}), and {why}; run `chmod 700 {}`, or name \
         another folder with --data-dir",
        folder.display(), folder.display()
    )]
    Open {
        /// The folder.
        folder: PathBuf,
        /// Its mode.
        mode: u32,
        /// Why it was not changed.
        why: &'static str,
    },
    /// The system refused.
    #[error("read or make {}", .0.display())]
    Io(PathBuf, #[source] io::Error),
}

/// Makes a folder unless it is there. One of ours, or an empty one, that others can read is taken away from them.
pub(crate) fn make_folder(folder: &Path) -> Result<(), FolderError> {
    let failed = |cause| FolderError::Io(folder.to_owned(), cause);
    if !folder.is_dir() {
        std::fs::create_dir_all(folder).map_err(failed)?;
        return close(folder).map_err(failed);
    }
    #[cfg(unix)]
    {
        let mode = std::os::unix::fs::PermissionsExt::mode(&folder.metadata().map_err(failed)?.permissions());
        // Access by a group of its owner's choice is the owner's decision, as with a volume of a container.
        if mode & 0o007 == 0 {
            return Ok(());
        }
        let open = |why| FolderError::Open { folder: folder.to_owned(), mode: mode & 0o777, why };
        if !is_ours_or_empty(folder).map_err(failed)? {
            return Err(open("it holds files that are not Chappe's"));
        }
        close(folder).map_err(|_| open("this user may not change its mode"))?;
        tracing::warn!(
            folder = %folder.display(), mode = format!("{:o}", mode & 0o777),
            "other users of this machine could read the data folder; its mode is 700 now"
        );
    }
    Ok(())
}

/// Whether there is nothing in a folder but what we put there.
#[cfg(unix)]
fn is_ours_or_empty(folder: &Path) -> io::Result<bool> {
    let is_ours = folder.join("manifest.json").exists() || folder.join("state/format").exists();
    // Some file systems have this in every root.
    let is_content =
        |entry: io::Result<std::fs::DirEntry>| entry.map(|entry| entry.file_name() != "lost+found");
    Ok(is_ours || !std::fs::read_dir(folder)?.map(is_content).any(|content| content.unwrap_or(true)))
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

/// Whether two files belong to one user.
pub(crate) fn have_one_owner(one: &Metadata, other: &Metadata) -> bool {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        one.uid() == other.uid()
    }
    // Elsewhere each user has a temporary folder of their own.
    #[cfg(not(unix))]
    {
        let _ = (one, other);
        true
    }
}

/// Makes the names in a folder durable.
pub(crate) fn sync_folder(folder: &Path) -> io::Result<()> {
    #[cfg(unix)]
    return std::fs::File::open(folder)?.sync_all();
    // Windows cannot open a folder; NTFS logs its changes.
    #[cfg(not(unix))]
    return folder.try_exists().map(|_| ());
}
