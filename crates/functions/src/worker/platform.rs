//! Process groups and the memory of processes, which differ between operating systems.
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

/// The memory of a process and its children in bytes (resident set size); `None` where it cannot be measured.
pub(super) fn memory_bytes(pid: u32) -> Option<u64> {
    #[cfg(target_os = "linux")]
    return linux_memory_bytes(pid, CHILDREN_DEPTH_MAX);
    #[cfg(not(target_os = "linux"))]
    {
        let _ = pid;
        None
    }
}

/// How deep the tree of a worker's processes is followed.
#[cfg(target_os = "linux")]
const CHILDREN_DEPTH_MAX: u32 = 3;

#[cfg(target_os = "linux")]
fn linux_memory_bytes(pid: u32, depth: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let own = resident.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok()? * 1024;
    if depth == 0 {
        return Some(own);
    }
    // Some kernels are built without this file; then children do not count.
    let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    let children = children.split_whitespace().filter_map(|child| child.parse().ok());
    let of_children: u64 = children.filter_map(|child| linux_memory_bytes(child, depth - 1)).sum();
    Some(own + of_children)
}

#[cfg(unix)]
fn signal_group(pid: u32, signal: rustix::process::Signal) {
    let group = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw);
    if let Some(group) = group {
        // The only expected error is that the group has exited already.
        let _ = rustix::process::kill_process_group(group, signal);
    }
}
