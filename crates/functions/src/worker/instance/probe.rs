//! [`StatusProbe`]: how fast a worker responds to status requests, which it handles between the steps of its functions.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The newest probe of a worker.
#[derive(Debug, Default)]
pub(super) struct StatusProbe(Mutex<ProbeState>);

#[derive(Debug, Default)]
struct ProbeState {
    /// When the probe without a response was sent.
    sent_at: Option<Instant>,
    /// How long the last response took.
    latency: Option<Duration>,
}

impl StatusProbe {
    /// Records that a probe is sent. `false` if one is under way.
    pub(super) fn send(&self, now: Instant) -> bool {
        let mut state = self.lock();
        let is_first = state.sent_at.is_none();
        state.sent_at.get_or_insert(now);
        is_first
    }

    /// Records a response.
    pub(super) fn responded(&self, now: Instant) {
        let mut state = self.lock();
        if let Some(sent_at) = state.sent_at.take() {
            state.latency = Some(now.saturating_duration_since(sent_at));
        }
    }

    /// How long the last response took, or how long the next one is waited for if that is more.
    pub(super) fn latency(&self, now: Instant) -> Option<Duration> {
        let state = self.lock();
        let waited = state.sent_at.map(|sent_at| now.saturating_duration_since(sent_at));
        state.latency.max(waited)
    }

    fn lock(&self) -> MutexGuard<'_, ProbeState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pending_probe_counts_with_its_age() {
        let (probe, now) = (StatusProbe::default(), Instant::now());
        assert_eq!(probe.latency(now), None);
        assert!(probe.send(now));
        let ms = Duration::from_millis;
        assert!(!probe.send(now + ms(100)), "one is under way");
        assert_eq!(probe.latency(now + ms(300)), Some(ms(300)));
        probe.responded(now + ms(400));
        assert_eq!(probe.latency(now + ms(900)), Some(ms(400)));
        assert!(probe.send(now + ms(900)));
        assert_eq!(probe.latency(now + ms(910)), Some(ms(400)));
        probe.responded(now + ms(920));
        assert_eq!(probe.latency(now + ms(930)), Some(ms(20)));
    }
}
