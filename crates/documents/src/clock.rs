//! [`Clock`]: the time of the service.

use std::sync::Arc;
use std::time::SystemTime;

/// The time of the service.
#[derive(Clone)]
pub struct Clock(Arc<dyn Fn() -> SystemTime + Send + Sync>);

impl Clock {
    /// The system clock.
    pub fn system() -> Self {
        Self(Arc::new(SystemTime::now))
    }

    /// A clock of a test.
    pub fn new(now: impl Fn() -> SystemTime + Send + Sync + 'static) -> Self {
        Self(Arc::new(now))
    }

    /// Seconds since the Unix epoch.
    pub(crate) fn seconds(&self) -> i64 {
        i64::try_from(self.nanoseconds() / 1_000_000_000).expect("nanoseconds of u64 are seconds of i64")
    }

    /// Nanoseconds since the Unix epoch.
    pub(crate) fn nanoseconds(&self) -> u64 {
        let since = (self.0)().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
    }
}

impl std::fmt::Debug for Clock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Clock")
    }
}
