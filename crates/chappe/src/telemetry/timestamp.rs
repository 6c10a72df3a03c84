//! [`Timestamp`]: the time of a log line.

use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

/// A time as RFC 3339 in UTC with milliseconds.
pub(super) struct Timestamp(pub(super) SystemTime);

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write_to(f)
    }
}

impl Timestamp {
    /// Writes it without the machinery of format strings: each line has one.
    pub(super) fn write_to(&self, to: &mut impl fmt::Write) -> fmt::Result {
        let since = self.0.duration_since(UNIX_EPOCH).unwrap_or_default();
        let (seconds, milliseconds) = (since.as_secs(), since.subsec_millis());
        let (year, month, day) = civil_from_days(i64::try_from(seconds / 86_400).unwrap_or(0));
        let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
        let mut text = *b"0000-00-00T00:00:00.000Z";
        let mut put = |at: std::ops::Range<usize>, value: u64| {
            let mut rest = value;
            for digit in text[at].iter_mut().rev() {
                *digit = b"0123456789"[usize::try_from(rest % 10).unwrap_or(0)];
                rest /= 10;
            }
        };
        let unsigned = |value: i64| u64::try_from(value).unwrap_or(0);
        put(0..4, unsigned(year));
        put(5..7, unsigned(month));
        put(8..10, unsigned(day));
        put(11..13, hour);
        put(14..16, minute);
        put(17..19, second);
        put(20..23, u64::from(milliseconds));
        to.write_str(std::str::from_utf8(&text).map_err(|_| fmt::Error)?)
    }
}

/// The proleptic Gregorian date of a day counted from 1970-01-01. Years are counted from March, so that the leap day comes last.
fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn timestamps_are_right_around_leap_days() {
        let at = |seconds| Timestamp(UNIX_EPOCH + Duration::from_secs(seconds)).to_string();
        assert_eq!(at(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(at(951_782_400), "2000-02-29T00:00:00.000Z");
        assert_eq!(at(1_709_251_199), "2024-02-29T23:59:59.000Z");
        assert_eq!(at(1_795_219_200), "2026-11-21T00:00:00.000Z");
    }
}
