//! Opens connections: attaches the transport, reads the handshake request, requests a decision, sends the response, adds the
//! connection to its hub.

use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use mio::event::Source;
use mio::{Interest, Token};
use signalr_protocol::{
    HANDSHAKE_SUCCESS, HandshakeError, HandshakeRequest, HubProtocol, RECORD_SEPARATOR, TransferFormat,
    handshake_error,
};
use supervision::is_mutated;
use websocket::{CloseCode, Decoder, Opcode, Role, frame};

use super::Shard;
use super::closing::client_of;
use super::connection::{Connection, ConnectionState, Handshaking, Opening, TransportState};
use super::deadlines::Due;
use super::encode::opcode;
use super::keys::Slot;
use super::pending::{Frame, FrameAppender};
use super::stateful::Stateful;
use crate::limits::Bucket;
use crate::{ClientAdmission, EndReason, HandshakeDecision, SendRate, TraceEventKind, Transport};

/// Longest handshake request: it has a name and a number.
const HANDSHAKE_BYTES_MAX: usize = 4096;

impl Shard {
    pub(super) fn attach(&mut self, transport: Transport, admission: ClientAdmission) {
        if self.draining.is_some() {
            self.settings.connections.fetch_sub(1, Ordering::AcqRel);
            self.settings.hub_counts.release(&admission.hub);
            if let Transport::Http(http) = transport {
                http.end();
            }
            return;
        }
        self.generation = self.generation.wrapping_add(1);
        let wait = admission.handshake_timeout.map(|time| self.deadlines.ticks(time));
        let deadline = self.now.plus(wait.unwrap_or(self.timeouts.handshake)).plus(1);
        let id = admission.connection;
        let transport = match transport {
            Transport::Socket(socket) => TransportState::Socket(socket),
            Transport::Http(http) => TransportState::Http(http),
        };
        let entry = self.connections.vacant_entry();
        let slot = Slot::try_from(entry.key()).expect("connections_max keeps slots in 32 bits");
        entry.insert(Connection {
            transport,
            decoder: Decoder::new(Role::Server, self.settings.options.message_bytes_max),
            frame_list: None,
            backlog: None,
            state: ConnectionState::Handshaking(Box::new(Handshaking {
                admission,
                deadline,
                record: Vec::new(),
            })),
            uncommon: None,
            id,
            generation: self.generation,
            last_sent_at: self.now,
            last_received_at: self.now,
            protocol: HubProtocol::Json,
            dirty: false,
            has_pinged: false,
            is_stateful: false,
            is_paused: false,
            send_rate: SendRate::Full,
        });
        self.index.admit(id, slot);
        self.deadlines.add(deadline, Due { slot, generation: self.generation });
        self.watch_socket(slot);
    }

    /// Registers a connection's socket, and reads what arrived with it.
    pub(super) fn watch_socket(&mut self, slot: Slot) {
        let TransportState::Socket(socket) = &mut self.connections[slot as usize].transport else { return };
        let both = Interest::READABLE | Interest::WRITABLE;
        let registered = socket.register(self.poll.registry(), Token(slot as usize), both);
        let has_leftover = socket.has_leftover();
        if let Err(error) = registered {
            tracing::error!(%error, "a socket cannot be registered with the poll");
            return self.end(slot, EndReason::ConnectionLost);
        }
        if has_leftover {
            self.on_readable(slot);
        }
    }

    /// Handles bytes of a handshake request. It may arrive in parts, and hub messages may follow it in the same part.
    pub(super) fn on_handshake_bytes(&mut self, slot: Slot, payload: &[u8]) {
        let ConnectionState::Handshaking(handshaking) = &mut self.connections[slot as usize].state else {
            return;
        };
        let end = payload.iter().position(|byte| *byte == RECORD_SEPARATOR);
        let mut record = std::mem::take(&mut handshaking.record);
        record.extend_from_slice(&payload[..end.unwrap_or(payload.len())]);
        let Some(end) = end.filter(|_| record.len() <= HANDSHAKE_BYTES_MAX) else {
            if record.len() > HANDSHAKE_BYTES_MAX {
                return self.refuse_handshake(slot, "the handshake request is longer than 4096 bytes");
            }
            handshaking.record = record;
            return;
        };
        let is_serverless = handshaking.admission.server.is_none();
        let is_text_only = self.connections[slot as usize].is_text_only();
        match HandshakeRequest::parse(&record) {
            Err(error) => self.refuse_handshake(slot, &error.to_string()),
            // Only an app server can handle the messages of a Blazor client.
            Ok(HandshakeRequest { protocol: protocol @ HubProtocol::BlazorPack, .. }) if is_serverless => {
                let refused = HandshakeError::Protocol(protocol.name().to_owned());
                self.refuse_handshake(slot, &refused.to_string());
            }
            Ok(HandshakeRequest { protocol, .. })
                if is_text_only && protocol.transfer_format() == TransferFormat::Binary =>
            {
                let name = protocol.name();
                let why = format!(
                    "the hub protocol '{name}' is binary, and Server-Sent Events carry text only; use another transport, or 'json'"
                );
                self.refuse_handshake(slot, &why);
            }
            Ok(request) => self.request_decision(slot, request, record, &payload[end + 1..]),
        }
    }

    /// The handshake request is complete: asks the app server or upstream for a decision.
    fn request_decision(&mut self, slot: Slot, request: HandshakeRequest, mut record: Vec<u8>, rest: &[u8]) {
        let connection = &mut self.connections[slot as usize];
        let state = std::mem::replace(&mut connection.state, ConnectionState::Closing { shut: false });
        let ConnectionState::Handshaking(handshaking) = state else {
            unreachable!("only called for a connection in its handshake");
        };
        let Handshaking { mut admission, deadline, .. } = *handshaking;
        connection.protocol = request.protocol;
        // Negotiate offered stateful reconnect; version 2 of the protocol accepts it.
        admission.stateful &= request.version >= 2;
        let client = client_of(&admission, request.protocol);
        let (server, is_stateful) = (admission.server.clone(), admission.stateful);
        let opening = Opening { admission, deadline, rest: rest.to_vec() };
        connection.state = ConnectionState::Opening(Box::new(opening));
        if let Some(server) = server {
            server.open(&client);
            record.push(RECORD_SEPARATOR);
            if !is_stateful {
                record.extend_from_slice(rest);
                if let ConnectionState::Opening(opening) = &mut self.connections[slot as usize].state {
                    opening.rest = Vec::new();
                }
            }
            // The capacity does not matter: nothing more is read before the response.
            server.data(client.id, record.into(), false);
            return;
        }
        match self.settings.upstream.connecting(&client) {
            HandshakeDecision::Accept => {
                self.send_handshake_response(slot, Bytes::from_static(HANDSHAKE_SUCCESS));
            }
            // Reading is paused until then, so that nothing has to be buffered.
            HandshakeDecision::Wait => self.connections[slot as usize].is_paused = true,
        }
    }

    /// The decision that [`Upstream::connecting`](crate::Upstream::connecting) has postponed.
    pub(super) fn opened(&mut self, slot: Slot, result: Result<(), Box<str>>) {
        if !matches!(self.connections[slot as usize].state, ConnectionState::Opening(_)) {
            return;
        }
        match result {
            Ok(()) => {
                self.send_handshake_response(slot, Bytes::from_static(HANDSHAKE_SUCCESS));
                self.resume(slot);
            }
            Err(why) => self.refuse_handshake(slot, &why),
        }
    }

    fn refuse_handshake(&mut self, slot: Slot, why: &str) {
        let record = Frame::required(frame(Opcode::Text, &handshake_error(why)));
        self.leave_with(slot, EndReason::HandshakeRefused, record, why);
    }

    fn leave_with(&mut self, slot: Slot, reason: EndReason, last: Frame, why: &str) {
        // The response contains the text; a close frame is too short for it.
        tracing::debug!(why, "a handshake was refused");
        self.close_with(slot, reason, Some(last), CloseCode::NORMAL, "");
    }

    /// Sends the handshake response, and adds the connection to its hub.
    pub(super) fn send_handshake_response(&mut self, slot: Slot, answer: Bytes) {
        let connection = &mut self.connections[slot as usize];
        // The index sets the connection's positions below.
        let state = std::mem::replace(&mut connection.state, ConnectionState::Closing { shut: false });
        let ConnectionState::Opening(opening) = state else {
            unreachable!("only called for a connection that is opening");
        };
        let Opening { admission, deadline, rest } = *opening;
        let (hub, user, protocol) = (admission.hub.clone(), admission.user.clone(), connection.protocol);
        self.apply_admission(slot, admission, deadline);
        self.index.open(&mut self.connections, slot, &hub, user.as_ref());
        // Before any message that is published later.
        self.append_or_end(slot, &mut FrameAppender::new(Frame::required(frame(opcode(protocol), &answer))));
        let Some(client) = self.client(slot) else { return };
        let connection = &self.connections[slot as usize];
        let transport = connection.transport_name();
        let is_served = connection.server().is_some();
        if !is_served {
            self.settings.upstream.connected(&client);
        }
        self.trace(&client, || TraceEventKind::Connected { protocol, transport });
        if !rest.is_empty() {
            self.on_hub_bytes(slot, &rest, true);
            if is_served {
                // It was paused until the response.
                self.resume(slot);
            }
        }
    }

    /// Stores the parts of an admission that an open connection needs.
    fn apply_admission(
        &mut self,
        slot: Slot,
        admission: ClientAdmission,
        checked_at: super::deadlines::Tick,
    ) {
        let now = self.instant;
        let connection = &mut self.connections[slot as usize];
        let ClientAdmission { hub, user, expires_at, client_context, roles, stateful, server, guard, .. } =
            admission;
        if client_context.is_some() {
            connection.uncommon.get_or_insert_default().client_context = client_context;
        }
        if let Some(expires_at) = expires_at {
            let left = expires_at.duration_since(SystemTime::now()).unwrap_or_default();
            let early = if is_mutated("token-expires-early") { 2_000 } else { 0 };
            let left = left.saturating_sub(Duration::from_millis(early));
            let expires = self.deadlines.after(now, left);
            connection.rare_or_new().expires = Some(expires);
            // The next check is at the handshake timeout, which may be too late.
            if expires < checked_at {
                let due = Due { slot, generation: connection.generation };
                self.deadlines.add(expires, due);
            }
        }
        if roles.is_some() {
            connection.rare_or_new().roles = roles;
        }
        if stateful {
            connection.rare_or_new().stateful = Some(Box::new(Stateful::new()));
            connection.is_stateful = true;
        }
        if server.is_some() {
            connection.rare_or_new().server = server;
        }
        if guard.is_some() {
            connection.rare_or_new().guard = guard;
        }
        if !self.connection_rates.is_unlimited() {
            connection.rare_or_new().bucket = Some(Box::new(Bucket::new(self.connection_rates, now)));
        }
        if let (Some(user), false) = (&user, self.user_rates.is_unlimited()) {
            let bucket = self.settings.user_buckets.get(&hub, user, self.user_rates, now);
            connection.rare_or_new().user_bucket = Some(bucket);
        }
        // The next check is at the handshake timeout, which may be too late for other deadlines.
        let mut check_at = self.timeouts.keep_alive.min(self.timeouts.client_timeout);
        if self.settings.options.limits_idle_time() {
            connection.rare_or_new().last_message_at = self.now;
            if let Some(idle) = self.index.policy_of(&hub).idle_timeout_ms {
                check_at = check_at.min(self.deadlines.ticks(Duration::from_millis(idle.get())));
            }
        }
        if connection.is_kept_alive_by_transport() {
            check_at = check_at.min(self.timeouts.disconnect);
        }
        let at = self.now.plus(check_at).plus(1);
        if at < checked_at {
            self.deadlines.add(at, Due { slot, generation: connection.generation });
        }
        if connection.is_stateful {
            self.check_soon(slot);
        }
    }
}
