//! [`Options`]: what an operator sets for all functions of the host. What an app sets is in its bindings.

use std::num::{NonZeroU32, NonZeroU64, NonZeroUsize};
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Options of the connector. Where a binding sets the same value, the binding wins.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// Name of this host in lease documents; the binary sets it. Only one process may use a name at a time: a lease that an earlier
    /// process left under the same name is acquired at once, not after its expiry. The identity of a locked data folder meets that
    /// condition. Default: a random name, so that every left lease expires first.
    #[serde(skip)]
    pub instance: String,
    /// `maxItemsPerInvocation` of triggers that do not set it: the most changes in one invocation. Default: 100. Since 0.1.0.
    pub items_per_invocation_max: NonZeroU32,
    /// `feedPollDelay` of triggers that do not set it: the time between two reads of a change feed that had no changes, in milliseconds.
    /// A container of this process needs no polls: a change is delivered at once. Default: 5000. Since 0.1.0.
    pub feed_poll_delay_ms: u64,
    /// `leaseAcquireInterval` of triggers that do not set it: the time between two searches for leases to acquire, in milliseconds.
    /// Default: 13000. Since 0.1.0.
    pub lease_acquire_interval_ms: NonZeroU64,
    /// `leaseRenewInterval` of triggers that do not set it: the time between two renewals of a lease, in milliseconds. It must be less
    /// than `lease_expiration_interval_ms`. Default: 17000. Since 0.1.0.
    pub lease_renew_interval_ms: NonZeroU64,
    /// `leaseExpirationInterval` of triggers that do not set it: the time after which another host may acquire a lease that was not
    /// renewed, in milliseconds. Default: 60000. Since 0.1.0.
    pub lease_expiration_interval_ms: NonZeroU64,
    /// The most rows that a `sqlQuery` of an input binding may return; with more, the invocation fails. Default: 100000. Since 0.1.0.
    pub query_rows_max: NonZeroUsize,
    /// The most rows in one page of a `sqlQuery`. Default: absent; the account decides. Since 0.1.0.
    pub query_page_rows: Option<NonZeroU32>,
    /// The largest response, in bytes. A page of the protocol has at most 4 MiB. Default: 16777216 (16 MiB). Since 0.1.0.
    pub response_bytes_max: NonZeroUsize,
    /// Longest time for one request to an account over the network, in milliseconds, with its response. Default: absent;
    /// `egress.request_timeout_ms` bounds the time until the response begins. Since 0.1.0.
    pub request_timeout_ms: Option<NonZeroU64>,
    /// The most requests at a time to accounts over the network; further ones wait. Default: absent; there is no limit. Since 0.1.0.
    pub requests_max: Option<NonZeroUsize>,
    /// How often a request is repeated after status 429 or 449. Default: 9, as in the SDKs. Since 0.1.0.
    pub throttled_retries_max: u32,
    /// How long in total a request may wait to be repeated after status 429 or 449, in milliseconds. Default: 30000. Since 0.1.0.
    pub throttled_wait_ms_max: u64,
}

/// Why options cannot be used.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum OptionsError {
    /// Leases would expire between two renewals.
    #[error(
        "lease_renew_interval_ms is {renew_ms} and lease_expiration_interval_ms is {expiration_ms}, so leases would expire before \
         they are renewed; lower the first or raise the second"
    )]
    LeaseIntervals {
        /// `lease_renew_interval_ms`.
        renew_ms: u64,
        /// `lease_expiration_interval_ms`.
        expiration_ms: u64,
    },
}

impl Options {
    /// Checks what single values do not show.
    ///
    /// # Errors
    ///
    /// If two options contradict each other.
    pub fn check(&self) -> Result<(), OptionsError> {
        let (renew, expiration) = (self.lease_renew_interval_ms, self.lease_expiration_interval_ms);
        if renew >= expiration {
            return Err(OptionsError::LeaseIntervals {
                renew_ms: renew.get(),
                expiration_ms: expiration.get(),
            });
        }
        Ok(())
    }

    /// The time limit for one request over the network.
    pub fn request_timeout(&self) -> Option<Duration> {
        self.request_timeout_ms.map(|ms| Duration::from_millis(ms.get()))
    }
}

impl Default for Options {
    fn default() -> Self {
        Self {
            instance: uuid::Uuid::new_v4().to_string(),
            items_per_invocation_max: NonZeroU32::new(100).expect("not zero"),
            feed_poll_delay_ms: 5000,
            lease_acquire_interval_ms: NonZeroU64::new(13_000).expect("not zero"),
            lease_renew_interval_ms: NonZeroU64::new(17_000).expect("not zero"),
            lease_expiration_interval_ms: NonZeroU64::new(60_000).expect("not zero"),
            query_rows_max: NonZeroUsize::new(100_000).expect("not zero"),
            query_page_rows: None,
            response_bytes_max: NonZeroUsize::new(16 * 1024 * 1024).expect("not zero"),
            request_timeout_ms: None,
            requests_max: None,
            throttled_retries_max: 9,
            throttled_wait_ms_max: 30_000,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_renewal_interval_as_long_as_the_expiration_is_refused() {
        assert_eq!(Options::default().check(), Ok(()));
        let renew = NonZeroU64::new(60_000).expect("not zero");
        let error = Options { lease_renew_interval_ms: renew, ..Options::default() }.check();
        let text = error.expect_err("it equals the default expiration").to_string();
        assert!(text.contains("lease_renew_interval_ms is 60000"), "{text}");
    }
}
