//! All code that differs between operating systems.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::Path;

/// Allows a port to be bound again while connections of an earlier process are still in TIME_WAIT. Windows allows that anyway, and
/// the same option is dangerous there (two listeners on one port).
pub(crate) fn reuse_address(socket: &socket2::Socket) -> io::Result<()> {
    if cfg!(unix) { socket.set_reuse_address(true) } else { Ok(()) }
}

/// Whether accepting failed because the process or the machine is out of descriptors or memory, so that an immediate retry would fail again.
pub(crate) fn is_exhausted(error: &io::Error) -> bool {
    // ENOMEM, ENFILE, EMFILE and ENOBUFS, for which std has no kinds; on Windows WSAEMFILE and WSAENOBUFS.
    let codes: &[i32] = if cfg!(windows) {
        &[10024, 10055]
    } else if cfg!(target_os = "linux") {
        &[12, 23, 24, 105]
    } else {
        &[12, 23, 24, 55]
    };
    error.raw_os_error().is_some_and(|code| codes.contains(&code))
}

/// Raises the limit of open files to the hard limit. The usual default is 1024, and every connection needs one.
#[cfg(unix)]
pub(crate) fn raise_open_files() -> io::Result<Option<u64>> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current == maximum {
        return Ok(current);
    }
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })?;
    Ok(maximum)
}

/// Other systems have no such limit.
#[cfg(not(unix))]
pub(crate) fn raise_open_files() -> io::Result<Option<u64>> {
    Ok(None)
}

/// How many files the process has open, if the system reports it.
pub(crate) fn open_files() -> usize {
    // Linux and macOS have this folder; the listing itself is one of its entries.
    std::fs::read_dir("/dev/fd").map_or(0, Iterator::count)
}

/// Limits what the kernel buffers of a connection's bytes before they are sent, if the system supports it: it would otherwise
/// buffer megabytes for a peer that does not read, and hide the progress of one that reads slowly.
#[cfg(target_os = "linux")]
pub(crate) fn limit_unsent(stream: &tokio::net::TcpStream, bytes: u32) {
    // No kernel that has the option refuses it; without it, only memory is lost.
    let _ = socket2::SockRef::from(stream).set_tcp_notsent_lowat(bytes);
}

/// Other systems use their defaults.
#[cfg(not(target_os = "linux"))]
pub(crate) fn limit_unsent(_stream: &tokio::net::TcpStream, _bytes: u32) {}

/// Creates a file that only its owner may read; an existing one is an error.
pub(crate) fn create_private(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

/// The name by which other machines may know this one, if it is available without a network request.
pub(crate) fn host_name() -> Option<String> {
    let name = if cfg!(target_os = "linux") {
        std::fs::read_to_string("/proc/sys/kernel/hostname").ok()?
    } else if cfg!(windows) {
        std::env::var("COMPUTERNAME").ok()?
    } else {
        std::env::var("HOSTNAME").ok()?
    };
    let name = name.trim().to_ascii_lowercase();
    (!name.is_empty()).then_some(name)
}
