//! Schedules of timer triggers: NCRONTAB expressions and time spans. Pure: `now` comes in, the next time goes out.
//!
//! The syntax is that of the NCrontab library: five fields (minute first) or six (second first); lists, ranges, steps, English
//! names by prefix; Sunday is 0; swapped ends of a range are reordered; day of month *and* day of week must match (unlike
//! cron, where one suffices).

use std::time::{Duration, SystemTime};

use jiff::civil::{Date, DateTime, Time};
use jiff::tz::{Offset, TimeZone};
use jiff::{SignedDuration, Timestamp};

use crate::time_span::parse_time_span;

/// The schedule of a timer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Schedule {
    kind: Kind,
    zone: TimeZone,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Kind {
    Cron(Box<Cron>),
    /// An interval, counted from the last run.
    Every(Duration),
}

/// Each field as a set of bits, bit n for the value n.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Cron {
    seconds: u64,
    minutes: u64,
    hours: u64,
    days: u64,
    months: u64,
    weekdays: u64,
    /// Whether it runs at intervals (`*`, `-` or `/` in second, minute or hour), not at points in time. Matters when the clock
    /// changes.
    interval: bool,
}

/// Text that is not a schedule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "the schedule \"{text}\" is neither a cron expression ({{second}} {{minute}} {{hour}} {{day}} {{month}} {{day of week}}) \
     nor a time span (hh:mm:ss): {problem}"
)]
pub(crate) struct ParseScheduleError {
    text: String,
    problem: String,
}

const MONTHS: [&str; 12] = [
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
];
const WEEKDAYS: [&str; 7] = ["sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday"];

/// Longer than the longest gap between matching days: 29 February falls on each weekday within 40 years.
const YEARS_SEARCHED_MAX: i16 = 41;

impl Schedule {
    /// Parses a schedule in the local time of `zone`.
    pub(crate) fn parse(text: &str, zone: TimeZone) -> Result<Self, ParseScheduleError> {
        let fail = |problem: String| ParseScheduleError { text: text.to_owned(), problem };
        if text.contains(':') {
            let span = parse_time_span(text).filter(|span| !span.is_zero());
            let span = span.ok_or_else(|| fail("the time span is malformed or zero".to_owned()))?;
            return Ok(Self { kind: Kind::Every(span), zone });
        }
        let cron = Cron::parse(text).map_err(fail)?;
        Ok(Self { kind: Kind::Cron(Box::new(cron)), zone })
    }

    /// The first time after `now`; `None` if there is none (30 February).
    pub(crate) fn next_after(&self, now: SystemTime) -> Option<SystemTime> {
        match &self.kind {
            Kind::Every(span) => now.checked_add(*span),
            Kind::Cron(cron) => {
                let now = Timestamp::try_from(now).ok()?;
                let next = if cron.interval {
                    cron.next_interval(now, &self.zone)
                } else {
                    cron.next_point(now, &self.zone)
                };
                next.map(SystemTime::from)
            }
        }
    }

    /// Whether it names times of the local clock, which changes with daylight saving time, and not intervals.
    pub(crate) fn follows_clock_changes(&self) -> bool {
        matches!(self.kind, Kind::Cron(_))
    }

    /// Whether runs may be closer together than this.
    pub(crate) fn is_faster_than(&self, span: Duration, now: SystemTime) -> bool {
        let mut at = now;
        (0..5).any(|_| {
            let Some(next) = self.next_after(at) else { return false };
            let Some(second) = self.next_after(next) else { return false };
            at = next;
            second.duration_since(next).is_ok_and(|gap| gap < span)
        })
    }
}

impl Cron {
    fn parse(text: &str) -> Result<Self, String> {
        let fields: Vec<&str> = text.split_whitespace().collect();
        let (second, rest) = match fields.as_slice() {
            [second, rest @ ..] if rest.len() == 5 => (*second, rest),
            rest if rest.len() == 5 => ("0", rest),
            _ => return Err(format!("it has {} fields, not 6 (or 5, without seconds)", fields.len())),
        };
        let interval = [second, rest[0], rest[1]].iter().any(|field| field.contains(['*', '-', '/']));
        Ok(Self {
            seconds: field(second, "second", 0, 59, &[])?,
            minutes: field(rest[0], "minute", 0, 59, &[])?,
            hours: field(rest[1], "hour", 0, 23, &[])?,
            days: field(rest[2], "day", 1, 31, &[])?,
            months: field(rest[3], "month", 1, 12, &MONTHS)?,
            weekdays: field(rest[4], "day of week", 0, 6, &WEEKDAYS)?,
            interval,
        })
    }

    /// The first match that is not before `from`, in local time.
    fn first_from(&self, from: DateTime) -> Option<DateTime> {
        let mut date = from.date();
        let mut time = from.time();
        if time.subsec_nanosecond() > 0 {
            let next = from.checked_add(SignedDuration::from_secs(1)).ok()?;
            date = next.date();
            time = Time::new(next.hour(), next.minute(), next.second(), 0).ok()?;
        }
        let year_last = date.year().saturating_add(YEARS_SEARCHED_MAX);
        loop {
            if date.year() > year_last {
                return None;
            }
            if !has(self.months, date.month()) {
                date = date.first_of_month().checked_add(jiff::Span::new().months(1)).ok()?;
                time = Time::midnight();
                continue;
            }
            if self.matches_day(date)
                && let Some(time) = self.first_time_from(time)
            {
                return Some(date.to_datetime(time));
            }
            date = date.tomorrow().ok()?;
            time = Time::midnight();
        }
    }

    fn matches_day(&self, date: Date) -> bool {
        has(self.days, date.day()) && has(self.weekdays, date.weekday().to_sunday_zero_offset())
    }

    fn first_time_from(&self, from: Time) -> Option<Time> {
        let (hour, minute, second) = (from.hour(), from.minute(), from.second());
        let same_hour = has(self.hours, hour).then(|| {
            let same_minute =
                has(self.minutes, minute).then(|| Some((minute, next_in(self.seconds, second)?)));
            same_minute
                .flatten()
                .or_else(|| Some((next_in(self.minutes, minute + 1)?, first_in(self.seconds)?)))
        });
        let (hour, minute, second) = match same_hour.flatten() {
            Some((minute, second)) => (hour, minute, second),
            None => (next_in(self.hours, hour + 1)?, first_in(self.minutes)?, first_in(self.seconds)?),
        };
        Time::new(hour, minute, second, 0).ok()
    }

    /// Interval schedules follow the local clock, even through a repeated hour: they are matched within each period of constant
    /// offset.
    fn next_interval(&self, now: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        let mut from = now.checked_add(SignedDuration::from_nanos(1)).ok()?;
        let mut transitions = zone.following(now);
        loop {
            let offset = zone.to_offset(from);
            let transition = transitions.next().map(|transition| transition.timestamp());
            let found =
                self.first_from(offset.to_datetime(from)).and_then(|local| to_timestamp(offset, local));
            match (found, transition) {
                (Some(found), Some(transition)) if found >= transition => from = transition,
                (found, _) => return found,
            }
        }
    }

    /// Point-in-time schedules run once on each matching day: at the first of two equal local times, and after a gap if their time
    /// falls into it.
    fn next_point(&self, now: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        let local_now = zone.to_datetime(now);
        // Starts in the past to include a time that a gap moved to after now.
        let mut local = local_now.checked_sub(SignedDuration::from_hours(3)).ok()?;
        let mut best: Option<Timestamp> = None;
        loop {
            local = self.first_from(local)?;
            if best.is_some_and(|best| zone.to_datetime(best) <= local) {
                return best;
            }
            // `compatible`: a time in a gap moves by the gap; of two equal times, the earlier one counts.
            let at = zone.to_ambiguous_timestamp(local).compatible().ok()?;
            if at > now && best.is_none_or(|best| at < best) {
                best = Some(at);
            }
            local = local.checked_add(SignedDuration::from_secs(1)).ok()?;
        }
    }
}

fn to_timestamp(offset: Offset, local: DateTime) -> Option<Timestamp> {
    offset.to_timestamp(local).ok()
}

/// One field as a set of bits.
fn field(text: &str, what: &str, min: u8, max: u8, names: &[&str]) -> Result<u64, String> {
    let mut bits = 0;
    for item in text.split(',') {
        let (range, step) = match item.split_once('/') {
            Some((range, step)) => {
                let step =
                    step.parse::<u8>().map_err(|_| format!("'{item}' has no number after '/' in {what}"))?;
                (range, Some(step.max(1)))
            }
            None => (item, None),
        };
        let value = |text: &str| value(text, what, min, max, names);
        let (first, last) = if range == "*" {
            (min, max)
        } else if let Some((first, last)) = range.split_once('-') {
            let (first, last) = (value(first)?, value(last)?);
            (first.min(last), first.max(last))
        } else {
            let first = value(range)?;
            // `5/15` starts at 5 and continues to the end of the field.
            (first, if step.is_some() { max } else { first })
        };
        for number in (first..=last).step_by(usize::from(step.unwrap_or(1))) {
            bits |= 1 << number;
        }
    }
    Ok(bits)
}

fn value(text: &str, what: &str, min: u8, max: u8, names: &[&str]) -> Result<u8, String> {
    if let Ok(number) = text.parse::<u8>() {
        if (min..=max).contains(&number) {
            return Ok(number);
        }
        return Err(format!("{number} is out of range for {what}, which goes from {min} to {max}"));
    }
    let lower = text.to_ascii_lowercase();
    let named = (!lower.is_empty()).then(|| names.iter().position(|name| name.starts_with(&lower))).flatten();
    let index = named.and_then(|index| u8::try_from(index).ok());
    index.map(|index| index + min).ok_or_else(|| format!("'{text}' is not a value for {what}"))
}

fn has(bits: u64, number: i8) -> bool {
    bits >> number & 1 == 1
}

/// The first number in the set that is not below `from`.
fn next_in(bits: u64, from: i8) -> Option<i8> {
    let rest = bits.checked_shr(u32::try_from(from).ok()?)?;
    (rest != 0).then(|| from + i8::try_from(rest.trailing_zeros()).unwrap_or(i8::MAX))
}

fn first_in(bits: u64) -> Option<i8> {
    next_in(bits, 0)
}

#[cfg(test)]
mod tests;
