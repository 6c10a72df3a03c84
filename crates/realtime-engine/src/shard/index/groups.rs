//! Groups: connections join and leave them.

use super::changes::Change;
use super::members::{push, swap_remove, to_u32};
use super::{Connections, GroupEntry, Index, TooManyGroups};
use crate::shard::connection::UncommonState;
use crate::shard::keys::{GroupKey, HubKey, Slot};
use crate::{GroupName, Hub, UserId};

impl Index {
    /// Adds a connection to a group of its hub.
    pub(crate) fn join(
        &mut self,
        connections: &mut Connections,
        slot: Slot,
        group: &GroupName,
    ) -> Result<(), TooManyGroups> {
        let connection = &connections[slot as usize];
        let Some(index_entry) = connection.index_entry() else { return Ok(()) };
        let key = self.group_key(Some(index_entry.hub), group);
        let groups = connection.groups();
        let is_member = key.is_some_and(|key| groups.iter().any(|(joined, _)| *joined == key));
        if !is_member && groups.len() >= self.options.connection_groups_max.get() as usize {
            return Err(TooManyGroups);
        }
        let group = self.group_or_new(index_entry.hub, group);
        self.join_key(connections, slot, group);
        Ok(())
    }

    /// Adds the current connections of a user to a group.
    pub(crate) fn present_join(
        &mut self,
        connections: &mut Connections,
        hub: &Hub,
        user: &UserId,
        group: &GroupName,
    ) {
        let hub = self.hub_keys.get(hub).copied();
        let Some(user) = self.user_key(hub, user) else { return };
        for slot in self.users[user.0 as usize].members.clone() {
            // A connection that is in too many groups is not added.
            let _ = self.join(connections, slot, group);
        }
    }

    /// Removes a connection from a group of its hub.
    pub(crate) fn leave(&mut self, connections: &mut Connections, slot: Slot, group: &GroupName) {
        let Some(index_entry) = connections[slot as usize].index_entry() else { return };
        if let Some(group) = self.group_key(Some(index_entry.hub), group) {
            self.leave_key(connections, slot, group);
        }
    }

    /// Removes a connection from all its groups.
    pub(crate) fn leave_all(&mut self, connections: &mut Connections, slot: Slot) {
        while let Some((group, _)) = connections[slot as usize].groups().last().copied() {
            self.leave_key(connections, slot, group);
        }
    }

    pub(super) fn join_key(&mut self, connections: &mut Connections, slot: Slot, group: GroupKey) {
        let connection = &mut connections[slot as usize];
        if connection.groups().iter().any(|(joined, _)| *joined == group) {
            return;
        }
        let position = push(&mut self.groups[group.0 as usize].members, slot);
        let groups = &mut connection.uncommon.get_or_insert_default().groups;
        if groups.capacity() == 0 {
            groups.reserve_exact(1);
        }
        groups.push((group, position));
        self.record_change(connections, slot, group, true);
        if let Some(followers) = &mut self.groups[group.0 as usize].followers {
            followers.join(slot);
        }
    }

    pub(super) fn leave_key(&mut self, connections: &mut Connections, slot: Slot, group: GroupKey) {
        let Some(UncommonState { groups, .. }) = connections[slot as usize].uncommon.as_deref_mut() else {
            return;
        };
        let Some(at) = groups.iter().position(|(joined, _)| *joined == group) else { return };
        let (_, position) = groups.swap_remove(at);
        if let Some(moved) = swap_remove(&mut self.groups[group.0 as usize].members, position)
            && let Some(uncommon) = connections[moved as usize].uncommon.as_deref_mut()
            && let Some((_, other)) = uncommon.groups.iter_mut().find(|(joined, _)| *joined == group)
        {
            *other = position;
        }
        self.record_change(connections, slot, group, false);
        if let Some(followers) = &mut self.groups[group.0 as usize].followers {
            followers.leave(slot);
        }
        self.remove_group_if_empty(group);
    }

    fn record_change(&mut self, connections: &Connections, slot: Slot, group: GroupKey, joined: bool) {
        if !self.changes.is_watched() {
            return;
        }
        let group = &self.groups[group.0 as usize];
        let change = Change {
            hub: self.hub(group.hub).clone(),
            connection: connections[slot as usize].id,
            user: self.user_of(connections, slot).cloned(),
            group: group.name.clone(),
            joined,
        };
        self.changes.record(change);
    }

    pub(super) fn group_key(&self, hub: Option<HubKey>, group: &GroupName) -> Option<GroupKey> {
        self.group_keys.get(&(hub?, group.clone())).copied()
    }

    pub(super) fn group_or_new(&mut self, hub: HubKey, name: &GroupName) -> GroupKey {
        if let Some(key) = self.group_key(Some(hub), name) {
            return key;
        }
        let entry = GroupEntry { hub, name: name.clone(), members: Vec::new(), users: 0, followers: None };
        let key = GroupKey(to_u32(self.groups.insert(entry)));
        self.group_keys.insert((hub, name.clone()), key);
        self.hubs[hub.0 as usize].children += 1;
        key
    }

    pub(super) fn remove_group_if_empty(&mut self, key: GroupKey) {
        let Some(group) = self.groups.get(key.0 as usize) else { return };
        if group.members.is_empty() && group.users == 0 {
            let GroupEntry { hub, name, .. } = self.groups.remove(key.0 as usize);
            self.group_keys.remove(&(hub, name));
            self.hubs[hub.0 as usize].children -= 1;
            self.remove_hub_if_empty(hub);
        }
    }
}
