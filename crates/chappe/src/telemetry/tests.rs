//! Log lines in both formats, from events in spans.

use std::cell::Cell;
use std::sync::Mutex;

use serde_json::Value;
use tracing_subscriber::layer::SubscriberExt;

use super::*;

#[derive(Clone, Default)]
struct Written(Arc<Mutex<Vec<u8>>>);

impl Write for Written {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("one thread").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The lines that `log` writes; the format is text while `is_text` is set.
fn lines(is_text: &Arc<AtomicBool>, log: impl FnOnce()) -> Vec<String> {
    let written = Written::default();
    let writer = written.clone();
    let layer = tracing_subscriber::fmt::layer()
        .with_ansi(false)
        .fmt_fields(span_fields::NoSpanText)
        .event_format(EitherFormat { is_text: Arc::clone(is_text) })
        .with_writer(move || writer.clone());
    let registry = tracing_subscriber::registry().with(span_fields::SpanFields).with(layer);
    tracing::subscriber::with_default(registry, log);
    let text = String::from_utf8(written.0.lock().expect("one thread").clone()).expect("text");
    text.lines().map(str::to_owned).collect()
}

fn json_lines(log: impl FnOnce()) -> Vec<Value> {
    let lines = lines(&Arc::new(AtomicBool::new(false)), log);
    lines.iter().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

/// Lines of text, without the timestamp.
fn text_lines(log: impl FnOnce()) -> Vec<String> {
    let lines = lines(&Arc::new(AtomicBool::new(true)), log);
    lines.iter().map(|line| line.split_once("] ").expect("a time").1.to_owned()).collect()
}

#[test]
fn a_json_line_carries_the_fields_of_its_spans() {
    let lines = json_lines(|| {
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
    let lines = json_lines(|| {
        let urls = serde_json::json!({"gateway": "http://localhost:8080", "admin": null});
        tracing::info!(urls = %urls, count = 3, ok = true, half = "{\"a\":", list = "[1,\n2]", "listening");
        tracing::warn!("{}", urls);
    });
    assert_eq!(lines[0]["urls"]["gateway"], "http://localhost:8080");
    assert_eq!(lines[0]["list"], serde_json::json!([1, 2]));
    assert_eq!((&lines[0]["count"], &lines[0]["ok"]), (&Value::from(3), &Value::from(true)));
    assert_eq!(lines[0]["half"], "{\"a\":");
    assert_eq!((&lines[0]["message"], &lines[0]["level"]), (&Value::from("listening"), &Value::from("INFO")));
    assert!(lines[1]["message"].is_string(), "{}", lines[1]);
    assert_eq!(lines.len(), 2);
}

#[test]
fn a_field_named_like_a_key_of_every_json_line_gets_a_prefix() {
    let lines = json_lines(|| tracing::info!(level = "high", "up"));
    assert_eq!((&lines[0]["level"], &lines[0]["field.level"]), (&"INFO".into(), &"high".into()));
}

/// A field whose value contains ` hub=`, or whose name ends in `hub`, is not a field `hub`.
#[test]
fn only_a_field_of_the_same_name_hides_the_field_of_a_span_in_text() {
    let lines = text_lines(|| {
        let outer = tracing::error_span!("connection", hub = "chat", trace_id = "t1");
        let _outer = outer.enter();
        tracing::info!(query = "a hub=fake b", "first");
        tracing::info!(github = "x", "second");
        tracing::info!(hub = "own", "third");
        tracing::error_span!("invocation", trace_id = "t2").in_scope(|| tracing::info!("fourth"));
        tracing::info!(target: "functions", "fifth");
    });
    assert_eq!(
        lines,
        [
            "first query=a hub=fake b hub=chat trace_id=t1",
            "second github=x hub=chat trace_id=t1",
            "third hub=own trace_id=t1",
            "fourth hub=chat trace_id=t2",
            "fifth",
        ]
    );
}

/// Counts how often it is formatted.
struct Counted(Cell<usize>);

impl fmt::Display for Counted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.set(self.0.get() + 1);
        f.write_str("counted")
    }
}

#[test]
fn each_value_of_a_line_is_formatted_once() {
    for is_text in [true, false] {
        let [message, field, of_span] = [(); 3].map(|()| Counted(Cell::new(0)));
        let lines = lines(&Arc::new(AtomicBool::new(is_text)), || {
            let span = tracing::error_span!("invocation", of_span = %of_span);
            span.in_scope(|| tracing::info!(field = %field, "{message}"));
            span.in_scope(|| tracing::info!("again"));
        });
        assert_eq!([&message, &field, &of_span].map(|value| value.0.get()), [1, 1, 1], "{lines:?}");
        assert!(lines.iter().all(|line| line.contains("counted")), "{lines:?}");
    }
}

#[test]
fn the_format_changes_between_two_lines() {
    let is_text = Arc::new(AtomicBool::new(true));
    let lines = lines(&is_text, || {
        tracing::info!("one");
        is_text.store(false, Ordering::Relaxed);
        tracing::info!("two");
    });
    assert!(lines[0].starts_with('[') && lines[1].starts_with('{'), "{lines:?}");
}
