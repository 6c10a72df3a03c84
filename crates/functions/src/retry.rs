//! Retry policies: when a failed invocation is tried again. Pure; who waits is the caller.

use std::time::Duration;

use serde_json::Value as Json;
use worker_protocol::{RetryOptions, RetryStrategy};

use crate::app::{RetryJson, parse_timespan};
use functions_contract::find_property;

/// A retry policy, from `host.json`, a function's `retry`, or the worker's index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Retry {
    /// How many retries follow the first try; `None` = for ever.
    pub(crate) retries_max: Option<u32>,
    /// How long to wait before each.
    pub(crate) delay: Delay,
}

/// How long to wait before a retry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Delay {
    /// Always the same.
    Fixed(Duration),
    /// Doubles from the minimum to the maximum.
    Exponential {
        /// Before the first retry.
        min: Duration,
        /// Never more.
        max: Duration,
    },
}

/// A retry without a pause would only repeat what failed just now.
const NO_DELAY: &str =
    "the retry policy fixedDelay has no delayInterval; give the pause before each retry as \"hh:mm:ss\"";

impl Retry {
    /// Reads a `retry` section. The error says what is wrong with it.
    pub(crate) fn parse(json: &RetryJson) -> Result<Self, String> {
        let text = |name: &str| find_property(&json.0, name).and_then(Json::as_str);
        let span = |name: &str, default: Duration| match text(name) {
            None => Ok(default),
            Some(text) => parse_timespan(text)
                .ok_or_else(|| format!("retry.{name} \"{text}\" is no time span; write it as \"hh:mm:ss\"")),
        };
        let count = match find_property(&json.0, "maxRetryCount") {
            Some(Json::Number(number)) => number.as_i64(),
            Some(Json::String(text)) => text.trim().parse().ok(),
            _ => None,
        };
        let retries_max = count_max(count.ok_or_else(|| {
            "retry.maxRetryCount is missing or no number; give the number of retries, or -1 for ever"
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
                return Err(format!("retry.strategy \"{other}\" is none of fixedDelay, exponentialBackoff"));
            }
        };
        Ok(Self { retries_max, delay })
    }

    /// Takes the policy that a worker indexed.
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

    /// How many retries there may be, with -1 for ever.
    pub(crate) fn retries_max_i32(&self) -> i32 {
        self.retries_max.map_or(-1, |max| i32::try_from(max).unwrap_or(i32::MAX))
    }

    /// How long to wait before retry number `retry` (1 is the first), or `None` if there is none any more.
    pub(crate) fn delay_before(&self, retry: u32) -> Option<Duration> {
        if self.retries_max.is_some_and(|max| retry > max) {
            return None;
        }
        Some(match self.delay {
            Delay::Fixed(delay) => delay,
            Delay::Exponential { min, max } => {
                // 2^31 times any minimum is beyond any sensible maximum; the shift must only not overflow.
                let factor = 1_u32 << retry.saturating_sub(1).min(31);
                min.checked_mul(factor).unwrap_or(max).min(max)
            }
        })
    }
}

/// A time span as .NET writes it: `[d.]hh:mm:ss[.fffffff]`.
pub(crate) fn span_text(span: Duration) -> String {
    const DAY_S: u64 = 24 * 60 * 60;
    let seconds = span.as_secs();
    let (days, rest) = (seconds / DAY_S, seconds % DAY_S);
    let days = if days > 0 { format!("{days}.") } else { String::new() };
    let ticks = span.subsec_nanos() / 100;
    let fraction = if ticks > 0 { format!(".{ticks:07}") } else { String::new() };
    format!("{days}{:02}:{:02}:{:02}{fraction}", rest / 3600, rest / 60 % 60, rest % 60)
}

fn count_max(count: i64) -> Result<Option<u32>, String> {
    match count {
        -1 => Ok(None),
        0.. => Ok(Some(u32::try_from(count).unwrap_or(u32::MAX))),
        _ => Err(format!("retry.maxRetryCount {count} is below -1")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(json: Json) -> Result<Retry, String> {
        let Json::Object(object) = json else { panic!("not an object") };
        Retry::parse(&RetryJson(object))
    }

    fn seconds(retry: &Retry, count: u32) -> Vec<Option<u64>> {
        (1..=count).map(|number| retry.delay_before(number).map(|delay| delay.as_secs())).collect()
    }

    #[test]
    fn a_fixed_delay_ends_after_its_count() {
        let retry =
            policy(serde_json::json!({"strategy":"fixedDelay","maxRetryCount":2,"delayInterval":"00:00:05"}));
        assert_eq!(seconds(&retry.expect("valid"), 3), [Some(5), Some(5), None]);
    }

    #[test]
    fn an_exponential_delay_doubles_up_to_its_maximum_for_ever() {
        let retry = policy(serde_json::json!({
            "strategy":"exponentialBackoff","maxRetryCount":-1,"minimumInterval":"00:00:03","maximumInterval":"00:00:20"
        }))
        .expect("valid");
        assert_eq!(seconds(&retry, 5), [Some(3), Some(6), Some(12), Some(20), Some(20)]);
        assert_eq!(retry.delay_before(u32::MAX), Some(Duration::from_secs(20)));
        assert_eq!(Retry::from_protocol(&retry.to_protocol()), Ok(retry));
    }

    #[test]
    fn spans_are_written_as_by_dotnet() {
        for (ms, expected) in [
            (1_000, "00:00:01"),
            (1_500, "00:00:01.5000000"),
            (1, "00:00:00.0010000"),
            (90_061_000, "1.01:01:01"),
        ] {
            assert_eq!(span_text(Duration::from_millis(ms)), expected);
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
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
