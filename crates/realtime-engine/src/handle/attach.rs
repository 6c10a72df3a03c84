//! How connections enter: ids are issued, a place is reserved, and a shard gets the transport.

use std::sync::atomic::Ordering;

use super::{EngineHandle, Shared};
use crate::command::ShardCommand;
use crate::id::{self, ShardId};
use crate::{Admission, AttachError, ConnectionIds, Hub, Stopped, Transport};

impl EngineHandle {
    /// Names for a new connection. Shards take turns.
    pub fn issue(&self) -> ConnectionIds {
        let count = u16::try_from(self.0.shards.len()).expect("options count shards in 16 bits");
        let shard = ShardId(self.0.next_shard.fetch_add(1, Ordering::Relaxed) % count);
        let (connection, token) = id::draw_both(self.0.node, shard);
        ConnectionIds { connection, token }
    }

    /// Whether a socket offered now would be refused for want of a place, so that its client can be told in HTTP.
    pub fn is_full(&self) -> bool {
        self.0.connections.load(Ordering::Acquire) >= self.0.connections_max
    }

    /// How many connections a hub may have, if it has that many.
    pub fn hub_is_full(&self, hub: &Hub) -> Option<u32> {
        self.0.hub_counts.is_full(hub)
    }

    /// Hands a client over: a socket after the answer 101 has been written to it, or an outlet. Waits while the shard's queue is
    /// full.
    ///
    /// # Errors
    ///
    /// If there is no place for it. Then the socket is closed.
    pub async fn attach(&self, link: Transport, admission: Admission) -> Result<(), AttachError> {
        let Some(shard) = self.shard_of(admission.connection) else {
            return Err(AttachError::Foreign(admission.connection));
        };
        let place = Place::take(&self.0, admission.hub.clone())?;
        let command = ShardCommand::Attach(Box::new(link), Box::new(admission));
        shard.send(command).await.map_err(|Stopped| AttachError::Stopped)?;
        // From here the shard gives the place back, when the connection ends.
        place.keep();
        Ok(())
    }
}

/// One of the connections that the engine may hold; given back on drop unless kept.
struct Place<'a>(Option<(&'a Shared, Hub)>);

impl<'a> Place<'a> {
    fn take(shared: &'a Shared, hub: Hub) -> Result<Self, AttachError> {
        let connections_max = shared.connections_max;
        shared.hub_counts.take(&hub).map_err(|connections_max| AttachError::HubFull { connections_max })?;
        let taken = shared.connections.fetch_update(Ordering::AcqRel, Ordering::Acquire, |count| {
            (count < connections_max).then_some(count + 1)
        });
        if taken.is_err() {
            shared.hub_counts.release(&hub);
            return Err(AttachError::Full { connections_max });
        }
        Ok(Self(Some((shared, hub))))
    }

    fn keep(mut self) {
        self.0 = None;
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        if let Some((shared, hub)) = &self.0 {
            shared.connections.fetch_sub(1, Ordering::AcqRel);
            shared.hub_counts.release(hub);
        }
    }
}
