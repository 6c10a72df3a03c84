//! [`UsageCounts`] by hour, and [`DayUsage`], the form in which a day of one function is stored.

use std::collections::BTreeMap;
use std::ops::AddAssign;
use std::time::SystemTime;

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};
use serde::{Deserialize, Serialize};

/// What is counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct UsageCounts {
    /// Executions, failed ones included.
    pub(crate) executions: u64,
    /// Those that failed.
    pub(crate) failures: u64,
    /// Their billed durations, in milliseconds.
    pub(crate) milliseconds: u64,
    /// Memory times duration, in MB-milliseconds.
    pub(crate) execution_units: u64,
}

/// MB-milliseconds in a GB-second.
const UNITS_PER_GB_SECOND: f64 = 1_024_000.0;

impl UsageCounts {
    pub(crate) fn is_empty(&self) -> bool {
        self.executions == 0
    }

    /// Memory times duration, in GB-seconds.
    pub(crate) fn gb_seconds(&self) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "a report needs no more than 15 digits")]
        let units = self.execution_units as f64;
        units / UNITS_PER_GB_SECOND
    }
}

impl AddAssign for UsageCounts {
    fn add_assign(&mut self, other: Self) {
        self.executions = self.executions.saturating_add(other.executions);
        self.failures = self.failures.saturating_add(other.failures);
        self.milliseconds = self.milliseconds.saturating_add(other.milliseconds);
        self.execution_units = self.execution_units.saturating_add(other.execution_units);
    }
}

/// An hour of a day, in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Hour {
    pub(crate) day: Date,
    pub(crate) hour: u8,
}

impl Hour {
    /// The hour of a time.
    pub(crate) fn of(time: SystemTime) -> Self {
        let time = Timestamp::try_from(time).unwrap_or(Timestamp::UNIX_EPOCH);
        let time = time.to_zoned(TimeZone::UTC);
        Self { day: time.date(), hour: u8::try_from(time.hour()).unwrap_or_default() }
    }

    /// When it begins.
    pub(crate) fn start(self) -> Timestamp {
        let hour = i8::try_from(self.hour).unwrap_or_default();
        let start = self.day.at(hour, 0, 0, 0).to_zoned(TimeZone::UTC);
        start.map_or(Timestamp::UNIX_EPOCH, |start| start.timestamp())
    }

    /// When it ends.
    pub(crate) fn end(self) -> Timestamp {
        self.start().checked_add(1.hour()).unwrap_or(Timestamp::MAX)
    }
}

/// One day of one function.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct DayUsage {
    /// The version of this form.
    pub(super) version: u32,
    /// The counts of each hour.
    pub(super) hours: BTreeMap<u8, UsageCounts>,
}

impl DayUsage {
    /// The newest form that this version reads and writes.
    pub(super) const VERSION: u32 = 1;

    pub(super) fn add(&mut self, hour: u8, counts: UsageCounts) {
        self.version = Self::VERSION;
        *self.hours.entry(hour).or_default() += counts;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_day_is_stored_by_hour_and_read_again() {
        let mut day = DayUsage::default();
        let counts = UsageCounts { executions: 1, failures: 1, milliseconds: 100, execution_units: 12_800 };
        day.add(7, counts);
        day.add(7, counts);
        day.add(23, counts);
        let text = serde_json::to_string(&day).expect("it is text");
        let hour = |number: u32| {
            let (one, ms, units) = (number, number * 100, number * 12_800);
            format!(r#"{{"executions":{one},"failures":{one},"milliseconds":{ms},"executionUnits":{units}}}"#)
        };
        assert_eq!(text, format!(r#"{{"version":1,"hours":{{"7":{},"23":{}}}}}"#, hour(2), hour(1)));
        assert_eq!(serde_json::from_str::<DayUsage>(&text).expect("it is read"), day);
    }

    #[test]
    fn a_gb_second_has_1_024_000_units() {
        // 0.5 GB for 3 seconds, the documentation's example.
        let counts = UsageCounts { execution_units: 512 * 3_000, ..UsageCounts::default() };
        assert!((counts.gb_seconds() - 1.5).abs() < 1e-9);
    }

    #[test]
    fn an_hour_is_that_of_utc() {
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(25 * 3600 + 59);
        let hour = Hour::of(time);
        assert_eq!((hour.day.to_string().as_str(), hour.hour), ("1970-01-02", 1));
        assert_eq!(hour.start().to_string(), "1970-01-02T01:00:00Z");
        assert_eq!(hour.end().to_string(), "1970-01-02T02:00:00Z");
    }
}
