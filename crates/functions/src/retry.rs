//! Retry policies: whether and when a failed invocation is repeated. Pure; the caller waits.

use std::time::Duration;

use serde_json::{Map, Value as Json};
use worker_protocol::{RetryOptions, RetryStrategy};

use crate::time_span::parse_time_span;
use functions_contract::find_property;

/// A `retry` section of `host.json` or of a function, as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RetrySection(pub(crate) Map<String, Json>);

/// A retry policy, from `host.json`, a function's `retry`, or the worker's index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RetryPolicy {
    /// The number of retries after the first attempt; `None` = unlimited.
    pub(crate) retries_max: Option<u32>,
    /// The pause before each.
    pub(crate) delay: Delay,
}

/// The pause before a retry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Delay {
    /// The same pause each time (`fixedDelay`).
    Fixed(Duration),
    /// Doubles from the minimum to the maximum (`exponentialBackoff`).
    Exponential {
        /// The pause before the first retry.
        min: Duration,
        /// The longest pause.
        max: Duration,
    },
}

/// A fixed delay needs an interval: an immediate retry would most likely fail in the same way.
const NO_DELAY: &str = "the retry policy fixedDelay has no delayInterval; set it to the pause before each retry, as \"hh:mm:ss\"";

impl RetryPolicy {
    /// Reads a `retry` section. The error says what is wrong with it.
    pub(crate) fn parse(json: &RetrySection) -> Result<Self, String> {
        let text = |name: &str| find_property(&json.0, name).and_then(Json::as_str);
        let span = |name: &str, default: Duration| match text(name) {
            None => Ok(default),
            Some(text) => parse_time_span(text).ok_or_else(|| {
                format!("retry.{name} \"{text}\" is not a time span; write it as \"hh:mm:ss\"")
            }),
        };
        let count = match find_property(&json.0, "maxRetryCount") {
            Some(Json::Number(number)) => number.as_i64(),
            Some(Json::String(text)) => text.trim().parse().ok(),
            _ => None,
        };
        let retries_max = count_max(count.ok_or_else(|| {
            "retry.maxRetryCount is missing or not a number; set it to the number of retries, or to -1 for unlimited retries"
                .to_owned()
        })?)?;
        let delay = match text("strategy").unwrap_or_default().to_ascii_lowercase().as_str() {
            "fixeddelay" => {
                text("delayInterval").ok_or(NO_DELAY)?;
                Delay::Fixed(span("delayInterval", Duration::ZERO)?)
            }
            "exponentialbackoff" => Delay::Exponential {
                min: span("minimumInterval", Duration::from_secs(10))?,
                max: span("maximumInterval", Duration::from_secs(15 * 60))?,
            },
            other => {
                return Err(format!(
                    "unknown retry.strategy \"{other}\"; use fixedDelay or exponentialBackoff"
                ));
            }
        };
        Ok(Self { retries_max, delay })
    }

    /// The policy that a worker reports for a function that it indexed.
    pub(crate) fn from_protocol(options: &RetryOptions) -> Result<Self, String> {
        let retries_max = count_max(i64::from(options.max_retry_count))?;
        let delay = match options.retry_strategy {
            RetryStrategy::FixedDelay => Delay::Fixed(options.delay_interval.ok_or(NO_DELAY)?),
            RetryStrategy::ExponentialBackoff => Delay::Exponential {
                min: options.minimum_interval.unwrap_or(Duration::from_secs(10)),
                max: options.maximum_interval.unwrap_or(Duration::from_secs(15 * 60)),
            },
        };
        Ok(Self { retries_max, delay })
    }

    /// The policy as workers see it.
    pub(crate) fn to_protocol(&self) -> RetryOptions {
        let mut options = RetryOptions { max_retry_count: self.retries_max_i32(), ..RetryOptions::default() };
        match self.delay {
            Delay::Fixed(delay) => {
                options.retry_strategy = RetryStrategy::FixedDelay;
                options.delay_interval = Some(delay);
            }
            Delay::Exponential { min, max } => {
                options.retry_strategy = RetryStrategy::ExponentialBackoff;
                options.minimum_interval = Some(min);
                options.maximum_interval = Some(max);
            }
        }
        options
    }

    /// The number of retries, -1 for unlimited.
    pub(crate) fn retries_max_i32(&self) -> i32 {
        self.retries_max.map_or(-1, |max| i32::try_from(max).unwrap_or(i32::MAX))
    }

    /// The pause before retry number `retry` (1 is the first); `None` if the policy permits no further retry.
    pub(crate) fn delay_before(&self, retry: u32) -> Option<Duration> {
        if self.retries_max.is_some_and(|max| retry > max) {
            return None;
        }
        Some(match self.delay {
            Delay::Fixed(delay) => delay,
            Delay::Exponential { min, max } => {
                // 2^31 times any minimum is beyond any sensible maximum; the bound only prevents an overflow.
                let factor = 1_u32 << retry.saturating_sub(1).min(31);
                min.checked_mul(factor).unwrap_or(max).min(max)
            }
        })
    }
}

fn count_max(count: i64) -> Result<Option<u32>, String> {
    match count {
        -1 => Ok(None),
        0.. => Ok(Some(u32::try_from(count).unwrap_or(u32::MAX))),
        _ => Err(format!(
            "retry.maxRetryCount {count} is below -1; set it to the number of retries, or to -1 for unlimited retries"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(json: Json) -> Result<RetryPolicy, String> {
        let Json::Object(object) = json else { panic!("not an object") };
        RetryPolicy::parse(&RetrySection(object))
    }

    fn seconds(retry: &RetryPolicy, count: u32) -> Vec<Option<u64>> {
        (1..=count).map(|number| retry.delay_before(number).map(|delay| delay.as_secs())).collect()
    }

    #[test]
    fn a_fixed_delay_permits_max_retry_count_retries() {
        let retry =
            policy(serde_json::json!({"strategy":"fixedDelay","maxRetryCount":2,"delayInterval":"00:00:05"}));
        assert_eq!(seconds(&retry.expect("valid"), 3), [Some(5), Some(5), None]);
    }

    #[test]
    fn an_exponential_backoff_doubles_up_to_its_maximum_without_end() {
        let retry = policy(serde_json::json!({
            "strategy":"exponentialBackoff","maxRetryCount":-1,"minimumInterval":"00:00:03","maximumInterval":"00:00:20"
        }))
        .expect("valid");
        assert_eq!(seconds(&retry, 5), [Some(3), Some(6), Some(12), Some(20), Some(20)]);
        assert_eq!(retry.delay_before(u32::MAX), Some(Duration::from_secs(20)));
        assert_eq!(RetryPolicy::from_protocol(&retry.to_protocol()), Ok(retry));
    }

    #[test]
    fn an_invalid_policy_is_rejected_with_the_reason() {
        for (json, word) in [
            (serde_json::json!({"strategy":"sometimes","maxRetryCount":1}), "sometimes"),
            (serde_json::json!({"strategy":"fixedDelay"}), "maxRetryCount"),
            (serde_json::json!({"strategy":"fixedDelay","maxRetryCount":1,"delayInterval":"5s"}), "5s"),
            (serde_json::json!({"strategy":"fixedDelay","maxRetryCount":1}), "no delayInterval"),
        ] {
            let error = policy(json).expect_err("invalid");
            assert!(error.contains(word), "{error}");
        }
    }
}
