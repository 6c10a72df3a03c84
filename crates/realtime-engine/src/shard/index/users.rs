//! Users: they join and leave groups with all their connections, current and later ones, and memberships expire.

use supervision::is_mutated;

use super::members::to_u32;
use super::{Connections, Index, TooManyUserGroups, UserEntry};
use crate::shard::deadlines::Tick;
use crate::shard::keys::{GroupKey, HubKey, UserKey};
use crate::{GroupName, Hub, UserId};

impl Index {
    /// Adds a user, and all its connections, to a group, until `expires` if that is given.
    pub(crate) fn user_joins(
        &mut self,
        connections: &mut Connections,
        hub: &Hub,
        user: &UserId,
        group: &GroupName,
        expires: Option<Tick>,
    ) -> Result<(), TooManyUserGroups> {
        let known = |index: &Self| {
            let hub = index.hub_keys.get(hub).copied();
            let (user, group) = (index.user_key(hub, user)?, index.group_key(hub, group)?);
            index.users[user.0 as usize].groups.iter().position(|(joined, _)| *joined == group)
        };
        if known(self).is_none() && self.user_groups >= self.options.user_groups_max {
            return Err(TooManyUserGroups);
        }
        let hub = self.hub_or_new(hub);
        let (user, group) = (self.user_or_new(hub, user), self.group_or_new(hub, group));
        let memberships = &mut self.users[user.0 as usize].groups;
        if let Some((_, until)) = memberships.iter_mut().find(|(joined, _)| *joined == group) {
            *until = expires;
        } else {
            memberships.push((group, expires));
            self.groups[group.0 as usize].users += 1;
            self.user_groups += 1;
        }
        if let Some(expires) = expires {
            self.note_expiry(expires, user, group);
        }
        for slot in self.users[user.0 as usize].members.clone() {
            self.join_key(connections, slot, group);
        }
        Ok(())
    }

    /// Removes a user, and all its connections, from a group, or from all.
    pub(crate) fn user_leaves(
        &mut self,
        connections: &mut Connections,
        hub: &Hub,
        user: &UserId,
        group: Option<&GroupName>,
    ) {
        let hub = self.hub_keys.get(hub).copied();
        let Some(user) = self.user_key(hub, user) else { return };
        if let Some(group) = group {
            if let Some(group) = self.group_key(hub, group) {
                self.user_leaves_key(connections, user, group);
            }
            return;
        }
        for slot in self.users[user.0 as usize].members.clone() {
            self.leave_all(connections, slot);
        }
        let groups: Vec<GroupKey> =
            self.users[user.0 as usize].groups.iter().map(|(group, _)| *group).collect();
        for group in groups {
            self.user_leaves_key(connections, user, group);
        }
    }

    pub(super) fn user_leaves_key(&mut self, connections: &mut Connections, user: UserKey, group: GroupKey) {
        let left_out = usize::from(is_mutated("connection-stays-in-group"));
        for slot in self.users[user.0 as usize].members.clone().into_iter().skip(left_out) {
            self.leave_key(connections, slot, group);
        }
        let memberships = &mut self.users[user.0 as usize].groups;
        if let Some(position) = memberships.iter().position(|(joined, _)| *joined == group) {
            memberships.swap_remove(position);
            self.user_groups -= 1;
            self.groups[group.0 as usize].users -= 1;
            self.remove_group_if_empty(group);
        }
        self.remove_user_if_empty(user);
    }

    /// Ends the memberships of users that have expired.
    pub(crate) fn expire(&mut self, connections: &mut Connections, now: Tick) {
        while let Some(std::cmp::Reverse((expires, user, group))) = self.expiries.peek().copied() {
            if expires > now {
                break;
            }
            self.expiries.pop();
            if self.expires_at(user, group) == Some(expires) {
                self.user_leaves_key(connections, user, group);
            }
        }
    }

    /// When the next membership expires, if one does.
    pub(crate) fn next_expiry(&self) -> Option<Tick> {
        self.expiries.peek().map(|std::cmp::Reverse((expires, _, _))| *expires)
    }

    fn expires_at(&self, user: UserKey, group: GroupKey) -> Option<Tick> {
        let entry = self.users.get(user.0 as usize)?;
        entry.groups.iter().find(|(joined, _)| *joined == group)?.1
    }

    fn note_expiry(&mut self, expires: Tick, user: UserKey, group: GroupKey) {
        // Renewing a membership leaves the old entry in the heap; stale entries are removed when they are half of it, so that
        // renewals cannot fill the memory.
        if self.expiries.len() >= 2 * self.user_groups as usize + 1024 {
            let mut expiries = std::mem::take(&mut self.expiries);
            expiries.retain(|std::cmp::Reverse((expires, user, group))| {
                self.expires_at(*user, *group) == Some(*expires)
            });
            self.expiries = expiries;
        }
        self.expiries.push(std::cmp::Reverse((expires, user, group)));
    }

    pub(super) fn user_key(&self, hub: Option<HubKey>, user: &UserId) -> Option<UserKey> {
        self.user_keys.get(&(hub?, user.clone())).copied()
    }

    pub(super) fn user_or_new(&mut self, hub: HubKey, name: &UserId) -> UserKey {
        if let Some(key) = self.user_key(Some(hub), name) {
            return key;
        }
        let entry = UserEntry { hub, name: name.clone(), members: Vec::new(), groups: Vec::new() };
        let key = UserKey(to_u32(self.users.insert(entry)));
        self.user_keys.insert((hub, name.clone()), key);
        self.hubs[hub.0 as usize].children += 1;
        key
    }

    pub(super) fn remove_user_if_empty(&mut self, key: UserKey) {
        let Some(user) = self.users.get(key.0 as usize) else { return };
        if user.members.is_empty() && user.groups.is_empty() {
            let UserEntry { hub, name, .. } = self.users.remove(key.0 as usize);
            self.user_keys.remove(&(hub, name));
            self.hubs[hub.0 as usize].children -= 1;
            self.remove_hub_if_empty(hub);
        }
    }
}
