//! How messages are published.

use std::sync::Arc;

use tokio::sync::mpsc::error::TrySendError;

use super::EngineHandle;
use super::wake::{Reserved, When, reserve};
use crate::command::ShardCommand;
use crate::publish::PublishJob;
use crate::send_span::SendSpan;
use crate::{HistoryLog, Publish, PublishError, Stopped, StreamPosition};

impl EngineHandle {
    /// Sends a message, or says that it would have to wait. Messages that one caller publishes one after the other reach
    /// each receiver in that order.
    pub fn try_publish(&self, publish: Publish) -> Result<(), PublishError> {
        match self.history_log(&publish) {
            Some(history_log) => history_log.try_publish(publish),
            None => self.try_send(publish),
        }
    }

    fn try_send(&self, publish: Publish) -> Result<(), PublishError> {
        let shards = self.shards_of(&publish.target);
        // First a place in each queue, then the message: it reaches all shards or none.
        let mut permits = Vec::with_capacity(shards.len());
        for shard in shards {
            permits.push(shard.try_reserve().map_err(|error| match error {
                TrySendError::Full(()) => PublishError::Busy,
                TrySendError::Closed(()) => PublishError::Stopped,
            })?);
        }
        self.hand_out(publish, None, permits);
        Ok(())
    }

    /// Sends a message; waits while a shard's queue is full. Same order as [`EngineHandle::try_publish`]. If the future is
    /// dropped before it ends, nobody gets the message. Shards are woken once the tasks that are ready now have run, so that
    /// many that publish at the same time wake them once; see [`EngineHandle::try_publish`] for callers that are alone.
    pub async fn publish(&self, publish: Publish) -> Result<(), PublishError> {
        match self.history_log(&publish) {
            Some(history_log) => history_log.publish(publish).await,
            None => Ok(self.send(publish, None).await?),
        }
    }

    /// Sends a message that is kept already; for the [`HistoryLog`].
    ///
    /// # Errors
    ///
    /// If the engine has ended.
    pub async fn publish_recorded(&self, publish: Publish, kept: StreamPosition) -> Result<(), Stopped> {
        self.send(publish, Some(kept)).await
    }

    /// Sends a message that the [`HistoryLog`] took and cannot keep.
    ///
    /// # Errors
    ///
    /// If the engine has ended.
    pub async fn publish_unrecorded(&self, publish: Publish) -> Result<(), Stopped> {
        self.send(publish, None).await
    }

    /// From now on, messages that `history_log` keeps go through it. Only the first one counts.
    pub fn set_history_log(&self, history_log: Arc<dyn HistoryLog>) {
        // There is one start, and it sets one keeper.
        let _ = self.0.history_log.set(history_log);
    }

    fn history_log(&self, publish: &Publish) -> Option<&Arc<dyn HistoryLog>> {
        self.0.history_log.get().filter(|history_log| history_log.has_history(&publish.hub, &publish.target))
    }

    async fn send(&self, publish: Publish, kept: Option<StreamPosition>) -> Result<(), Stopped> {
        let shards = self.shards_of(&publish.target);
        let permits = reserve(shards, When::Soon).await?;
        self.hand_out(publish, kept, permits);
        Ok(())
    }

    fn hand_out(&self, publish: Publish, kept: Option<StreamPosition>, permits: Vec<Reserved<'_>>) {
        let Publish { hub, target, mut excluded, excluded_users, message, trace } = publish;
        // Shards search in it for each receiver.
        excluded.sort_unstable();
        let span = trace.map(|parent| SendSpan::start(&self.0.tracer, parent));
        let work = Arc::new(PublishJob { hub, target, excluded, excluded_users, message, kept, span });
        for permit in permits {
            permit.send(ShardCommand::Publish(Arc::clone(&work)));
        }
    }
}
