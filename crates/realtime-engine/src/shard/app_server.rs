//! Commands of app servers, and other commands about single clients: client results and authentication.

use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use signalr_protocol::count_sequenced;
use tokio::sync::oneshot;
use websocket::{CloseCode, Opcode};

use super::Shard;
use super::connection::ConnectionState;
use super::deadlines::Due;
use super::encode::Encoded;
use super::keys::Slot;
use super::pending::{Class, Frame, FrameAppender};
use crate::command::{Invoke, ShardCommand};
use crate::{
    AppServer, AuthenticationRefresh, ClientConnection, ClientContext, ClientInvokeError, ClientResult,
    ConnectionId, EndReason, OtherUser, Refreshed, ServerClose,
};

type Answer = oneshot::Sender<Result<ClientResult, ClientInvokeError>>;

impl Shard {
    /// Commands of app servers about their clients' connections.
    pub(super) fn handle_app_server_command(&mut self, command: ShardCommand) {
        match command {
            ShardCommand::FromServer { connection, payload, found } => {
                let slot = self.index.slot(connection);
                let _ = found.send(slot.is_some_and(|slot| self.send_from_server(slot, payload)));
            }
            ShardCommand::EndClient { connection, close, found } => {
                let slot = self.index.slot(connection);
                if let Some(slot) = slot {
                    self.end_client(slot, &close);
                }
                let _ = found.send(slot.is_some());
            }
            ShardCommand::Rebind { connection, server, found } => {
                let slot = self.index.slot(connection);
                let rebound = slot.is_some_and(|slot| self.rebind(slot, server));
                let _ = found.send(rebound);
            }
            ShardCommand::Resume { connection } => {
                if let Some(slot) = self.index.slot(connection) {
                    self.resume(slot);
                }
            }
            other => unreachable!("{other:?} is not a command of an app server"),
        }
    }

    /// Sends bytes of an app server to its client: first the handshake response, then hub messages.
    fn send_from_server(&mut self, slot: Slot, payload: Bytes) -> bool {
        let connection = &self.connections[slot as usize];
        match &connection.state {
            ConnectionState::Opening(opening) if opening.admission.server.is_some() => {
                if is_accepted(&payload) {
                    self.send_handshake_response(slot, payload);
                } else {
                    let record = Frame::required(websocket::frame(Opcode::Text, &payload));
                    self.close_with(slot, EndReason::HandshakeRefused, Some(record), CloseCode::NORMAL, "");
                }
                true
            }
            ConnectionState::Open(_) if connection.server().is_some() => {
                let opcode = super::encode::opcode(connection.protocol);
                let numbered = count_sequenced(connection.protocol, &payload);
                let frame = Frame::new(websocket::frame(opcode, &payload), Class::Required, numbered);
                self.append_or_end(slot, &mut FrameAppender::new(frame.in_order()));
                true
            }
            _ => false,
        }
    }

    fn end_client(&mut self, slot: Slot, close: &ServerClose) {
        // The app server that closes it is not notified of the end.
        self.connections[slot as usize].rare_or_new().is_end_known = true;
        let reason = if close.allow_reconnect { EndReason::ServerOffline } else { EndReason::ServerClosed };
        if close.send_close && self.connections[slot as usize].index_entry().is_some() {
            return self.close(slot, reason, close.error.as_deref(), close.allow_reconnect);
        }
        let text = close.error.as_deref().unwrap_or_default();
        self.close_with(slot, reason, None, CloseCode::NORMAL, text);
    }

    fn rebind(&mut self, slot: Slot, server: Arc<dyn AppServer>) -> bool {
        let connection = &mut self.connections[slot as usize];
        let bound = match &mut connection.state {
            ConnectionState::Opening(opening) => &mut opening.admission.server,
            ConnectionState::Open(_) => &mut connection.rare_or_new().server,
            ConnectionState::Handshaking(_) | ConnectionState::Closing { .. } => return false,
        };
        // A client that was connected without an app server is not assigned one later.
        let had_one = bound.is_some();
        if had_one {
            *bound = Some(server);
        }
        had_one
    }

    /// Invokes a client method, and stores the caller that waits for the result.
    pub(super) fn invoke(&mut self, invoke: Invoke) {
        let Invoke { hub, connection, invocation_id, message, answer } = invoke;
        let calls_max = self.settings.options.client_results_max as usize;
        let refuse = |answer: Answer, error| drop(answer.send(Err(error)));
        let Some(slot) = self.index.find(&self.connections, &hub, connection) else {
            return refuse(answer, ClientInvokeError::NotFound);
        };
        let protocol = self.connections[slot as usize].protocol;
        let mut encoded = Encoded::new(&message, false);
        let Some(appender) = encoded.appender(protocol) else {
            return refuse(answer, ClientInvokeError::Untranslatable);
        };
        let pending_results = &mut self.connections[slot as usize].rare_or_new().pending_results;
        // Invocations whose callers stopped waiting do not count.
        pending_results.retain(|_, answer| !answer.is_closed());
        if pending_results.len() >= calls_max {
            return refuse(answer, ClientInvokeError::TooMany);
        }
        pending_results.insert(invocation_id, answer);
        self.append_or_end(slot, appender);
    }

    /// Removes an invocation whose caller no longer waits.
    pub(super) fn forget_invocation(&mut self, connection: ConnectionId, invocation_id: &str) {
        let slot = self.index.slot(connection);
        let rare = slot.and_then(|slot| self.connections[slot as usize].rare_mut());
        if let Some(rare) = rare {
            rare.pending_results.remove(invocation_id);
        }
    }

    /// Commands about the client context of a connection.
    pub(super) fn handle_authentication_command(&mut self, command: ShardCommand) {
        match command {
            ShardCommand::GetClientContext { hub, connection, answer } => {
                let slot = self.index.find(&self.connections, &hub, connection);
                let _ = answer.send(slot.and_then(|slot| self.client(slot)?.client_context));
            }
            ShardCommand::Refresh { hub, connection, refresh, answer } => {
                let slot = self.index.find(&self.connections, &hub, connection);
                let _ = answer.send(slot.and_then(|slot| self.refresh(slot, refresh)));
            }
            other => unreachable!("{other:?} is not about a client context"),
        }
    }

    /// Refreshes the authentication of an open connection; `None` if its client context is not stored.
    fn refresh(
        &mut self,
        slot: Slot,
        refresh: Box<dyn AuthenticationRefresh>,
    ) -> Option<Result<Arc<ClientContext>, OtherUser>> {
        let ClientConnection { id, user, client_context, .. } = self.client(slot)?;
        let Refreshed { client_context, ends_at, roles, is_changed } =
            match refresh.apply(client_context.as_deref()?, user.as_ref()) {
                Ok(refreshed) => refreshed,
                Err(other) => return Some(Err(other)),
            };
        let client_context = Arc::new(client_context);
        let left = |at: SystemTime| at.duration_since(SystemTime::now()).unwrap_or_default();
        let expires = ends_at.map(|at| self.deadlines.after(self.instant, left(at)));
        let connection = &mut self.connections[slot as usize];
        connection.uncommon.get_or_insert_default().client_context = Some(Arc::clone(&client_context));
        if roles.is_some() || connection.rare().is_some_and(|rare| rare.roles.is_some()) {
            connection.rare_or_new().roles = roles;
        }
        let earlier = connection.expires();
        if expires != earlier {
            connection.rare_or_new().expires = expires;
        }
        if let Some(server) = connection.server() {
            server.refreshed(id, &client_context, is_changed);
        }
        // The next check may be later than the new expiry.
        let next_check = self.now.plus(self.timeouts.keep_alive.max(1));
        if let Some(expires) = expires.filter(|at| *at < earlier.unwrap_or(next_check).min(next_check)) {
            self.deadlines.add(expires, Due { slot, generation: connection.generation });
        }
        Some(Ok(client_context))
    }
}

/// Whether a handshake response of an app server accepts the client: it has no error.
fn is_accepted(answer: &[u8]) -> bool {
    #[derive(serde::Deserialize)]
    struct ErrorField {
        error: Option<serde::de::IgnoredAny>,
    }
    let record = answer.split(|byte| *byte == signalr_protocol::RECORD_SEPARATOR).next().unwrap_or_default();
    serde_json::from_slice::<ErrorField>(record).is_ok_and(|wire| wire.error.is_none())
}
