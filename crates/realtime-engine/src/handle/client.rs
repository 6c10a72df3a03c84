//! Commands about one client: bytes over HTTP, new sockets, data of its app server, decisions of its upstream, client results.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::oneshot;

use super::{EngineHandle, Stopped};
use crate::command::{Invoke, ShardCommand};
use crate::{
    AppServer, AuthenticationRefresh, CatchUpResult, ClientContext, ClientInvokeError, ClientResult,
    CloseRequest, ConnectionId, FollowResponse, FollowResult, GroupName, HttpTransport, HttpTransportKind,
    Hub, InvalidArguments, OtherUser, OutgoingMessage, ReattachResult, ReceiveResult, ServerClose, Target,
};

impl EngineHandle {
    /// A new HTTP transport, to be attached.
    pub fn http_transport(&self, transport: HttpTransportKind) -> Arc<HttpTransport> {
        HttpTransport::new(transport, Instant::now(), self.0.http_pending_bytes.clone())
    }

    /// Receives what a client of an HTTP transport sent: complete hub messages or parts of them. Waits while the client is paused.
    ///
    /// # Errors
    ///
    /// If the engine has ended.
    pub async fn receive(&self, connection: ConnectionId, payload: Bytes) -> Result<ReceiveResult, Stopped> {
        self.receive_part(connection, payload, true).await
    }

    /// As [`EngineHandle::receive`], with a part of one request; `is_end` for the last part. For clients whose app server accepts
    /// messages in parts; two requests of a client must not be received at the same time.
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

    /// Ends a connection whose client has closed it (`is_close`), or whose requests have stopped. Returns whether it existed.
    ///
    /// # Errors
    ///
    /// If the engine has ended.
    pub async fn leave(&self, connection: ConnectionId, is_close: bool) -> Result<bool, Stopped> {
        self.ask_owner(connection, |found| ShardCommand::Leave { connection, is_close, found }).await
    }

    /// As [`EngineHandle::leave`] for a client that was lost, if the shard's queue is not full.
    pub fn try_leave(&self, connection: ConnectionId) {
        let Some(shard) = self.shard_of(connection) else { return };
        let (found, _nobody_waits) = oneshot::channel();
        let _ = shard.try_send(ShardCommand::Leave { connection, is_close: false, found });
    }

    /// Passes a new socket to a stateful connection.
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

    /// Completes a handshake that waits for a decision: accepts the connection, or refuses it with an error.
    pub async fn complete_handshake(&self, connection: ConnectionId, result: Result<(), String>) {
        let result = result.map_err(Into::into);
        if let Some(shard) = self.shard_of(connection) {
            // A shard that has ended has no connections.
            let _ = shard.send(ShardCommand::Opened { connection, result }).await;
        }
    }

    /// Bytes of an app server for its client: first the handshake response, then complete framed hub messages. Returns whether the
    /// connection exists.
    ///
    /// # Errors
    ///
    /// If the engine has ended.
    pub async fn from_server(&self, connection: ConnectionId, payload: Bytes) -> Result<bool, Stopped> {
        self.ask_owner(connection, |found| ShardCommand::FromServer { connection, payload, found }).await
    }

    /// Closes a client's connection on behalf of its app server, which is not notified. Returns whether the connection existed.
    ///
    /// # Errors
    ///
    /// If the engine has ended.
    pub async fn end_client(&self, connection: ConnectionId, close: ServerClose) -> Result<bool, Stopped> {
        let close = Box::new(close);
        self.ask_owner(connection, |found| ShardCommand::EndClient { connection, close, found }).await
    }

    /// Moves a client to another app server. Returns whether the connection exists and had an app server.
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

    /// Resumes reading from a client that was paused because of [`Capacity::Exhausted`](crate::Capacity::Exhausted).
    pub async fn resume(&self, connection: ConnectionId) {
        if let Some(shard) = self.shard_of(connection) {
            // A shard that has ended has no connections.
            let _ = shard.send(ShardCommand::Resume { connection }).await;
        }
    }

    /// Invokes a method of one client, and waits at most `patience` for its result. `arguments` is the text of a JSON array that
    /// [`OutgoingMessage::invocation`] accepts.
    ///
    /// # Errors
    ///
    /// See [`ClientInvokeError`]; an error that the client returns is a result.
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

    /// As [`EngineHandle::invoke`], with a message that has `invocation_id` already.
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

    /// The client context of an open connection of `hub`; `None` if there is no such connection, or its context is not stored.
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

    /// Refreshes the authentication of an open connection of `hub`, and returns the client's new context; `None` as in
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

    /// Subscribes a connection to the history of a group, or of its hub, and adds it to the group if it `may_join`. `epoch` is the
    /// current epoch of the history, which must not end before the connection has caught up.
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

    /// Reports that a connection has received everything below the offset `next`. If no message was withheld from it, `response` is
    /// sent, and live messages with their positions follow.
    ///
    /// # Errors
    ///
    /// If the engine has ended.
    pub async fn catch_up(
        &self,
        connection: ConnectionId,
        group: Option<&GroupName>,
        next: u64,
        response: impl FollowResponse,
    ) -> Result<CatchUpResult, Stopped> {
        let (group, response): (_, Box<dyn FollowResponse>) = (group.cloned(), Box::new(response));
        let ask = |result| ShardCommand::CatchUp { connection, group, next, response, result };
        self.ask_owner(connection, ask).await
    }

    /// Ends the subscription of a connection to a history; it stays a member of the group.
    ///
    /// # Errors
    ///
    /// If the engine has ended.
    pub async fn unfollow(&self, connection: ConnectionId, group: Option<&GroupName>) -> Result<(), Stopped> {
        let group = group.cloned();
        self.ask_owner(connection, |done| ShardCommand::Unfollow { connection, group, done }).await
    }

    /// Closes connections. Returns their number.
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
