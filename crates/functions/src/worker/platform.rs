//! Process groups, and the memory and processor time of processes, which differ between operating systems.
//!
//! A worker leads a group of its own, so that signals of the terminal do not stop it before the host does, and so that its descendants
//! exit with it.

use std::time::Duration;

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

/// The memory of a process in bytes (resident set size), with its children if asked for; `None` where it cannot be measured.
pub(crate) fn memory_bytes(pid: u32, with_children: bool) -> Option<u64> {
    #[cfg(target_os = "linux")]
    return linux_memory_bytes(pid, if with_children { CHILDREN_DEPTH_MAX } else { 0 });
    #[cfg(not(target_os = "linux"))]
    {
        let _ = (pid, with_children);
        None
    }
}

/// The processor time that a process has used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CpuTime(Duration);

impl CpuTime {
    /// The time that was used since an earlier measurement; nothing if a child that was counted has ended.
    pub(crate) fn since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

/// The processor time of a process, with that of its children if asked for; `None` where it cannot be measured.
pub(crate) fn cpu_time(pid: u32, with_children: bool) -> Option<CpuTime> {
    #[cfg(target_os = "linux")]
    return linux_cpu_ticks(pid, if with_children { CHILDREN_DEPTH_MAX } else { 0 })
        .map(|ticks| CpuTime(Duration::from_millis(ticks.saturating_mul(1000 / TICKS_PER_SECOND))));
    #[cfg(not(target_os = "linux"))]
    {
        let _ = (pid, with_children);
        None
    }
}

/// The memory that all processes together may have, in bytes: the limit of the container, otherwise that of the machine.
pub(crate) fn available_memory_bytes() -> Option<u64> {
    #[cfg(target_os = "linux")]
    {
        let text = std::fs::read_to_string("/proc/meminfo").ok()?;
        let total = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
        let total = total.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok()? * 1024;
        let limit = std::fs::read_to_string("/sys/fs/cgroup/memory.max").ok();
        // "max" is no limit.
        let limit = limit.and_then(|limit| limit.trim().parse::<u64>().ok());
        Some(limit.map_or(total, |limit| limit.min(total)))
    }
    #[cfg(not(target_os = "linux"))]
    None
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
    let of_children: u64 = children(pid).filter_map(|child| linux_memory_bytes(child, depth - 1)).sum();
    Some(own + of_children)
}

/// The unit of times in `/proc`, which is part of Linux's interface to programs.
#[cfg(target_os = "linux")]
const TICKS_PER_SECOND: u64 = 100;

#[cfg(target_os = "linux")]
fn linux_cpu_ticks(pid: u32, depth: u32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name, in parentheses, may contain blanks. After it, the state is field 3; user and system time are fields 14 and 15.
    let (_, rest) = stat.rsplit_once(')')?;
    let fields: Vec<&str> = rest.split_whitespace().collect();
    let ticks = |field: usize| fields.get(field - 3)?.parse::<u64>().ok();
    let own = ticks(14)? + ticks(15)?;
    if depth == 0 {
        return Some(own);
    }
    Some(own + children(pid).filter_map(|child| linux_cpu_ticks(child, depth - 1)).sum::<u64>())
}

/// The children of a process. Some kernels are built without this file; then children do not count.
#[cfg(target_os = "linux")]
fn children(pid: u32) -> impl Iterator<Item = u32> {
    let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    let children: Vec<u32> = children.split_whitespace().filter_map(|child| child.parse().ok()).collect();
    children.into_iter()
}

#[cfg(unix)]
fn signal_group(pid: u32, signal: rustix::process::Signal) {
    let group = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw);
    if let Some(group) = group {
        // The only expected error is that the group has exited already.
        let _ = rustix::process::kill_process_group(group, signal);
    }
}
