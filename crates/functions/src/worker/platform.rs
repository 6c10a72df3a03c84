//! What differs between operating systems: process groups.
//!
//! A worker leads a group of its own, so that signals of the terminal do not reach it before we had our say, and so that
//! whatever it started dies with it.

/// Makes the process lead a group of its own.
pub(super) fn lead_group(command: &mut tokio::process::Command) {
    #[cfg(unix)]
    command.process_group(0);
    #[cfg(not(unix))]
    let _ = command;
}

/// Asks all processes of the group to end.
pub(super) fn terminate_group(pid: u32) {
    #[cfg(unix)]
    signal_group(pid, rustix::process::Signal::TERM);
    #[cfg(not(unix))]
    let _ = pid;
}

/// Ends all processes of the group. Where there are no groups, the caller's `kill` of the process itself must do.
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
        // The only expected error is that the group is gone already, which is what we wanted.
        let _ = rustix::process::kill_process_group(group, signal);
    }
}
