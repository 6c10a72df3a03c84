//! The write phase. All writes to sockets happen here, so that it can be replaced.
//!
//! Each transport appends and delivers frames in its own module: `flush/socket.rs` and `flush/http.rs`; a stateful client without
//! a socket has none. `flush/resumable.rs` wraps them for stateful clients. This file has the common part: which connections are
//! written to, when, and what happens when a write fails.

mod http;
mod resumable;
mod room;
mod socket;

use std::io;

use self::room::Account;
pub(super) use self::room::Appended;
use self::socket::{Outcome, Report};
use super::Shard;
use super::connection::{Connection, ConnectionState, TransportState};
use super::index::HubPolicy;
use super::keys::Slot;
use super::pending::{Backlog, FrameAppender};
use super::stateful::Bounds;
use crate::EndReason;

impl Shard {
    /// Appends a frame to what is pending for a connection. Nothing is written yet. The policy is that of the connection's hub.
    pub(super) fn append(&mut self, slot: Slot, appender: &mut FrameAppender, policy: HubPolicy) -> Appended {
        let connection = &mut self.connections[slot as usize];
        let mut account =
            Account { pending_bytes: &mut self.pending_bytes, dropped: &mut self.metrics.turn.dropped };
        let appended = if connection.is_stateful {
            let options = &self.settings.options;
            let bounds = Bounds {
                bytes_max: options.stateful_bytes_max as usize,
                own_bytes_max: options.own_pending_bytes_max as usize,
            };
            append_stateful(connection, appender, bounds, policy, &mut account, &mut self.buffered_own_bytes)
        } else {
            append(connection, appender, policy, &mut account)
        };
        if connection.frame_list.is_some() && !connection.dirty {
            connection.dirty = true;
            self.dirty.push_back(slot);
            self.dirtied += 1;
        }
        appended
    }

    /// The policy of the connection's hub.
    pub(super) fn policy(&self, slot: Slot) -> HubPolicy {
        let index_entry = self.connections[slot as usize].index_entry();
        index_entry.map_or(self.default_policy, |index_entry| self.index.policy(index_entry.hub))
    }

    /// Appends a frame; if it does not fit, writes first, or ends the connection.
    pub(super) fn append_or_end(&mut self, slot: Slot, appender: &mut FrameAppender) {
        let policy = self.policy(slot);
        let mut appended = self.append(slot, appender, policy);
        if appended == Appended::FlushFirst {
            self.flush(slot);
            if !self.connections.contains(slot as usize) {
                return;
            }
            appended = self.append(slot, appender, policy);
        }
        if appended != Appended::Waits {
            self.end(slot, EndReason::SlowConsumer);
        }
    }

    /// Writes to connections with pending frames, at most one chunk. Returns whether any are left.
    pub(super) fn flush_chunk(&mut self) -> bool {
        for _ in 0..self.settings.options.flush_chunk.max(1) {
            let Some(slot) = self.dirty.pop_front() else { break };
            self.flushed += 1;
            self.flush(slot);
        }
        while self.traced.front().is_some_and(|(mark, _)| *mark <= self.flushed) {
            // Ends the span of a publish that was written to all its receivers.
            self.traced.pop_front();
        }
        !self.dirty.is_empty()
    }

    /// One write for everything that is pending for one connection.
    pub(super) fn flush(&mut self, slot: Slot) {
        let Some(connection) = self.connections.get_mut(slot as usize) else { return };
        connection.dirty = false;
        let Some(frame_list) = connection.frame_list.take() else { return };
        debug_assert!(connection.backlog.is_none(), "a connection has a frame list or a backlog");
        match &mut connection.transport {
            TransportState::Socket(_) if socket::is_long(&frame_list) => {
                self.pending_bytes += frame_list.bytes() as u64;
                connection.backlog = Some(Box::new(Backlog::rest_of(&frame_list, 0)));
                self.write_backlog(slot);
            }
            TransportState::Socket(socket) => {
                let (report, rest) = socket::write_frame_list(socket, &frame_list);
                if let Some(rest) = rest {
                    self.pending_bytes += rest.bytes() as u64;
                    connection.backlog = Some(Box::new(rest));
                }
                self.finish_write(slot, report);
            }
            TransportState::Http(http) => {
                http::flush(http, &frame_list);
                if frame_list.has_hub_message() {
                    connection.last_sent_at = self.now;
                }
                self.metrics.turn.frames += u64::from(frame_list.frames());
                if connection.is_closing() {
                    self.shut_down_writing(slot);
                }
            }
            // The buffered frames are sent on a new socket.
            TransportState::Detached { .. } => {}
        }
    }

    /// The socket is writable.
    pub(super) fn on_writable(&mut self, slot: Slot) {
        let Some(connection) = self.connections.get_mut(slot as usize) else { return };
        let TransportState::Socket(socket) = &mut connection.transport else { return };
        if socket.wants_write() {
            match socket.try_flush() {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(_) => return self.lose_socket(slot),
            }
        }
        self.write_backlog(slot);
    }

    /// Writes the backlog until the socket would block.
    pub(super) fn write_backlog(&mut self, slot: Slot) {
        let Some(connection) = self.connections.get_mut(slot as usize) else { return };
        let (TransportState::Socket(socket), Some(backlog)) =
            (&mut connection.transport, &mut connection.backlog)
        else {
            return;
        };
        let report = socket::write_backlog(socket, backlog);
        self.pending_bytes -= report.bytes as u64;
        if report.outcome == Outcome::Written {
            connection.backlog = None;
        }
        let is_closing = connection.is_closing();
        self.finish_write(slot, report);
        match report.outcome {
            Outcome::Written if is_closing => {}
            Outcome::Written | Outcome::Blocked => self.raise_send_rate(slot),
            Outcome::Lost => {}
        }
    }

    /// Counts what was written to a socket, and handles the outcome.
    fn finish_write(&mut self, slot: Slot, report: Report) {
        let Report { outcome, writes, bytes, frames, has_hub_message } = report;
        let turn = &mut self.metrics.turn;
        turn.writes += writes;
        turn.sent_bytes += bytes as u64;
        turn.frames += frames;
        let connection = &mut self.connections[slot as usize];
        if has_hub_message {
            connection.last_sent_at = self.now;
        }
        match outcome {
            Outcome::Written if connection.is_closing() => self.shut_down_writing(slot),
            Outcome::Written => {}
            Outcome::Blocked => turn.blocked_writes += 1,
            Outcome::Lost => self.lose_socket(slot),
        }
    }

    /// The last byte was written: shuts down our side; the client or the deadline ends the connection.
    fn shut_down_writing(&mut self, slot: Slot) {
        let connection = &mut self.connections[slot as usize];
        if !matches!(connection.state, ConnectionState::Closing { shut: false }) {
            return;
        }
        connection.state = ConnectionState::Closing { shut: true };
        let socket = match &mut connection.transport {
            TransportState::Socket(socket) => socket,
            // The client may read its last messages until the close timeout.
            TransportState::Http(http) => return http.end(),
            TransportState::Detached { .. } => return,
        };
        match socket.shutdown_write() {
            Ok(()) => {}
            // The rest is written when the socket is writable.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => self.remove(slot),
        }
    }

    /// Subtracts a connection's pending bytes, before it is dropped.
    pub(super) fn subtract_pending(pending_bytes: &mut u64, connection: &Connection) {
        if let Some(backlog) = &connection.backlog {
            *pending_bytes -= backlog.bytes() as u64;
        }
    }
}

/// Appends a frame for the current transport of a connection.
fn append(
    connection: &mut Connection,
    appender: &mut FrameAppender,
    policy: HubPolicy,
    account: &mut Account<'_>,
) -> Appended {
    let Connection { transport, frame_list, backlog, .. } = connection;
    match transport {
        TransportState::Socket(_) => {
            socket::append(frame_list, backlog.as_deref_mut(), appender, policy, account)
        }
        TransportState::Http(http) => http::append(http, frame_list, appender, policy, account),
        // The buffered frames are sent on a new socket.
        TransportState::Detached { .. } => Appended::Waits,
    }
}

/// As [`append`], for a client that may reconnect statefully.
fn append_stateful(
    connection: &mut Connection,
    appender: &mut FrameAppender,
    bounds: Bounds,
    policy: HubPolicy,
    account: &mut Account<'_>,
    buffered_own_bytes: &mut u64,
) -> Appended {
    // Moved out of the connection, so that the transport can be borrowed at the same time.
    let rare = connection.rare_mut();
    let Some(mut stateful) = rare.and_then(|rare| rare.stateful.take()) else {
        return append(connection, appender, policy, account);
    };
    let has_transport = !matches!(connection.transport, TransportState::Detached { .. });
    let before = stateful.own_bytes() as u64;
    let appended = resumable::append(&mut stateful, appender, bounds, has_transport, |appender| {
        append(connection, appender, resumable::policy(policy), account)
    });
    *buffered_own_bytes = *buffered_own_bytes + stateful.own_bytes() as u64 - before;
    if let Some(rare) = connection.rare_mut() {
        rare.stateful = Some(stateful);
    }
    appended
}
