//! Time spans in the text form of .NET, as `host.json` and `function.json` have them.

use std::time::Duration;

/// Reads `[d.]hh:mm[:ss[.fffffff]]`; `None` if the text has another form. .NET reads a bare number as days; it is rejected here,
/// because no author means that.
pub(crate) fn parse_time_span(text: &str) -> Option<Duration> {
    let text = text.trim();
    let mut parts = text.split(':');
    let (first, minutes, seconds) = (parts.next()?, parts.next()?, parts.next().unwrap_or("0"));
    if parts.next().is_some() {
        return None;
    }
    let (days, hours) = match first.split_once('.') {
        Some((days, hours)) => (days.parse::<u64>().ok()?, hours),
        None => (0, first),
    };
    let hours: u64 = hours.parse().ok().filter(|hours| *hours < 24)?;
    let minutes: u64 = minutes.parse().ok().filter(|minutes| *minutes < 60)?;
    let (whole, fraction) = seconds.split_once('.').unwrap_or((seconds, ""));
    let whole: u64 = whole.parse().ok().filter(|seconds| *seconds < 60)?;
    if fraction.len() > 7 || !fraction.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    let nanos: u32 = format!("{fraction:0<9}").parse().ok()?;
    let days = days.checked_mul(86_400)?;
    Some(Duration::new(days + hours * 3600 + minutes * 60 + whole, nanos))
}

/// Writes `[d.]hh:mm:ss[.fffffff]`.
pub(crate) fn format_time_span(span: Duration) -> String {
    const DAY_S: u64 = 24 * 60 * 60;
    let seconds = span.as_secs();
    let (days, rest) = (seconds / DAY_S, seconds % DAY_S);
    let days = if days > 0 { format!("{days}.") } else { String::new() };
    let ticks = span.subsec_nanos() / 100;
    let fraction = if ticks > 0 { format!(".{ticks:07}") } else { String::new() };
    format!("{days}{:02}:{:02}:{:02}{fraction}", rest / 3600, rest / 60 % 60, rest % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_form_with_colons_is_a_time_span() {
        let seconds = |text: &str| parse_time_span(text).map(|span| span.as_secs_f64());
        assert_eq!(seconds("00:05:00"), Some(300.0));
        assert_eq!(seconds("1.00:00:01.5"), Some(86_401.5));
        assert_eq!(seconds("02:03"), Some(7380.0));
        for wrong in ["5", "25:00:00", "00:60:00", "a:b:c", "00:00:00:00", "-00:00:01"] {
            assert_eq!(seconds(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_time_span_is_written_as_by_dotnet() {
        for (ms, expected) in [
            (1_000, "00:00:01"),
            (1_500, "00:00:01.5000000"),
            (1, "00:00:00.0010000"),
            (90_061_000, "1.01:01:01"),
        ] {
            assert_eq!(format_time_span(Duration::from_millis(ms)), expected);
        }
    }
}
