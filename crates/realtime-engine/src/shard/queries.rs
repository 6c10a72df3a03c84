//! Queries: lists and counts of one shard, and actions on connections that match a predicate.

use std::collections::BTreeMap;

use super::Shard;
use super::encode::Encoded;
use super::keys::{GroupKey, Slot};
use crate::command::{PresenceQuery, ShardCommand};
use crate::{
    Action, Candidate, CloseRequest, ConnectionEntry, ConnectionId, EndReason, Hub, ListScope, NameKind,
    NamedCount, Predicate, PresenceCounts, SlowConsumer, Target,
};

impl Shard {
    /// Commands that change nothing.
    pub(super) fn handle_query(&self, question: ShardCommand) {
        match question {
            ShardCommand::Exists { hub, subject, answer } => {
                let _ = answer.send(self.exists(&hub, &subject));
            }
            ShardCommand::Count { hub, answer } => {
                let count = hub.map_or_else(|| self.index.count(), |hub| self.index.hub_count(&hub));
                let _ = answer.send(count as u64);
            }
            ShardCommand::ListConnections { hub, scope, after, max, answer } => {
                let _ = answer.send(self.members(&hub, &scope, after, max));
            }
            ShardCommand::ListNames { hub, names, after, max, answer } => {
                let _ = answer.send(self.named(&hub, names, after.as_deref(), max));
            }
            ShardCommand::CountPresence { hub, answer } => drop(answer.send(self.counts(&hub))),
            other => unreachable!("{other:?} is not a query"),
        }
    }

    pub(super) fn exists(&self, hub: &Hub, subject: &PresenceQuery) -> bool {
        let has_receivers = |target| {
            let mut one = [0];
            !self.index.receivers(&self.connections, hub, &target, &mut one).is_empty()
        };
        match subject {
            PresenceQuery::Connection(id) => has_receivers(Target::Connection(*id)),
            PresenceQuery::User(user) => has_receivers(Target::User(user.clone())),
            PresenceQuery::Group(group) => has_receivers(Target::Group(group.clone())),
            PresenceQuery::UserInGroup(user, group) => {
                self.index.user_in_group(&self.connections, hub, user, group)
            }
            PresenceQuery::ConnectionInGroup(id, group) => {
                self.index.slot(*id).is_some_and(|slot| self.index.is_member(&self.connections, slot, group))
            }
        }
    }

    /// At most `max` connections in the order of their ids, after the id `after`.
    pub(super) fn members(
        &self,
        hub: &Hub,
        scope: &ListScope,
        after: Option<ConnectionId>,
        max: usize,
    ) -> Vec<ConnectionEntry> {
        let target = match scope {
            ListScope::Hub => Target::All,
            ListScope::Group(group) => Target::Group(group.clone()),
            ListScope::User(user) => Target::User(user.clone()),
        };
        let mut one = [0];
        let slots = self.index.receivers(&self.connections, hub, &target, &mut one);
        // The smallest ids so far; a page is small, whatever the number of connections.
        let mut page: BTreeMap<ConnectionId, Slot> = BTreeMap::new();
        for &slot in slots {
            let id = self.connections[slot as usize].id;
            let is_wanted = after.is_none_or(|after| id > after)
                && (page.len() < max || page.last_key_value().is_some_and(|(last, _)| id < *last));
            if is_wanted {
                page.insert(id, slot);
                if page.len() > max {
                    page.pop_last();
                }
            }
        }
        let member = |(connection, slot): (ConnectionId, Slot)| ConnectionEntry {
            connection,
            user: self.index.user_of(&self.connections, slot).cloned(),
        };
        page.into_iter().map(member).collect()
    }

    /// At most `max` users or groups with connections here, in the order of their names, after the name `after`.
    pub(super) fn named(
        &self,
        hub: &Hub,
        names: NameKind,
        after: Option<&str>,
        max: usize,
    ) -> Vec<NamedCount> {
        let mut page: BTreeMap<&str, u64> = BTreeMap::new();
        for (name, connections) in self.index.names(hub, names) {
            let is_wanted = after.is_none_or(|after| name > after)
                && (page.len() < max || page.last_key_value().is_some_and(|(last, _)| name < *last));
            if is_wanted {
                page.insert(name, connections);
                if page.len() > max {
                    page.pop_last();
                }
            }
        }
        page.into_iter()
            .map(|(name, connections)| NamedCount { name: name.to_owned(), connections })
            .collect()
    }

    pub(super) fn counts(&self, hub: &Hub) -> PresenceCounts {
        let names = |names| self.index.names(hub, names).map(|(name, _)| name.into()).collect();
        PresenceCounts {
            connections: self.index.hub_count(hub) as u64,
            users: names(NameKind::Users),
            groups: names(NameKind::Groups),
        }
    }

    /// Applies actions to the connections of a hub that match a predicate; returns how many match.
    pub(super) fn execute(&mut self, hub: &Hub, which: &Predicate, actions: &[Action]) -> u64 {
        let mut one = [0];
        let all = self.index.receivers(&self.connections, hub, &Target::All, &mut one);
        let mut selected: Vec<Slot> =
            all.iter().copied().filter(|slot| self.is_selected(*slot, which)).collect();
        let count = selected.len() as u64;
        for action in actions {
            self.act(&selected, action);
            // A message may end slow clients, and a close ends all.
            selected.retain(|&slot| {
                self.connections
                    .get(slot as usize)
                    .is_some_and(|connection| connection.index_entry().is_some())
            });
        }
        count
    }

    fn act(&mut self, selected: &[Slot], action: &Action) {
        match action {
            Action::Send(message) => {
                let Some(&first) = selected.first() else { return };
                let index_entry = self.connections[first as usize]
                    .index_entry()
                    .expect("members of a hub have an index entry");
                let policy = self.index.policy(index_entry.hub);
                let keyed = policy.slow_consumer == SlowConsumer::LatestByKey;
                self.append_for(selected, &mut Encoded::new(message, keyed), policy);
            }
            Action::Join(group) => {
                for &slot in selected {
                    // A connection that is in too many groups is not added.
                    let _ = self.index.join(&mut self.connections, slot, group);
                }
            }
            Action::Leave(group) => {
                for &slot in selected {
                    self.index.leave(&mut self.connections, slot, group);
                }
            }
            Action::Close(CloseRequest { reason, allow_reconnect }) => {
                for &slot in selected {
                    self.close(slot, EndReason::Closed, reason.as_deref(), *allow_reconnect);
                }
            }
        }
    }

    fn is_selected(&self, slot: Slot, which: &Predicate) -> bool {
        let connection = &self.connections[slot as usize];
        let name = |(group, _): &(GroupKey, u32)| self.index.group(*group).as_str();
        let groups: Vec<&str> = connection.groups().iter().map(name).collect();
        let user = self.index.user_of(&self.connections, slot).map(crate::UserId::as_str);
        which.matches(&Candidate { connection: connection.id, user, groups: &groups })
    }
}
