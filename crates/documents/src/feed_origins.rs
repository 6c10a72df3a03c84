//! [`FeedOrigins`]: which writes the documents of a change feed page came from.

use std::time::SystemTime;

use trace::TraceContext;

/// Where the documents of one answer of the change feed came from, in the order of the documents: LSN, the write's span,
/// and when it was accepted. In the extensions of answers to in-process callers; never on the wire.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FeedOrigins(pub Vec<(u64, TraceContext, SystemTime)>);
