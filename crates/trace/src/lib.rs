//! W3C trace context, and a bounded record of the spans that this process made.
//!
//! Not its concern: exporting, sampling policies, logs. Who makes a span takes a [`Tracer`] in its options and hands
//! the [`TraceContext`] on; the binary shows what was recorded and exports it.
//!
//! Know these first: [`TraceContext`], [`Tracer`], [`Span`].

mod context;
mod tracer;

pub use context::{SpanId, TraceContext, TraceId};
pub use tracer::{Exported, Span, SpanRecord, Tracer};
