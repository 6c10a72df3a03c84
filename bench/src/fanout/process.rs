//! What the processes of the bench need from the operating system.

use anyhow::Context;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::thread::{CpuSet, sched_setaffinity};
use rustix::time::{ClockId, clock_gettime};

use crate::core_time::processor;

/// Restricts this process, and threads that it starts later, to one processor: the first that it may use, or the second.
pub(crate) fn pin(position: usize) -> anyhow::Result<()> {
    pin_to(processor(position)?)
}

/// The same for a processor by the kernel's number.
pub(crate) fn pin_to(processor: usize) -> anyhow::Result<()> {
    let mut set = CpuSet::new();
    set.set(processor);
    sched_setaffinity(None, &set).with_context(|| format!("stay on processor {processor}"))
}

/// Raises the limit of open files as far as the system allows, and returns whether that is enough.
pub(crate) fn allow_files(needed: u64) -> anyhow::Result<()> {
    let limit = getrlimit(Resource::Nofile);
    let allowed = limit.maximum.unwrap_or(u64::MAX);
    if allowed < needed {
        anyhow::bail!("{needed} open files are needed, and this user may have {allowed}; raise `ulimit -Hn`");
    }
    setrlimit(Resource::Nofile, Rlimit { current: Some(needed), maximum: limit.maximum })
        .context("raise the number of open files")
}

/// Processor time of this process so far, user and system, in nanoseconds.
pub(crate) fn cpu_ns() -> u64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    u64::try_from(time.tv_sec).unwrap_or(0) * 1_000_000_000 + u64::try_from(time.tv_nsec).unwrap_or(0)
}

/// Anonymous memory of a process: allocated and touched.
pub(crate) fn anonymous_bytes(process: u32) -> anyhow::Result<u64> {
    let path = format!("/proc/{process}/smaps_rollup");
    let text = std::fs::read_to_string(&path).with_context(|| format!("read {path}"))?;
    let line =
        text.lines().find_map(|line| line.strip_prefix("Anonymous:")).context("find anonymous memory")?;
    let kilobytes: u64 = line.trim().trim_end_matches("kB").trim().parse()?;
    Ok(kilobytes * 1024)
}
