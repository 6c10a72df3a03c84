//! The command phase: handles the commands in the shard's queue.

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::mpsc::error::TryRecvError;
use websocket::CloseCode;

use super::connection::{ConnectionState, PostedBytes};
use super::index::{CaughtUp, TooManyGroups};
use super::keys::Slot;
use super::{Shard, ShardInbox};
use crate::command::{GroupChangeResult, ShardCommand};
use crate::publish::PublishJob;
use crate::{
    CatchUpResult, CloseRequest, ConnectionId, EndReason, FollowResult, GroupName, Hub, Lifetime, Membership,
    OutgoingMessage, ReattachResult, ReceiveResult, Target, UserId,
};

impl Shard {
    /// Handles the commands in the queue, up to the capacity of the queue. Returns whether there may be more.
    pub(super) fn receive_commands(&mut self, inbox: &mut ShardInbox, now: Instant) -> bool {
        inbox.waker.reset();
        for _ in 0..self.settings.options.commands_max.max(1) {
            match inbox.commands.try_recv() {
                Ok(command) => self.handle_command(command, now),
                Err(TryRecvError::Empty) => return false,
                Err(TryRecvError::Disconnected) => {
                    // All handles were dropped, so no drain can be requested any more.
                    self.draining.get_or_insert(now);
                    return false;
                }
            }
        }
        true
    }

    fn handle_command(&mut self, command: ShardCommand, now: Instant) {
        // The caller may have stopped waiting; the command is executed anyway, and sending the result may fail.
        match command {
            ShardCommand::Attach(transport, admission) => self.attach(*transport, *admission),
            ShardCommand::Reattach { connection, socket, done } => {
                let slot = self.index.slot(connection);
                let _ = done.send(slot.map_or(ReattachResult::Gone, |slot| self.reattach(slot, *socket)));
            }
            ShardCommand::Receive { connection, payload, is_end, done } => {
                match self.index.slot(connection) {
                    Some(slot) => self.receive(slot, PostedBytes { payload, is_end, done }),
                    None => drop(done.send(ReceiveResult::Gone)),
                }
            }
            ShardCommand::Leave { connection, is_close, found } => {
                let slot = self.index.slot(connection);
                if let Some(slot) = slot {
                    let reason = if is_close { EndReason::ClientClosed } else { EndReason::ConnectionLost };
                    self.end(slot, reason);
                }
                let _ = found.send(slot.is_some());
            }
            ShardCommand::Opened { connection, result } => {
                if let Some(slot) = self.index.slot(connection) {
                    self.opened(slot, result);
                }
            }
            ShardCommand::FromServer { .. }
            | ShardCommand::EndClient { .. }
            | ShardCommand::Rebind { .. }
            | ShardCommand::Resume { .. } => {
                self.handle_app_server_command(command);
            }
            ShardCommand::Publish(work) => self.publish(work),
            ShardCommand::ChangeConnection { .. }
            | ShardCommand::LeaveAllGroups { .. }
            | ShardCommand::ChangeUser { .. }
            | ShardCommand::UserLeavesAllGroups { .. } => self.handle_group_command(command),
            ShardCommand::Close { hub, target, excluded, closing, closed } => {
                let _ = closed.send(self.close_all(&hub, &target, &excluded, &closing));
            }
            ShardCommand::Invoke(_) | ShardCommand::Forget { .. } | ShardCommand::Stream(_) => {
                self.handle_client_command(command);
            }
            ShardCommand::GetClientContext { .. } | ShardCommand::Refresh { .. } => {
                self.handle_authentication_command(command);
            }
            ShardCommand::Exists { .. }
            | ShardCommand::Count { .. }
            | ShardCommand::ListConnections { .. }
            | ShardCommand::ListNames { .. }
            | ShardCommand::CountPresence { .. } => self.handle_query(command),
            ShardCommand::Execute { hub, which, actions, answer } => {
                let _ = answer.send(self.execute(&hub, &which, &actions));
            }
            ShardCommand::SubscribeTrace(sink) => self.add_trace_sink(*sink),
            ShardCommand::SetOptions(options) => self.set_options(&options),
            ShardCommand::Follow { .. } | ShardCommand::CatchUp { .. } | ShardCommand::Unfollow { .. } => {
                self.follow(command);
            }
            ShardCommand::Drain { cut_after } => self.drain(now + cut_after),
        }
    }

    /// Changes of groups.
    fn handle_group_command(&mut self, command: ShardCommand) {
        match command {
            ShardCommand::ChangeConnection { hub, connection, group, membership, changed } => {
                let _ = changed.send(self.change_connection(&hub, connection, &group, membership));
            }
            ShardCommand::LeaveAllGroups { hub, connection, found } => {
                let slot = self.index.find(&self.connections, &hub, connection);
                if let Some(slot) = slot {
                    self.index.leave_all(&mut self.connections, slot);
                }
                let _ = found.send(slot.is_some());
            }
            ShardCommand::ChangeUser { hub, user, group, membership, lifetime, taken } => {
                let _ = taken.send(self.change_user(&hub, &user, &group, membership, lifetime));
            }
            ShardCommand::UserLeavesAllGroups { hub, user, done } => {
                self.index.user_leaves(&mut self.connections, &hub, &user, None);
                let _ = done.send(());
            }
            other => unreachable!("{other:?} does not change a group"),
        }
    }

    /// Commands about client results and streams.
    fn handle_client_command(&mut self, command: ShardCommand) {
        match command {
            ShardCommand::Invoke(invoke) => self.invoke(*invoke),
            ShardCommand::Forget { connection, invocation_id } => {
                self.forget_invocation(connection, &invocation_id);
            }
            ShardCommand::Stream(part) => self.stream_part(*part),
            other => unreachable!("{other:?} is not about one client"),
        }
    }

    /// Commands about histories.
    fn follow(&mut self, command: ShardCommand) {
        match command {
            ShardCommand::Follow { connection, group, may_join, epoch, result } => {
                let slot = self.index.slot(connection);
                let follow =
                    |slot| self.index.follow(&mut self.connections, slot, group.as_ref(), may_join, epoch);
                let _ = result.send(slot.map_or(FollowResult::NoConnection, follow));
            }
            ShardCommand::CatchUp { connection, group, next, response, result } => {
                let slot = self.index.slot(connection);
                let caught_up = slot
                    .map(|slot| (slot, self.index.catch_up(&self.connections, slot, group.as_ref(), next)));
                let _ = result.send(match caught_up {
                    None | Some((_, CaughtUp::Gone)) => CatchUpResult::Gone,
                    Some((_, CaughtUp::Behind(newest))) => CatchUpResult::Behind(newest),
                    Some((slot, CaughtUp::Live(position))) => {
                        if let Some(message) = response.encode(position) {
                            self.respond(slot, message);
                        }
                        CatchUpResult::Live
                    }
                });
            }
            ShardCommand::Unfollow { connection, group, done } => {
                if let Some(slot) = self.index.slot(connection) {
                    self.index.unfollow(&self.connections, slot, group.as_ref());
                }
                let _ = done.send(());
            }
            other => unreachable!("{other:?} is not about a history"),
        }
    }

    /// Appends a response to the pending frames of a connection.
    fn respond(&mut self, slot: Slot, message: OutgoingMessage) {
        let connection = &self.connections[slot as usize];
        let Some(index_entry) = connection.index_entry() else { return };
        let hub = self.index.hub(index_entry.hub).clone();
        let target = Target::Connection(connection.id);
        let (excluded, excluded_users) = (Vec::new(), Vec::new());
        let job = PublishJob {
            hub,
            target,
            excluded,
            excluded_users,
            message,
            recorded_position: None,
            span: None,
        };
        self.publish(Arc::new(job));
    }

    fn change_connection(
        &mut self,
        hub: &Hub,
        connection: ConnectionId,
        group: &GroupName,
        membership: Membership,
    ) -> GroupChangeResult {
        let Some(slot) = self.index.find(&self.connections, hub, connection) else {
            return GroupChangeResult::NoConnection;
        };
        match membership {
            Membership::Join => match self.index.join(&mut self.connections, slot, group) {
                Ok(()) => GroupChangeResult::Done,
                Err(TooManyGroups) => GroupChangeResult::TooMany,
            },
            Membership::Leave => {
                self.index.leave(&mut self.connections, slot, group);
                GroupChangeResult::Done
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
            (Membership::Join, Lifetime::For(time)) => Some(self.deadlines.after(self.instant, time)),
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

    /// Sends a Close message to every client, so that it reconnects.
    fn drain(&mut self, end_at: Instant) {
        if self.draining.is_some() {
            return;
        }
        self.draining = Some(end_at);
        let slots: Vec<Slot> = self.connections.iter().map(|(slot, _)| slot as Slot).collect();
        for slot in slots {
            match self.connections[slot as usize].state {
                ConnectionState::Open(_) => self.close(slot, EndReason::Drained, None, true),
                ConnectionState::Handshaking(_) | ConnectionState::Opening(_) => {
                    self.close_with(slot, EndReason::Drained, None, CloseCode::GOING_AWAY, "");
                }
                ConnectionState::Closing { .. } => {}
            }
        }
    }
}
