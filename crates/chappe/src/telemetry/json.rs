//! Log lines as JSON: one object a line, with the fields of the event and of its spans. A field that holds JSON becomes an object
//! or a list in the line, not text with escaped quotes; the message stays text, so that a collector finds one type there.

use std::fmt;
use std::time::SystemTime;

use serde_json::{Map, Value};
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use super::logs::timestamp;
use super::span_fields::{self, Fields};

/// The JSON format.
pub(super) struct JsonFormat;

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
        let mut line = Map::new();
        line.insert("timestamp".to_owned(), timestamp(SystemTime::now()).into());
        line.insert("level".to_owned(), metadata.level().as_str().into());
        let mut fields = Fields::default();
        event.record(&mut fields);
        for (name, value) in fields.0 {
            let nested = value.as_str().filter(|_| name != "message").and_then(nested);
            line.insert(name, nested.unwrap_or(value));
        }
        for (name, value) in span_fields::of_event(context, event) {
            line.entry(name).or_insert(value);
        }
        line.insert("target".to_owned(), metadata.target().into());
        writeln!(writer, "{}", Value::Object(line))
    }
}

/// The object or list that a text is, if it is one.
fn nested(text: &str) -> Option<Value> {
    if !text.starts_with(['{', '[']) {
        return None;
    }
    serde_json::from_str::<Value>(text).ok().filter(|value| value.is_object() || value.is_array())
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Written {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().expect("one thread").extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn lines_of(log: impl FnOnce()) -> Vec<Value> {
        let written = Written::default();
        let writer = written.clone();
        let layer =
            tracing_subscriber::fmt::layer().event_format(JsonFormat).with_writer(move || writer.clone());
        let registry = tracing_subscriber::registry().with(span_fields::SpanFields).with(layer);
        tracing::subscriber::with_default(registry, log);
        let text = String::from_utf8(written.0.lock().expect("one thread").clone()).expect("text");
        text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
    }

    #[test]
    fn a_line_carries_the_fields_of_its_spans() {
        let lines = lines_of(|| {
            let outer = tracing::error_span!("connection", hub = "chat", connection = "c1", trace_id = "t1");
            let _outer = outer.enter();
            let inner = tracing::error_span!("invocation", trace_id = "t2", span_id = tracing::field::Empty);
            inner.record("span_id", "s2");
            inner.in_scope(|| tracing::info!(hub = "own", "inside"));
            tracing::info!("outside");
        });
        let of = |line: &Value| ["hub", "connection", "trace_id", "span_id"].map(|name| line[name].clone());
        assert_eq!(of(&lines[0]), ["own", "c1", "t2", "s2"].map(Value::from));
        assert_eq!(of(&lines[1]), ["chat".into(), "c1".into(), "t1".into(), Value::Null]);
    }

    #[test]
    fn fields_that_hold_json_are_nested_and_messages_stay_text() {
        let lines = lines_of(|| {
            let urls = serde_json::json!({"gateway": "http://localhost:8080", "admin": null});
            tracing::info!(urls = %urls, count = 3, ok = true, half = "{\"a\":", list = "[1,2]", "listening");
            tracing::warn!("{}", urls);
        });
        assert_eq!(lines[0]["urls"]["gateway"], "http://localhost:8080");
        assert_eq!(lines[0]["list"], serde_json::json!([1, 2]));
        assert_eq!((&lines[0]["count"], &lines[0]["ok"]), (&Value::from(3), &Value::from(true)));
        assert_eq!(lines[0]["half"], "{\"a\":");
        assert_eq!(
            (&lines[0]["message"], &lines[0]["level"]),
            (&Value::from("listening"), &Value::from("INFO"))
        );
        assert!(lines[1]["message"].is_string(), "{}", lines[1]);
        assert_eq!(lines.len(), 2);
    }
}
