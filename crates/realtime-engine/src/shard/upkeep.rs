//! Checks the deadlines of connections: describes a connection to [`due`], and performs the verdict.

use std::time::Duration;

use signalr_protocol::HubMessage;
use supervision::is_mutated;
use websocket::CloseCode;

use super::Shard;
use super::connection::{Connection, ConnectionState, TransportState};
use super::deadlines::Tick;
use super::due::{OpenView, ReachedBy, Verdict, View, due};
use super::encode::hub_frame;
use super::keys::Slot;
use super::pending::FrameAppender;
use crate::{HttpTransport, HttpTransportKind};

impl Shard {
    /// Performs what is due now, for connections and for memberships of users.
    pub(super) fn check_deadlines(&mut self) {
        let mut entries = Vec::new();
        self.deadlines.advance(self.now, &mut entries);
        for entry in entries {
            let same = |connection: &Connection| connection.generation == entry.generation;
            if self.connections.get(entry.slot as usize).is_some_and(same) {
                let verdict = due(&self.view(entry.slot), self.now);
                if let Some(next) = self.perform(entry.slot, verdict) {
                    self.deadlines.add(next, entry);
                }
            }
        }
        self.check_stateful();
        self.check_slow_readers();
        self.index.expire(&mut self.connections, self.now);
        self.shrink_tables();
    }

    /// Performs a verdict; returns when to check again, if the connection still exists.
    pub(super) fn perform(&mut self, slot: Slot, verdict: Verdict) -> Option<Tick> {
        match verdict {
            Verdict::Wait(until) => return Some(until),
            Verdict::Ping(then) if is_mutated("ping-left-out") => return Some(then),
            Verdict::Ping(then) => {
                let ping = hub_frame(&HubMessage::Ping, self.connections[slot as usize].protocol);
                self.append_or_end(slot, &mut FrameAppender::new(ping));
                return self.connections.contains(slot as usize).then_some(then);
            }
            Verdict::PingServer(then) => {
                self.ping_server_for(slot, false);
                return Some(then);
            }
            Verdict::Refuse(reason, why) => {
                self.close_with(slot, reason, None, CloseCode::POLICY_VIOLATION, why);
            }
            Verdict::Close { reason, error, allow_reconnect } => {
                self.close(slot, reason, Some(error), allow_reconnect);
            }
            Verdict::LoseSocket(reason) => {
                self.lose_client(slot, reason);
                let disconnect = self.now.plus(self.timeouts.disconnect);
                return self.connections.contains(slot as usize).then_some(disconnect);
            }
            Verdict::End(reason) => self.end(slot, reason),
            Verdict::Remove => self.remove(slot),
            Verdict::EndStalledReader => self.end_stalled_reader(slot),
            Verdict::Acknowledge => {
                self.release_withheld(slot);
                self.acknowledge(slot);
            }
        }
        // The deadline of a close that has started is measured from now.
        self.connections.contains(slot as usize).then(|| self.now.plus(self.timeouts.close))
    }

    fn view(&self, slot: Slot) -> View {
        let connection = &self.connections[slot as usize];
        match &connection.state {
            ConnectionState::Handshaking(handshaking) => View::Handshaking { deadline: handshaking.deadline },
            ConnectionState::Opening(opening) => View::Opening { deadline: opening.deadline },
            ConnectionState::Closing { .. } => {
                View::Closing { since: connection.last_received_at, timeouts: self.timeouts }
            }
            ConnectionState::Open(_) => View::Open(self.open_view(connection)),
        }
    }

    fn open_view(&self, connection: &Connection) -> OpenView {
        let rare = connection.rare();
        let last_message_at = rare.map_or(self.now, |rare| rare.last_message_at);
        OpenView {
            reached_by: self.reached_by(connection),
            token_expires: connection.expires(),
            idle_deadline: self.idle_ticks(connection).map(|ticks| last_message_at.plus(ticks)),
            resuming_since: rare.and_then(|rare| rare.stateful.as_ref()?.waits_since()),
            last_received_at: connection.last_received_at,
            last_sent_at: connection.last_sent_at,
            has_pinged: connection.has_pinged,
            is_paused: connection.is_paused,
            spread: connection.generation,
            timeouts: self.timeouts,
        }
    }

    fn reached_by(&self, connection: &Connection) -> ReachedBy {
        match &connection.transport {
            TransportState::Socket(_) => ReachedBy::Socket,
            TransportState::Http(http) => {
                let request_deadline = self.request_deadline(http);
                match http.kind() {
                    HttpTransportKind::ServerSentEvents => ReachedBy::ServerSentEvents { request_deadline },
                    HttpTransportKind::LongPolling => ReachedBy::LongPolling { request_deadline },
                }
            }
            TransportState::Detached { until } => ReachedBy::Nothing { deadline: *until },
        }
    }

    /// The deadline for the next poll; `None` while there is one.
    fn request_deadline(&self, http: &HttpTransport) -> Option<Tick> {
        let patience = Duration::from_millis(self.settings.options.disconnect_timeout_ms);
        Some(self.deadlines.after(http.idle_since()?, patience))
    }

    /// The view of a client that reads more slowly than messages are sent to it.
    pub(super) fn slow_reader_view(&self, slot: Slot) -> View {
        let connection = &self.connections[slot as usize];
        let deadline = match &connection.transport {
            TransportState::Socket(_) => {
                Some(connection.last_sent_at.plus(self.timeouts.own_stalled).plus(1))
            }
            TransportState::Http(http) => {
                let patience = Duration::from_millis(self.settings.options.own_stalled_timeout_ms);
                Some(self.deadlines.after(http.last_read_at(), patience))
            }
            TransportState::Detached { .. } => None,
        };
        View::SlowReader { deadline }
    }

    fn idle_ticks(&self, connection: &Connection) -> Option<u32> {
        let idle_ms = self.index.policy(connection.index_entry()?.hub).idle_timeout_ms?;
        Some(self.deadlines.ticks(Duration::from_millis(idle_ms.get())))
    }
}
