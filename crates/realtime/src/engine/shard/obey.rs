//! The command phase: what the rest of the process asks of a shard.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use mio::event::Source;
use mio::{Interest, Token};
use signalr_protocol::HubProtocol;
use tokio::sync::mpsc::error::TryRecvError;
use websocket::{CloseCode, Decoder, Role};

use super::connection::{Connection, Handshaking, Slot, Stage};
use super::deadlines::Due;
use super::encode::Encoded;
use super::flush::Appended;
use super::{Inbox, Shard};
use crate::engine::command::{Command, Subject, Work};
use crate::engine::{Admission, EndReason, Hub, Membership, Target};

impl Shard {
    /// Takes what the queue holds, but no more than it can hold. Says whether there may be more.
    pub(super) fn take_commands(&mut self, inbox: &mut Inbox, now: Instant) -> bool {
        // First the flag, then the queue: what is put in afterwards rings again. An exchange, not a store, so that whoever
        // found the flag still set has its command seen here.
        inbox.alarm.rung.swap(false, Ordering::AcqRel);
        for _ in 0..self.settings.options.commands_max.max(1) {
            match inbox.commands.try_recv() {
                Ok(command) => self.carry_out(command, now),
                Err(TryRecvError::Empty) => return false,
                Err(TryRecvError::Disconnected) => {
                    // Nobody can reach the engine any more, not even to drain it.
                    self.draining.get_or_insert(now);
                    return false;
                }
            }
        }
        true
    }

    fn carry_out(&mut self, command: Command, now: Instant) {
        // Who asked may have gone away; what was asked is done all the same, so answers may fail to arrive.
        match command {
            Command::Attach(socket, admission) => self.attach(*socket, *admission),
            Command::Publish(work) => self.publish(work),
            Command::ChangeConnection { hub, connection, group, membership, found } => {
                let slot = self.index.find(&self.connections, &hub, connection);
                if let Some(slot) = slot {
                    match membership {
                        Membership::Join => self.index.join(&mut self.connections, slot, &group),
                        Membership::Leave => self.index.leave(&mut self.connections, slot, &group),
                    }
                }
                let _ = found.send(slot.is_some());
            }
            Command::LeaveAllGroups { hub, connection, found } => {
                let slot = self.index.find(&self.connections, &hub, connection);
                if let Some(slot) = slot {
                    self.index.leave_all(&mut self.connections, slot);
                }
                let _ = found.send(slot.is_some());
            }
            Command::ChangeUser { hub, user, group, membership, lifetime, taken } => {
                let connections = &mut self.connections;
                let done = match membership {
                    Membership::Join => {
                        let expires = lifetime.map(|lifetime| self.now.plus(self.deadlines.ticks(lifetime)));
                        self.index.user_joins(connections, &hub, &user, &group, expires).is_ok()
                    }
                    Membership::Leave => {
                        self.index.user_leaves(connections, &hub, &user, Some(&group));
                        true
                    }
                };
                let _ = taken.send(done);
            }
            Command::UserLeavesAllGroups { hub, user, done } => {
                self.index.user_leaves(&mut self.connections, &hub, &user, None);
                let _ = done.send(());
            }
            Command::Close { hub, target, excluded, reason, closed } => {
                let mut one = [0];
                let slots = self.index.receivers(&self.connections, &hub, &target, &mut one).to_vec();
                let mut count = 0;
                for slot in slots {
                    if !excluded.contains(&self.connections[slot as usize].id) {
                        self.close(slot, EndReason::Closed, reason.as_deref(), false);
                        count += 1;
                    }
                }
                let _ = closed.send(count);
            }
            Command::Exists { hub, subject, answer } => {
                let _ = answer.send(self.exists(&hub, &subject));
            }
            Command::Count { hub, answer } => {
                let count = hub.map_or_else(|| self.index.count(), |hub| self.index.hub_count(&hub));
                let _ = answer.send(count as u64);
            }
            Command::Drain { cut_after } => self.drain(now + cut_after),
        }
    }

    fn attach(&mut self, socket: edge::Socket, admission: Admission) {
        if self.draining.is_some() {
            self.settings.connections.fetch_sub(1, Ordering::AcqRel);
            return;
        }
        self.generation = self.generation.wrapping_add(1);
        let wait = admission.handshake_timeout.map(|time| self.deadlines.ticks(time));
        let deadline = self.now.plus(wait.unwrap_or(self.times.handshake)).plus(1);
        let id = admission.connection;
        let entry = self.connections.vacant_entry();
        let slot = Slot::try_from(entry.key()).expect("connections_max keeps slots in 32 bits");
        let connection = entry.insert(Connection {
            socket,
            decoder: Decoder::new(Role::Server, self.settings.options.message_bytes_max),
            run: None,
            backlog: None,
            stage: Stage::Handshaking(Box::new(Handshaking { admission, deadline, record: Vec::new() })),
            rare: None,
            id,
            generation: self.generation,
            sent: self.now,
            heard: self.now,
            protocol: HubProtocol::Json,
            dirty: false,
        });
        let both = Interest::READABLE | Interest::WRITABLE;
        let registered = connection.socket.register(self.poll.registry(), Token(slot as usize), both);
        let has_leftover = connection.socket.has_leftover();
        self.index.admit(id, slot);
        if let Err(error) = registered {
            tracing::error!(%error, "a socket cannot be watched");
            return self.end(slot, EndReason::ConnectionLost);
        }
        self.deadlines.add(deadline, Due { slot, generation: self.generation });
        if has_leftover {
            self.on_readable(slot);
        }
    }

    /// Appends one message to what waits for each receiver. Cheap for each: the writes come at the end of the turn.
    fn publish(&mut self, work: Arc<Work>) {
        let mut one = [0];
        let receivers = self.index.receivers(&self.connections, &work.hub, &work.target, &mut one);
        if receivers.is_empty() {
            return;
        }
        // Moved out of the index while receivers are written to; nothing but this turn's end changes it.
        let receivers = receivers.to_vec();
        let mut encoded = Encoded::new(&work.message);
        let mut count = 0;
        let mut full = Vec::new();
        for &slot in &receivers {
            let connection = &self.connections[slot as usize];
            if !work.excluded.is_empty() && work.excluded.binary_search(&connection.id).is_ok() {
                continue;
            }
            let Some(step) = encoded.step(connection.protocol) else {
                self.metrics.turn.untranslatable += 1;
                continue;
            };
            count += 1;
            if self.append(slot, step) != Appended::Waits {
                full.push(slot);
            }
        }
        for slot in full {
            let protocol = self.connections[slot as usize].protocol;
            if let Some(step) = encoded.step(protocol) {
                self.append_or_end(slot, step);
            }
        }
        if let Some(span) = &work.span {
            span.add_receivers(count);
            self.traced.push_back((self.dirtied, work));
        }
    }

    pub(super) fn exists(&self, hub: &Hub, subject: &Subject) -> bool {
        let has_receivers = |target| {
            let mut one = [0];
            !self.index.receivers(&self.connections, hub, &target, &mut one).is_empty()
        };
        match subject {
            Subject::Connection(id) => has_receivers(Target::Connection(*id)),
            Subject::User(user) => has_receivers(Target::User(user.clone())),
            Subject::Group(group) => has_receivers(Target::Group(group.clone())),
            Subject::UserInGroup(user, group) => {
                self.index.user_in_group(&self.connections, hub, user, group)
            }
        }
    }

    /// Tells every client to come back, to wherever it then finds us.
    fn drain(&mut self, cut_at: Instant) {
        if self.draining.is_some() {
            return;
        }
        self.draining = Some(cut_at);
        let slots: Vec<Slot> = self.connections.iter().map(|(slot, _)| slot as Slot).collect();
        for slot in slots {
            match self.connections[slot as usize].stage {
                Stage::Open(_) => self.close(slot, EndReason::Drained, None, true),
                Stage::Handshaking(_) => {
                    self.say_goodbye(slot, EndReason::Drained, None, CloseCode::GOING_AWAY, "");
                }
                Stage::Closing { .. } => {}
            }
        }
    }
}
