//! Date and time in the formats of .NET, for `{DateTime:yyyy-MM-dd}`.

use std::time::SystemTime;

use jiff::{Timestamp, Zoned, tz::TimeZone};

/// The default format of the WebJobs SDK: without colons, so that it is valid in the name of a blob.
const FORMAT_DEFAULT: &str = "yyyy-MM-ddTHH-mm-ssK";

/// A UTC time in a .NET format: a standard one (one letter) or a pattern. The error contains the unknown part.
pub(super) fn format(time: SystemTime, format: Option<&str>) -> Result<String, String> {
    let timestamp = Timestamp::try_from(time).map_err(|_| "the time is out of range".to_owned())?;
    let time = timestamp.to_zoned(TimeZone::UTC);
    let pattern = match format.filter(|format| !format.is_empty()) {
        None => FORMAT_DEFAULT,
        Some("o" | "O") => "yyyy-MM-ddTHH:mm:ss.fffffffK",
        Some("s") => "yyyy-MM-ddTHH:mm:ss",
        Some("u") => "yyyy-MM-dd HH:mm:ssZ",
        Some("d") => "MM/dd/yyyy",
        Some("r" | "R") => "ddd, dd MMM yyyy HH:mm:ss 'GMT'",
        Some(pattern) => pattern,
    };
    let mut out = String::new();
    let mut rest = pattern;
    while let Some(first) = rest.chars().next() {
        let consumed = match first {
            '\'' | '"' => {
                let end =
                    rest[1..].find(first).ok_or_else(|| format!("a quote in '{pattern}' is not closed"))?;
                out.push_str(&rest[1..=end]);
                end + 2
            }
            '\\' => {
                let next = rest[1..].chars().next().unwrap_or_default();
                out.push(next);
                1 + next.len_utf8()
            }
            '%' => 1,
            letter if letter.is_ascii_alphabetic() => {
                let count = rest.chars().take_while(|c| *c == letter).count();
                match token(letter, count, &time) {
                    Some(text) => out.push_str(&text),
                    None => out.push_str(&rest[..count]),
                }
                count
            }
            other => {
                out.push(other);
                other.len_utf8()
            }
        };
        rest = &rest[consumed..];
    }
    Ok(out)
}

/// One run of a format letter; `None` for letters without a meaning, which are literal text.
fn token(letter: char, count: usize, time: &Zoned) -> Option<String> {
    const MONTHS: [&str; 12] = [
        "January",
        "February",
        "March",
        "April",
        "May",
        "June",
        "July",
        "August",
        "September",
        "October",
        "November",
        "December",
    ];
    const DAYS: [&str; 7] = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];
    let number = |value: i64| if count == 1 { value.to_string() } else { format!("{value:02}") };
    let named = |name: &str| if count == 3 { name[..3].to_owned() } else { name.to_owned() };
    let month = usize::try_from(time.month() - 1).unwrap_or_default();
    let weekday = usize::try_from(time.weekday().to_monday_zero_offset()).unwrap_or_default();
    let hour12 = (i64::from(time.hour()) + 11) % 12 + 1;
    Some(match (letter, count) {
        ('y', 1 | 2) => format!("{:02}", time.year().rem_euclid(100)),
        ('y', _) => format!("{:0count$}", time.year()),
        ('M', 1 | 2) => number(time.month().into()),
        ('M', _) => named(MONTHS[month]),
        ('d', 1 | 2) => number(time.day().into()),
        ('d', _) => named(DAYS[weekday]),
        ('H', _) => number(time.hour().into()),
        ('h', _) => number(hour12),
        ('m', _) => number(time.minute().into()),
        ('s', _) => number(time.second().into()),
        ('f' | 'F', 1..=7) => format!("{:09}", time.subsec_nanosecond())[..count].to_owned(),
        ('t', 1) => if time.hour() < 12 { "A" } else { "P" }.to_owned(),
        ('t', _) => if time.hour() < 12 { "AM" } else { "PM" }.to_owned(),
        ('K', _) => "Z".to_owned(),
        ('z', 1) => "+0".to_owned(),
        ('z', 2) => "+00".to_owned(),
        ('z', _) => "+00:00".to_owned(),
        _ => return None,
    })
}
