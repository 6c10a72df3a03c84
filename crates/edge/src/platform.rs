//! All that differs between operating systems.

use std::io;

/// Lets a port be bound again while connections of an earlier process still linger in TIME_WAIT. Windows allows that
/// anyway, and means something dangerous by the same option (two listeners on one port).
pub(crate) fn reuse_address(socket: &socket2::Socket) -> io::Result<()> {
    if cfg!(unix) { socket.set_reuse_address(true) } else { Ok(()) }
}

/// Whether accepting failed because the process or the machine has no room, so that trying again at once is of no use.
pub(crate) fn is_exhausted(error: &io::Error) -> bool {
    // ENOMEM, ENFILE, EMFILE and ENOBUFS, which std has no kinds for; on Windows WSAEMFILE and WSAENOBUFS.
    let codes: &[i32] = if cfg!(windows) {
        &[10024, 10055]
    } else if cfg!(target_os = "linux") {
        &[12, 23, 24, 105]
    } else {
        &[12, 23, 24, 55]
    };
    error.raw_os_error().is_some_and(|code| codes.contains(&code))
}
