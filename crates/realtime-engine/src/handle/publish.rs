//! Publishes messages.

use std::sync::Arc;

use tokio::sync::mpsc::error::TrySendError;

use super::EngineHandle;
use super::wake::{Reserved, WakeTime, reserve};
use crate::command::ShardCommand;
use crate::publish::PublishJob;
use crate::send_span::SendSpan;
use crate::{HistoryLog, Publish, PublishError, Stopped, StreamPosition};

impl EngineHandle {
    /// Sends a message, or fails with [`PublishError::Busy`] if it would have to wait. Messages that one caller publishes one
    /// after the other reach each receiver in that order.
    pub fn try_publish(&self, publish: Publish) -> Result<(), PublishError> {
        match self.history_log(&publish) {
            Some(history_log) => history_log.try_publish(publish),
            None => self.try_send(publish),
        }
    }

    fn try_send(&self, publish: Publish) -> Result<(), PublishError> {
        let shards = self.shards_of(&publish.target);
        // Reserves a permit of each queue before the message is sent: it reaches all shards or none.
        let mut permits = Vec::with_capacity(shards.len());
        for shard in shards {
            permits.push(shard.try_reserve().map_err(|error| match error {
                TrySendError::Full(()) => PublishError::Busy,
                TrySendError::Closed(()) => PublishError::Stopped,
            })?);
        }
        self.distribute(publish, None, permits);
        Ok(())
    }

    /// Sends a message; waits while a shard's queue is full. Same order as [`EngineHandle::try_publish`]. If the future is
    /// dropped before it completes, the message has no receivers. Shards are woken after the tasks that are ready now have run,
    /// so that callers that publish at the same time wake them once; a single caller is faster with
    /// [`EngineHandle::try_publish`].
    pub async fn publish(&self, publish: Publish) -> Result<(), PublishError> {
        match self.history_log(&publish) {
            Some(history_log) => history_log.publish(publish).await,
            None => Ok(self.send(publish, None).await?),
        }
    }

    /// Sends a message that is recorded already; for the [`HistoryLog`].
    ///
    /// # Errors
    ///
    /// If the engine has ended.
    pub async fn publish_recorded(
        &self,
        publish: Publish,
        recorded_position: StreamPosition,
    ) -> Result<(), Stopped> {
        self.send(publish, Some(recorded_position)).await
    }

    /// Sends a message that the [`HistoryLog`] accepted but cannot record.
    ///
    /// # Errors
    ///
    /// If the engine has ended.
    pub async fn publish_unrecorded(&self, publish: Publish) -> Result<(), Stopped> {
        self.send(publish, None).await
    }

    /// Sets the [`HistoryLog`] that records messages before they are sent. Only the first call has an effect.
    pub fn set_history_log(&self, history_log: Arc<dyn HistoryLog>) {
        // The service sets it once at its start.
        let _ = self.0.history_log.set(history_log);
    }

    fn history_log(&self, publish: &Publish) -> Option<&Arc<dyn HistoryLog>> {
        self.0.history_log.get().filter(|history_log| history_log.has_history(&publish.hub, &publish.target))
    }

    async fn send(&self, publish: Publish, recorded_position: Option<StreamPosition>) -> Result<(), Stopped> {
        let shards = self.shards_of(&publish.target);
        let permits = reserve(shards, WakeTime::Soon).await?;
        self.distribute(publish, recorded_position, permits);
        Ok(())
    }

    fn distribute(
        &self,
        publish: Publish,
        recorded_position: Option<StreamPosition>,
        permits: Vec<Reserved<'_>>,
    ) {
        let Publish { hub, target, mut excluded, excluded_users, message, trace } = publish;
        // Sorted for the binary search that shards do for each receiver.
        excluded.sort_unstable();
        let span = trace.map(|parent| SendSpan::start(&self.0.tracer, parent));
        let work =
            Arc::new(PublishJob { hub, target, excluded, excluded_users, message, recorded_position, span });
        for permit in permits {
            permit.send(ShardCommand::Publish(Arc::clone(&work)));
        }
    }
}
