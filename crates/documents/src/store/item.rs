//! [`Item`]: an item as it is stored.

use trace::TraceContext;

use crate::resource_id::ItemNumber;

/// An item as it is stored. Its body is text of its own, or borrowed from the row.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Item<Body = String> {
    pub(crate) number: ItemNumber,
    /// Position in the change feed.
    pub(crate) lsn: u64,
    /// When it was last written, in seconds since the Unix epoch.
    pub(crate) ts: i64,
    /// The JSON object, without system properties.
    pub(crate) body: Body,
    /// The span of the write.
    pub(crate) trace: Option<TraceContext>,
    /// When the write was accepted, in nanoseconds since the Unix epoch.
    pub(crate) accepted_ns: u64,
}
