//! The write phase. All writing to sockets happens here, so that it can be exchanged as a whole.

use std::io;

use super::Shard;
use super::connection::{Connection, Road, Slot, Stage};
use super::index::HubPolicy;
use super::pending::{Backlog, Frame, Run, Step};
use super::stateful::Bounds;
use crate::engine::{EndReason, SlowConsumer};

/// Runs up to this size are joined into one buffer; beyond it, copying costs more than the slices do.
const JOINED_BYTES_MAX: usize = 64 * 1024;

/// What became of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Appended {
    /// It waits.
    Waits,
    /// There is no room before what waits is written.
    FlushFirst,
    /// There is no room, and the socket takes no more.
    NoRoom,
}

impl Shard {
    /// Lets a frame wait for a connection. Nothing is written yet. The policy is that of the connection's hub.
    pub(super) fn append(&mut self, slot: Slot, step: &mut Step, policy: HubPolicy) -> Appended {
        if !self.connections[slot as usize].is_stateful {
            return self.append_by(slot, step, policy);
        }
        let options = &self.settings.options;
        let bounds = Bounds {
            bytes_max: options.stateful_bytes_max as usize,
            own_bytes_max: options.own_pending_bytes_max as usize,
        };
        let connection = &mut self.connections[slot as usize];
        let is_detached = matches!(connection.road, Road::Detached { .. });
        let is_counted = step.frame().counted() > 0;
        let waits_for_word = is_counted || step.frame().keeps_order();
        let is_held = connection.stateful_mut().is_some_and(|stateful| stateful.is_held()) && waits_for_word;
        // A stateful connection is never sent less than everything: its messages are counted.
        let policy = HubPolicy { slow_consumer: SlowConsumer::Disconnect, ..policy };
        let appended = if is_held { Appended::Waits } else { self.append_by(slot, step, policy) };
        match self.connections[slot as usize].stateful_mut() {
            Some(stateful) if appended == Appended::Waits => {
                let before = stateful.own_bytes() as u64;
                stateful.keep(step.frame(), bounds);
                self.kept_own_bytes = self.kept_own_bytes + stateful.own_bytes() as u64 - before;
                // What can neither be sent nor kept has nowhere to go.
                if (is_detached || is_held) && !stateful.can_resume() { Appended::NoRoom } else { appended }
            }
            _ => appended,
        }
    }

    fn append_by(&mut self, slot: Slot, step: &mut Step, policy: HubPolicy) -> Appended {
        let connection = &mut self.connections[slot as usize];
        let bytes = step.frame().len();
        if let Some(backlog) = &mut connection.backlog {
            let (freed, left_out) = make_room(backlog, step.frame(), policy);
            self.pending_bytes -= freed as u64;
            self.metrics.turn.left_out += left_out;
            if backlog.policed_bytes() + bytes > policy.pending_bytes_max {
                return Appended::NoRoom;
            }
            backlog.push(step.frame().piece());
            self.pending_bytes += bytes as u64;
            return Appended::Waits;
        }
        let waiting = connection.run.as_ref().map_or(0, |run| run.bytes());
        match &connection.road {
            Road::Socket(_) => {
                if waiting > 0 && waiting + bytes > policy.pending_bytes_max {
                    return Appended::FlushFirst;
                }
            }
            Road::Outlet(outlet) => {
                let taken = waiting + outlet.policed_bytes();
                if taken > 0 && taken + bytes > policy.pending_bytes_max {
                    let (_, left_out) = outlet.put(|backlog| make_room(backlog, step.frame(), policy));
                    self.metrics.turn.left_out += left_out;
                    if waiting + outlet.policed_bytes() + bytes > policy.pending_bytes_max {
                        return Appended::NoRoom;
                    }
                }
            }
            // Whoever comes back gets it from what is kept.
            Road::Detached { .. } => return Appended::Waits,
        }
        connection.run = Some(step.after(connection.run.as_ref()));
        if !connection.dirty {
            connection.dirty = true;
            self.dirty.push_back(slot);
            self.dirtied += 1;
        }
        Appended::Waits
    }

    /// What holds for the connection's hub.
    pub(super) fn policy(&self, slot: Slot) -> HubPolicy {
        let places = self.connections[slot as usize].places();
        places.map_or(self.default_policy, |places| self.index.policy(places.hub))
    }

    /// Appends, and makes room where there is none: by writing, or by giving the connection up.
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
        let socket = match &mut connection.road {
            Road::Socket(socket) => socket,
            Road::Outlet(outlet) => {
                if run.is_heard() {
                    connection.sent = self.now;
                }
                self.metrics.turn.frames += u64::from(run.frames());
                for piece in run.list().iter().filter_map(Frame::payload) {
                    outlet.push(piece);
                }
                if connection.is_closing() {
                    self.shut(slot);
                }
                return;
            }
            Road::Detached { .. } => return,
        };
        if is_long(&run) {
            self.pending_bytes += run.bytes() as u64;
            connection.backlog = Some(Box::new(Backlog::rest_of(&run, 0)));
            self.write_backlog(slot);
            return;
        }
        let result = socket.try_write(run.joined());
        self.written(slot, &run, result);
    }

    /// Takes note of what became of a write; what was not taken waits until the socket is writable.
    fn written(&mut self, slot: Slot, run: &Run, result: io::Result<usize>) {
        let connection = &mut self.connections[slot as usize];
        let turn = &mut self.metrics.turn;
        turn.writes += 1;
        let written = match result {
            Ok(written) => written,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
            Err(_) => return self.lose_socket(slot),
        };
        turn.sent_bytes += written as u64;
        if run.is_heard() {
            connection.sent = self.now;
        }
        if written < run.bytes() {
            turn.blocked_writes += 1;
            self.pending_bytes += (run.bytes() - written) as u64;
            connection.backlog = Some(Box::new(Backlog::rest_of(run, written)));
            return;
        }
        turn.frames += u64::from(run.frames());
        if connection.is_closing() {
            self.shut(slot);
        }
    }

    /// The socket can take more.
    pub(super) fn on_writable(&mut self, slot: Slot) {
        let Some(connection) = self.connections.get_mut(slot as usize) else { return };
        let Road::Socket(socket) = &mut connection.road else { return };
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
        let Road::Socket(socket) = &mut connection.road else { return };
        let Some(mut backlog) = connection.backlog.take() else { return };
        let turn = &mut self.metrics.turn;
        while !backlog.is_empty() {
            turn.writes += 1;
            let is_heard = backlog.is_heard();
            match socket.try_write_vectored(&backlog.slices()) {
                Ok(written) => {
                    turn.sent_bytes += written as u64;
                    turn.frames += backlog.advance(written);
                    self.pending_bytes -= written as u64;
                    if is_heard {
                        connection.sent = self.now;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    turn.blocked_writes += 1;
                    connection.backlog = Some(backlog);
                    return self.quicken(slot);
                }
                Err(_) => {
                    connection.backlog = Some(backlog);
                    return self.lose_socket(slot);
                }
            }
        }
        if connection.is_closing() {
            return self.shut(slot);
        }
        self.quicken(slot);
    }

    /// Our last byte is written: ends our side, and leaves the rest to the client or to the deadline.
    fn shut(&mut self, slot: Slot) {
        let connection = &mut self.connections[slot as usize];
        if !matches!(connection.stage, Stage::Closing { shut: false }) {
            return;
        }
        connection.stage = Stage::Closing { shut: true };
        let socket = match &mut connection.road {
            Road::Socket(socket) => socket,
            // The client has the time for a close to take its last messages.
            Road::Outlet(outlet) => return outlet.end(),
            Road::Detached { .. } => return,
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

/// Whether a run is written in slices, as it is, rather than joined.
fn is_long(run: &Run) -> bool {
    run.bytes() > JOINED_BYTES_MAX && run.frames() > 1
}

/// Leaves out of a backlog what the hub's policy lets go for a new frame: how many bytes, and how many calls.
fn make_room(backlog: &mut Backlog, frame: &Frame, policy: HubPolicy) -> (usize, u64) {
    match policy.slow_consumer {
        SlowConsumer::Disconnect => (0, 0),
        SlowConsumer::DropOldest => backlog.drop_oldest(frame.len(), policy.pending_bytes_max),
        SlowConsumer::LatestByKey => backlog.replace(frame.class()),
    }
}
