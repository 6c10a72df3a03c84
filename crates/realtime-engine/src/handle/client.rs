//! What concerns one client: bytes over HTTP, new sockets, what its app server or upstream says, results of its methods.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::oneshot;

use super::{EngineHandle, Stopped};
use crate::command::{Invoke, ShardCommand};
use crate::{
    AppServer, AuthenticationRefresh, CatchUpResult, ClientContext, ClientInvokeError, ClientResult,
    CloseRequest, ConnectionId, FollowResult, GroupName, HttpTransport, HttpTransportKind, Hub,
    InvalidArguments, OtherUser, OutgoingMessage, ReattachResult, ReceiveResult, ServerClose, Target,
};

impl EngineHandle {
    /// Where messages for a client of an HTTP transport will wait.
    pub fn http_transport(&self, transport: HttpTransportKind) -> Arc<HttpTransport> {
        HttpTransport::new(transport, Instant::now(), self.0.http_pending_bytes.clone())
    }

    /// Takes in what a client of an HTTP transport sent: whole hub messages or parts of them. Waits while the client is not read
    /// from.
    ///
    /// # Errors
    ///
    /// If the engine has ended.
    pub async fn receive(&self, connection: ConnectionId, payload: Bytes) -> Result<ReceiveResult, Stopped> {
        self.receive_part(connection, payload, true).await
    }

    /// As [`EngineHandle::receive`], with a part of what one request has; the last one says that it `is_end`. For clients whose app
    /// server takes messages in pieces; no two requests of a client may be taken in at once.
    ///
    /// # Errors
    ///
    /// If the engine has ended.
    pub async fn receive_part(
        &self,
        connection: ConnectionId,
        payload: Bytes,
        is_end: bool,
    ) -> Result<ReceiveResult, Stopped> {
        self.ask_owner(connection, |done| ShardCommand::Receive { connection, payload, is_end, done }).await
    }

    /// Ends a connection whose client has said goodbye, or whose requests have ended. Says whether it was there.
    ///
    /// # Errors
    ///
    /// If the engine has ended.
    pub async fn leave(&self, connection: ConnectionId, goodbye: bool) -> Result<bool, Stopped> {
        self.ask_owner(connection, |found| ShardCommand::Leave { connection, goodbye, found }).await
    }

    /// As [`EngineHandle::leave`] without a goodbye, where there is room for it at once.
    pub fn try_leave(&self, connection: ConnectionId) {
        let Some(shard) = self.shard_of(connection) else { return };
        let (found, _nobody_waits) = oneshot::channel();
        let _ = shard.try_send(ShardCommand::Leave { connection, goodbye: false, found });
    }

    /// Gives a stateful connection a new socket.
    ///
    /// # Errors
    ///
    /// If the engine has ended.
    pub async fn reattach(
        &self,
        connection: ConnectionId,
        socket: edge::Socket,
    ) -> Result<ReattachResult, Stopped> {
        let socket = Box::new(socket);
        self.ask_owner(connection, |done| ShardCommand::Reattach { connection, socket, done }).await
    }

    /// Says that a connection whose handshake waits may go on, or why it may not.
    pub async fn complete_handshake(&self, connection: ConnectionId, result: Result<(), String>) {
        let result = result.map_err(Into::into);
        if let Some(shard) = self.shard_of(connection) {
            // A shard that has ended has no connections that wait.
            let _ = shard.send(ShardCommand::Opened { connection, result }).await;
        }
    }

    /// Bytes of an app server for its client: first the answer to the handshake, then whole framed hub messages. Says whether the
    /// client is there.
    ///
    /// # Errors
    ///
    /// If the engine has ended.
    pub async fn from_server(&self, connection: ConnectionId, payload: Bytes) -> Result<bool, Stopped> {
        self.ask_owner(connection, |found| ShardCommand::FromServer { connection, payload, found }).await
    }

    /// Ends a client on behalf of its app server, which is not told any more. Says whether the client was there.
    ///
    /// # Errors
    ///
    /// If the engine has ended.
    pub async fn end_client(&self, connection: ConnectionId, close: ServerClose) -> Result<bool, Stopped> {
        let close = Box::new(close);
        self.ask_owner(connection, |found| ShardCommand::EndClient { connection, close, found }).await
    }

    /// Gives a client to another app server. Says whether the client is there and had one.
    ///
    /// # Errors
    ///
    /// If the engine has ended.
    pub async fn rebind(
        &self,
        connection: ConnectionId,
        server: Arc<dyn AppServer>,
    ) -> Result<bool, Stopped> {
        self.ask_owner(connection, |found| ShardCommand::Rebind { connection, server, found }).await
    }

    /// Reads a client again that was not read because its server took no more ([`Capacity::Exhausted`](crate::Capacity::Exhausted)).
    pub async fn resume(&self, connection: ConnectionId) {
        if let Some(shard) = self.shard_of(connection) {
            // A shard that has ended reads nobody.
            let _ = shard.send(ShardCommand::Resume { connection }).await;
        }
    }

    /// Calls a method of one client, and waits for its result at most for `patience`. `arguments` is the text of a JSON array,
    /// which must be one that [`OutgoingMessage::invocation`] takes.
    ///
    /// # Errors
    ///
    /// See [`ClientInvokeError`]; an error that the client answers is a result.
    pub async fn invoke(
        &self,
        hub: &Hub,
        connection: ConnectionId,
        target: &str,
        arguments: &str,
        patience: Duration,
    ) -> Result<Result<ClientResult, ClientInvokeError>, InvalidArguments> {
        let invocation_id = self.issue().token.to_string();
        let message = OutgoingMessage::call(Some(&invocation_id), target, arguments)?;
        Ok(self.call(hub, connection, invocation_id.into(), message, patience).await)
    }

    /// As [`EngineHandle::invoke`], with a message that holds `invocation_id` already.
    ///
    /// # Errors
    ///
    /// See [`ClientInvokeError`].
    pub async fn call(
        &self,
        hub: &Hub,
        connection: ConnectionId,
        invocation_id: Box<str>,
        message: OutgoingMessage,
        patience: Duration,
    ) -> Result<ClientResult, ClientInvokeError> {
        let Some(shard) = self.shard_of(connection) else { return Err(ClientInvokeError::NotFound) };
        let (answer, result) = oneshot::channel();
        let hub = hub.clone();
        let invoke = Invoke { hub, connection, invocation_id: invocation_id.clone(), message, answer };
        shard
            .send(ShardCommand::Invoke(Box::new(invoke)))
            .await
            .map_err(|Stopped| ClientInvokeError::Stopped)?;
        match tokio::time::timeout(patience, result).await {
            Ok(Ok(result)) => result,
            Ok(Err(_ended)) => Err(ClientInvokeError::Disconnected),
            Err(_late) => {
                let _ = shard.send(ShardCommand::Forget { connection, invocation_id }).await;
                Err(ClientInvokeError::Timeout)
            }
        }
    }

    /// What is known of the client of an open connection of `hub`; `None` where there is no such connection, or it was let in by a
    /// caller that keeps nothing of its client.
    ///
    /// # Errors
    ///
    /// If the engine has ended.
    pub async fn client_context(
        &self,
        hub: &Hub,
        connection: ConnectionId,
    ) -> Result<Option<Arc<ClientContext>>, Stopped> {
        let hub = hub.clone();
        self.ask_owner(connection, |answer| ShardCommand::GetClientContext { hub, connection, answer }).await
    }

    /// Refreshes the authentication of an open connection of `hub`, and gives what is known of its client from then on; `None` as in
    /// [`EngineHandle::client_context`].
    ///
    /// # Errors
    ///
    /// If the engine has ended.
    pub async fn refresh(
        &self,
        hub: &Hub,
        connection: ConnectionId,
        refresh: impl AuthenticationRefresh,
    ) -> Result<Option<Result<Arc<ClientContext>, OtherUser>>, Stopped> {
        let (hub, refresh): (_, Box<dyn AuthenticationRefresh>) = (hub.clone(), Box::new(refresh));
        self.ask_owner(connection, |answer| ShardCommand::Refresh { hub, connection, refresh, answer }).await
    }

    /// Lets a connection follow what is kept of a group, or of its hub, and become a member of the group if it `may_join`. `epoch`
    /// is the present life of the log, which must not end before the connection has caught up.
    ///
    /// # Errors
    ///
    /// If the engine has ended.
    pub async fn follow(
        &self,
        connection: ConnectionId,
        group: Option<&GroupName>,
        may_join: bool,
        epoch: u64,
    ) -> Result<FollowResult, Stopped> {
        let group = group.cloned();
        let ask = |result| ShardCommand::Follow { connection, group, may_join, epoch, result };
        self.ask_owner(connection, ask).await
    }

    /// Says that a connection has everything below the number `next`.
    ///
    /// # Errors
    ///
    /// If the engine has ended.
    pub async fn catch_up(
        &self,
        connection: ConnectionId,
        group: Option<&GroupName>,
        next: u64,
    ) -> Result<CatchUpResult, Stopped> {
        let group = group.cloned();
        self.ask_owner(connection, |result| ShardCommand::CatchUp { connection, group, next, result }).await
    }

    /// Lets a connection follow no longer; it stays a member.
    ///
    /// # Errors
    ///
    /// If the engine has ended.
    pub async fn unfollow(&self, connection: ConnectionId, group: Option<&GroupName>) -> Result<(), Stopped> {
        let group = group.cloned();
        self.ask_owner(connection, |done| ShardCommand::Unfollow { connection, group, done }).await
    }

    /// Closes connections. Says how many there were.
    pub async fn close(
        &self,
        hub: &Hub,
        target: &Target,
        excluded: &[ConnectionId],
        closing: &CloseRequest,
    ) -> Result<u32, Stopped> {
        let excluded: Arc<[ConnectionId]> = excluded.into();
        let ask = |closed| ShardCommand::Close {
            hub: hub.clone(),
            target: target.clone(),
            excluded: Arc::clone(&excluded),
            closing: closing.clone(),
            closed,
        };
        if let Target::Connection(connection) = target {
            return self.ask_owner(*connection, ask).await;
        }
        Ok(self.ask_all(ask).await?.into_iter().sum())
    }
}
