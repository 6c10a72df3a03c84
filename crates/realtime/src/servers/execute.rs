//! Executes requests of app servers, in order for each server connection.

mod acks;
mod authentication;
mod client_invocations;
mod filter;
mod keys;
mod members;
mod oversized;
mod pings;

use std::sync::Arc;
use std::time::Instant;

use signalr_protocol::service::AckStatus;
use tracing::debug;

use self::acks::{acknowledge, report};
use super::client::delivery::Delivery;
use super::client::{AppServerClient, DeferResult};
use super::from_protocol::reserved_method;
use super::request::{
    EVENT_BUFFER_FULL, EVENT_CONNECTION, EVENT_INVALID, EVENT_NOT_EXISTED, EVENT_SERVER_CONNECTION,
    ExistenceCheck, Member, Send, ServerRequest,
};
use super::server_connection::ServerConnection;
use super::shared::Servers;
use super::to_protocol;
use realtime_engine::{
    Action, Candidate, ConnectionId, OutgoingMessage, Predicate, Publish, PublishError, ServerClose, Stopped,
    Target,
};

/// Largest page of group members in one response, as in the REST operation.
const PAGE_SIZE_MAX: u32 = 200;

impl Servers {
    /// Executes one request.
    ///
    /// # Errors
    ///
    /// If the engine has ended.
    pub(super) async fn execute(
        &self,
        server: &Arc<ServerConnection>,
        request: ServerRequest,
    ) -> Result<(), Stopped> {
        let Some(request) = self.defer_until_connected(server, request) else { return Ok(()) };
        match request {
            ServerRequest::Data { client, payload } => self.data(server, client, &payload).await?,
            request => self.perform(server, request).await?,
        }
        Ok(())
    }

    /// Defers a request about one client if that client's handshake is not complete: only then is it a member of its hub, and
    /// requests that an app server sends in its `OnConnected` may arrive earlier.
    fn defer_until_connected(
        &self,
        server: &Arc<ServerConnection>,
        request: ServerRequest,
    ) -> Option<ServerRequest> {
        let about = match &request {
            ServerRequest::Send(Send { targets, .. }) => match &targets[..] {
                [Target::Connection(id)] => *id,
                _ => return Some(request),
            },
            ServerRequest::Change { member: Member::Connection(id), .. }
            | ServerRequest::Check { subject: ExistenceCheck::Connection(id), .. }
            | ServerRequest::Invoke { client: id, .. } => *id,
            _ => return Some(request),
        };
        let Some(client) = self.client(&server.hub, about) else { return Some(request) };
        match client.defer(server, request) {
            DeferResult::Now(request) => Some(request),
            DeferResult::Later => None,
            DeferResult::TooMany(request) => {
                let why = "too many requests wait for the response to the client's handshake";
                self.decline(server, &request, AckStatus::InternalServerError, why);
                let id = about.to_string();
                server.send_queue.push(&to_protocol::event(EVENT_CONNECTION, &id, EVENT_BUFFER_FULL, why));
                None
            }
        }
    }

    async fn perform(&self, server: &Arc<ServerConnection>, request: ServerRequest) -> Result<(), Stopped> {
        match request {
            ServerRequest::Send(send) => self.send(server, send).await,
            ServerRequest::Close { whom, excluded, reason, ack } => {
                let result = self.close(server, whom, &excluded, reason.as_deref()).await?;
                acknowledge(server, ack, result);
                Ok(())
            }
            ServerRequest::Change { member, group, membership, lifetime, ack } => {
                let result = self.change(server, member, group, membership, lifetime).await?;
                acknowledge(server, ack, result);
                Ok(())
            }
            ServerRequest::Check { subject, ack } => {
                let result = self.check(server, subject).await?;
                acknowledge(server, Some(ack), result);
                Ok(())
            }
            ServerRequest::ListMembers { group, ack, top, page, after } => {
                let page_size =
                    top.unwrap_or(PAGE_SIZE_MAX).min(page.unwrap_or(PAGE_SIZE_MAX)).clamp(1, PAGE_SIZE_MAX);
                self.list(server, group, ack, page_size, after.as_deref()).await
            }
            ServerRequest::Invoke { invocation, client, caller_server, payloads } => {
                self.invoke(server, invocation, client, caller_server, payloads).await
            }
            ServerRequest::InvalidInvocation { invocation, connection, caller_server, why } => {
                self.reject_invocation(server, &invocation, &connection, &caller_server, &why);
                Ok(())
            }
            ServerRequest::Complete { invocation, client, protocol, result } => {
                self.complete(server, &invocation, client, protocol.as_deref(), result);
                Ok(())
            }
            ServerRequest::Refresh { token, claims, expires_at, ack } => {
                self.refresh(server, &token, claims, expires_at, ack).await
            }
            ServerRequest::Claims { token, ack } => self.claims(server, &token, ack).await,
            ServerRequest::AccessKey { token } => {
                self.issue_key(server, token.as_deref()).await;
                Ok(())
            }
            ServerRequest::Ping(ping) => self.ping(server, ping).await,
            ServerRequest::PauseAck(id) => {
                if let Some(client) = self.client(&server.hub, id) {
                    client.pause_acknowledged(server);
                }
                Ok(())
            }
            ServerRequest::Oversized(message) => self.reject_oversized(server, message).await,
            ServerRequest::Invalid(invalid) => {
                report(server, &invalid);
                Ok(())
            }
            ServerRequest::Data { .. } | ServerRequest::Ignored => Ok(()),
        }
    }

    /// Sends bytes of an app server to one client. After the handshake response, executes the requests that waited for it.
    async fn data(
        &self,
        server: &Arc<ServerConnection>,
        id: ConnectionId,
        payload: &[u8],
    ) -> Result<(), Stopped> {
        let Some(client) = self.client(&server.hub, id) else {
            self.report_unknown_client(server, id);
            return Ok(());
        };
        let delivery = match client.receive_from_server(server, payload, self.0.client_message_bytes_max) {
            Ok(delivery) => delivery,
            Err(error) => return self.close_unreadable(server, &client, id, &error.to_string()).await,
        };
        let Delivery { handshake_response, messages, dropped } = delivery;
        if dropped > 0 {
            report(server, &reserved_method(Some(id)));
        }
        if let Some(record) = handshake_response {
            self.engine().from_server(id, record).await?;
            for (origin, request) in client.set_connected() {
                self.perform(&origin, request).await?;
            }
        }
        if let Some((bytes, count)) = messages {
            let message = OutgoingMessage::raw(bytes, count);
            self.publish(server, publish(server, Target::Connection(id), message)).await?;
        }
        Ok(())
    }

    /// Closes a client whose messages from the app server cannot be read.
    pub(super) async fn close_unreadable(
        &self,
        server: &ServerConnection,
        client: &AppServerClient,
        id: ConnectionId,
        why: &str,
    ) -> Result<(), Stopped> {
        let text = format!("the messages for the client cannot be read: {why}");
        let name = id.to_string();
        server.send_queue.push(&to_protocol::event(EVENT_CONNECTION, &name, EVENT_INVALID, &text));
        let close = ServerClose {
            error: Some("the app server sent a message that cannot be read".into()),
            allow_reconnect: false,
            send_close: true,
        };
        self.end_client(client, id, close).await;
        server.send_queue.push_for(id, |out| to_protocol::close(id, Some(&text), None, out));
        Ok(())
    }

    async fn send(&self, server: &ServerConnection, send: Send) -> Result<(), Stopped> {
        let Send { targets, excluded, excluded_users, filter, message } = send;
        for target in targets {
            if let Some(filter) = &filter {
                let filtered = filter::FilteredSend {
                    target,
                    excluded: excluded.clone(),
                    excluded_users: excluded_users.clone(),
                    filter: Arc::clone(filter),
                };
                let which = Predicate::new(move |candidate: &Candidate<'_>| filtered.includes(candidate));
                self.engine().execute(&server.hub, which, vec![Action::Send(message.clone())]).await?;
                continue;
            }
            let mut publish = publish(server, target, message.clone());
            publish.excluded.clone_from(&excluded);
            publish.excluded_users.clone_from(&excluded_users);
            self.publish(server, publish).await?;
        }
        Ok(())
    }

    /// Publishes a message. If the queue of a shard is full, the app server receives a hint that it sends too fast.
    pub(super) async fn publish(&self, server: &ServerConnection, publish: Publish) -> Result<(), Stopped> {
        match self.engine().try_publish(publish.clone()) {
            Ok(()) => Ok(()),
            Err(PublishError::Stopped) => Err(Stopped),
            Err(PublishError::NotRecorded(why)) => {
                tracing::warn!(%why, "a message of an app server was not sent");
                Ok(())
            }
            Err(PublishError::Busy) => {
                if server.may_send_hint(Instant::now()) {
                    let text = "the app server sends faster than the service delivers; the service pauses reading from it until the messages are delivered";
                    let (object, kind) = (EVENT_SERVER_CONNECTION, EVENT_BUFFER_FULL);
                    server.send_queue.push(&to_protocol::event(object, &server.name, kind, text));
                }
                match self.engine().publish(publish).await {
                    Err(PublishError::Stopped) => Err(Stopped),
                    Err(PublishError::NotRecorded(why)) => {
                        // The service protocol has no response to a send; a metric counts the failure.
                        tracing::warn!(%why, "a message of an app server was not sent");
                        Ok(())
                    }
                    Ok(()) | Err(PublishError::Busy) => Ok(()),
                }
            }
        }
    }

    /// Responds to a request that is not executed, if the app server waits for a response.
    pub(super) fn decline(
        &self,
        server: &ServerConnection,
        request: &ServerRequest,
        status: AckStatus,
        why: &str,
    ) {
        match request {
            ServerRequest::Invoke { invocation, client, caller_server, .. } => {
                self.reject_invocation(server, invocation, &client.to_string(), caller_server, why);
            }
            request => {
                if let Some(ack_id) = request.ack_id() {
                    server.send_queue.push(&to_protocol::ack(ack_id, status, why, None));
                }
            }
        }
    }

    /// Completes a client invocation that was not made with an error, no sooner than the SDK of the app server expects a result.
    pub(super) fn reject_invocation(
        &self,
        server: &ServerConnection,
        invocation: &str,
        connection: &str,
        caller_server: &str,
        why: &str,
    ) {
        let message = to_protocol::no_result(invocation, connection, caller_server, why);
        let not_before = server.result_not_before(self.options(), Instant::now());
        server.send_queue.push_delayed(not_before, |out| message.encode(out));
    }

    /// Reports bytes of an app server for a client that is not connected, unless the client disconnected recently: the SDK responds to the
    /// Close of a client with another one, and results may be in transit.
    fn report_unknown_client(&self, server: &ServerConnection, id: ConnectionId) {
        if self.has_recently_closed(id) {
            return;
        }
        debug!(%id, server = %server.server_id, "an app server sent a message to a client that is not connected");
        if server.may_send_hint(Instant::now()) {
            let (id, text) = (id.to_string(), "the connection does not exist");
            server.send_queue.push(&to_protocol::event(EVENT_CONNECTION, &id, EVENT_NOT_EXISTED, text));
        }
    }
}

pub(super) fn publish(server: &ServerConnection, target: Target, message: OutgoingMessage) -> Publish {
    Publish {
        hub: server.hub.clone(),
        target,
        excluded: Vec::new(),
        excluded_users: Vec::new(),
        message,
        trace: None,
    }
}
