//! Process groups, which differ between operating systems.
//!
//! A worker leads a group of its own, so that signals of the terminal do not stop it before the host does, and so that its descendants
//! exit with it.

/// Makes the process the leader of a new group.
pub(super) fn lead_group(command: &mut tokio::process::Command) {
    #[cfg(unix)]
    command.process_group(0);
    #[cfg(not(unix))]
    let _ = command;
}

/// Sends all processes of the group the signal to exit.
pub(super) fn terminate_group(pid: u32) {
    #[cfg(unix)]
    signal_group(pid, rustix::process::Signal::TERM);
    #[cfg(not(unix))]
    let _ = pid;
}

/// Kills all processes of the group. On systems without groups, the caller kills the process itself.
pub(super) fn kill_group(pid: u32) {
    #[cfg(unix)]
    signal_group(pid, rustix::process::Signal::KILL);
    #[cfg(not(unix))]
    let _ = pid;
}

#[cfg(unix)]
fn signal_group(pid: u32, signal: rustix::process::Signal) {
    let group = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw);
    if let Some(group) = group {
        // The only expected error is that the group has exited already.
        let _ = rustix::process::kill_process_group(group, signal);
    }
}
