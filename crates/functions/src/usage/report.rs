//! [`UsageReport`]: the usage of a time, by function and period.

use std::collections::BTreeMap;

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use serde_json::{Value as Json, json};

use super::day::{Hour, UsageCounts};

/// What a report covers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct UsageQuery {
    /// Counts of hours that end after this.
    pub(crate) from: Timestamp,
    /// Counts of hours that begin before this.
    pub(crate) to: Timestamp,
    /// Only this function.
    pub(crate) function: Option<String>,
    pub(crate) period: Period,
}

/// The length of the rows of a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Period {
    Total,
    Day,
    Hour,
}

/// The usage of a time.
#[derive(Debug)]
pub(crate) struct UsageReport {
    query: UsageQuery,
    rows: BTreeMap<(Option<Timestamp>, String), UsageCounts>,
}

impl UsageQuery {
    /// From the parameters of a request. `from` and `to` are a date or a time (RFC 3339); without them, everything.
    ///
    /// # Errors
    ///
    /// What is wrong with which parameter.
    pub(crate) fn parse(parameter: impl Fn(&str) -> Option<String>) -> Result<Self, String> {
        let time = |name: &str, otherwise: Timestamp| {
            match parameter(name) {
            None => Ok(otherwise),
            Some(text) => parse_time(&text).ok_or_else(|| {
                format!("\"{name}\" is \"{text}\"; write a date such as 2026-11-30, or a time such as 2026-11-30T12:00:00Z")
            }),
        }
        };
        let period = match parameter("by").as_deref() {
            None | Some("total") => Period::Total,
            Some("day") => Period::Day,
            Some("hour") => Period::Hour,
            Some(other) => return Err(format!("\"by\" is \"{other}\"; write total, day or hour")),
        };
        Ok(Self {
            from: time("from", Timestamp::UNIX_EPOCH)?,
            to: time("to", Timestamp::MAX)?,
            function: parameter("function"),
            period,
        })
    }

    /// The first and the last day that the query may cover.
    pub(super) fn days(&self) -> (Date, Date) {
        let day = |time: Timestamp| time.to_zoned(TimeZone::UTC).date();
        (day(self.from), day(self.to))
    }
}

/// A date, which is its first moment in UTC, or a time.
fn parse_time(text: &str) -> Option<Timestamp> {
    if let Ok(time) = text.parse::<Timestamp>() {
        return Some(time);
    }
    // A longer text would be a date with a time that has no zone.
    let date = text.parse::<Date>().ok().filter(|date| date.to_string() == text)?;
    Some(date.to_zoned(TimeZone::UTC).ok()?.timestamp())
}

impl UsageReport {
    pub(super) fn new(query: &UsageQuery) -> Self {
        Self { query: query.clone(), rows: BTreeMap::new() }
    }

    /// Adds the counts of an hour, if the query covers them.
    pub(super) fn add(&mut self, function: &str, hour: Hour, counts: &UsageCounts) {
        let query = &self.query;
        let is_covered = hour.end() > query.from && hour.start() < query.to;
        let is_wanted = query.function.as_ref().is_none_or(|wanted| wanted.eq_ignore_ascii_case(function));
        if !is_covered || !is_wanted || counts.is_empty() {
            return;
        }
        let start = match query.period {
            Period::Total => None,
            Period::Day => Some(Hour { hour: 0, ..hour }.start()),
            Period::Hour => Some(hour.start()),
        };
        *self.rows.entry((start, function.to_owned())).or_default() += *counts;
    }

    /// As JSON.
    pub(crate) fn to_json(&self) -> Json {
        let mut total = UsageCounts::default();
        let mut rows = Vec::with_capacity(self.rows.len());
        for ((start, function), counts) in &self.rows {
            total += *counts;
            let mut row = counts_json(counts);
            row["function"] = json!(function);
            if let Some(start) = start {
                row["start"] = json!(start.to_string());
            }
            rows.push(row);
        }
        json!({ "rows": rows, "total": counts_json(&total) })
    }
}

fn counts_json(counts: &UsageCounts) -> Json {
    json!({
        "executions": counts.executions,
        "failures": counts.failures,
        "milliseconds": counts.milliseconds,
        "executionUnits": counts.execution_units,
        "gbSeconds": counts.gb_seconds(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(pairs: &[(&str, &str)]) -> Result<UsageQuery, String> {
        UsageQuery::parse(|name| {
            pairs.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
        })
    }

    fn hour(text: &str) -> Hour {
        Hour::of(text.parse::<Timestamp>().expect("a time").into())
    }

    #[test]
    fn a_report_adds_the_hours_of_its_time_by_period() {
        let one = UsageCounts { executions: 1, failures: 0, milliseconds: 100, execution_units: 12_800 };
        let reported = |pairs: &[(&str, &str)]| {
            let mut report = UsageReport::new(&query(pairs).expect("a query"));
            for time in ["2026-11-29T23:30:00Z", "2026-11-30T00:30:00Z", "2026-11-30T05:00:00Z"] {
                report.add("f", hour(time), &one);
            }
            report.add("g", hour("2026-11-30T05:00:00Z"), &one);
            let rows = report.rows.iter().map(|((start, function), counts)| {
                let start = start.map(|start| format!("{start} ")).unwrap_or_default();
                format!("{start}{function} {}", counts.executions)
            });
            rows.collect::<Vec<_>>().join(", ")
        };
        assert_eq!(reported(&[]), "f 3, g 1");
        assert_eq!(reported(&[("from", "2026-11-30"), ("function", "F")]), "f 2");
        assert_eq!(reported(&[("to", "2026-11-30")]), "f 1");
        assert_eq!(reported(&[("from", "2026-11-30T00:59:00Z"), ("to", "2026-11-30T05:00:00Z")]), "f 1");
        assert_eq!(
            reported(&[("by", "day")]),
            "2026-11-29T00:00:00Z f 1, 2026-11-30T00:00:00Z f 2, 2026-11-30T00:00:00Z g 1"
        );
        assert!(
            reported(&[("by", "hour")]).starts_with("2026-11-29T23:00:00Z f 1, 2026-11-30T00:00:00Z f 1")
        );
    }

    #[test]
    fn an_invalid_parameter_is_reported_by_name() {
        let error = query(&[("from", "yesterday")]).expect_err("no time");
        assert_eq!(
            error,
            "\"from\" is \"yesterday\"; write a date such as 2026-11-30, or a time such as 2026-11-30T12:00:00Z"
        );
        assert!(query(&[("to", "2026-11-30T12:00:00")]).is_err(), "a time needs its zone");
        assert!(query(&[("by", "week")]).is_err());
    }
}
