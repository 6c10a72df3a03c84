//! [`Item`]: an item as it is stored.

use trace::TraceContext;

use crate::resource_id::ItemNumber;

/// An item as it is stored. Its body is text of its own, or borrowed from the row.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Item<Body = String> {
    pub(crate) number: ItemNumber,
    /// Position in the feed.
    pub(crate) lsn: u64,
    /// Seconds since the Unix epoch of the last write.
    pub(crate) ts: i64,
    /// JSON object, without system properties.
    pub(crate) body: Body,
    /// Span of the write.
    pub(crate) trace: Option<TraceContext>,
    /// Nanoseconds since the Unix epoch at which the write was accepted.
    pub(crate) accepted_ns: u64,
}
