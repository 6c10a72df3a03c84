//! File operations that differ between Linux, macOS and Windows. The only code of this crate for one platform.

use std::fs::File;
use std::io;
use std::path::Path;

/// Makes the written bytes of `file` durable, without metadata that a later read does not need.
pub(crate) fn sync_data(file: &File) -> io::Result<()> {
    // `File::sync_data` is fdatasync on Linux, F_FULLFSYNC on macOS, FlushFileBuffers on Windows.
    file.sync_data()
}

/// Makes created, renamed and removed names in a directory durable.
pub(crate) fn sync_directory(directory: &Path) -> io::Result<()> {
    #[cfg(unix)]
    return File::open(directory)?.sync_all();
    // Windows has no such call; NTFS logs its directory changes.
    #[cfg(not(unix))]
    return directory.try_exists().map(|_| ());
}

/// Reserves `bytes` for `file` and sets its length, so that a full disk is detected now and not in the middle of a write.
pub(crate) fn reserve(file: &File, bytes: u64) -> io::Result<()> {
    #[cfg(target_os = "linux")]
    match rustix::fs::fallocate(file, rustix::fs::FallocateFlags::empty(), 0, bytes) {
        Ok(()) => return Ok(()),
        // Not every file system can reserve; then writing zeros reserves the space.
        Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) => {}
        Err(errno) => return Err(errno.into()),
    }
    file.set_len(bytes)
}

/// Writes all of `bytes` at `position`, without a shared cursor.
pub(crate) fn write_at(file: &File, bytes: &[u8], position: u64) -> io::Result<()> {
    #[cfg(unix)]
    return std::os::unix::fs::FileExt::write_all_at(file, bytes, position);
    #[cfg(windows)]
    {
        let (mut bytes, mut position) = (bytes, position);
        while !bytes.is_empty() {
            let written = std::os::windows::fs::FileExt::seek_write(file, bytes, position)?;
            bytes = &bytes[written..];
            position += written as u64;
        }
        return Ok(());
    }
}

/// Reads up to `buffer.len()` bytes at `position`; fewer only at the end of the file.
pub(crate) fn read_at(file: &File, buffer: &mut [u8], position: u64) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        let (rest, at) = (&mut buffer[filled..], position + filled as u64);
        #[cfg(unix)]
        let read = std::os::unix::fs::FileExt::read_at(file, rest, at);
        #[cfg(windows)]
        let read = std::os::windows::fs::FileExt::seek_read(file, rest, at);
        match read {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// Whether a write failed because the device is full or a quota is used up.
pub(crate) fn is_no_space(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// Makes `directory` inaccessible to other users of the machine.
pub(crate) fn make_private(directory: &Path) -> io::Result<()> {
    #[cfg(unix)]
    return std::fs::set_permissions(directory, std::os::unix::fs::PermissionsExt::from_mode(0o700));
    // On Windows a new folder inherits its access list.
    #[cfg(not(unix))]
    return directory.try_exists().map(|_| ());
}
