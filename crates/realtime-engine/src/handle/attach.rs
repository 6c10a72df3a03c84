//! Adds connections: issues ids, counts the connection, and passes its transport to a shard.

use std::sync::atomic::Ordering;

use super::{EngineHandle, Shared};
use crate::command::ShardCommand;
use crate::id::{self, ShardId};
use crate::{AttachError, ClientAdmission, ConnectionIds, Hub, Stopped, Transport};

impl EngineHandle {
    /// Issues the ids of a new connection. Connections are distributed over the shards in turn.
    pub fn issue(&self) -> ConnectionIds {
        let count = u16::try_from(self.0.shards.len()).expect("options count shards in 16 bits");
        let shard = ShardId(self.0.next_shard.fetch_add(1, Ordering::Relaxed) % count);
        let (connection, token) = id::draw_both(self.0.node, shard);
        ConnectionIds { connection, token }
    }

    /// Whether [`EngineHandle::attach`] would fail with [`AttachError::Full`] now, so that the client can be refused in HTTP.
    pub fn is_full(&self) -> bool {
        self.0.connections.load(Ordering::Acquire) >= self.0.connections_max.load(Ordering::Acquire)
    }

    /// The limit of connections of a hub, if it is reached.
    pub fn hub_is_full(&self, hub: &Hub) -> Option<u32> {
        self.0.hub_counts.is_full(hub)
    }

    /// Passes a connection to its shard: a socket after the response 101 was written to it, or an HTTP transport. Waits while the
    /// shard's queue is full.
    ///
    /// # Errors
    ///
    /// If a limit is reached or the engine has ended; the socket is closed then.
    pub async fn attach(&self, transport: Transport, admission: ClientAdmission) -> Result<(), AttachError> {
        let Some(shard) = self.shard_of(admission.connection) else {
            return Err(AttachError::Foreign(admission.connection));
        };
        let reservation = ConnectionReservation::reserve(&self.0, admission.hub.clone())?;
        let command = ShardCommand::Attach(Box::new(transport), Box::new(admission));
        shard.send(command).await.map_err(|Stopped| AttachError::Stopped)?;
        // The shard releases it when the connection ends.
        reservation.commit();
        Ok(())
    }
}

/// One counted connection; released on drop unless it is committed.
struct ConnectionReservation<'a>(Option<(&'a Shared, Hub)>);

impl<'a> ConnectionReservation<'a> {
    fn reserve(shared: &'a Shared, hub: Hub) -> Result<Self, AttachError> {
        let connections_max = shared.connections_max.load(Ordering::Acquire);
        shared
            .hub_counts
            .reserve(&hub)
            .map_err(|connections_max| AttachError::HubFull { connections_max })?;
        let reserved = shared.connections.fetch_update(Ordering::AcqRel, Ordering::Acquire, |count| {
            (count < connections_max).then_some(count + 1)
        });
        if reserved.is_err() {
            shared.hub_counts.release(&hub);
            return Err(AttachError::Full { connections_max });
        }
        Ok(Self(Some((shared, hub))))
    }

    fn commit(mut self) {
        self.0 = None;
    }
}

impl Drop for ConnectionReservation<'_> {
    fn drop(&mut self) {
        if let Some((shared, hub)) = &self.0 {
            shared.connections.fetch_sub(1, Ordering::AcqRel);
            shared.hub_counts.release(hub);
        }
    }
}
