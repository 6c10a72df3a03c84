//! [`Options`]: what an operator sets for all functions of the host.

use std::num::{NonZeroU64, NonZeroUsize};
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Options of the connector.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// How long the access tokens that `signalRConnectionInfo` returns are valid, in seconds. Default: 3600, as in the Azure Functions
    /// extension. Since 0.1.0.
    pub client_token_lifetime_s: NonZeroU64,
    /// How long the access token of one request to a service over the network is valid, in seconds. Raise it where the clocks of the two
    /// machines differ. Default: 300. Since 0.1.0.
    pub request_token_lifetime_s: NonZeroU64,
    /// Longest time for one request to a service over the network, in milliseconds, with its response. Default: absent;
    /// `egress.request_timeout_ms` applies. Since 0.1.0.
    pub request_timeout_ms: Option<NonZeroU64>,
    /// The most requests at a time to services over the network; further ones wait. Default: absent; there is no limit. Since 0.1.0.
    pub requests_max: Option<NonZeroUsize>,
    /// How often a request to a service over the network is repeated after a failed connection, a time-out, status 429, or a status
    /// above 500. A message whose response was lost is then sent twice. Default: 0; the invocation fails. Since 0.1.0.
    pub retries_max: u32,
    /// Pause before the first repetition, in milliseconds; it doubles from there. A longer `Retry-After` of the service goes before it.
    /// Default: 800, as in the management SDK. Since 0.1.0.
    pub retry_delay_ms: u64,
    /// Longest pause before a repetition, in milliseconds. Default: 60000, as in the management SDK. Since 0.1.0.
    pub retry_delay_ms_max: u64,
}

/// Why options cannot be used.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum OptionsError {
    /// The first pause exceeds the longest one.
    #[error(
        "retry_delay_ms is {delay_ms}, more than retry_delay_ms_max, which is {delay_ms_max}; lower the first or raise the second"
    )]
    RetryDelay {
        /// `retry_delay_ms`.
        delay_ms: u64,
        /// `retry_delay_ms_max`.
        delay_ms_max: u64,
    },
}

impl Options {
    /// Checks what single values do not show.
    ///
    /// # Errors
    ///
    /// If two options contradict each other.
    pub fn check(&self) -> Result<(), OptionsError> {
        let (delay_ms, delay_ms_max) = (self.retry_delay_ms, self.retry_delay_ms_max);
        if delay_ms > delay_ms_max {
            Err(OptionsError::RetryDelay { delay_ms, delay_ms_max })
        } else {
            Ok(())
        }
    }

    /// The pause before the repetition with this number; the first is 0. `asked` is what the service asks for.
    pub(crate) fn retry_delay(&self, repetition: u32, asked: Option<Duration>) -> Duration {
        let doubled = self.retry_delay_ms.saturating_mul(2_u64.saturating_pow(repetition));
        let longest = Duration::from_millis(self.retry_delay_ms_max);
        Duration::from_millis(doubled).max(asked.unwrap_or_default()).min(longest)
    }
}

impl Default for Options {
    fn default() -> Self {
        Self {
            client_token_lifetime_s: NonZeroU64::new(3600).expect("not zero"),
            request_token_lifetime_s: NonZeroU64::new(300).expect("not zero"),
            request_timeout_ms: None,
            requests_max: None,
            retries_max: 0,
            retry_delay_ms: 800,
            retry_delay_ms_max: 60_000,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest_and_respect_retry_after() {
        let options = Options { retry_delay_ms: 100, retry_delay_ms_max: 1000, ..Options::default() };
        let delay = |repetition, asked_ms: Option<u64>| {
            options.retry_delay(repetition, asked_ms.map(Duration::from_millis)).as_millis()
        };
        assert_eq!([0, 1, 2, 5, 80].map(|repetition| delay(repetition, None)), [100, 200, 400, 1000, 1000]);
        assert_eq!((delay(0, Some(500)), delay(0, Some(9000)), delay(2, Some(1))), (500, 1000, 400));
    }

    #[test]
    fn a_first_pause_above_the_longest_is_refused() {
        assert_eq!(Options::default().check(), Ok(()));
        let error = Options { retry_delay_ms: 70_000, ..Options::default() }.check();
        assert_eq!(error, Err(OptionsError::RetryDelay { delay_ms: 70_000, delay_ms_max: 60_000 }));
    }
}
