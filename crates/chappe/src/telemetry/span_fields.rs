//! [`SpanFields`]: keeps the fields of `tracing` spans as values, so that each log line can carry those of its span.
//!
//! A line of an invocation has its `function`, `invocation`, `trace_id` and `span_id`; a line of a connection its `hub` and
//! `connection`. An inner span's field replaces one of the same name of an outer span.

use std::fmt::{self, Write as _};

use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::fmt::{FmtContext, FormatFields};
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::LookupSpan;

/// The layer that keeps them.
pub(super) struct SpanFields;

/// The fields of one event, or of one span (then in its extensions), in the order in which they were recorded.
#[derive(Default)]
pub(super) struct Fields(pub(super) Map<String, Value>);

impl<S> Layer<S> for SpanFields
where
    S: Subscriber + for<'span> LookupSpan<'span>,
{
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        span.extensions_mut().insert(fields);
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        if let Some(fields) = span.extensions_mut().get_mut::<Fields>() {
            values.record(fields);
        }
    }
}

/// The fields of all spans of an event, outer ones first.
pub(super) fn of_event<S, N>(context: &FmtContext<'_, S, N>, event: &Event<'_>) -> Map<String, Value>
where
    S: Subscriber + for<'span> LookupSpan<'span>,
    N: for<'writer> FormatFields<'writer> + 'static,
{
    let mut all = Map::new();
    let Some(span) = event.parent().and_then(|id| context.span(id)).or_else(|| context.lookup_current())
    else {
        return all;
    };
    for span in span.scope().from_root() {
        if let Some(fields) = span.extensions().get::<Fields>() {
            all.extend(fields.0.iter().map(|(name, value)| (name.clone(), value.clone())));
        }
    }
    all
}

impl Fields {
    fn put(&mut self, field: &Field, value: impl Into<Value>) {
        self.0.insert(field.name().to_owned(), value.into());
    }
}

impl Visit for Fields {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, value);
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
        self.put(field, value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let mut text = String::new();
        write!(text, "{value:?}").expect("writing to a string cannot fail");
        self.put(field, text);
    }
}
