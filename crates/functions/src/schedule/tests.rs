use expect_test::{Expect, expect};

use super::*;

/// The next times after `now`, in local time of `zone` with the offset.
fn check(schedule: &str, zone: &str, now: &str, count: usize, expected: Expect) {
    let zone = TimeZone::get(zone).expect("a known zone");
    let now: Timestamp = now.parse().expect("a time");
    let text = match Schedule::parse(schedule, zone.clone()) {
        Err(error) => error.to_string(),
        Ok(schedule) => {
            let mut at = SystemTime::from(now);
            let mut lines = Vec::new();
            for _ in 0..count {
                let Some(next) = schedule.next_after(at) else {
                    lines.push("never".to_owned());
                    break;
                };
                at = next;
                let local = Timestamp::try_from(next).expect("in range").to_zoned(zone.clone());
                lines.push(local.strftime("%a %F %T %:z").to_string());
            }
            lines.join("\n")
        }
    };
    expected.assert_eq(&text);
}

#[test]
fn steps_lists_ranges_and_names_are_parsed() {
    check(
        "*/20 * * * * *",
        "UTC",
        "2026-01-01T00:00:05.5Z",
        3,
        expect![[r#"
            Thu 2026-01-01 00:00:20 +00:00
            Thu 2026-01-01 00:00:40 +00:00
            Thu 2026-01-01 00:01:00 +00:00"#]],
    );
    check(
        "0 30 9,17 * jan MON-FRI",
        "UTC",
        "2026-01-02T12:00:00Z",
        3,
        expect![[r#"
            Fri 2026-01-02 17:30:00 +00:00
            Mon 2026-01-05 09:30:00 +00:00
            Mon 2026-01-05 17:30:00 +00:00"#]],
    );
    // Five fields: no seconds. A step from a value goes to the end of the field.
    check(
        "5/25 8 * * *",
        "UTC",
        "2026-01-01T08:05:00Z",
        3,
        expect![[r#"
            Thu 2026-01-01 08:30:00 +00:00
            Thu 2026-01-01 08:55:00 +00:00
            Fri 2026-01-02 08:05:00 +00:00"#]],
    );
}

#[test]
fn day_and_weekday_must_both_match_and_swapped_ranges_are_reordered() {
    check(
        "0 0 0 13 * Fri",
        "UTC",
        "2026-01-01T00:00:00Z",
        2,
        expect![[r#"
        Fri 2026-02-13 00:00:00 +00:00
        Fri 2026-03-13 00:00:00 +00:00"#]],
    );
    // NCrontab swaps FRI-MON to MON-FRI; it does not wrap round the weekend.
    check("0 0 12 * * FRI-MON", "UTC", "2026-01-02T13:00:00Z", 1, expect!["Mon 2026-01-05 12:00:00 +00:00"]);
    check("0 0 0 29 2 0", "UTC", "2026-01-01T00:00:00Z", 1, expect!["Sun 2032-02-29 00:00:00 +00:00"]);
    check("0 0 0 30 2 *", "UTC", "2026-01-01T00:00:00Z", 1, expect!["never"]);
}

#[test]
fn a_point_in_time_runs_once_when_the_clock_changes() {
    // 29 March 2026, 02:00 to 03:00 does not exist in Berlin.
    check(
        "0 30 2 * * *",
        "Europe/Berlin",
        "2026-03-28T00:00:00Z",
        3,
        expect![[r#"
        Sat 2026-03-28 02:30:00 +01:00
        Sun 2026-03-29 03:30:00 +02:00
        Mon 2026-03-30 02:30:00 +02:00"#]],
    );
    // Started inside the hour after the gap, the moved run is still ahead.
    check(
        "0 30 2 * * *",
        "Europe/Berlin",
        "2026-03-29T01:10:00Z",
        1,
        expect!["Sun 2026-03-29 03:30:00 +02:00"],
    );
    // 25 October 2026, 02:00 to 03:00 comes twice.
    check(
        "0 30 2 * * *",
        "Europe/Berlin",
        "2026-10-24T12:00:00Z",
        2,
        expect![[r#"
        Sun 2026-10-25 02:30:00 +02:00
        Mon 2026-10-26 02:30:00 +01:00"#]],
    );
    check(
        "0 30 2 * * *",
        "Europe/Berlin",
        "2026-10-25T01:10:00Z",
        1,
        expect!["Mon 2026-10-26 02:30:00 +01:00"],
    );
}

#[test]
fn an_interval_runs_through_the_repeated_hour() {
    check(
        "0 */30 * * * *",
        "Europe/Berlin",
        "2026-10-24T23:59:00Z",
        6,
        expect![[r#"
        Sun 2026-10-25 02:00:00 +02:00
        Sun 2026-10-25 02:30:00 +02:00
        Sun 2026-10-25 02:00:00 +01:00
        Sun 2026-10-25 02:30:00 +01:00
        Sun 2026-10-25 03:00:00 +01:00
        Sun 2026-10-25 03:30:00 +01:00"#]],
    );
    check(
        "0 */30 * * * *",
        "Europe/Berlin",
        "2026-03-29T00:20:00Z",
        3,
        expect![[r#"
        Sun 2026-03-29 01:30:00 +01:00
        Sun 2026-03-29 03:00:00 +02:00
        Sun 2026-03-29 03:30:00 +02:00"#]],
    );
}

#[test]
fn a_time_span_counts_from_the_last_run() {
    check(
        "00:00:30",
        "UTC",
        "2026-01-01T00:00:05Z",
        2,
        expect![[r#"
        Thu 2026-01-01 00:00:35 +00:00
        Thu 2026-01-01 00:01:05 +00:00"#]],
    );
    check("1.02:00:00", "UTC", "2026-01-01T00:00:00Z", 1, expect!["Fri 2026-01-02 02:00:00 +00:00"]);
}

#[test]
fn text_that_is_not_a_schedule_is_rejected_with_the_reason() {
    check(
        "61 * * * * *",
        "UTC",
        "2026-01-01T00:00:00Z",
        1,
        expect![
            "the schedule \"61 * * * * *\" is neither a cron expression ({second} {minute} {hour} {day} {month} {day of week}) nor a time span (hh:mm:ss): 61 is out of range for second, which goes from 0 to 59"
        ],
    );
    check(
        "* * * *",
        "UTC",
        "2026-01-01T00:00:00Z",
        1,
        expect![
            "the schedule \"* * * *\" is neither a cron expression ({second} {minute} {hour} {day} {month} {day of week}) nor a time span (hh:mm:ss): it has 4 fields, not 6 (or 5, without seconds)"
        ],
    );
    check(
        "0 0 * * * Caturday",
        "UTC",
        "2026-01-01T00:00:00Z",
        1,
        expect![
            "the schedule \"0 0 * * * Caturday\" is neither a cron expression ({second} {minute} {hour} {day} {month} {day of week}) nor a time span (hh:mm:ss): 'Caturday' is not a value for day of week"
        ],
    );
    check(
        "25:00:00",
        "UTC",
        "2026-01-01T00:00:00Z",
        1,
        expect![
            "the schedule \"25:00:00\" is neither a cron expression ({second} {minute} {hour} {day} {month} {day of week}) nor a time span (hh:mm:ss): the time span is malformed or zero"
        ],
    );
}

#[test]
fn fast_schedules_are_recognised() {
    let now = SystemTime::from(Timestamp::UNIX_EPOCH);
    let faster = |text| {
        Schedule::parse(text, TimeZone::UTC).expect("valid").is_faster_than(Duration::from_secs(60), now)
    };
    assert!(faster("*/5 * * * * *") && faster("00:00:59") && faster("0,30 0 0 1 1 *"));
    assert!(!faster("0 * * * * *") && !faster("00:01:00"));
}
