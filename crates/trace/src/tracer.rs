//! [`Tracer`] keeps the newest spans in a ring; [`Span`] measures one and records itself when it ends.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use serde::Serialize;

use crate::{SpanId, TraceContext, TraceId};

/// A finished span.
#[derive(Clone, Debug)]
pub struct SpanRecord {
    /// The span itself.
    pub context: TraceContext,
    /// Its parent in the same trace, if any.
    pub parent: Option<SpanId>,
    /// What was done, such as `documents.write`.
    pub name: &'static str,
    /// When it began, in nanoseconds since the Unix epoch.
    pub start_unix_ns: u64,
    /// When it ended, in nanoseconds since the Unix epoch; never before it began.
    pub end_unix_ns: u64,
    /// Facts about it.
    pub attributes: Vec<(&'static str, String)>,
    /// Other spans that led to this one, such as the further documents of a batch.
    pub links: Vec<TraceContext>,
    /// Why it failed, if it did.
    pub error: Option<String>,
}

/// Records spans; cheap to clone. Keeps the newest `capacity` ones and forgets older ones.
#[derive(Clone, Debug)]
pub struct Tracer {
    ring: Arc<Mutex<Ring>>,
}

#[derive(Debug)]
struct Ring {
    spans: VecDeque<SpanRecord>,
    capacity: usize,
    /// Number of the first span in `spans`, counted from the start of the process.
    first: u64,
}

/// What [`Tracer::since`] answers.
#[derive(Debug)]
pub struct Exported {
    /// The spans, oldest first.
    pub spans: Vec<SpanRecord>,
    /// Where to read on.
    pub next: u64,
    /// How many were forgotten before they could be read.
    pub missed: u64,
}

/// A span under way. It is recorded when it is dropped.
#[derive(Debug)]
pub struct Span {
    tracer: Tracer,
    record: Option<SpanRecord>,
    started: Instant,
}

impl Tracer {
    /// A tracer that keeps the newest `capacity` spans.
    pub fn new(capacity: usize) -> Self {
        let ring = Ring { spans: VecDeque::new(), capacity: capacity.max(1), first: 0 };
        Self { ring: Arc::new(Mutex::new(ring)) }
    }

    /// Begins a span below `parent`, or a trace of its own. Below a parent that is not sampled nothing is recorded, as its
    /// caller asked.
    pub fn start(&self, name: &'static str, parent: Option<TraceContext>) -> Span {
        let context = parent.map_or_else(TraceContext::root, TraceContext::child);
        let now = unix_ns(SystemTime::now());
        let record = SpanRecord {
            context,
            parent: parent.map(|parent| parent.span_id),
            name,
            start_unix_ns: now,
            end_unix_ns: now,
            attributes: Vec::new(),
            links: Vec::new(),
            error: None,
        };
        Span { tracer: self.clone(), record: Some(record), started: Instant::now() }
    }

    /// Records a span that was measured elsewhere.
    pub fn record(&self, span: SpanRecord) {
        let mut ring = self.ring.lock().unwrap_or_else(PoisonError::into_inner);
        if ring.spans.len() == ring.capacity {
            ring.spans.pop_front();
            ring.first += 1;
        }
        ring.spans.push_back(span);
    }

    /// The spans of one trace, and those linked to it, in the order in which they ended.
    pub fn trace(&self, id: TraceId) -> Vec<SpanRecord> {
        let ring = self.ring.lock().unwrap_or_else(PoisonError::into_inner);
        let linked: Vec<SpanId> = ring
            .spans
            .iter()
            .filter(|span| span.links.iter().any(|link| link.trace_id == id))
            .map(|span| span.context.span_id)
            .collect();
        let belongs = |span: &&SpanRecord| {
            span.context.trace_id == id
                || linked.contains(&span.context.span_id)
                || span.parent.is_some_and(|parent| linked.contains(&parent))
        };
        ring.spans.iter().filter(belongs).cloned().collect()
    }

    /// The spans recorded since `cursor` (0 at first), at most `spans_max` of them.
    pub fn since(&self, cursor: u64, spans_max: usize) -> Exported {
        let ring = self.ring.lock().unwrap_or_else(PoisonError::into_inner);
        let from = cursor.max(ring.first);
        let skip = usize::try_from(from - ring.first).unwrap_or(usize::MAX);
        let spans: Vec<_> = ring.spans.iter().skip(skip).take(spans_max).cloned().collect();
        Exported { next: from + spans.len() as u64, spans, missed: from - cursor }
    }
}

impl Span {
    /// What to hand on, so that what follows becomes a child of this span.
    pub fn context(&self) -> TraceContext {
        self.record().context
    }

    /// Adds a fact.
    pub fn set(&mut self, key: &'static str, value: impl Into<String>) {
        self.record_mut().attributes.push((key, value.into()));
    }

    /// Names another span that led to this one.
    pub fn link(&mut self, other: TraceContext) {
        self.record_mut().links.push(other);
    }

    /// Marks the span as failed.
    pub fn fail(&mut self, why: impl Into<String>) {
        self.record_mut().error = Some(why.into());
    }

    /// Begins the span earlier than now: at a time that another part of the process noted.
    pub fn began_at(&mut self, at: SystemTime) {
        let now = self.record().start_unix_ns;
        self.record_mut().start_unix_ns = unix_ns(at).min(now);
    }

    /// Ends the span; dropping it does the same.
    pub fn finish(self) {}

    fn record(&self) -> &SpanRecord {
        self.record.as_ref().expect("a span holds its record until it is dropped")
    }

    fn record_mut(&mut self) -> &mut SpanRecord {
        self.record.as_mut().expect("a span holds its record until it is dropped")
    }
}

impl Drop for Span {
    fn drop(&mut self) {
        if let Some(mut record) = self.record.take().filter(|record| record.context.sampled) {
            // The end is measured on the steady clock, so that a step of the wall clock cannot make a span negative.
            let elapsed = u64::try_from(self.started.elapsed().as_nanos()).unwrap_or(u64::MAX);
            record.end_unix_ns = record.end_unix_ns.saturating_add(elapsed);
            self.tracer.record(record);
        }
    }
}

impl Serialize for SpanRecord {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeStruct;
        let attributes: std::collections::BTreeMap<_, _> =
            self.attributes.iter().map(|(key, value)| (*key, value.as_str())).collect();
        let mut object = serializer.serialize_struct("Span", 8)?;
        object.serialize_field("traceId", &self.context.trace_id.to_string())?;
        object.serialize_field("spanId", &self.context.span_id.to_string())?;
        object.serialize_field("parentSpanId", &self.parent.map(|id| id.to_string()))?;
        object.serialize_field("name", self.name)?;
        object.serialize_field("startUnixNs", &self.start_unix_ns.to_string())?;
        object.serialize_field("endUnixNs", &self.end_unix_ns.to_string())?;
        object.serialize_field("attributes", &attributes)?;
        object.serialize_field("error", &self.error)?;
        object.end()
    }
}

fn unix_ns(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trace_contains_its_own_spans_and_linked_ones() {
        let tracer = Tracer::new(16);
        let written = || tracer.start("documents.write", None).context();
        let (first, second) = (written(), written());
        let mut function = tracer.start("function", Some(first));
        function.link(second);
        tracer.start("send", Some(function.context())).finish();
        function.finish();
        let names = |id| tracer.trace(id).iter().map(|span| span.name).collect::<Vec<_>>();
        assert_eq!(names(first.trace_id), ["documents.write", "send", "function"]);
        assert_eq!(names(second.trace_id), ["documents.write", "send", "function"]);
    }

    #[test]
    fn an_unsampled_trace_of_the_caller_is_not_recorded() {
        let tracer = Tracer::new(4);
        let parent = TraceContext { sampled: false, ..TraceContext::root() };
        let span = tracer.start("documents.write", Some(parent));
        assert!(!span.context().sampled);
        span.finish();
        assert_eq!(tracer.since(0, 10).spans.len(), 0);
    }

    #[test]
    fn the_ring_drops_the_oldest_spans_and_counts_them() {
        let tracer = Tracer::new(2);
        for _ in 0..3 {
            tracer.start("send", None).finish();
        }
        let exported = tracer.since(0, 10);
        assert_eq!((exported.spans.len(), exported.next, exported.missed), (2, 3, 1));
        assert_eq!(tracer.since(exported.next, 10).spans.len(), 0);
    }
}
