//! Triggers that hand out batches: the contract of change feeds, queues and logs.

use std::time::SystemTime;

use trace::TraceContext;

use crate::error::BindingError;
use crate::value::Value;

/// What a source hands out.
#[derive(Clone, Debug)]
pub struct Batch {
    /// The source's position after this batch; only the source interprets it.
    pub position: String,
    /// What the function receives.
    pub data: Value,
    /// Trigger metadata, under the names that the imitated trigger uses.
    pub metadata: Vec<(String, Value)>,
    /// The number of items in the batch.
    pub item_count: usize,
    /// When and in which trace each item was written, newest last; at most [`Batch::ORIGINS_MAX`] of them.
    pub origins: Vec<ItemOrigin>,
    /// The reason in the `Executing` log line, such as `New changes on container todos at 2026-…`.
    pub reason: String,
}

impl Batch {
    /// The most origins of one batch, so that a large batch stays cheap to trace.
    pub const ORIGINS_MAX: usize = 16;
}

/// Where an item of a batch comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ItemOrigin {
    /// The trace that wrote it.
    pub trace: TraceContext,
    /// When it was accepted.
    pub accepted_at: SystemTime,
}

/// How much is waiting in a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lag {
    /// Items not yet completed.
    pub items: u64,
}

/// A trigger that hands out batches.
///
/// # Guarantees
///
/// 1. **In order.** Batches come in the source's own order. The next batch is not handed out before the last one was
///    completed or abandoned.
/// 2. **At least once.** A batch that was neither completed nor abandoned is handed out again: by the same source
///    after [`Source::abandon`], by the next owner after a crash.
/// 3. **Completed is durable.** When [`Source::complete`] returns `Ok`, the batch is not handed out again, not even
///    after `kill -9`.
/// 4. **One owner.** Two sources opened for the same trigger never hand out the same batch at the same time, as long
///    as the lease of the slower one has not expired.
/// 5. **Cancel-safe.** Dropping the future of [`Source::next`] loses nothing.
/// 6. **Bounded.** A batch has no more items than the trigger asks for.
#[async_trait::async_trait]
pub trait Source: Send {
    /// Waits for the next batch.
    async fn next(&mut self) -> Result<Batch, BindingError>;

    /// Records that the batch was processed; whether a failed invocation counts as processed is the host's decision.
    async fn complete(&mut self, batch: &Batch) -> Result<(), BindingError>;

    /// Returns a batch that was not processed (the worker died): `next` hands it out again.
    async fn abandon(&mut self, batch: Batch) -> Result<(), BindingError>;

    /// How much is waiting.
    async fn lag(&mut self) -> Result<Lag, BindingError>;

    /// Releases ownership, so that the next owner does not have to wait until the lease expires.
    async fn close(self: Box<Self>);
}
