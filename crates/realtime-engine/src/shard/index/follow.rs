//! Histories in the index: finds the [`Followers`] of a hub or group for a message, a member or a request.

use super::followers::{CaughtUp, Followers};
use super::{Connections, Index, TooManyGroups};
use crate::shard::keys::{GroupKey, HubKey, Slot};
use crate::{FollowResult, GroupName, Hub, StreamPosition, Target};

/// The scope of a history: a hub or a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ListScope {
    Hub(HubKey),
    Group(GroupKey),
}

impl Index {
    /// A recorded message is delivered: removes the receivers that must not receive it now, and returns those that receive its
    /// position too.
    pub(crate) fn deliver_recorded(
        &mut self,
        hub: &Hub,
        target: &Target,
        position: StreamPosition,
        receivers: &mut Vec<Slot>,
    ) -> Vec<Slot> {
        let Some(scope) = self.scope_of_target(hub, target) else { return Vec::new() };
        let (members, followers) = match scope {
            ListScope::Hub(key) => {
                let hub = &mut self.hubs[key.0 as usize];
                (&hub.members, &mut hub.followers)
            }
            ListScope::Group(key) => {
                let group = &mut self.groups[key.0 as usize];
                (&group.members, &mut group.followers)
            }
        };
        followers.get_or_insert_default().pass(position, members, receivers)
    }

    /// Lets a connection follow a group, or its hub, whose log has this epoch.
    pub(crate) fn follow(
        &mut self,
        connections: &mut Connections,
        slot: Slot,
        group: Option<&GroupName>,
        may_join: bool,
        epoch: u64,
    ) -> FollowResult {
        let Some(index_entry) = connections[slot as usize].index_entry() else {
            return FollowResult::NoConnection;
        };
        let scope = match group {
            None => ListScope::Hub(index_entry.hub),
            Some(name) => {
                if !self.is_member(connections, slot, name) {
                    if !may_join {
                        return FollowResult::NotMember;
                    }
                    if let Err(TooManyGroups) = self.join(connections, slot, name) {
                        return FollowResult::TooManyGroups;
                    }
                }
                let key = self.group_key(Some(index_entry.hub), name);
                ListScope::Group(key.expect("a group with a member exists"))
            }
        };
        let followers = match scope {
            ListScope::Hub(key) => &mut self.hubs[key.0 as usize].followers,
            ListScope::Group(key) => &mut self.groups[key.0 as usize].followers,
        };
        followers.get_or_insert_default().follow(slot, epoch)
    }

    /// Whether a connection is a member of a group of its hub.
    pub(crate) fn is_member(&self, connections: &Connections, slot: Slot, group: &GroupName) -> bool {
        let Some(connection) = connections.get(slot as usize) else { return false };
        let key =
            connection.index_entry().and_then(|index_entry| self.group_key(Some(index_entry.hub), group));
        key.is_some_and(|key| connection.groups().iter().any(|(joined, _)| *joined == key))
    }

    /// A replay has sent the connection all messages before offset `next`.
    pub(crate) fn catch_up(
        &mut self,
        connections: &Connections,
        slot: Slot,
        group: Option<&GroupName>,
        next: u64,
    ) -> CaughtUp {
        let followers = self.followers(connections, slot, group);
        followers.map_or(CaughtUp::Gone, |followers| followers.catch_up(slot, next))
    }

    /// A connection stops following; it stays a member.
    pub(crate) fn unfollow(&mut self, connections: &Connections, slot: Slot, group: Option<&GroupName>) {
        if let Some(followers) = self.followers(connections, slot, group) {
            followers.unfollow(slot);
        }
    }

    fn scope_of_target(&self, hub: &Hub, target: &Target) -> Option<ListScope> {
        let hub = self.hub_keys.get(hub).copied();
        match target {
            Target::All => hub.map(ListScope::Hub),
            Target::Group(group) => self.group_key(hub, group).map(ListScope::Group),
            Target::User(_) | Target::Connection(_) => None,
        }
    }

    /// The followers of a connection's hub, or of a group of that hub.
    fn followers(
        &mut self,
        connections: &Connections,
        slot: Slot,
        group: Option<&GroupName>,
    ) -> Option<&mut Followers<Slot>> {
        let hub = connections.get(slot as usize)?.index_entry()?.hub;
        match group {
            None => self.hubs[hub.0 as usize].followers.as_deref_mut(),
            Some(group) => {
                let key = self.group_key(Some(hub), group)?;
                self.groups[key.0 as usize].followers.as_deref_mut()
            }
        }
    }
}
