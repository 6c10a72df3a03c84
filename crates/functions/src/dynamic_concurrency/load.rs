//! [`LoadMeter`]: measures how much processor time and memory host and workers use.

use std::collections::HashMap;
use std::time::Instant;

use super::throttle::LoadSample;
use crate::worker::{CpuTime, available_memory_bytes, cpu_time, memory_bytes};

/// Measures the processes since the last measurement.
pub(super) struct LoadMeter {
    processors: usize,
    measured_at: Instant,
    /// The processor time of each process at the last measurement.
    used: HashMap<u32, CpuTime>,
}

impl LoadMeter {
    pub(super) fn new(processors: usize) -> Self {
        Self { processors, measured_at: Instant::now(), used: HashMap::new() }
    }

    /// Measures this process and its workers. Reads files of the operating system that are in memory.
    pub(super) fn measure(&mut self, workers: &[u32], is_worker_slow: bool) -> LoadSample {
        let now = Instant::now();
        let passed = now.saturating_duration_since(self.measured_at).as_secs_f64();
        self.measured_at = now;
        let host = std::process::id();
        // The children of this process are its workers, and are counted as such.
        let own = cpu_time(host, false).map(|time| (host, time));
        let of_workers = workers.iter().filter_map(|pid| Some((*pid, cpu_time(*pid, true)?)));
        let used: HashMap<u32, CpuTime> = own.into_iter().chain(of_workers).collect();
        // What a new process used before does not count, and one that ended uses nothing more.
        let new = used.iter().filter_map(|(pid, time)| Some(time.since(*self.used.get(pid)?).as_secs_f64()));
        let seconds: f64 = new.sum();
        #[expect(clippy::cast_precision_loss, reason = "a machine has few processors")]
        let capacity = passed * self.processors as f64;
        let is_first = self.used.is_empty();
        let cpu = (!is_first && !used.is_empty() && capacity > 0.0).then(|| seconds / capacity);
        self.used = used;
        let memory = available_memory_bytes().and_then(|available| {
            let workers: u64 = workers.iter().filter_map(|pid| memory_bytes(*pid, true)).sum();
            #[expect(clippy::cast_precision_loss, reason = "a share needs no more digits")]
            Some((memory_bytes(host, false)? + workers) as f64 / available as f64)
        });
        LoadSample { cpu, memory, is_worker_slow }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_busy_process_uses_its_processor_and_a_part_of_the_memory() {
        let mut meter = LoadMeter::new(1);
        assert_eq!(meter.measure(&[], false).cpu, None, "nothing to compare with");
        let until = Instant::now() + std::time::Duration::from_millis(200);
        let mut number = 0_u64;
        while Instant::now() < until {
            number = std::hint::black_box(number.wrapping_add(1));
        }
        let sample = meter.measure(&[], true);
        // Some operating systems show neither.
        let is_measured = cpu_time(std::process::id(), false).is_some();
        assert_eq!(sample.cpu.is_some_and(|cpu| cpu > 0.05), is_measured, "{sample:?}");
        assert_eq!(
            sample.memory.is_some_and(|memory| memory > 0.0 && memory < 1.0),
            is_measured,
            "{sample:?}"
        );
        assert!(sample.is_worker_slow);
    }
}
