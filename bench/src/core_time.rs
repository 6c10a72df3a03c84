//! Time of a processor, as the kernel accounts for it in `/proc/stat`: [`CoreClock`] and [`CoreTime`].
//!
//! A process's own time leaves out what the kernel does for it elsewhere: soft interrupts, and a part of the work of io_uring, are charged
//! to no process. The server of a bench therefore has a processor of its own, and its cost is the time in which that processor was not
//! idle.

use std::collections::{HashMap, HashSet};
use std::time::Instant;

use anyhow::Context;
use rustix::thread::{CpuSet, sched_getaffinity};
use serde::{Deserialize, Serialize};

/// One unit of `/proc/stat` (proc(5): `USER_HZ`), in nanoseconds.
const TICK_NS: u64 = 10_000_000;

/// Share of the time of a sample that other processes may use before the sample is void. Up to two ticks of a short sample are allowed.
const FOREIGN_SHARE_MAX: f64 = 0.035;

/// Share of the time of a sample that the hypervisor may take from the server's processor before the sample is void.
const STEAL_SHARE_MAX: f64 = 0.02;

/// What the server's processor did during a sample.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(crate) struct CoreTime {
    pub(crate) wall_ns: u64,
    /// Time in which the processor was not idle: processes, kernel, interrupts and soft interrupts.
    pub(crate) busy_ns: u64,
    /// Time that the hypervisor gave to other machines while the processor had work.
    pub(crate) steal_ns: u64,
    /// Time of processes that do not belong to the bench, on any processor.
    pub(crate) foreign_ns: u64,
}

impl CoreTime {
    /// Whether anything other than the bench disturbed the sample. A low cost of the server alone is not a disturbance.
    pub(crate) fn is_disturbed(&self) -> bool {
        self.share(self.foreign_ns) > FOREIGN_SHARE_MAX || self.share(self.steal_ns) > STEAL_SHARE_MAX
    }

    /// Describes the disturbance.
    pub(crate) fn disturbance(&self) -> String {
        format!(
            "other processes used {:.1} % of a core, the hypervisor took {:.1} %",
            100.0 * self.share(self.foreign_ns),
            100.0 * self.share(self.steal_ns)
        )
    }

    /// Share of the time in which the processor was busy.
    pub(crate) fn busy_share(&self) -> f64 {
        self.share(self.busy_ns)
    }

    fn share(&self, ns: u64) -> f64 {
        ns as f64 / self.wall_ns as f64
    }
}

/// Measures one period of time on one processor.
pub(crate) struct CoreClock {
    processor: usize,
    /// The process that started the bench; it and its descendants are not foreign.
    driver: u32,
    began: Option<(HashMap<u32, u64>, Ticks, Instant)>,
}

/// Idle and stolen time of a processor so far, in ticks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Ticks {
    idle: u64,
    steal: u64,
}

impl CoreClock {
    /// A clock for a processor, for use in a child process of the bench's driver.
    pub(crate) fn new(processor: usize) -> anyhow::Result<Self> {
        let driver = rustix::process::getppid().context("the bench's driver has ended")?;
        let driver = u32::try_from(driver.as_raw_nonzero().get())?;
        Ok(Self { processor, driver, began: None })
    }

    /// Begins a sample.
    pub(crate) fn start(&mut self) -> anyhow::Result<()> {
        let foreign = foreign_ticks(self.driver)?;
        self.began = Some((foreign, ticks(self.processor)?, Instant::now()));
        Ok(())
    }

    /// Ends the sample.
    pub(crate) fn stop(&mut self) -> anyhow::Result<CoreTime> {
        let (foreign_before, before, began) = self.began.take().context("a sample has begun")?;
        let (after, wall) = (ticks(self.processor)?, began.elapsed());
        let foreign: u64 = foreign_ticks(self.driver)?
            .iter()
            .map(|(process, ticks)| ticks - foreign_before.get(process).copied().unwrap_or(0).min(*ticks))
            .sum();
        let wall_ns = u64::try_from(wall.as_nanos())?;
        let (idle_ns, steal_ns) =
            ((after.idle - before.idle) * TICK_NS, (after.steal - before.steal) * TICK_NS);
        Ok(CoreTime {
            wall_ns,
            busy_ns: wall_ns.saturating_sub(idle_ns + steal_ns),
            steal_ns,
            foreign_ns: foreign * TICK_NS,
        })
    }
}

/// The kernel's number of the first, second, ... processor that this process may use.
pub(crate) fn processor(position: usize) -> anyhow::Result<usize> {
    let allowed = sched_getaffinity(None).context("ask which processors there are")?;
    let mut allowed = (0..CpuSet::MAX_CPU).filter(|processor| allowed.is_set(*processor));
    allowed.nth(position).with_context(|| format!("this process may not use {} processors", position + 1))
}

fn ticks(processor: usize) -> anyhow::Result<Ticks> {
    let text = std::fs::read_to_string("/proc/stat").context("read /proc/stat")?;
    parse_ticks(&text, processor).with_context(|| format!("/proc/stat has no processor {processor}"))
}

/// The line `cpuN user nice system idle iowait irq softirq steal ...` (proc(5)). Waiting for a disk is idle time.
fn parse_ticks(text: &str, processor: usize) -> Option<Ticks> {
    let name = format!("cpu{processor}");
    let line = text.lines().find(|line| line.split(' ').next() == Some(name.as_str()))?;
    let fields: Vec<u64> =
        line.split_ascii_whitespace().skip(1).map_while(|field| field.parse().ok()).collect();
    Some(Ticks { idle: fields.get(3)? + fields.get(4)?, steal: fields.get(7).copied().unwrap_or(0) })
}

/// Processor time so far of each process that belongs neither to the bench nor to the kernel, including its ended children.
fn foreign_ticks(driver: u32) -> anyhow::Result<HashMap<u32, u64>> {
    let mut processes = HashMap::new();
    for entry in std::fs::read_dir("/proc").context("list processes")? {
        let name = entry?.file_name();
        let Some(process) = name.to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
        // A process that ended in the meantime is left out.
        let Ok(text) = std::fs::read_to_string(format!("/proc/{process}/stat")) else { continue };
        if let Some(stat) = parse_process(&text) {
            processes.insert(process, stat);
        }
    }
    let parents: HashMap<u32, u32> =
        processes.iter().map(|(process, (parent, _))| (*process, *parent)).collect();
    let is_foreign =
        |process: u32| !descends(process, &parents, driver) && !descends(process, &parents, KTHREADD);
    Ok(processes
        .into_iter()
        .filter(|(process, _)| is_foreign(*process))
        .map(|(process, (_, ticks))| (process, ticks))
        .collect())
}

/// The parent of all kernel threads.
const KTHREADD: u32 = 2;

fn descends(process: u32, parents: &HashMap<u32, u32>, ancestor: u32) -> bool {
    let mut seen = HashSet::new();
    let mut at = process;
    while at != ancestor {
        match parents.get(&at) {
            Some(parent) if seen.insert(at) => at = *parent,
            _ => return false,
        }
    }
    true
}

/// The parent, and user and system time in ticks, of a process and of its ended children, from `/proc/PID/stat` (proc(5)).
fn parse_process(text: &str) -> Option<(u32, u64)> {
    // The name, in parentheses, may contain any characters.
    let (_, fields) = text.rsplit_once(')')?;
    let fields: Vec<&str> = fields.split_ascii_whitespace().collect();
    let times = fields.get(11..15)?.iter().map(|time| time.parse::<u64>().ok());
    Some((fields.get(1)?.parse().ok()?, times.sum::<Option<u64>>()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_idle_time_of_a_processor_is_read_from_its_line() {
        let text =
            "cpu  1 2 3 4 5 6 7 8 0 0\ncpu1 10 0 20 300 40 1 2 5 0 0\ncpu10 1 1 1 1 1 1 1 1 0 0\nintr 9\n";
        assert_eq!(parse_ticks(text, 1), Some(Ticks { idle: 340, steal: 5 }));
        assert_eq!(parse_ticks(text, 10), Some(Ticks { idle: 2, steal: 1 }));
        assert_eq!(parse_ticks(text, 2), None);
    }

    #[test]
    fn process_time_includes_ended_children() {
        let text = "77 (a) b) S 5 77 77 0 -1 4194560 1 0 0 0 10 20 3 4 20 0 1 0 100";
        assert_eq!(parse_process(text), Some((5, 37)));
        assert_eq!(parse_process("77 (short) S 5"), None);
    }

    #[test]
    fn only_time_of_other_processes_and_of_the_hypervisor_counts_as_disturbance() {
        let quiet = CoreTime { wall_ns: 1_000, busy_ns: 300, steal_ns: 0, foreign_ns: 0 };
        assert!(!quiet.is_disturbed());
        assert!(CoreTime { foreign_ns: 50, ..quiet }.is_disturbed());
        assert!(CoreTime { steal_ns: 50, ..quiet }.is_disturbed());
    }
}
