//! Log lines in the format of Functions Core Tools: `[2026-01-01T00:00:00.000Z] Executed 'Functions.x' (Succeeded, …)`.

use std::fmt::{self, Debug};
use std::time::SystemTime;

use serde_json::Value;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use super::span_fields;
use super::timestamp::Timestamp;

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
        let metadata = event.metadata();
        let colour = match *metadata.level() {
            Level::ERROR => RED,
            Level::WARN => DARK_YELLOW,
            Level::DEBUG | Level::TRACE => GREY,
            Level::INFO => "",
        };
        let (grey, colour, plain) =
            if writer.has_ansi_escapes() { (GREY, colour, PLAIN) } else { ("", "", "") };
        write!(writer, "{grey}[{}]{plain} {colour}", Timestamp(SystemTime::now()))?;
        let mut message = Message { writer: writer.by_ref(), result: Ok(()) };
        event.record(&mut message);
        message.result?;
        // Lines of functions have no fields, as in Functions Core Tools; other lines and warnings end with their fields.
        if !metadata.target().starts_with("functions") || metadata.level() <= &Level::WARN {
            let mut fields = EventFields { writer: writer.by_ref(), names: Vec::new(), result: Ok(()) };
            event.record(&mut fields);
            let EventFields { names, result, .. } = fields;
            result?;
            span_fields::each(context, event, &names, |name, value| match value {
                Value::String(text) => write!(writer, " {name}={text}"),
                value => write!(writer, " {name}={value}"),
            })?;
        }
        writeln!(writer, "{plain}")
    }
}

/// Writes the message of an event without its other fields.
struct Message<'a> {
    writer: Writer<'a>,
    result: fmt::Result,
}

impl Visit for Message<'_> {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.record_debug(field, &format_args!("{value}"));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        if field.name() == "message" && self.result.is_ok() {
            self.result = write!(self.writer, "{value:?}");
        }
    }
}

/// Writes the fields of an event, without its message.
struct EventFields<'a> {
    writer: Writer<'a>,
    /// The names already written.
    names: Vec<&'static str>,
    result: fmt::Result,
}

impl Visit for EventFields<'_> {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.record_debug(field, &format_args!("{value}"));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let name = field.name();
        if name != "message" && self.result.is_ok() {
            self.names.push(name);
            self.result = write!(self.writer, " {name}={value:?}");
        }
    }
}
