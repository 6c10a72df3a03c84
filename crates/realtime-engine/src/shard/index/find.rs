//! Queries of the index.

use super::{Connections, Index};
use crate::shard::keys::{GroupKey, HubKey, Slot, UserKey};
use crate::{ConnectionId, GroupName, Hub, NameKind, Target, UserId};

use super::HubPolicy;

impl Index {
    /// The connection with that id, in any hub and state.
    pub(crate) fn slot(&self, id: ConnectionId) -> Option<Slot> {
        self.by_id.get(&id).copied()
    }

    /// The policy of a hub.
    pub(crate) fn policy(&self, key: HubKey) -> HubPolicy {
        self.hubs[key.0 as usize].policy
    }

    /// The policy of a hub that may have no connections yet.
    pub(crate) fn policy_of(&self, hub: &Hub) -> HubPolicy {
        self.hub_keys.get(hub).map_or_else(|| HubPolicy::of_hub(&self.options, hub), |key| self.policy(*key))
    }

    pub(crate) fn group(&self, key: GroupKey) -> &GroupName {
        &self.groups[key.0 as usize].name
    }

    pub(crate) fn user_of(&self, connections: &Connections, slot: Slot) -> Option<&UserId> {
        let (user, _) = connections.get(slot as usize)?.index_entry()?.user?;
        Some(self.user(user))
    }

    /// The keys of those users that this shard has.
    pub(crate) fn user_keys(&self, hub: &Hub, users: &[UserId]) -> Vec<UserKey> {
        let hub = self.hub_keys.get(hub).copied();
        users.iter().filter_map(|user| self.user_key(hub, user)).collect()
    }

    /// Users or groups of a hub with connections in this shard, and the number of these.
    pub(crate) fn names(&self, hub: &Hub, names: NameKind) -> Box<dyn Iterator<Item = (&str, u64)> + '_> {
        let Some(key) = self.hub_keys.get(hub).copied() else { return Box::new(std::iter::empty()) };
        let present = |(_, members): &(&str, u64)| *members > 0;
        match names {
            NameKind::Users => {
                let users = self.users.iter().filter(move |(_, user)| user.hub == key);
                Box::new(
                    users.map(|(_, user)| (user.name.as_str(), user.members.len() as u64)).filter(present),
                )
            }
            NameKind::Groups => {
                let groups = self.groups.iter().filter(move |(_, group)| group.hub == key);
                Box::new(
                    groups
                        .map(|(_, group)| (group.name.as_str(), group.members.len() as u64))
                        .filter(present),
                )
            }
        }
    }

    /// The connection with this id, if it is in this hub.
    pub(crate) fn find(&self, connections: &Connections, hub: &Hub, id: ConnectionId) -> Option<Slot> {
        let slot = *self.by_id.get(&id)?;
        let index_entry = connections.get(slot as usize)?.index_entry()?;
        (self.hubs[index_entry.hub.0 as usize].hub == *hub).then_some(slot)
    }

    /// The receivers of a target. A single connection is returned in `one`, which the caller provides.
    pub(crate) fn receivers<'a>(
        &'a self,
        connections: &Connections,
        hub: &Hub,
        target: &Target,
        one: &'a mut [Slot; 1],
    ) -> &'a [Slot] {
        let hub_key = self.hub_keys.get(hub).copied();
        let found: Option<&'a [Slot]> = match target {
            Target::All => hub_key.map(|key| &self.hubs[key.0 as usize].members[..]),
            Target::Group(group) => {
                self.group_key(hub_key, group).map(|key| &self.groups[key.0 as usize].members[..])
            }
            Target::User(user) => {
                self.user_key(hub_key, user).map(|key| &self.users[key.0 as usize].members[..])
            }
            Target::Connection(id) => self.find(connections, hub, *id).map(|slot| {
                *one = [slot];
                &one[..]
            }),
        };
        found.unwrap_or(&[])
    }

    pub(crate) fn hub(&self, key: HubKey) -> &Hub {
        &self.hubs[key.0 as usize].hub
    }

    pub(crate) fn user(&self, key: UserKey) -> &UserId {
        &self.users[key.0 as usize].name
    }

    pub(crate) fn hub_count(&self, hub: &Hub) -> usize {
        self.hub_keys.get(hub).map_or(0, |key| self.hubs[key.0 as usize].members.len())
    }

    pub(crate) fn count(&self) -> usize {
        self.hubs.iter().map(|(_, hub)| hub.members.len()).sum()
    }

    pub(crate) fn user_in_group(
        &self,
        connections: &Connections,
        hub: &Hub,
        user: &UserId,
        group: &GroupName,
    ) -> bool {
        let hub = self.hub_keys.get(hub).copied();
        let (Some(user), Some(group)) = (self.user_key(hub, user), self.group_key(hub, group)) else {
            return false;
        };
        let user = &self.users[user.0 as usize];
        let member =
            |slot: &Slot| connections[*slot as usize].groups().iter().any(|(joined, _)| *joined == group);
        user.groups.iter().any(|(joined, _)| *joined == group) || user.members.iter().any(member)
    }
}
