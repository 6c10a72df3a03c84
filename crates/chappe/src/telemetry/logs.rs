//! Log lines as Functions Core Tools users know them: `[2026-01-01T00:00:00.000Z] Executed 'Functions.x' (Succeeded, …)`.

use std::fmt::{self, Write as _};
use std::time::{SystemTime, UNIX_EPOCH};

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use super::span_fields;

/// The text format.
pub(super) struct ToolsFormat;

const GREY: &str = "\x1b[90m";
const RED: &str = "\x1b[31m";
const DARK_YELLOW: &str = "\x1b[33m";
const PLAIN: &str = "\x1b[0m";

impl<S, N> FormatEvent<S, N> for ToolsFormat
where
    S: Subscriber + for<'span> LookupSpan<'span>,
    N: for<'writer> FormatFields<'writer> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut line = Line::default();
        event.record(&mut line);
        let metadata = event.metadata();
        let colour = match *metadata.level() {
            Level::ERROR => RED,
            Level::WARN => DARK_YELLOW,
            Level::DEBUG | Level::TRACE => GREY,
            Level::INFO => "",
        };
        let (grey, colour, plain) =
            if writer.has_ansi_escapes() { (GREY, colour, PLAIN) } else { ("", "", "") };
        write!(writer, "{grey}[{}]{plain} {colour}{}", timestamp(SystemTime::now()), line.message)?;
        // Lines of functions stand alone, as Functions Core Tools print them; other lines and warnings have their fields behind them.
        if !metadata.target().starts_with("functions") || metadata.level() <= &Level::WARN {
            write!(writer, "{}", line.fields)?;
            for (name, value) in span_fields::of_event(context, event) {
                if !line.has(&name) {
                    write!(
                        writer,
                        " {name}={}",
                        value.as_str().map_or_else(|| value.to_string(), str::to_owned)
                    )?;
                }
            }
        }
        writeln!(writer, "{plain}")
    }
}

#[derive(Default)]
struct Line {
    message: String,
    fields: String,
}

impl Line {
    /// Whether the event itself has a field of that name.
    fn has(&self, name: &str) -> bool {
        self.fields.split(' ').any(|field| field.split_once('=').is_some_and(|(found, _)| found == name))
    }
}

impl Visit for Line {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.record_debug(field, &format_args!("{value}"));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let written = match field.name() {
            "message" => write!(self.message, "{value:?}"),
            name => write!(self.fields, " {name}={value:?}"),
        };
        written.expect("writing to a string cannot fail");
    }
}

/// RFC 3339 in UTC with milliseconds.
pub(super) fn timestamp(time: SystemTime) -> String {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    let (seconds, milliseconds) = (since.as_secs(), since.subsec_millis());
    let (year, month, day) = civil_from_days(i64::try_from(seconds / 86_400).unwrap_or(0));
    let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{milliseconds:03}Z")
}

/// The proleptic Gregorian date of a day counted from 1970-01-01: years that begin in March, so that the leap day is last.
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
    use super::*;
    use std::time::Duration;

    #[test]
    fn timestamps_are_right_around_leap_days() {
        let at = |seconds| timestamp(UNIX_EPOCH + Duration::from_secs(seconds));
        assert_eq!(at(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(at(951_782_400), "2000-02-29T00:00:00.000Z");
        assert_eq!(at(1_709_251_199), "2024-02-29T23:59:59.000Z");
        assert_eq!(at(1_795_219_200), "2026-11-21T00:00:00.000Z");
    }
}
