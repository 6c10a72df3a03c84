//! [`ServedClient`]: the engine's view of a client that an app server handles. It forwards between a shard and the server connection that
//! carries the client.

use std::sync::Arc;

use bytes::Bytes;
use signalr_protocol::HubProtocol;
use signalr_protocol::service::FlowOperation;

use super::client::{AppServerClient, State};
use super::request::{EVENT_BUFFER_FULL, EVENT_CONNECTION};
use super::send_queue::QueueLevel;
use super::shared::Servers;
use super::to_protocol;
use realtime_engine::{
    AppServer, Capacity, ClientConnection, ClientContext, ConnectionId, SendRate, ServerClose,
};

/// A client that an app server handles.
#[derive(Debug)]
pub(super) struct ServedClient {
    servers: Servers,
    client: Arc<AppServerClient>,
}

impl ServedClient {
    pub(super) fn new(servers: Servers, client: Arc<AppServerClient>) -> Self {
        Self { servers, client }
    }
}

impl AppServer for ServedClient {
    fn open(&self, connection: &ClientConnection) {
        let id = connection.id;
        let client_context = connection.client_context.clone().unwrap_or_default();
        let is_admitted = self.servers.admit(&self.client, id, |server| {
            let mut state = self.client.state();
            state.connection = Some(connection.clone());
            state.owner = Some(Arc::clone(server));
            self.client.set_accepts_parts(server.is_recent_sdk);
            let instance = self.servers.instance();
            server.send_queue.push_for(id, |out| {
                to_protocol::open(
                    id,
                    connection.protocol,
                    &client_context,
                    &self.client.headers,
                    instance,
                    None,
                    out,
                );
            });
        });
        if !is_admitted {
            let close = ServerClose {
                error: Some("No server available".into()),
                allow_reconnect: true,
                send_close: true,
            };
            self.servers.end_soon(id, close);
        }
    }

    fn accepts_parts(&self) -> bool {
        self.client.accepts_parts()
    }

    fn capacity(&self, connection: ConnectionId) -> Capacity {
        let state = self.client.state();
        let Some(owner) = state.owner.as_ref().filter(|owner| owner.send_queue.pause_if_full(connection))
        else {
            return Capacity::Available;
        };
        self.servers.request_server_connection(owner);
        Capacity::Exhausted
    }

    fn data(&self, connection: ConnectionId, payload: Bytes, is_partial: bool) -> Capacity {
        let mut state = self.client.state();
        let is_handshake = !std::mem::replace(&mut state.handshake_forwarded, true);
        let State { owner: Some(owner), connection: opened, forwarding, results, .. } = &mut *state else {
            return Capacity::Available;
        };
        let protocol = opened.as_ref().map_or(HubProtocol::Json, |opened| opened.protocol);
        let mut level = QueueLevel::BelowLimit;
        let mut send = |bytes: &[u8], is_partial| {
            let what = to_protocol::Data { is_handshake, is_partial, is_recent_sdk: owner.is_recent_sdk };
            level =
                owner.send_queue.push_for(connection, |out| to_protocol::data(connection, bytes, what, out));
        };
        let keeps_reading = if is_handshake {
            send(&payload, is_partial);
            forwarding.forward_handshake(protocol, &payload);
            true
        } else if results.may_be_early() && forwarding.can_delay_messages() {
            let mut keeps_reading = true;
            for (range, not_before) in results.divide(protocol, &payload) {
                let (is_last, part) = (range.end == payload.len(), &payload[range]);
                match not_before {
                    Some(not_before) => owner.send_queue.push_delayed(not_before, |out| {
                        let what = to_protocol::Data {
                            is_handshake,
                            is_partial: false,
                            is_recent_sdk: owner.is_recent_sdk,
                        };
                        to_protocol::data(connection, part, what, out);
                    }),
                    None => {
                        keeps_reading = forwarding.forward(protocol, part, is_partial && is_last, &mut send);
                    }
                }
            }
            keeps_reading
        } else {
            forwarding.forward(protocol, &payload, is_partial, send)
        };
        self.servers.metrics().client_bytes(payload.len());
        if level == QueueLevel::AboveLimit {
            self.servers.request_server_connection(owner);
        }
        state.notify_if_drained();
        if level == QueueLevel::AboveLimit || !keeps_reading {
            Capacity::Exhausted
        } else {
            Capacity::Available
        }
    }

    fn closed(&self, connection: ConnectionId, error: Option<&str>) {
        let results_until = self.client.state().results.until();
        let Some(owner) = self.servers.remove_client(&self.client, connection) else { return };
        let close = |out: &mut Vec<u8>| to_protocol::close(connection, error, None, out);
        match results_until {
            // After its last results: its app server ignores results of a closed client.
            Some(until) => owner.send_queue.push_delayed(until, close),
            None => drop(owner.send_queue.push_for(connection, close)),
        }
    }

    fn refreshed(&self, connection: ConnectionId, client_context: &Arc<ClientContext>, claims_changed: bool) {
        let mut state = self.client.state();
        let State { connection: Some(opened), owner: Some(owner), .. } = &mut *state else { return };
        opened.client_context = Some(Arc::clone(client_context));
        // Another app server may have refreshed it. Old SDKs do not support the message.
        if claims_changed && owner.is_recent_sdk {
            owner
                .send_queue
                .push_for(connection, |out| to_protocol::claims_changed(connection, client_context, out));
        }
    }

    fn send_rate(&self, connection: ConnectionId, pace: SendRate) {
        let mut state = self.client.state();
        let before = std::mem::replace(&mut state.pace, pace);
        let Some(owner) = state.owner.clone().filter(|owner| owner.is_recent_sdk) else { return };
        owner.set_slow(connection, pace == SendRate::Reduced);
        if state.forwarding.is_paused() {
            // It is paused already for its migration.
            return;
        }
        match (before, pace) {
            (SendRate::Full, SendRate::Reduced | SendRate::Paused) => {
                state.flow_control(connection, &owner, FlowOperation::Pause);
            }
            (SendRate::Reduced | SendRate::Paused, SendRate::Full) => {
                state.flow_control(connection, &owner, FlowOperation::Resume);
            }
            _ => {}
        }
    }

    fn overflowed(&self, connection: ConnectionId, why: &str) {
        let Some(owner) = self.client.owner() else { return };
        tracing::warn!(%connection, hub = %self.client.hub, server = %owner.server_id, why, "a client does not read the messages of its app server");
        let id = connection.to_string();
        owner.send_queue.push(&to_protocol::event(EVENT_CONNECTION, &id, EVENT_BUFFER_FULL, why));
    }

    fn reconnected(&self, connection: ConnectionId) {
        let mut state = self.client.state();
        state.forwarding.restart();
        state.notify_if_drained();
        // Old SDKs do not support the message, and receive no partial messages that they would have to discard.
        if let Some(owner) = state.owner.as_ref().filter(|owner| owner.is_recent_sdk) {
            owner.send_queue.push_for(connection, |out| to_protocol::reconnected(connection, out));
        }
    }
}
