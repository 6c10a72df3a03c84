//! The command phase: what the rest of the process asks of a shard.

use std::time::Instant;

use tokio::sync::mpsc::error::TryRecvError;
use websocket::CloseCode;

use super::connection::{Posted, Stage};
use super::index::TooManyGroups;
use super::keys::Slot;
use super::{Inbox, Shard};
use crate::command::{Changed, Command, Subject};
use crate::{
    CatchUpResult, CloseRequest, ConnectionId, EndReason, FollowResult, GroupName, Hub, Lifetime, Membership,
    ReattachResult, ReceiveResult, Target, UserId,
};

impl Shard {
    /// Takes what the queue holds, but no more than it can hold. Says whether there may be more.
    pub(super) fn take_commands(&mut self, inbox: &mut Inbox, now: Instant) -> bool {
        inbox.waker.look();
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
            Command::Attach(link, admission) => self.attach(*link, *admission),
            Command::Reattach { connection, socket, done } => {
                let slot = self.index.slot(connection);
                let _ = done.send(slot.map_or(ReattachResult::Gone, |slot| self.reattach(slot, *socket)));
            }
            Command::Receive { connection, payload, is_end, done } => match self.index.slot(connection) {
                Some(slot) => self.receive(slot, Posted { payload, is_end, done }),
                None => drop(done.send(ReceiveResult::Gone)),
            },
            Command::Leave { connection, goodbye, found } => {
                let slot = self.index.slot(connection);
                if let Some(slot) = slot {
                    let reason = if goodbye { EndReason::ClientClosed } else { EndReason::ConnectionLost };
                    self.end(slot, reason);
                }
                let _ = found.send(slot.is_some());
            }
            Command::Opened { connection, result } => {
                if let Some(slot) = self.index.slot(connection) {
                    self.opened(slot, result);
                }
            }
            Command::FromServer { .. }
            | Command::EndClient { .. }
            | Command::Rebind { .. }
            | Command::Resume { .. } => {
                self.obey_server(command);
            }
            Command::Publish(work) => self.publish(work),
            Command::ChangeConnection { hub, connection, group, membership, changed } => {
                let _ = changed.send(self.change_connection(&hub, connection, &group, membership));
            }
            Command::LeaveAllGroups { hub, connection, found } => {
                let slot = self.index.find(&self.connections, &hub, connection);
                if let Some(slot) = slot {
                    self.index.leave_all(&mut self.connections, slot);
                }
                let _ = found.send(slot.is_some());
            }
            Command::ChangeUser { hub, user, group, membership, lifetime, taken } => {
                let _ = taken.send(self.change_user(&hub, &user, &group, membership, lifetime));
            }
            Command::UserLeavesAllGroups { hub, user, done } => {
                self.index.user_leaves(&mut self.connections, &hub, &user, None);
                let _ = done.send(());
            }
            Command::Close { hub, target, excluded, closing, closed } => {
                let _ = closed.send(self.close_all(&hub, &target, &excluded, &closing));
            }
            Command::Invoke(_) | Command::Forget { .. } | Command::Stream(_) => self.tell_client(command),
            Command::GetClientContext { .. } | Command::Refresh { .. } => self.obey_authentication(command),
            Command::Exists { .. }
            | Command::Count { .. }
            | Command::ListConnections { .. }
            | Command::ListNames { .. }
            | Command::CountPresence { .. } => self.answer(command),
            Command::Execute { hub, which, actions, answer } => {
                let _ = answer.send(self.execute(&hub, &which, &actions));
            }
            Command::SubscribeTrace(sink) => self.add_tap(*sink),
            Command::Follow { .. } | Command::CatchUp { .. } | Command::Unfollow { .. } => {
                self.follow(command);
            }
            Command::Drain { cut_after } => self.drain(now + cut_after),
        }
    }

    /// Calls of one client's methods, and what is sent in its streams.
    fn tell_client(&mut self, command: Command) {
        match command {
            Command::Invoke(invoke) => self.invoke(*invoke),
            Command::Forget { connection, invocation_id } => self.forget_call(connection, &invocation_id),
            Command::Stream(part) => self.stream_part(*part),
            other => unreachable!("{other:?} is not for one client"),
        }
    }

    /// What followers of kept messages ask for.
    fn follow(&mut self, command: Command) {
        match command {
            Command::Follow { connection, group, may_join, epoch, begun } => {
                let slot = self.index.slot(connection);
                let follow =
                    |slot| self.index.follow(&mut self.connections, slot, group.as_ref(), may_join, epoch);
                let _ = begun.send(slot.map_or(FollowResult::NoConnection, follow));
            }
            Command::CatchUp { connection, group, next, caught_up } => {
                let slot = self.index.slot(connection);
                let catch_up = |slot| self.index.catch_up(&self.connections, slot, group.as_ref(), next);
                let _ = caught_up.send(slot.map_or(CatchUpResult::Gone, catch_up));
            }
            Command::Unfollow { connection, group, done } => {
                if let Some(slot) = self.index.slot(connection) {
                    self.index.unfollow(&self.connections, slot, group.as_ref());
                }
                let _ = done.send(());
            }
            other => unreachable!("{other:?} is no wish of a follower"),
        }
    }

    /// Questions that change nothing.
    fn answer(&self, question: Command) {
        match question {
            Command::Exists { hub, subject, answer } => {
                let _ = answer.send(self.exists(&hub, &subject));
            }
            Command::Count { hub, answer } => {
                let count = hub.map_or_else(|| self.index.count(), |hub| self.index.hub_count(&hub));
                let _ = answer.send(count as u64);
            }
            Command::ListConnections { hub, scope, after, max, answer } => {
                let _ = answer.send(self.members(&hub, &scope, after, max));
            }
            Command::ListNames { hub, names, after, max, answer } => {
                let _ = answer.send(self.named(&hub, names, after.as_deref(), max));
            }
            Command::CountPresence { hub, answer } => drop(answer.send(self.counts(&hub))),
            other => unreachable!("{other:?} is no question"),
        }
    }

    fn change_connection(
        &mut self,
        hub: &Hub,
        connection: ConnectionId,
        group: &GroupName,
        membership: Membership,
    ) -> Changed {
        let Some(slot) = self.index.find(&self.connections, hub, connection) else {
            return Changed::NoConnection;
        };
        match membership {
            Membership::Join => match self.index.join(&mut self.connections, slot, group) {
                Ok(()) => Changed::Done,
                Err(TooManyGroups) => Changed::TooMany,
            },
            Membership::Leave => {
                self.index.leave(&mut self.connections, slot, group);
                Changed::Done
            }
        }
    }

    fn change_user(
        &mut self,
        hub: &Hub,
        user: &UserId,
        group: &GroupName,
        membership: Membership,
        lifetime: Lifetime,
    ) -> bool {
        let connections = &mut self.connections;
        let expires = match (membership, lifetime) {
            (Membership::Leave, _) => {
                self.index.user_leaves(connections, hub, user, Some(group));
                return true;
            }
            (Membership::Join, Lifetime::Present) => {
                self.index.present_join(connections, hub, user, group);
                return true;
            }
            (Membership::Join, Lifetime::For(time)) => Some(self.now.plus(self.deadlines.ticks(time))),
            (Membership::Join, Lifetime::Always) => None,
        };
        self.index.user_joins(connections, hub, user, group, expires).is_ok()
    }

    fn close_all(
        &mut self,
        hub: &Hub,
        target: &Target,
        excluded: &[ConnectionId],
        closing: &CloseRequest,
    ) -> u32 {
        let mut one = [0];
        let slots = self.index.receivers(&self.connections, hub, target, &mut one).to_vec();
        let mut count = 0;
        for slot in slots {
            if !excluded.contains(&self.connections[slot as usize].id) {
                self.close(slot, EndReason::Closed, closing.reason.as_deref(), closing.allow_reconnect);
                count += 1;
            }
        }
        count
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
            Subject::ConnectionInGroup(id, group) => {
                self.index.slot(*id).is_some_and(|slot| self.index.is_member(&self.connections, slot, group))
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
                Stage::Handshaking(_) | Stage::Opening(_) => {
                    self.say_goodbye(slot, EndReason::Drained, None, CloseCode::GOING_AWAY, "");
                }
                Stage::Closing { .. } => {}
            }
        }
    }
}
