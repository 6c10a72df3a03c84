//! Creates folders that only their owner can read: the services store data and keys there that other users of the machine must not
//! read.

use std::fs::Metadata;
use std::io;
use std::path::{Path, PathBuf};

/// Why a folder cannot be used for data.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FolderError {
    /// Other users can read it, and we must not change its mode.
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
        /// Why the mode was not changed.
        why: &'static str,
    },
    /// The operating system returned an error.
    #[error("cannot read or create {}", .0.display())]
    Io(PathBuf, #[source] io::Error),
}

/// Creates a folder if it does not exist. If others can read a folder that is empty or has only our files, its mode is corrected.
pub(crate) fn make_folder(folder: &Path) -> Result<(), FolderError> {
    let failed = |cause| FolderError::Io(folder.to_owned(), cause);
    if !folder.is_dir() {
        std::fs::create_dir_all(folder).map_err(failed)?;
        return close(folder).map_err(failed);
    }
    #[cfg(unix)]
    {
        let mode = std::os::unix::fs::PermissionsExt::mode(&folder.metadata().map_err(failed)?.permissions());
        // If the owner gave a group access, that is the owner's decision, as with a volume of a container.
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

/// Whether a folder has only files that we created.
#[cfg(unix)]
fn is_ours_or_empty(folder: &Path) -> io::Result<bool> {
    let is_ours = folder.join("manifest.json").exists() || folder.join("state/format").exists();
    // Some file systems have this in every root folder.
    let is_content =
        |entry: io::Result<std::fs::DirEntry>| entry.map(|entry| entry.file_name() != "lost+found");
    Ok(is_ours || !std::fs::read_dir(folder)?.map(is_content).any(|content| content.unwrap_or(true)))
}

/// Removes the access of other users to a folder that we created.
pub(crate) fn close(folder: &Path) -> io::Result<()> {
    #[cfg(unix)]
    {
        let only_owner = std::os::unix::fs::PermissionsExt::from_mode(0o700);
        std::fs::set_permissions(folder, only_owner)
    }
    // On other systems folders inherit the access list of the user's folder.
    #[cfg(not(unix))]
    {
        let _ = folder;
        Ok(())
    }
}

/// Whether two files have the same owner.
pub(crate) fn have_one_owner(one: &Metadata, other: &Metadata) -> bool {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        one.uid() == other.uid()
    }
    // On other systems each user has a separate temporary folder.
    #[cfg(not(unix))]
    {
        let _ = (one, other);
        true
    }
}

/// Makes the directory entries of a folder durable (fsync).
pub(crate) fn sync_folder(folder: &Path) -> io::Result<()> {
    #[cfg(unix)]
    return std::fs::File::open(folder)?.sync_all();
    // Windows cannot open a folder; NTFS logs its changes.
    #[cfg(not(unix))]
    return folder.try_exists().map(|_| ());
}
