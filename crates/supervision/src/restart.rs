//! When a unit that ended is started again. Pure.

use std::time::Duration;

/// Pause before the first restart.
const PAUSE_MIN: Duration = Duration::from_millis(100);
/// Longest pause between two runs.
const PAUSE_MAX: Duration = Duration::from_secs(10);
/// A unit that ran this long begins with the shortest pause again.
const STEADY: Duration = Duration::from_secs(60);

/// The pauses of one unit: each run that ends soon doubles the pause before the next.
#[derive(Debug, Default)]
pub(crate) struct Pauses {
    last: Option<Duration>,
}

impl Pauses {
    /// The pause after a run that lasted `ran`.
    pub(crate) fn after(&mut self, ran: Duration) -> Duration {
        let pause = match self.last {
            Some(last) if ran < STEADY => (last * 2).min(PAUSE_MAX),
            _ => PAUSE_MIN,
        };
        self.last = Some(pause);
        pause
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_to_a_limit_and_begin_again_after_a_steady_run() {
        let mut pauses = Pauses::default();
        assert_eq!(pauses.after(Duration::ZERO), PAUSE_MIN);
        assert_eq!(pauses.after(Duration::ZERO), PAUSE_MIN * 2);
        for _ in 0..20 {
            pauses.after(Duration::ZERO);
        }
        assert_eq!(pauses.after(Duration::ZERO), PAUSE_MAX);
        assert_eq!(pauses.after(STEADY), PAUSE_MIN);
    }
}
