//! [`ScheduleStatus`]: what the schedule monitor remembers of a timer, in the form of the WebJobs SDK.

use std::time::SystemTime;

use jiff::Timestamp;
use serde_json::{Value as Json, json};

use crate::schedule::Schedule;

/// When a timer last ran and when it is to run next. Stored as the real host stores `timers/…/status`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ScheduleStatus {
    /// The time that its last run was due; `None` if it has never run.
    pub(super) last: Option<SystemTime>,
    /// The time after `last`, computed when this was written.
    pub(super) next: Option<SystemTime>,
    /// When this was written.
    pub(super) last_updated: SystemTime,
}

impl ScheduleStatus {
    /// The status of a timer that has never run.
    pub(super) fn first(schedule: &Schedule, now: SystemTime) -> Self {
        Self { last: None, next: schedule.next_after(now), last_updated: now }
    }

    /// The status after the run that was due at `due` and ended `now`.
    pub(super) fn after_run(schedule: &Schedule, due: SystemTime, now: SystemTime) -> Self {
        Self { last: Some(due), next: schedule.next_after(now), last_updated: now }
    }

    /// When the timer was due next. After a change of the schedule, this is the first time of the new schedule after the last
    /// update: no earlier time was ever announced.
    pub(super) fn next_due(&self, schedule: &Schedule) -> Option<SystemTime> {
        let next = schedule.next_after(self.last.unwrap_or(self.last_updated));
        if next == self.next { next } else { schedule.next_after(self.last_updated) }
    }

    /// The stored form.
    pub(super) fn to_json(&self) -> Json {
        let text = |time: Option<SystemTime>| {
            let time = time.and_then(|time| Timestamp::try_from(time).ok());
            // The default date of .NET means "never".
            time.map_or_else(|| "0001-01-01T00:00:00".to_owned(), |time| format!("{time:.7}"))
        };
        json!({
            "Last": text(self.last),
            "Next": text(self.next),
            "LastUpdated": text(Some(self.last_updated)),
        })
    }

    /// The form that functions get. Unknown times are .NET's default date.
    pub(super) fn to_trigger_json(&self) -> Json {
        const NEVER: &str = "0001-01-01T00:00:00+00:00";
        let text = |time: Option<SystemTime>| time.map_or_else(|| NEVER.to_owned(), time_text);
        json!({
            "Last": text(self.last),
            "Next": text(self.next),
            "LastUpdated": text(self.last.map(|_| self.last_updated)),
        })
    }

    /// Reads the stored form; `None` if it is malformed.
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        let json: Json = serde_json::from_slice(bytes).ok()?;
        let time = |name: &str| {
            let text = json.get(name)?.as_str()?;
            text.parse::<Timestamp>().ok().map(SystemTime::from)
        };
        Some(Self { last: time("Last"), next: time("Next"), last_updated: time("LastUpdated")? })
    }
}

/// A time as .NET writes it in JSON: to 100 ns, without zeros at the end, in UTC.
pub(super) fn time_text(time: SystemTime) -> String {
    let time = Timestamp::try_from(time).unwrap_or_default();
    let text = time.strftime("%Y-%m-%dT%H:%M:%S%.7f").to_string();
    format!("{}+00:00", text.trim_end_matches('0').trim_end_matches('.'))
}

#[cfg(test)]
mod tests {
    use jiff::tz::TimeZone;

    use super::*;

    fn at(text: &str) -> SystemTime {
        text.parse::<Timestamp>().expect("a time").into()
    }

    fn hourly() -> Schedule {
        Schedule::parse("0 0 * * * *", TimeZone::UTC).expect("valid")
    }

    #[test]
    fn a_changed_schedule_counts_from_the_last_update() {
        let yearly = Schedule::parse("0 0 0 1 1 *", TimeZone::UTC).expect("valid");
        let mut ran =
            ScheduleStatus::after_run(&yearly, at("2026-01-01T00:00:00Z"), at("2026-01-01T00:00:01Z"));
        ran.last_updated = at("2026-06-01T10:30:00Z");
        assert_eq!(ran.next_due(&yearly), Some(at("2027-01-01T00:00:00Z")));
        assert_eq!(ran.next_due(&hourly()), Some(at("2026-06-01T11:00:00Z")));
    }

    #[test]
    fn trigger_data_has_times_in_the_format_of_dotnet() {
        let first = ScheduleStatus::first(&hourly(), at("2026-01-01T10:30:00Z")).to_trigger_json();
        let never = "0001-01-01T00:00:00+00:00";
        let next = "2026-01-01T11:00:00+00:00";
        assert_eq!(first, json!({"Last": never, "Next": next, "LastUpdated": never}));
        let ran = ScheduleStatus::after_run(
            &hourly(),
            at("2026-01-01T10:00:00.5Z"),
            at("2026-01-01T10:00:02.123456789Z"),
        );
        let expected = json!({
            "Last": "2026-01-01T10:00:00.5+00:00", "Next": next, "LastUpdated": "2026-01-01T10:00:02.1234567+00:00"
        });
        assert_eq!(ran.to_trigger_json(), expected);
    }

    #[test]
    fn a_stored_status_is_read_back() {
        for status in [
            ScheduleStatus::first(&hourly(), at("2026-01-01T10:30:00.5Z")),
            ScheduleStatus::after_run(&hourly(), at("2026-01-01T10:00:00Z"), at("2026-01-01T10:00:02.25Z")),
        ] {
            assert_eq!(ScheduleStatus::parse(status.to_json().to_string().as_bytes()), Some(status));
        }
        assert_eq!(ScheduleStatus::parse(b"{}"), None);
    }
}
