//! When an event is retried, and when it is given up. Pure.

use std::time::Duration;

use super::Options;
use super::listener::Retry;

/// The pauses between retries, and their limits.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Retries {
    attempts_max: u32,
    age_max: Duration,
    first: Duration,
    longest: Duration,
}

impl Retries {
    pub(crate) fn new(options: &Options) -> Self {
        Self {
            attempts_max: options.attempts_max.get(),
            age_max: options.age_max(),
            first: Duration::from_millis(options.backoff_first_ms.get()),
            longest: Duration::from_millis(options.backoff_max_ms.get()),
        }
    }

    /// The pause after `attempts` failed attempts, the first of them `age` ago; `None` to give up. `chance` is a random number
    /// that spreads events that failed together over the second half of the pause.
    pub(crate) fn pause(&self, attempts: u32, age: Duration, retry: Retry, chance: u64) -> Option<Duration> {
        if attempts >= self.attempts_max {
            return None;
        }
        let pause = match retry {
            Retry::Never => return None,
            Retry::Later => self.backoff(attempts, chance),
            // Limited, because the event stays in memory for that time.
            Retry::After(asked) => self.backoff(attempts, chance).max(asked.min(self.longest)),
        };
        (age.saturating_add(pause) <= self.age_max).then_some(pause)
    }

    /// The pause before the next retry of an operation that is never given up.
    pub(crate) fn backoff(&self, attempts: u32, chance: u64) -> Duration {
        let doubled = 2_u32.saturating_pow(attempts.saturating_sub(1));
        let whole = self.first.saturating_mul(doubled).min(self.longest);
        let half = whole / 2;
        let nanos = u64::try_from(half.as_nanos()).unwrap_or(u64::MAX);
        half + Duration::from_nanos(chance % nanos.max(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn retries() -> Retries {
        let options = Options {
            attempts_max: 8.try_into().unwrap(),
            age_max_s: 60.try_into().unwrap(),
            backoff_first_ms: 1000.try_into().unwrap(),
            backoff_max_ms: 10_000.try_into().unwrap(),
            ..Options::default()
        };
        Retries::new(&options)
    }

    #[test]
    fn pauses_double_up_to_the_limit_and_are_spread() {
        let seconds = |attempts, chance| {
            let pause = retries().pause(attempts, Duration::ZERO, Retry::Later, chance);
            pause.map(|pause| pause.as_secs_f64())
        };
        let pauses: Vec<_> = (1..=8).map(|attempts| seconds(attempts, 0)).collect();
        assert_eq!(
            pauses,
            [0.5, 1.0, 2.0, 4.0, 5.0, 5.0, 5.0].map(Some).into_iter().chain([None]).collect::<Vec<_>>()
        );
        assert_eq!(seconds(2, 250_000_000), Some(1.25));
        assert!((0..1000).all(|chance| seconds(1, chance * 7_919_000_003).unwrap() < 1.0));
    }

    #[test]
    fn an_old_event_and_a_permanent_failure_are_given_up() {
        let pause = |age, retry| retries().pause(1, Duration::from_secs(age), retry, 0);
        assert_eq!(pause(0, Retry::Never), None);
        assert_eq!(pause(59, Retry::Later), Some(Duration::from_millis(500)));
        assert_eq!(pause(60, Retry::Later), None);
        assert_eq!(pause(0, Retry::After(Duration::from_secs(7))), Some(Duration::from_secs(7)));
        assert_eq!(pause(0, Retry::After(Duration::from_secs(86_400))), Some(Duration::from_secs(10)));
        assert_eq!(pause(0, Retry::After(Duration::ZERO)), Some(Duration::from_millis(500)));
    }

    #[test]
    fn the_largest_number_of_attempts_does_not_overflow() {
        assert!(retries().backoff(u32::MAX, u64::MAX) <= Duration::from_secs(10));
    }
}
