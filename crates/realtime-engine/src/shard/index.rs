//! [`Index`]: who is in which hub, who is which user, who is in which group. It exists once in each shard, for that shard's
//! connections; the memberships of users exist in every shard, because a user's next connection may come to any.

mod find;
mod follow;
mod followers;
mod shrink;

use std::collections::{BinaryHeap, HashMap};
use std::num::NonZeroU64;

use prometheus_client::metrics::gauge::Gauge;
use slab::Slab;

use self::followers::Followers;
use super::connection::{Connection, Places, Rare, Stage};
use super::deadlines::Tick;
use super::keys::{GroupKey, HubKey, Slot, UserKey};
use crate::metrics::{EngineMetrics, HubLabels};
use crate::{ConnectionId, GroupName, Hub, Options, SlowConsumer, UserId};

/// The connections of a shard, by slot.
pub(crate) type Connections = Slab<Connection>;

#[derive(Debug)]
pub(crate) struct Index {
    metrics: EngineMetrics,
    options: Options,
    hubs: Slab<HubEntry>,
    hub_keys: HashMap<Hub, HubKey>,
    users: Slab<UserEntry>,
    user_keys: HashMap<(HubKey, UserId), UserKey>,
    groups: Slab<GroupEntry>,
    group_keys: HashMap<(HubKey, GroupName), GroupKey>,
    /// All connections, also those that have not done their handshake.
    by_id: HashMap<ConnectionId, Slot>,
    user_groups: u32,
    /// Whether somebody looks at who joins and leaves groups, and what they have not seen yet.
    watched: bool,
    changes: Vec<Change>,
    /// When memberships of users end; entries that were changed since are skipped when they come up.
    expiries: BinaryHeap<std::cmp::Reverse<(Tick, UserKey, GroupKey)>>,
}

#[derive(Debug)]
struct HubEntry {
    hub: Hub,
    members: Vec<Slot>,
    /// Users and groups that exist in it.
    children: u32,
    gauge: Gauge,
    policy: HubPolicy,
    followers: Option<Box<Followers<Slot>>>,
}

/// What holds for the connections of one hub.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HubPolicy {
    pub(crate) pending_bytes_max: usize,
    pub(crate) slow_consumer: SlowConsumer,
    pub(crate) idle_timeout_ms: Option<NonZeroU64>,
}

/// A connection joined a group or left it.
#[derive(Debug)]
pub(crate) struct Change {
    pub(crate) hub: Hub,
    pub(crate) connection: ConnectionId,
    pub(crate) user: Option<UserId>,
    pub(crate) group: GroupName,
    pub(crate) joined: bool,
}

#[derive(Debug)]
struct UserEntry {
    hub: HubKey,
    name: UserId,
    members: Vec<Slot>,
    groups: Vec<(GroupKey, Option<Tick>)>,
}

#[derive(Debug)]
struct GroupEntry {
    hub: HubKey,
    name: GroupName,
    members: Vec<Slot>,
    /// Users that were put into it.
    users: u32,
    followers: Option<Box<Followers<Slot>>>,
}

/// [`crate::Options::user_groups_max`] is reached.
#[derive(Debug)]
pub(crate) struct Full;

/// [`crate::Options::connection_groups_max`] is reached.
#[derive(Debug)]
pub(crate) struct TooManyGroups;

impl HubPolicy {
    /// What holds for hubs of which nothing else is said.
    pub(crate) fn of_all(options: &Options) -> Self {
        Self {
            pending_bytes_max: options.pending_bytes_max as usize,
            slow_consumer: options.slow_consumer,
            idle_timeout_ms: options.idle_timeout_ms,
        }
    }

    fn of_hub(options: &Options, hub: &Hub) -> Self {
        let all = Self::of_all(options);
        let Some(own) = options.hubs.get(hub.name()) else { return all };
        Self {
            pending_bytes_max: own.pending_bytes_max.map_or(all.pending_bytes_max, |bytes| bytes as usize),
            slow_consumer: own.slow_consumer.unwrap_or(all.slow_consumer),
            idle_timeout_ms: own.idle_timeout_ms.or(all.idle_timeout_ms),
        }
    }
}

impl Index {
    pub(crate) fn new(metrics: EngineMetrics, options: &Options) -> Self {
        Self {
            metrics,
            options: options.clone(),
            hubs: Slab::new(),
            hub_keys: HashMap::new(),
            users: Slab::new(),
            user_keys: HashMap::new(),
            groups: Slab::new(),
            group_keys: HashMap::new(),
            by_id: HashMap::new(),
            user_groups: 0,
            watched: false,
            changes: Vec::new(),
            expiries: BinaryHeap::new(),
        }
    }

    /// A connection came to the shard.
    pub(crate) fn admit(&mut self, id: ConnectionId, slot: Slot) {
        self.by_id.insert(id, slot);
    }

    /// A connection left the shard. It must not be in a hub any more.
    pub(crate) fn forget(&mut self, id: ConnectionId) {
        self.by_id.remove(&id);
    }

    /// The handshake is done: the connection becomes a member of its hub, of its user and of the user's groups.
    pub(crate) fn open(
        &mut self,
        connections: &mut Connections,
        slot: Slot,
        hub: &Hub,
        user: Option<&UserId>,
    ) {
        let hub = self.hub_or_new(hub);
        let entry = &mut self.hubs[hub.0 as usize];
        let hub_position = push(&mut entry.members, slot);
        entry.gauge.inc();
        if let Some(followers) = &mut entry.followers {
            followers.join(slot);
        }
        let user = user.map(|user| {
            let key = self.user_or_new(hub, user);
            (key, push(&mut self.users[key.0 as usize].members, slot))
        });
        connections[slot as usize].stage = Stage::Open(Places { hub, hub_position, user });
        if let Some((user, _)) = user {
            let groups: Vec<GroupKey> =
                self.users[user.0 as usize].groups.iter().map(|(group, _)| *group).collect();
            for group in groups {
                self.join_key(connections, slot, group);
            }
        }
    }

    /// The connection receives nothing any more. Says where it was, and leaves its stage to the caller.
    pub(crate) fn close(&mut self, connections: &mut Connections, slot: Slot) -> Option<Places> {
        let places = connections[slot as usize].places()?;
        self.leave_all(connections, slot);
        let hub = &mut self.hubs[places.hub.0 as usize];
        if let Some(followers) = &mut hub.followers {
            followers.leave(slot);
        }
        hub.gauge.dec();
        if let Some(moved) = swap_remove(&mut hub.members, places.hub_position)
            && let Stage::Open(other) = &mut connections[moved as usize].stage
        {
            other.hub_position = places.hub_position;
        }
        if let Some((user, position)) = places.user {
            let members = &mut self.users[user.0 as usize].members;
            if let Some(moved) = swap_remove(members, position)
                && let Stage::Open(Places { user: Some((_, other)), .. }) =
                    &mut connections[moved as usize].stage
            {
                *other = position;
            }
            self.tidy_user(user);
        }
        self.tidy_hub(places.hub);
        Some(places)
    }

    pub(crate) fn join(
        &mut self,
        connections: &mut Connections,
        slot: Slot,
        group: &GroupName,
    ) -> Result<(), TooManyGroups> {
        let connection = &connections[slot as usize];
        let Some(places) = connection.places() else { return Ok(()) };
        let key = self.group_key(Some(places.hub), group);
        let groups = connection.groups();
        let is_member = key.is_some_and(|key| groups.iter().any(|(joined, _)| *joined == key));
        if !is_member && groups.len() >= self.options.connection_groups_max.get() as usize {
            return Err(TooManyGroups);
        }
        let group = self.group_or_new(places.hub, group);
        self.join_key(connections, slot, group);
        Ok(())
    }

    /// Puts the connections that a user has now into a group.
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
            // A connection that is in too many groups stays out of this one.
            let _ = self.join(connections, slot, group);
        }
    }

    pub(crate) fn leave(&mut self, connections: &mut Connections, slot: Slot, group: &GroupName) {
        let Some(places) = connections[slot as usize].places() else { return };
        if let Some(group) = self.group_key(Some(places.hub), group) {
            self.leave_key(connections, slot, group);
        }
    }

    pub(crate) fn leave_all(&mut self, connections: &mut Connections, slot: Slot) {
        while let Some((group, _)) = connections[slot as usize].groups().last().copied() {
            self.leave_key(connections, slot, group);
        }
    }

    /// Puts a user, and all its connections, into a group, until `expires` if that is given.
    pub(crate) fn user_joins(
        &mut self,
        connections: &mut Connections,
        hub: &Hub,
        user: &UserId,
        group: &GroupName,
        expires: Option<Tick>,
    ) -> Result<(), Full> {
        let known = |index: &Self| {
            let hub = index.hub_keys.get(hub).copied();
            let (user, group) = (index.user_key(hub, user)?, index.group_key(hub, group)?);
            index.users[user.0 as usize].groups.iter().position(|(joined, _)| *joined == group)
        };
        if known(self).is_none() && self.user_groups >= self.options.user_groups_max {
            return Err(Full);
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

    /// Takes a user, and all its connections, out of a group, or of all.
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

    /// Ends the memberships of users whose time is over.
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

    /// When the next membership ends, if one does.
    pub(crate) fn next_expiry(&self) -> Option<Tick> {
        self.expiries.peek().map(|std::cmp::Reverse((expires, _, _))| *expires)
    }

    fn expires_at(&self, user: UserKey, group: GroupKey) -> Option<Tick> {
        let entry = self.users.get(user.0 as usize)?;
        entry.groups.iter().find(|(joined, _)| *joined == group)?.1
    }

    fn note_expiry(&mut self, expires: Tick, user: UserKey, group: GroupKey) {
        // Renewing a membership leaves the old entry behind; so that renewals cannot fill the memory, what no longer counts
        // is swept out when it makes up half.
        if self.expiries.len() >= 2 * self.user_groups as usize + 1024 {
            let mut expiries = std::mem::take(&mut self.expiries);
            expiries.retain(|std::cmp::Reverse((expires, user, group))| {
                self.expires_at(*user, *group) == Some(*expires)
            });
            self.expiries = expiries;
        }
        self.expiries.push(std::cmp::Reverse((expires, user, group)));
    }

    fn user_leaves_key(&mut self, connections: &mut Connections, user: UserKey, group: GroupKey) {
        for slot in self.users[user.0 as usize].members.clone() {
            self.leave_key(connections, slot, group);
        }
        let memberships = &mut self.users[user.0 as usize].groups;
        if let Some(position) = memberships.iter().position(|(joined, _)| *joined == group) {
            memberships.swap_remove(position);
            self.user_groups -= 1;
            self.groups[group.0 as usize].users -= 1;
            self.tidy_group(group);
        }
        self.tidy_user(user);
    }

    fn join_key(&mut self, connections: &mut Connections, slot: Slot, group: GroupKey) {
        let connection = &mut connections[slot as usize];
        if connection.groups().iter().any(|(joined, _)| *joined == group) {
            return;
        }
        let position = push(&mut self.groups[group.0 as usize].members, slot);
        let groups = &mut connection.rare.get_or_insert_default().groups;
        if groups.capacity() == 0 {
            groups.reserve_exact(1);
        }
        groups.push((group, position));
        self.note(connections, slot, group, true);
        if let Some(followers) = &mut self.groups[group.0 as usize].followers {
            followers.join(slot);
        }
    }

    fn leave_key(&mut self, connections: &mut Connections, slot: Slot, group: GroupKey) {
        let Some(Rare { groups, .. }) = connections[slot as usize].rare.as_deref_mut() else { return };
        let Some(at) = groups.iter().position(|(joined, _)| *joined == group) else { return };
        let (_, position) = groups.swap_remove(at);
        if let Some(moved) = swap_remove(&mut self.groups[group.0 as usize].members, position)
            && let Some(rare) = connections[moved as usize].rare.as_deref_mut()
            && let Some((_, other)) = rare.groups.iter_mut().find(|(joined, _)| *joined == group)
        {
            *other = position;
        }
        self.note(connections, slot, group, false);
        if let Some(followers) = &mut self.groups[group.0 as usize].followers {
            followers.leave(slot);
        }
        self.tidy_group(group);
    }

    /// Remembers a change for whoever looks.
    fn note(&mut self, connections: &Connections, slot: Slot, group: GroupKey, joined: bool) {
        if !self.watched {
            return;
        }
        let group = &self.groups[group.0 as usize];
        self.changes.push(Change {
            hub: self.hub(group.hub).clone(),
            connection: connections[slot as usize].id,
            user: self.user_of(connections, slot).cloned(),
            group: group.name.clone(),
            joined,
        });
    }

    /// Whether changes are to be remembered.
    pub(crate) fn watch(&mut self, watched: bool) {
        self.watched = watched;
        if !watched {
            self.changes = Vec::new();
        }
    }

    pub(crate) fn take_changes(&mut self) -> Vec<Change> {
        std::mem::take(&mut self.changes)
    }

    fn user_key(&self, hub: Option<HubKey>, user: &UserId) -> Option<UserKey> {
        self.user_keys.get(&(hub?, user.clone())).copied()
    }

    fn group_key(&self, hub: Option<HubKey>, group: &GroupName) -> Option<GroupKey> {
        self.group_keys.get(&(hub?, group.clone())).copied()
    }

    fn hub_or_new(&mut self, hub: &Hub) -> HubKey {
        if let Some(key) = self.hub_keys.get(hub) {
            return *key;
        }
        let labels = HubLabels { instance: hub.instance().to_string(), hub: hub.name().to_owned() };
        let gauge = self.metrics.connections.get_or_create_owned(&labels);
        let policy = HubPolicy::of_hub(&self.options, hub);
        let entry =
            HubEntry { hub: hub.clone(), members: Vec::new(), children: 0, gauge, policy, followers: None };
        let key = HubKey(number(self.hubs.insert(entry)));
        self.hub_keys.insert(hub.clone(), key);
        key
    }

    fn user_or_new(&mut self, hub: HubKey, name: &UserId) -> UserKey {
        if let Some(key) = self.user_key(Some(hub), name) {
            return key;
        }
        let entry = UserEntry { hub, name: name.clone(), members: Vec::new(), groups: Vec::new() };
        let key = UserKey(number(self.users.insert(entry)));
        self.user_keys.insert((hub, name.clone()), key);
        self.hubs[hub.0 as usize].children += 1;
        key
    }

    fn group_or_new(&mut self, hub: HubKey, name: &GroupName) -> GroupKey {
        if let Some(key) = self.group_key(Some(hub), name) {
            return key;
        }
        let entry = GroupEntry { hub, name: name.clone(), members: Vec::new(), users: 0, followers: None };
        let key = GroupKey(number(self.groups.insert(entry)));
        self.group_keys.insert((hub, name.clone()), key);
        self.hubs[hub.0 as usize].children += 1;
        key
    }

    fn tidy_user(&mut self, key: UserKey) {
        let Some(user) = self.users.get(key.0 as usize) else { return };
        if user.members.is_empty() && user.groups.is_empty() {
            let UserEntry { hub, name, .. } = self.users.remove(key.0 as usize);
            self.user_keys.remove(&(hub, name));
            self.hubs[hub.0 as usize].children -= 1;
            self.tidy_hub(hub);
        }
    }

    fn tidy_group(&mut self, key: GroupKey) {
        let Some(group) = self.groups.get(key.0 as usize) else { return };
        if group.members.is_empty() && group.users == 0 {
            let GroupEntry { hub, name, .. } = self.groups.remove(key.0 as usize);
            self.group_keys.remove(&(hub, name));
            self.hubs[hub.0 as usize].children -= 1;
            self.tidy_hub(hub);
        }
    }

    fn tidy_hub(&mut self, key: HubKey) {
        let Some(hub) = self.hubs.get(key.0 as usize) else { return };
        if hub.members.is_empty() && hub.children == 0 {
            let entry = self.hubs.remove(key.0 as usize);
            self.hub_keys.remove(&entry.hub);
        }
    }
}

/// Appends a member; says where it stands. Most users have one connection, and would otherwise get room for four.
fn push(members: &mut Vec<Slot>, slot: Slot) -> u32 {
    if members.capacity() == 0 {
        members.reserve_exact(1);
    }
    members.push(slot);
    number(members.len() - 1)
}

/// Removes the member at a position; says which member stands there now, if one was moved.
fn swap_remove(members: &mut Vec<Slot>, position: u32) -> Option<Slot> {
    members.swap_remove(position as usize);
    if members.len() * 4 < members.capacity() {
        members.shrink_to(members.len() * 2);
    }
    members.get(position as usize).copied()
}

fn number(index: usize) -> u32 {
    u32::try_from(index).expect("a shard holds fewer things than there are 32-bit numbers")
}
