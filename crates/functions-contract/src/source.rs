//! Triggers that the host reads: the contract of change feeds, queues, logs and streams.

use std::time::{Duration, SystemTime};

use trace::TraceContext;

use crate::error::BindingError;
use crate::settle::{AfterFailure, Settle, Settlement};
use crate::value::Value;

/// What one invocation of a function receives: one item, or several.
#[derive(Clone, Debug)]
pub struct Batch {
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

/// A batch that a source handed out, until it is settled.
///
/// Dropping it without settling it has the effect of a crash: its items come again, at the latest when its lock expires.
pub struct SourceDelivery {
    /// What the function receives.
    pub batch: Batch,
    /// Names the delivery in log lines, in the source's own terms: a message id, an entry id, a continuation.
    pub id: String,
    /// Deliveries with the same key come one after the other and in order (a partition, a session, a part of a feed); those
    /// without a key have no order.
    pub ordering_key: Option<String>,
    /// How often the items were delivered, this time included; `None` if the system does not count.
    pub delivery_count: Option<u32>,
    /// What becomes of the delivery if the function fails, also in its retries.
    pub after_failure: AfterFailure,
    /// The interval at which the host calls [`Settle::renew`] while the function runs; `None` if the delivery has no lock that
    /// expires.
    pub renew_every: Option<Duration>,
    /// Settles the delivery.
    pub settle: Box<dyn Settle>,
}

impl SourceDelivery {
    /// A delivery without order, count and lock, which is settled as complete even if the function fails.
    pub fn new(batch: Batch, id: impl Into<String>, settle: impl Settle + 'static) -> Self {
        Self {
            batch,
            id: id.into(),
            ordering_key: None,
            delivery_count: None,
            after_failure: AfterFailure::Complete,
            renew_every: None,
            settle: Box::new(settle),
        }
    }

    /// The items were processed; they do not come again.
    pub async fn complete(self) -> Result<(), BindingError> {
        self.settle.settle(Settlement::Complete).await
    }

    /// The items were not processed; they come again.
    pub async fn abandon(self) -> Result<(), BindingError> {
        self.settle.settle(Settlement::Abandon).await
    }

    /// The items cannot be processed; they do not come again.
    pub async fn dead_letter(self, reason: impl Into<String>) -> Result<(), BindingError> {
        self.settle.settle(Settlement::DeadLetter { reason: reason.into() }).await
    }
}

impl std::fmt::Debug for SourceDelivery {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SourceDelivery")
            .field("id", &self.id)
            .field("ordering_key", &self.ordering_key)
            .field("batch", &self.batch)
            .finish_non_exhaustive()
    }
}

/// How much a source has to hand out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SourceBacklog {
    /// Items that are not completed, those in unsettled deliveries included. Exact, or an upper bound.
    pub items: u64,
    /// The age of the oldest of them; `None` if the system does not tell, or if nothing waits.
    pub oldest: Option<Duration>,
}

/// A trigger that the host reads.
///
/// The host calls [`Source::next`] while fewer than [`Source::in_flight_max`] deliveries are unsettled, runs the function for
/// each delivery in parallel, and settles each with its own result, in any order. Before it closes a source it settles every
/// delivery; those that it did not process it abandons.
///
/// # Guarantees
///
/// 1. **In order by key.** Deliveries with the same ordering key come in the source's own order, and the next one is not
///    handed out before the last one was settled or dropped. Deliveries of other keys, and those without a key, do not wait
///    for it.
/// 2. **At least once.** The items of a delivery that was neither completed nor dead-lettered are handed out again: by the
///    same source after [`Settlement::Abandon`], by the same or the next owner after a crash or a lost lock. With a key, they
///    come before later items of that key.
/// 3. **Settled is durable.** When [`Settle::settle`] returns `Ok` for [`Settlement::Complete`] or
///    [`Settlement::DeadLetter`], the items are not handed out again, not even after `kill -9`. A dead-lettered item is then
///    where the system keeps such items, with the reason. This holds for each delivery by itself: the result of one does not
///    change that of another.
/// 4. **One owner.** Two sources opened for the same trigger never hand out the same item at the same time, as long as the
///    lock or lease of the slower one has not expired. A second source may therefore be opened while the first one still has
///    unsettled deliveries (a reload): between the two, no item is skipped and no completed item comes again.
/// 5. **Cancel-safe.** Dropping the future of [`Source::next`], [`Source::backlog`] or [`Settle::renew`] loses nothing.
/// 6. **Bounded.** A batch has no more items than the trigger asks for, and a source holds no more unsettled deliveries than
///    [`Source::in_flight_max`].
/// 7. **Renewable.** As long as the host renews a delivery in time, it is not handed out to anybody else.
///
/// A system that stores nothing (publish and subscribe) cannot keep 2 and 3; such a source says so in its documentation.
#[async_trait::async_trait]
pub trait Source: Send {
    /// The most deliveries that the trigger's options allow to be unsettled at a time; at least 1. The host may stay below it.
    fn in_flight_max(&self) -> usize {
        1
    }

    /// Waits for the next delivery.
    async fn next(&mut self) -> Result<SourceDelivery, BindingError>;

    /// How much is waiting. The host calls it at an interval, to scale and for its metrics.
    async fn backlog(&mut self) -> Result<SourceBacklog, BindingError>;

    /// Releases ownership, so that the next owner does not have to wait until locks and leases expire. Items that were read but
    /// not handed out are abandoned.
    async fn close(self: Box<Self>);
}
