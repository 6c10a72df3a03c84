//! [`FeedOrigins`]: the writes that a page of the change feed contains.

use std::time::SystemTime;

use trace::TraceContext;

/// The writes of the documents of one page of the change feed, in the same order: LSN, the span of the write, and when it was
/// accepted. In the extensions of responses to in-process callers; never sent to clients.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FeedOrigins(pub Vec<(u64, TraceContext, SystemTime)>);
