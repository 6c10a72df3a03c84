//! The write phase. All writing to sockets happens here, so that it can be exchanged as a whole.
//!
//! Each transport has its own way to let frames wait and to deliver them: `flush/socket.rs`, `flush/http.rs`, and, where a stateful
//! client has lost its socket, none. `flush/resumable.rs` wraps them for stateful clients. Here is what they have in common: which
//! connections are written to, when, and what becomes of those that cannot be.

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
use super::pending::{Backlog, Step};
use super::stateful::Bounds;
use crate::EndReason;

impl Shard {
    /// Lets a frame wait for a connection. Nothing is written yet. The policy is that of the connection's hub.
    pub(super) fn append(&mut self, slot: Slot, step: &mut Step, policy: HubPolicy) -> Appended {
        let connection = &mut self.connections[slot as usize];
        let mut account =
            Account { pending_bytes: &mut self.pending_bytes, left_out: &mut self.metrics.turn.left_out };
        let appended = if connection.is_stateful {
            let options = &self.settings.options;
            let bounds = Bounds {
                bytes_max: options.stateful_bytes_max as usize,
                own_bytes_max: options.own_pending_bytes_max as usize,
            };
            append_stateful(connection, step, bounds, policy, &mut account, &mut self.kept_own_bytes)
        } else {
            append(connection, step, policy, &mut account)
        };
        if connection.run.is_some() && !connection.dirty {
            connection.dirty = true;
            self.dirty.push_back(slot);
            self.dirtied += 1;
        }
        appended
    }

    /// What holds for the connection's hub.
    pub(super) fn policy(&self, slot: Slot) -> HubPolicy {
        let index_entry = self.connections[slot as usize].index_entry();
        index_entry.map_or(self.default_policy, |index_entry| self.index.policy(index_entry.hub))
    }

    /// Appends, and makes room where there is none: by writing, or by ending the connection.
    pub(super) fn append_or_end(&mut self, slot: Slot, step: &mut Step) {
        let policy = self.policy(slot);
        let mut appended = self.append(slot, step, policy);
        if appended == Appended::FlushFirst {
            self.flush(slot);
            if !self.connections.contains(slot as usize) {
                return;
            }
            appended = self.append(slot, step, policy);
        }
        if appended != Appended::Waits {
            self.end(slot, EndReason::SlowConsumer);
        }
    }

    /// Writes to the connections that wait, at most one chunk of them. Says whether any are left.
    pub(super) fn flush_chunk(&mut self) -> bool {
        for _ in 0..self.settings.options.flush_chunk.max(1) {
            let Some(slot) = self.dirty.pop_front() else { break };
            self.flushed += 1;
            self.flush(slot);
        }
        while self.traced.front().is_some_and(|(mark, _)| *mark <= self.flushed) {
            // Ends the span of a publish whose receivers have all been written to.
            self.traced.pop_front();
        }
        !self.dirty.is_empty()
    }

    /// One write for all that waits for one connection.
    pub(super) fn flush(&mut self, slot: Slot) {
        let Some(connection) = self.connections.get_mut(slot as usize) else { return };
        connection.dirty = false;
        let Some(run) = connection.run.take() else { return };
        debug_assert!(connection.backlog.is_none(), "a connection has a run or a backlog");
        match &mut connection.transport {
            TransportState::Socket(_) if socket::is_long(&run) => {
                self.pending_bytes += run.bytes() as u64;
                connection.backlog = Some(Box::new(Backlog::rest_of(&run, 0)));
                self.write_backlog(slot);
            }
            TransportState::Socket(socket) => {
                let (report, rest) = socket::write_run(socket, &run);
                if let Some(rest) = rest {
                    self.pending_bytes += rest.bytes() as u64;
                    connection.backlog = Some(Box::new(rest));
                }
                self.finish_write(slot, report);
            }
            TransportState::Http(http) => {
                http::flush(http, &run);
                if run.has_hub_message() {
                    connection.last_sent_at = self.now;
                }
                self.metrics.turn.frames += u64::from(run.frames());
                if connection.is_closing() {
                    self.shut(slot);
                }
            }
            // A new socket is sent what is kept.
            TransportState::Detached { .. } => {}
        }
    }

    /// The socket can take more.
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

    /// Writes what waits until the socket takes no more.
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

    /// Counts what was written to a socket, and does what follows from it.
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
            Outcome::Written if connection.is_closing() => self.shut(slot),
            Outcome::Written => {}
            Outcome::Blocked => turn.blocked_writes += 1,
            Outcome::Lost => self.lose_socket(slot),
        }
    }

    /// Our last byte is written: ends our side, and leaves the rest to the client or to the deadline.
    fn shut(&mut self, slot: Slot) {
        let connection = &mut self.connections[slot as usize];
        if !matches!(connection.state, ConnectionState::Closing { shut: false }) {
            return;
        }
        connection.state = ConnectionState::Closing { shut: true };
        let socket = match &mut connection.transport {
            TransportState::Socket(socket) => socket,
            // The client has the time for a close to take its last messages.
            TransportState::Http(http) => return http.end(),
            TransportState::Detached { .. } => return,
        };
        match socket.shutdown_write() {
            Ok(()) => {}
            // The rest goes out when the socket is writable.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => self.remove(slot),
        }
    }

    /// Takes a connection's pending bytes out of the account, before it is dropped.
    pub(super) fn forget_pending(pending_bytes: &mut u64, connection: &Connection) {
        if let Some(backlog) = &connection.backlog {
            *pending_bytes -= backlog.bytes() as u64;
        }
    }
}

/// Lets a frame wait for the transport that a connection has now.
fn append(
    connection: &mut Connection,
    step: &mut Step,
    policy: HubPolicy,
    account: &mut Account<'_>,
) -> Appended {
    let Connection { transport, run, backlog, .. } = connection;
    match transport {
        TransportState::Socket(_) => socket::append(run, backlog.as_deref_mut(), step, policy, account),
        TransportState::Http(http) => http::append(http, run, step, policy, account),
        // A new socket is sent what is kept.
        TransportState::Detached { .. } => Appended::Waits,
    }
}

/// As [`append`], for a client that may reconnect statefully.
fn append_stateful(
    connection: &mut Connection,
    step: &mut Step,
    bounds: Bounds,
    policy: HubPolicy,
    account: &mut Account<'_>,
    kept_own_bytes: &mut u64,
) -> Appended {
    // Out of the connection meanwhile, so that the transport can be reached beside it.
    let extra = connection.extra_mut();
    let Some(mut stateful) = extra.and_then(|extra| extra.stateful.take()) else {
        return append(connection, step, policy, account);
    };
    let has_transport = !matches!(connection.transport, TransportState::Detached { .. });
    let before = stateful.own_bytes() as u64;
    let appended = resumable::append(&mut stateful, step, bounds, has_transport, |step| {
        append(connection, step, resumable::policy(policy), account)
    });
    *kept_own_bytes = *kept_own_bytes + stateful.own_bytes() as u64 - before;
    if let Some(extra) = connection.extra_mut() {
        extra.stateful = Some(stateful);
    }
    appended
}
