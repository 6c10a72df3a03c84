//! What the processes of the bench ask of the operating system.

use anyhow::Context;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use rustix::time::{ClockId, clock_gettime};

/// Keeps this process, and threads that it starts from now on, on one processor: the first that we may use, or the second.
pub(crate) fn pin(core: usize) -> anyhow::Result<()> {
    let allowed = sched_getaffinity(None).context("ask which processors there are")?;
    let processor = (0..CpuSet::MAX_CPU).filter(|processor| allowed.is_set(*processor)).nth(core);
    let mut set = CpuSet::new();
    set.set(processor.with_context(|| format!("there is no processor {core} for us"))?);
    sched_setaffinity(None, &set).with_context(|| format!("stay on processor {core}"))
}

/// Allows as many open files as the system lets us, and says whether that is enough.
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

/// Anonymous memory of a process: what it allocated and touched.
pub(crate) fn anonymous_bytes(process: u32) -> anyhow::Result<u64> {
    let path = format!("/proc/{process}/smaps_rollup");
    let text = std::fs::read_to_string(&path).with_context(|| format!("read {path}"))?;
    let line =
        text.lines().find_map(|line| line.strip_prefix("Anonymous:")).context("find anonymous memory")?;
    let kilobytes: u64 = line.trim().trim_end_matches("kB").trim().parse()?;
    Ok(kilobytes * 1024)
}

/// Processor time of another process so far, user and system, in nanoseconds; exact to a hundredth of a second (proc(5)).
pub(super) fn cpu_ns_of(process: u32) -> anyhow::Result<u64> {
    const TICK_NS: u64 = 10_000_000;
    let path = format!("/proc/{process}/stat");
    let text = std::fs::read_to_string(&path).with_context(|| format!("read {path}"))?;
    // The name, in parentheses, may hold anything; utime and stime are the 12th and 13th field behind it.
    let (_, fields) = text.rsplit_once(')').context("a name in parentheses")?;
    let ticks = fields.split_ascii_whitespace().skip(11).take(2).map(str::parse::<u64>);
    Ok(ticks.sum::<Result<u64, _>>()? * TICK_NS)
}
