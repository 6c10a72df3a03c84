//! [`SendSpan`]: the span of a publish, from the call until the last shard has written.

use std::sync::atomic::{AtomicU64, Ordering};

use trace::{Span, TraceContext, Tracer};

/// Part of the publish that the shards share, so that it ends when the last of them drops it.
#[derive(Debug)]
pub(crate) struct SendSpan {
    span: Option<Span>,
    receivers: AtomicU64,
}

impl SendSpan {
    pub(crate) fn start(tracer: &Tracer, parent: TraceContext) -> Self {
        Self { span: Some(tracer.start("send", Some(parent))), receivers: AtomicU64::new(0) }
    }

    pub(crate) fn add_receivers(&self, receivers: u64) {
        self.receivers.fetch_add(receivers, Ordering::Relaxed);
    }
}

impl Drop for SendSpan {
    fn drop(&mut self) {
        if let Some(mut span) = self.span.take() {
            span.set("receivers", self.receivers.load(Ordering::Relaxed).to_string());
        }
    }
}
