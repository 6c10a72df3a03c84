//! [`BodyRate`]: checks whether a request body arrives fast enough. A head has a fixed time limit; a body may be long, so its rate
//! is measured, over a sliding window of the time in which the peer is awaited. Time in which the service does not ask for the next
//! bytes does not count.

use std::collections::VecDeque;
use std::num::NonZeroU32;
use std::pin::Pin;
use std::task::Context;
use std::time::Duration;

use tokio::time::{Instant, Sleep};

/// The rate that a peer has to sustain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct MinimumRate {
    /// Least rate, in bytes per second.
    pub(crate) bytes_per_second_min: NonZeroU32,
    /// Time over which the rate is measured. Earlier bytes do not count.
    pub(crate) window: Duration,
    /// Time by which the peer may be late at the start.
    pub(crate) grace: Duration,
}

/// Ends the wait for a body that arrives too slowly.
#[derive(Debug)]
pub(crate) struct BodyRate {
    arrivals: Arrivals,
    alarm: Option<Pin<Box<Sleep>>>,
}

/// The peer sends too slowly; the rest of its body is not awaited.
#[derive(Debug, thiserror::Error)]
#[error(
    "the body arrives too slowly: after {waited_s} seconds of waiting there are {received_bytes} bytes, \
     {recent_bytes} of them in the last {window_s} seconds"
)]
pub(crate) struct BodyTooSlow {
    waited_s: u64,
    received_bytes: u64,
    recent_bytes: u64,
    window_s: u64,
}

impl BodyRate {
    pub(crate) fn new(rate: MinimumRate) -> Self {
        Self { arrivals: Arrivals::new(rate), alarm: None }
    }

    /// The service waits for the next bytes. Fails if the body is too slow; wakes the task at that time.
    pub(crate) fn wait(&mut self, context: &mut Context<'_>) -> Result<(), BodyTooSlow> {
        let end = self.arrivals.awaited(Instant::now());
        let alarm = self.alarm.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(end)));
        if alarm.deadline() != end {
            alarm.as_mut().reset(end);
        }
        if alarm.as_mut().poll(context).is_pending() {
            return Ok(());
        }
        Err(self.arrivals.too_slow(end))
    }

    /// Bytes arrived.
    pub(crate) fn arrived(&mut self, bytes: usize) {
        self.arrivals.arrived(Instant::now(), bytes as u64);
    }
}

/// The bytes received within the window. Times are those of a clock that runs only while the peer is awaited.
///
/// At each time `t` of that clock, the bytes of the last `window` must be at least
/// `bytes_per_second_min` x (`t` - `grace`, but at most `window`).
#[derive(Debug)]
struct Arrivals {
    rate: MinimumRate,
    /// All bytes received so far.
    bytes: u64,
    /// When bytes arrived and how many; at most one entry for each slice of the window, with the latest time in that slice.
    recent: VecDeque<(Duration, u64)>,
    /// The time of the clock when it last stopped.
    waited: Duration,
    /// When it was started.
    waiting_since: Option<Instant>,
}

/// Number of slices of the window; arrivals within a slice are not distinguished, which limits the memory. Bytes count for at most
/// one slice too long.
const SLICES: u32 = 64;

impl Arrivals {
    fn new(rate: MinimumRate) -> Self {
        // The length of a slice is not zero.
        let rate = MinimumRate { window: rate.window.max(Duration::from_millis(1)), ..rate };
        Self { rate, bytes: 0, recent: VecDeque::new(), waited: Duration::ZERO, waiting_since: None }
    }

    /// The peer is awaited; returns the deadline.
    fn awaited(&mut self, now: Instant) -> Instant {
        let since = *self.waiting_since.get_or_insert(now);
        since + self.end().saturating_sub(self.waited)
    }

    fn arrived(&mut self, now: Instant, bytes: u64) {
        if let Some(since) = self.waiting_since.take() {
            self.waited += now.saturating_duration_since(since);
        }
        self.bytes += bytes;
        let (window, at) = (self.rate.window, self.waited);
        while self.recent.front().is_some_and(|(earlier, _)| *earlier + window <= at) {
            self.recent.pop_front();
        }
        if bytes == 0 {
            return;
        }
        let slice = |time: Duration| time.as_nanos() / (window / SLICES).as_nanos();
        match self.recent.back_mut() {
            Some((latest, sum)) if slice(*latest) == slice(at) => (*latest, *sum) = (at, *sum + bytes),
            _ => self.recent.push_back((at, bytes)),
        }
    }

    fn too_slow(&self, at: Instant) -> BodyTooSlow {
        let waited = self.waited
            + self.waiting_since.map_or(Duration::ZERO, |since| at.saturating_duration_since(since));
        BodyTooSlow {
            waited_s: waited.as_secs(),
            received_bytes: self.bytes,
            recent_bytes: self.recent_bytes(waited),
            window_s: self.rate.window.as_secs(),
        }
    }

    /// The bytes that count at a time.
    fn recent_bytes(&self, at: Duration) -> u64 {
        let counts = |(arrived, _): &&(Duration, u64)| *arrived + self.rate.window > at;
        self.recent.iter().filter(counts).map(|(_, bytes)| bytes).sum()
    }

    /// The time, not before `waited`, at which too few bytes have arrived if no more arrive.
    fn end(&self) -> Duration {
        let now = self.waited;
        let MinimumRate { bytes_per_second_min, window, grace } = self.rate;
        let mut counted = self.recent_bytes(now);
        let mut from = now;
        let lasts = |bytes: u64| {
            let nanos = u128::from(bytes) * 1_000_000_000 / u128::from(bytes_per_second_min.get());
            Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
        };
        // The demand grows until a whole window is asked for; a window that is full is enough until bytes leave it.
        for (arrived, bytes) in self.recent.iter().filter(|(arrived, _)| *arrived + window > now) {
            let (lasting, leaves) = (lasts(counted), *arrived + window);
            if lasting < window && grace + lasting < leaves {
                return from.max(grace + lasting);
            }
            from = leaves;
            counted -= bytes;
        }
        from.max(grace)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rate(bytes_per_second_min: u32, window_ms: u64, grace_ms: u64) -> MinimumRate {
        MinimumRate {
            bytes_per_second_min: NonZeroU32::new(bytes_per_second_min).expect("not zero"),
            window: Duration::from_millis(window_ms),
            grace: Duration::from_millis(grace_ms),
        }
    }

    /// Simulates pauses (milliseconds) in which the peer is awaited, each followed by bytes, and then silence; returns the time
    /// after which the peer is cut off.
    fn cut_at(rate: MinimumRate, pieces: impl IntoIterator<Item = (u64, u64)>) -> Duration {
        let mut arrivals = Arrivals::new(rate);
        let began = Instant::now();
        let mut now = began;
        for (pause_ms, bytes) in pieces {
            let end = arrivals.awaited(now);
            let next = now + Duration::from_millis(pause_ms);
            if end < next {
                return end - began;
            }
            now = next;
            arrivals.arrived(now, bytes);
        }
        arrivals.awaited(now) - began
    }

    #[test]
    fn silence_fails_a_body_however_much_arrived_before() {
        let rate = rate(240, 10_000, 5_000);
        assert_eq!(cut_at(rate, []), Duration::from_secs(5));
        // 90 MB at once, then 15 MB over a minute.
        assert_eq!(cut_at(rate, [(0, 90 << 20)]), Duration::from_secs(10));
        let minute = std::iter::repeat_n((1_000, 250_000), 60);
        assert_eq!(cut_at(rate, minute), Duration::from_secs(70));
        // A few bytes extend the deadline by the time that they are worth.
        assert_eq!(cut_at(rate, [(0, 240)]), Duration::from_secs(6));
    }

    #[test]
    fn a_body_at_the_least_rate_passes_after_a_late_start() {
        let pieces = std::iter::once((5_000, 240)).chain(std::iter::repeat_n((1_000, 240), 100));
        assert!(cut_at(rate(240, 10_000, 5_000), pieces) > Duration::from_secs(105));
    }

    #[test]
    fn remembered_arrivals_are_bounded() {
        let mut arrivals = Arrivals::new(rate(240, 10_000, 5_000));
        let mut now = Instant::now();
        for _ in 0..100_000 {
            arrivals.awaited(now);
            now += Duration::from_millis(1);
            arrivals.arrived(now, 1_000);
        }
        assert!(arrivals.recent.len() <= SLICES as usize + 1, "{}", arrivals.recent.len());
    }

    #[test]
    fn time_in_which_the_service_does_not_read_does_not_count() {
        let mut arrivals = Arrivals::new(rate(1_000, 10_000, 1_000));
        let mut now = Instant::now();
        arrivals.arrived(now, 100);
        // The service does something else for an hour, such as waiting for memory.
        now += Duration::from_secs(3_600);
        assert_eq!(arrivals.awaited(now) - now, Duration::from_millis(1_100));
        now += Duration::from_millis(900);
        arrivals.arrived(now, 100_000);
        now += Duration::from_secs(3_600);
        assert_eq!(arrivals.awaited(now) - now, Duration::from_secs(10));
        assert_eq!(
            arrivals.too_slow(now + Duration::from_secs(10)).to_string(),
            "the body arrives too slowly: after 10 seconds of waiting there are 100100 bytes, \
             0 of them in the last 10 seconds"
        );
    }

    proptest! {
        #[test]
        fn a_pattern_below_the_rate_fails_within_window_and_grace(
            rate_min in 100_u32..100_000,
            window_ms in 1_000_u64..20_000,
            grace_ms in 0_u64..10_000,
            head in 0_u64..1_000_000_000,
            steps in prop::collection::vec((1_u64..125, 0.0_f64..0.85), 1..100),
        ) {
            let rate = rate(rate_min, window_ms, grace_ms);
            // Any amount at once, and then less than the rate forever. Bytes count for the pause before them, so that a window may
            // contain one pause too many, which is at most an eighth of it: hence the 0.85.
            let trickle = steps.iter().cycle().take(100_000).map(|(pause_ms, part)| {
                (*pause_ms, ((u64::from(rate_min) * pause_ms) as f64 * part / 1_000.0) as u64)
            });
            let cut = cut_at(rate, std::iter::once((0, head)).chain(trickle));
            let late = rate.window / SLICES + Duration::from_millis(125);
            prop_assert!(cut <= rate.window + rate.grace + late, "{cut:?}");
        }

        #[test]
        fn a_pattern_above_the_rate_passes(
            rate_min in 100_u32..100_000,
            window_ms in 1_000_u64..20_000,
            grace_ms in 0_u64..10_000,
            late in 0.0_f64..1.0,
            steps in prop::collection::vec((1_u64..400, 1.7_f64..5.0), 1..300),
        ) {
            let rate = rate(rate_min, window_ms, grace_ms);
            // Bytes count in advance for the pause after them. A window that starts within a pause lacks the bytes that count for
            // it, which is up to 400 ms of at least 1000: hence the 1.7.
            let first = (grace_ms as f64 * late) as u64;
            let paid = |pause_ms: u64, factor: f64| {
                ((u64::from(rate_min) * pause_ms) as f64 * factor / 1_000.0).ceil() as u64 + 1
            };
            let mut pieces = vec![(first, paid(steps[0].0, steps[0].1))];
            for pair in steps.windows(2) {
                pieces.push((pair[0].0, paid(pair[1].0, pair[1].1)));
            }
            let lasted: u64 = pieces.iter().map(|(pause_ms, _)| pause_ms).sum();
            prop_assert!(cut_at(rate, pieces) >= Duration::from_millis(lasted));
        }
    }
}
