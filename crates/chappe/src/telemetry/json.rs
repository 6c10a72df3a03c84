//! Log lines as JSON: one object per line, with the fields of the event and of its spans. A field whose text is JSON becomes an
//! object or a list in the line, not a string with escaped quotes; the message stays a string, so that it has the same type in
//! every line.

use std::fmt::{self, Write as _};
use std::time::SystemTime;

use serde_json::Value;
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use super::span_fields;
use super::timestamp::Timestamp;

/// The JSON format.
pub(super) struct JsonFormat;

/// Keys that every line has; a field with one of these names is written as `field.NAME`.
const KEYS: [&str; 3] = ["timestamp", "level", "target"];

impl<S, N> FormatEvent<S, N> for JsonFormat
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
        writer.write_str(r#"{"timestamp":""#)?;
        Timestamp(SystemTime::now()).write_to(&mut writer)?;
        writer.write_str(r#"","level":""#)?;
        writer.write_str(metadata.level().as_str())?;
        writer.write_char('"')?;
        let mut fields =
            EventFields { writer: writer.by_ref(), names: Vec::new(), text: String::new(), result: Ok(()) };
        event.record(&mut fields);
        let EventFields { names, result, .. } = fields;
        result?;
        span_fields::each(context, event, &names, |name, value| {
            write_key(&mut writer, name)?;
            match value {
                Value::String(text) => write_quoted(&mut writer, text),
                value => write!(writer, "{value}"),
            }
        })?;
        writer.write_str(r#","target":"#)?;
        write_quoted(&mut writer, metadata.target())?;
        writer.write_str("}\n")
    }
}

/// Writes the fields of an event.
struct EventFields<'a> {
    writer: Writer<'a>,
    /// The names already written.
    names: Vec<&'static str>,
    /// The text of one field, before it is checked for JSON.
    text: String,
    result: fmt::Result,
}

impl EventFields<'_> {
    fn put(&mut self, field: &Field, value: impl fmt::Display) {
        if self.start(field) {
            self.result = write!(self.writer, "{value}");
        }
    }

    /// Writes the key; whether its value can be written.
    fn start(&mut self, field: &Field) -> bool {
        if self.result.is_ok() {
            self.names.push(field.name());
            self.result = write_key(&mut self.writer, field.name());
        }
        self.result.is_ok()
    }
}

impl Visit for EventFields<'_> {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, Value::from(value));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, value);
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        match nested(value).filter(|_| field.name() != "message") {
            Some(json) => self.put(field, json),
            None if self.start(field) => self.result = write_quoted(&mut self.writer, value),
            None => {}
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let mut text = std::mem::take(&mut self.text);
        text.clear();
        write!(text, "{value:?}").expect("writing to a string cannot fail");
        self.record_str(field, &text);
        self.text = text;
    }
}

fn write_key(writer: &mut Writer<'_>, name: &str) -> fmt::Result {
    if KEYS.contains(&name) {
        return write!(writer, r#","field.{name}":"#);
    }
    writer.write_char(',')?;
    write_quoted(writer, name)?;
    writer.write_char(':')
}

/// Writes a text as a JSON string.
fn write_quoted(to: &mut impl fmt::Write, text: &str) -> fmt::Result {
    to.write_char('"')?;
    let mut plain = 0;
    for (at, byte) in text.bytes().enumerate() {
        let escape = match byte {
            b'"' => "\\\"",
            b'\\' => "\\\\",
            b'\n' => "\\n",
            b'\r' => "\\r",
            b'\t' => "\\t",
            0..0x20 => "",
            _ => continue,
        };
        to.write_str(&text[plain..at])?;
        if escape.is_empty() {
            write!(to, "\\u{byte:04x}")?;
        } else {
            to.write_str(escape)?;
        }
        plain = at + 1;
    }
    to.write_str(&text[plain..])?;
    to.write_char('"')
}

/// The object or list that a text contains, if it is JSON.
fn nested(text: &str) -> Option<Value> {
    if !text.starts_with(['{', '[']) {
        return None;
    }
    serde_json::from_str::<Value>(text).ok().filter(|value| value.is_object() || value.is_array())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quoted_text_is_parsed_back_unchanged() {
        for text in ["", "plain", "a\"b\\c\n\r\t", "\u{0}\u{1f}\u{7f}", "Grüße, 世界 🦀", "ends with \""]
        {
            let mut quoted = String::new();
            write_quoted(&mut quoted, text).expect("writing to a string cannot fail");
            let read: String = serde_json::from_str(&quoted).expect("it is JSON");
            assert_eq!(read, text);
        }
    }
}
