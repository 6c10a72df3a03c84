//! What a timer remembers, and what it does when it starts. Pure: `now` comes in.

use std::time::SystemTime;

use jiff::Timestamp;
use serde_json::{Value as Json, json};

use crate::schedule::Schedule;

/// When a timer ran and will run; the form is the real host's `timers/…/status`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TimerStatus {
    /// The time for which it last ran; `None` = never yet.
    pub(super) last: Option<SystemTime>,
    /// When it is to run next, as computed then.
    pub(super) next: Option<SystemTime>,
    /// When this was written.
    pub(super) last_updated: SystemTime,
}

/// What to do when a timer starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Start {
    /// A run was missed, at this time: make up for it at once.
    PastDue(SystemTime),
    /// Run at once, because the app wants it at start-up.
    Now,
    /// Wait for the next time.
    Wait,
}

/// Decides at start-up. Without a status nothing is known to be missed.
pub(super) fn at_start(
    schedule: &Schedule,
    status: Option<&TimerStatus>,
    now: SystemTime,
    run_on_startup: bool,
) -> Start {
    let due = status.and_then(|status| due(schedule, status));
    if let Some(due) = due.filter(|due| *due < now) {
        return Start::PastDue(due);
    }
    if run_on_startup { Start::Now } else { Start::Wait }
}

/// Whether a run lasted beyond the next time, which then comes at once.
pub(super) fn is_overrun(schedule: &Schedule, began: SystemTime, ended: SystemTime) -> bool {
    schedule.next_after(began).is_some_and(|next| next <= ended)
}

/// When the timer was due next. If the schedule has changed since, the time that the new one gives from the last update on
/// counts: times before were never promised under the new schedule.
fn due(schedule: &Schedule, status: &TimerStatus) -> Option<SystemTime> {
    let promised = schedule.next_after(status.last.unwrap_or(status.last_updated));
    if promised == status.next { promised } else { schedule.next_after(status.last_updated) }
}

impl TimerStatus {
    /// The status of a timer that has never run.
    pub(super) fn first(schedule: &Schedule, now: SystemTime) -> Self {
        Self { last: None, next: schedule.next_after(now), last_updated: now }
    }

    /// The status after the run for time `at`, which ended `now`.
    pub(super) fn after_run(schedule: &Schedule, at: SystemTime, now: SystemTime) -> Self {
        Self { last: Some(at), next: schedule.next_after(now), last_updated: now }
    }

    pub(super) fn to_json(&self) -> Json {
        let text = |time: Option<SystemTime>| {
            let time = time.and_then(|time| Timestamp::try_from(time).ok());
            // .NET's default date stands for never.
            time.map_or_else(|| "0001-01-01T00:00:00".to_owned(), |time| format!("{time:.7}"))
        };
        json!({
            "Last": text(self.last),
            "Next": text(self.next),
            "LastUpdated": text(Some(self.last_updated)),
        })
    }

    /// As functions see it; a timer that never ran has .NET's default date in place of times that are not known.
    pub(super) fn shown(&self) -> Json {
        const NEVER: &str = "0001-01-01T00:00:00+00:00";
        let text = |time: Option<SystemTime>| time.map_or_else(|| NEVER.to_owned(), time_text);
        json!({
            "Last": text(self.last),
            "Next": text(self.next),
            "LastUpdated": text(self.last.map(|_| self.last_updated)),
        })
    }

    /// Reads what [`TimerStatus::to_json`] wrote; anything else counts as no status.
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
    fn a_missed_run_is_made_up_for_once() {
        let ran = TimerStatus::after_run(&hourly(), at("2026-01-01T10:00:00Z"), at("2026-01-01T10:00:02Z"));
        let start = |now| at_start(&hourly(), Some(&ran), at(now), false);
        assert_eq!(start("2026-01-01T10:59:59Z"), Start::Wait);
        assert_eq!(start("2026-01-01T11:00:01Z"), Start::PastDue(at("2026-01-01T11:00:00Z")));
        let made_up =
            TimerStatus::after_run(&hourly(), at("2026-01-01T13:20:00Z"), at("2026-01-01T13:20:01Z"));
        assert_eq!(at_start(&hourly(), Some(&made_up), at("2026-01-01T13:30:00Z"), false), Start::Wait);
    }

    #[test]
    fn a_timer_that_never_ran_is_due_from_its_first_start_on() {
        let first = TimerStatus::first(&hourly(), at("2026-01-01T10:30:00Z"));
        assert_eq!(at_start(&hourly(), Some(&first), at("2026-01-01T10:59:00Z"), false), Start::Wait);
        let due = Start::PastDue(at("2026-01-01T11:00:00Z"));
        assert_eq!(at_start(&hourly(), Some(&first), at("2026-01-01T11:00:01Z"), false), due);
        assert_eq!(at_start(&hourly(), None, at("2026-01-01T11:00:01Z"), false), Start::Wait);
        assert_eq!(at_start(&hourly(), None, at("2026-01-01T11:00:01Z"), true), Start::Now);
    }

    #[test]
    fn a_changed_schedule_counts_from_the_last_update() {
        let yearly = Schedule::parse("0 0 0 1 1 *", TimeZone::UTC).expect("valid");
        let mut ran = TimerStatus::after_run(&yearly, at("2026-01-01T00:00:00Z"), at("2026-01-01T00:00:01Z"));
        ran.last_updated = at("2026-06-01T10:30:00Z");
        assert_eq!(at_start(&hourly(), Some(&ran), at("2026-06-01T10:40:00Z"), false), Start::Wait);
    }

    #[test]
    fn a_run_that_lasts_beyond_the_next_time_is_an_overrun() {
        let overran = |began, ended| is_overrun(&hourly(), at(began), at(ended));
        assert!(!overran("2026-01-01T10:00:00.001Z", "2026-01-01T10:59:59Z"));
        assert!(overran("2026-01-01T10:00:00.001Z", "2026-01-01T11:00:00Z"));
    }

    #[test]
    fn functions_see_times_as_dotnet_writes_them() {
        let first = TimerStatus::first(&hourly(), at("2026-01-01T10:30:00Z")).shown();
        let never = "0001-01-01T00:00:00+00:00";
        let next = "2026-01-01T11:00:00+00:00";
        assert_eq!(first, json!({"Last": never, "Next": next, "LastUpdated": never}));
        let ran = TimerStatus::after_run(
            &hourly(),
            at("2026-01-01T10:00:00.5Z"),
            at("2026-01-01T10:00:02.123456789Z"),
        );
        let expected = json!({
            "Last": "2026-01-01T10:00:00.5+00:00", "Next": next, "LastUpdated": "2026-01-01T10:00:02.1234567+00:00"
        });
        assert_eq!(ran.shown(), expected);
    }

    #[test]
    fn the_status_survives_the_registry() {
        for status in [
            TimerStatus::first(&hourly(), at("2026-01-01T10:30:00.5Z")),
            TimerStatus::after_run(&hourly(), at("2026-01-01T10:00:00Z"), at("2026-01-01T10:00:02.25Z")),
        ] {
            assert_eq!(TimerStatus::parse(status.to_json().to_string().as_bytes()), Some(status));
        }
        assert_eq!(TimerStatus::parse(b"{}"), None);
    }
}
