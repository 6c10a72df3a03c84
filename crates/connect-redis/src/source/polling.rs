//! [`PollingSource`]: reads entries of a list or a stream at an interval, and hands them out.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use functions_contract::{Batch, BindingError, Settle, Settlement, Source, SourceBacklog, SourceDelivery};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::unsettled::{Unsettled, UnsettledEntries};
use crate::trigger_options::PollingOptions;

/// Where entries come from: what differs between lists and streams.
#[async_trait::async_trait]
pub(crate) trait EntryStore: Send + Sync + 'static {
    type Entry: Send + Sync + 'static;

    /// Reads at most `count` entries: those that others left first, then new ones.
    async fn read(&self, count: usize) -> Result<Vec<Self::Entry>, BindingError>;

    /// The entries were processed. Returns how many of them still belonged to this source.
    async fn complete(&self, ids: &[String]) -> Result<usize, BindingError>;

    /// The entries were not processed; a later read gives them again, in the order of their ids.
    async fn abandon(&self, ids: &[String]) -> Result<(), BindingError>;

    /// Extends the lock of entries. Returns how many of them still belong to this source.
    async fn renew(&self, ids: &[String]) -> Result<usize, BindingError>;

    /// How many entries wait, without those that this source has read.
    async fn backlog(&self) -> Result<SourceBacklog, BindingError>;

    /// Leaves what this source has read and not settled to the next owner.
    async fn close(&self);

    fn id(&self, entry: &Self::Entry) -> String;

    /// How often an entry was delivered, if the system counts.
    fn delivery_count(&self, entry: &Self::Entry) -> Option<u32>;

    /// What the function receives.
    fn batch(&self, entries: &[Self::Entry]) -> Batch;

    /// The entries, for messages: `entries of the list 'orders'`.
    fn describe(&self) -> String;
}

/// A trigger on a list or a stream.
pub(crate) struct PollingSource<S: EntryStore> {
    options: PollingOptions,
    store: Arc<S>,
    unsettled: Unsettled,
    /// Entries that were read and not handed out.
    ready: VecDeque<S::Entry>,
    /// A read in progress. A task of its own, because entries whose reply is dropped would be lost until their lock expires.
    reading: Option<JoinHandle<Result<Vec<S::Entry>, BindingError>>>,
    /// How many entries that read asks for.
    asked: usize,
    next_read: Instant,
}

impl<S: EntryStore> PollingSource<S> {
    pub(crate) fn new(options: PollingOptions, store: S) -> Self {
        Self {
            options,
            store: Arc::new(store),
            unsettled: Unsettled::default(),
            ready: VecDeque::new(),
            reading: None,
            asked: 0,
            next_read: Instant::now(),
        }
    }

    /// How many entries may be read now.
    fn free(&self) -> usize {
        match (self.options.is_batched, self.unsettled.count()) {
            (true, 0) => self.options.batch_size_max,
            (true, _) => 0,
            (false, count) => self.options.batch_size_max.saturating_sub(count),
        }
    }

    fn hand_out(&mut self) -> Option<SourceDelivery> {
        let count = if self.options.is_batched { self.ready.len() } else { 1 };
        let entries: Vec<S::Entry> = self.ready.drain(..count.min(self.ready.len())).collect();
        let first = entries.first()?;
        let delivery_count = self.store.delivery_count(first);
        let ids: Vec<String> = entries.iter().map(|entry| self.store.id(entry)).collect();
        let id = match &ids[..] {
            [id] => id.clone(),
            ids => format!("{} and {} more", ids[0], ids.len() - 1),
        };
        let entries_in_flight = self.unsettled.hand_out(ids);
        let settle = SettleEntries { store: Arc::clone(&self.store), entries: entries_in_flight };
        Some(SourceDelivery {
            delivery_count,
            renew_every: Some(self.options.lock / 3),
            ..SourceDelivery::new(self.store.batch(&entries), id, settle)
        })
    }

    /// Starts a read when it is due.
    async fn start_reading(&mut self) {
        loop {
            let free = self.free();
            if free > 0 && (self.unsettled.has_dropped() || Instant::now() >= self.next_read) {
                let (store, unsettled) = (Arc::clone(&self.store), self.unsettled.clone());
                self.asked = free;
                self.reading = Some(tokio::spawn(async move {
                    let dropped = unsettled.take_dropped();
                    if !dropped.is_empty()
                        && let Err(error) = store.abandon(&dropped).await
                    {
                        unsettled.restore_dropped(dropped);
                        return Err(error);
                    }
                    store.read(free).await
                }));
                return;
            }
            tokio::select! {
                () = tokio::time::sleep_until(self.next_read), if free > 0 => {}
                () = self.unsettled.changed() => {}
            }
        }
    }

    /// Waits for the read in progress and keeps its entries.
    async fn finish_reading(&mut self) -> Result<(), BindingError> {
        let Some(reading) = self.reading.as_mut() else { return Ok(()) };
        let read = reading.await;
        self.reading = None;
        let entries = match read {
            Ok(read) => read,
            Err(error) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                Err(cancelled) => unreachable!("nobody cancels a read: {cancelled}"),
            },
        };
        // If a read returned as many entries as it requested, there may be more.
        let is_drained = !entries.as_ref().is_ok_and(|entries| entries.len() >= self.asked);
        if is_drained {
            self.next_read = Instant::now() + self.options.polling_interval;
        }
        self.ready.extend(entries?);
        Ok(())
    }
}

#[async_trait::async_trait]
impl<S: EntryStore> Source for PollingSource<S> {
    fn in_flight_max(&self) -> usize {
        self.options.in_flight_max()
    }

    async fn next(&mut self) -> Result<SourceDelivery, BindingError> {
        loop {
            if self.reading.is_some() {
                self.finish_reading().await?;
            }
            if let Some(delivery) = self.hand_out() {
                return Ok(delivery);
            }
            self.start_reading().await;
        }
    }

    async fn backlog(&mut self) -> Result<SourceBacklog, BindingError> {
        self.store.backlog().await
    }

    async fn close(mut self: Box<Self>) {
        // The log has the error already if the server is away; what was read comes again when the lock expires.
        let _ = tokio::time::timeout(CLOSE_MAX, async {
            let _ = self.finish_reading().await;
            self.store.close().await;
        })
        .await;
    }
}

/// The longest time that closing a source takes.
const CLOSE_MAX: Duration = Duration::from_secs(5);

/// The entries of one delivery.
struct SettleEntries<S: EntryStore> {
    store: Arc<S>,
    entries: UnsettledEntries,
}

impl<S: EntryStore> SettleEntries<S> {
    fn check(&self, count: usize) -> Result<(), BindingError> {
        if count >= self.entries.ids.len() {
            return Ok(());
        }
        Err(BindingError::LockLost(format!(
            "another host got {} because this one did not renew them in time",
            self.store.describe()
        )))
    }
}

#[async_trait::async_trait]
impl<S: EntryStore> Settle for SettleEntries<S> {
    async fn renew(&mut self) -> Result<(), BindingError> {
        let renewed = self.store.renew(&self.entries.ids).await?;
        self.check(renewed)
    }

    async fn settle(self: Box<Self>, settlement: Settlement) -> Result<(), BindingError> {
        match settlement {
            // Dropping the entries abandons them; the next read gives them again.
            Settlement::Abandon => return Ok(()),
            Settlement::Complete => {}
            Settlement::DeadLetter { reason } => {
                tracing::warn!(
                    reason,
                    "{} have no place for dead letters; they are completed",
                    self.store.describe()
                );
            }
        }
        let completed = self.store.complete(&self.entries.ids).await?;
        let checked = self.check(completed);
        self.entries.settled();
        checked
    }
}
