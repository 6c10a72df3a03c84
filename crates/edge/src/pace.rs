//! [`Pace`]: whether a request body arrives fast enough. A head that trickles in is cut by a clock of its own; a body may be long,
//! so it is the rate that counts, over the time in which we waited for the peer and not the other way round.

use std::num::NonZeroU32;
use std::pin::Pin;
use std::task::Context;
use std::time::Duration;

use tokio::time::{Instant, Sleep};

/// The time that one body has taken so far.
pub(crate) struct Pace {
    grace: Duration,
    bytes_per_second_min: NonZeroU32,
    received_bytes: u64,
    waited: Duration,
    waiting_since: Option<Instant>,
    alarm: Option<Pin<Box<Sleep>>>,
}

/// The peer sends too slowly; the rest of its body is not awaited.
#[derive(Debug, thiserror::Error)]
#[error("the body arrives too slowly: after {waited_s} seconds of waiting there are {received_bytes} bytes")]
pub(crate) struct TooSlow {
    waited_s: u64,
    received_bytes: u64,
}

impl Pace {
    pub(crate) fn new(grace: Duration, bytes_per_second_min: NonZeroU32) -> Self {
        Self {
            grace,
            bytes_per_second_min,
            received_bytes: 0,
            waited: Duration::ZERO,
            waiting_since: None,
            alarm: None,
        }
    }

    /// Somebody wants the next bytes and they are not there: says whether they are awaited, and wakes when they no longer are.
    pub(crate) fn wait(&mut self, context: &mut Context<'_>) -> Result<(), TooSlow> {
        let rate = u64::from(self.bytes_per_second_min.get());
        let allowed = self.grace + Duration::from_secs(self.received_bytes / rate);
        let left = allowed.saturating_sub(self.waited);
        let alarm = match (&mut self.alarm, self.waiting_since) {
            (Some(alarm), Some(_)) => alarm,
            (Some(alarm), None) => {
                let now = Instant::now();
                self.waiting_since = Some(now);
                alarm.as_mut().reset(now + left);
                alarm
            }
            (none, _) => {
                self.waiting_since = Some(Instant::now());
                none.insert(Box::pin(tokio::time::sleep(left)))
            }
        };
        if alarm.as_mut().poll(context).is_pending() {
            return Ok(());
        }
        Err(TooSlow { waited_s: allowed.as_secs(), received_bytes: self.received_bytes })
    }

    /// Bytes arrived.
    pub(crate) fn arrived(&mut self, bytes: usize) {
        self.received_bytes += bytes as u64;
        if let Some(since) = self.waiting_since.take() {
            self.waited += since.elapsed();
        }
    }
}
