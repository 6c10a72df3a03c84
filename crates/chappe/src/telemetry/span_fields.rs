//! [`SpanFields`]: stores the fields of `tracing` spans as values, so that each log line can include those of its spans.
//!
//! A line of an invocation has its `function`, `invocation`, `trace_id` and `span_id`; a line of a connection has its `hub` and
//! `connection`. An event's field hides a span's field of the same name, and an inner span's field hides that of an outer span.

use std::fmt;

use serde_json::Value;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::field::RecordFields;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatFields};
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::{LookupSpan, SpanRef};

/// The layer that stores them.
pub(super) struct SpanFields;

/// Prevents the format layer from formatting the fields of spans a second time.
pub(super) struct NoSpanText;

/// The fields of one span, in its extensions.
#[derive(Default)]
struct Fields(Vec<(&'static str, Value)>);

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

impl<'writer> FormatFields<'writer> for NoSpanText {
    fn format_fields<R: RecordFields>(&self, _: Writer<'writer>, _: R) -> fmt::Result {
        Ok(())
    }
}

/// Calls `write` with each field of the event's spans, outer ones first. `own` are the names of the event's own fields.
pub(super) fn each<S, N>(
    context: &FmtContext<'_, S, N>,
    event: &Event<'_>,
    own: &[&str],
    mut write: impl FnMut(&'static str, &Value) -> fmt::Result,
) -> fmt::Result
where
    S: Subscriber + for<'span> LookupSpan<'span>,
    N: for<'writer> FormatFields<'writer> + 'static,
{
    let span = event.parent().and_then(|id| context.span(id)).or_else(|| context.lookup_current());
    let Some(span) = span else { return Ok(()) };
    let spans: Vec<SpanRef<'_, S>> = span.scope().from_root().collect();
    for (at, span) in spans.iter().enumerate() {
        let extensions = span.extensions();
        let Some(fields) = extensions.get::<Fields>() else { continue };
        for (name, value) in &fields.0 {
            let is_hidden = own.contains(name) || spans[at + 1..].iter().any(|inner| has(inner, name));
            if !is_hidden {
                write(name, value)?;
            }
        }
    }
    Ok(())
}

fn has<'span, S: LookupSpan<'span>>(span: &SpanRef<'span, S>, name: &str) -> bool {
    span.extensions().get::<Fields>().is_some_and(|fields| fields.0.iter().any(|(known, _)| *known == name))
}

impl Fields {
    fn put(&mut self, field: &Field, value: impl Into<Value>) {
        let (name, value) = (field.name(), value.into());
        match self.0.iter_mut().find(|(known, _)| *known == name) {
            Some((_, old)) => *old = value,
            None => self.0.push((name, value)),
        }
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
        self.put(field, format!("{value:?}"));
    }
}
