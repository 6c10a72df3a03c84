//! [`Throttles`]: whether host and workers have too much to do. Pure; the measurements are arguments.

use std::collections::VecDeque;

/// How many of the newest measurements are judged; before there are so many, the state is unknown.
const SAMPLES: usize = 5;

/// Slow responses of workers among the newest measurements that are too many.
const SLOW_MAX: usize = 3;

/// One measurement of host and workers.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct LoadSample {
    /// The share of all processors that they used since the last measurement, from 0 to 1; `None` where it cannot be measured.
    pub(crate) cpu: Option<f64>,
    /// The share of the available memory that they have; `None` where it cannot be measured.
    pub(crate) memory: Option<f64>,
    /// Whether a worker responds slowly to the status requests of its channel.
    pub(crate) is_worker_slow: bool,
}

/// Whether any throttle is on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum ThrottleState {
    /// Too few measurements.
    #[default]
    Unknown,
    On,
    Off,
}

/// The newest measurements, and how long the state has been the same.
#[derive(Debug, Default)]
pub(super) struct Throttles {
    samples: VecDeque<LoadSample>,
    state: ThrottleState,
    consecutive: u32,
    reasons: Vec<&'static str>,
}

impl Throttles {
    /// Adds a measurement and decides the state.
    pub(super) fn add(&mut self, sample: LoadSample, cpu_threshold: f64, memory_threshold: f64) {
        if self.samples.len() == SAMPLES {
            self.samples.pop_front();
        }
        self.samples.push_back(sample);
        self.reasons = self.exceeded(cpu_threshold, memory_threshold);
        let state = match self.samples.len() {
            _ if !self.reasons.is_empty() => ThrottleState::On,
            SAMPLES => ThrottleState::Off,
            _ => ThrottleState::Unknown,
        };
        self.consecutive = if state == self.state { self.consecutive.saturating_add(1) } else { 0 };
        self.state = state;
    }

    /// What exceeds its threshold. CPU counts as the average of the measurements, memory as the newest one: it is a harder limit.
    fn exceeded(&self, cpu_threshold: f64, memory_threshold: f64) -> Vec<&'static str> {
        let mut exceeded = Vec::new();
        if self.samples.len() < SAMPLES {
            return exceeded;
        }
        let cpu: Vec<f64> = self.samples.iter().filter_map(|sample| sample.cpu).collect();
        #[expect(clippy::cast_precision_loss, reason = "at most five measurements")]
        if cpu.len() == SAMPLES && cpu.iter().sum::<f64>() / SAMPLES as f64 >= cpu_threshold {
            exceeded.push("CPU");
        }
        let newest = self.samples.back().and_then(|sample| sample.memory);
        if newest.is_some_and(|memory| memory >= memory_threshold) {
            exceeded.push("Memory");
        }
        if self.samples.iter().filter(|sample| sample.is_worker_slow).count() >= SLOW_MAX {
            exceeded.push("WorkerChannel");
        }
        exceeded
    }

    pub(super) fn state(&self) -> ThrottleState {
        self.state
    }

    /// How many measurements before the newest one had the same state without a break.
    pub(super) fn consecutive(&self) -> u32 {
        self.consecutive
    }

    /// The throttles that are on.
    pub(super) fn reasons(&self) -> &[&'static str] {
        &self.reasons
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_throttle_is_on_while_the_newest_measurements_exceed_its_threshold() {
        let sample = |letter: char| match letter {
            'c' => LoadSample { cpu: Some(1.0), memory: Some(0.1), is_worker_slow: false },
            'm' => LoadSample { cpu: Some(0.1), memory: Some(0.9), is_worker_slow: false },
            's' => LoadSample { cpu: Some(0.1), memory: Some(0.1), is_worker_slow: true },
            'n' => LoadSample::default(),
            _ => LoadSample { cpu: Some(0.1), memory: Some(0.1), is_worker_slow: false },
        };
        // Measurements, oldest first; state, repetitions and reasons after the last.
        for (samples, expected) in [
            ("....", "Unknown 4 "),
            (".....", "Off 0 "),
            ("........", "Off 3 "),
            ("cccc", "Unknown 4 "),
            ("ccccc", "On 0 CPU"),
            (".....c", "Off 1 "),
            (".....cccc", "On 0 CPU"),
            ("ccccc.", "On 1 CPU"),
            ("ccccc..", "Off 0 "),
            (".....m", "On 0 Memory"),
            (".....m.", "Off 0 "),
            (".....ss", "Off 2 "),
            (".....sss", "On 0 WorkerChannel"),
            ("sssccm", "On 1 Memory"),
            ("nnnnnn", "Off 1 "),
        ] {
            let mut throttles = Throttles::default();
            for letter in samples.chars() {
                throttles.add(sample(letter), 0.8, 0.8);
            }
            let found = format!(
                "{:?} {} {}",
                throttles.state(),
                throttles.consecutive(),
                throttles.reasons().join(",")
            );
            assert_eq!(found, expected, "{samples}");
        }
    }
}
