//! [`Bucket`]: rate limits of clients. Pure: the time is an argument.
//!
//! A token bucket contains the amount of one second, so that short bursts pass, and fills evenly. The connections of a user share
//! one bucket across shards.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Instant;

use super::{Hub, Options, UserId};

/// The limits per second; `None` for no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Rates {
    pub(crate) messages: Option<u32>,
    pub(crate) bytes: Option<u32>,
}

/// A token bucket.
#[derive(Clone, Debug)]
pub(crate) struct Bucket {
    rates: Rates,
    messages: f64,
    bytes: f64,
    filled: Instant,
}

/// The limit that was exceeded; the text goes into the Close message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum RateExceeded {
    #[error("more than {0} messages a second are not allowed")]
    Messages(u32),
    #[error("more than {0} bytes a second are not allowed")]
    Bytes(u32),
}

/// A user in its hub.
type HubUser = (Hub, UserId);

/// A bucket that connections share.
pub(crate) type SharedBucket = Arc<Mutex<Bucket>>;

/// The buckets of users with connections.
#[derive(Debug, Default)]
pub(crate) struct UserBuckets {
    buckets: Mutex<HashMap<HubUser, Weak<Mutex<Bucket>>>>,
}

impl Rates {
    pub(crate) fn of_connection(options: &Options) -> Self {
        Self { messages: options.connection_messages_per_second, bytes: options.connection_bytes_per_second }
    }

    pub(crate) fn of_user(options: &Options) -> Self {
        Self { messages: options.user_messages_per_second, bytes: options.user_bytes_per_second }
    }

    pub(crate) fn is_unlimited(self) -> bool {
        self == Self::default()
    }
}

impl Bucket {
    pub(crate) fn new(rates: Rates, now: Instant) -> Self {
        let full = |rate: Option<u32>| f64::from(rate.unwrap_or(0));
        Self { rates, messages: full(rates.messages), bytes: full(rates.bytes), filled: now }
    }

    /// Consumes tokens for received data, or fails if it exceeds a limit.
    pub(crate) fn consume(&mut self, messages: u32, bytes: usize, now: Instant) -> Result<(), RateExceeded> {
        let passed = now.saturating_duration_since(self.filled).as_secs_f64();
        self.filled = now;
        if let Some(rate) = self.rates.messages {
            self.messages =
                (self.messages + passed * f64::from(rate)).min(f64::from(rate)) - f64::from(messages);
            if self.messages < 0.0 {
                return Err(RateExceeded::Messages(rate));
            }
        }
        if let Some(rate) = self.rates.bytes {
            self.bytes = (self.bytes + passed * f64::from(rate)).min(f64::from(rate)) - bytes as f64;
            if self.bytes < 0.0 {
                return Err(RateExceeded::Bytes(rate));
            }
        }
        Ok(())
    }
}

impl UserBuckets {
    /// Buckets of users without connections are removed each time this many more buckets exist.
    const SWEEP_EVERY: usize = 1024;

    /// The bucket of a user, created for its first connection.
    pub(crate) fn get(&self, hub: &Hub, user: &UserId, rates: Rates, now: Instant) -> SharedBucket {
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        if buckets.len() % Self::SWEEP_EVERY == Self::SWEEP_EVERY - 1 {
            buckets.retain(|_, bucket| bucket.strong_count() > 0);
        }
        let entry = buckets.entry((hub.clone(), user.clone())).or_default();
        if let Some(bucket) = entry.upgrade() {
            // They may have been replaced since the user's first connection.
            bucket.lock().unwrap_or_else(PoisonError::into_inner).rates = rates;
            return bucket;
        }
        let bucket = Arc::new(Mutex::new(Bucket::new(rates, now)));
        *entry = Arc::downgrade(&bucket);
        bucket
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn messages_and_bytes_above_the_rate_are_refused_until_the_bucket_fills() {
        let start = Instant::now();
        let rates = Rates { messages: Some(2), bytes: Some(100) };
        let mut bucket = Bucket::new(rates, start);
        assert_eq!(bucket.consume(1, 50, start), Ok(()));
        assert_eq!(bucket.consume(1, 50, start), Ok(()));
        assert_eq!(bucket.consume(1, 0, start), Err(RateExceeded::Messages(2)));
        let mut bucket = Bucket::new(rates, start);
        assert_eq!(bucket.consume(1, 101, start), Err(RateExceeded::Bytes(100)));
        let mut bucket = Bucket::new(rates, start);
        for half in 0..20 {
            assert_eq!(bucket.consume(1, 50, start + Duration::from_millis(500 * half)), Ok(()), "{half}");
        }
    }

    #[test]
    fn connections_of_a_user_share_its_bucket() {
        let (hub, user) = (Hub::new(state::Instance::new("test").unwrap(), "chat"), UserId::new("ada"));
        let (buckets, now) = (UserBuckets::default(), Instant::now());
        let rates = Rates { messages: Some(1), bytes: None };
        let (a, b) = (buckets.get(&hub, &user, rates, now), buckets.get(&hub, &user, rates, now));
        assert!(Arc::ptr_eq(&a, &b));
        drop((a, b));
        assert_eq!(buckets.get(&hub, &user, rates, now).lock().unwrap().consume(1, 0, now), Ok(()));
    }
}
