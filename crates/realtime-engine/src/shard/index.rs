//! [`Index`]: the connections of each hub, user and group. Each shard has one, of its own connections; the memberships of users
//! are in every shard, because a user's next connection may be assigned to any.
//!
//! This file has its tables, and how a connection enters and leaves its hub. `groups.rs` and `users.rs` change memberships,
//! `find.rs` has the queries, `follow.rs` and `followers.rs` have the followers of histories.

mod changes;
mod find;
mod follow;
mod followers;
mod groups;
mod members;
mod policy;
mod shrink;
mod users;

use std::collections::{BinaryHeap, HashMap};

use prometheus_client::metrics::gauge::Gauge;
use slab::Slab;

pub(crate) use self::changes::Change;
use self::changes::Changes;
pub(crate) use self::followers::CaughtUp;
use self::followers::Followers;
use self::members::{push, swap_remove, to_u32};
pub(crate) use self::policy::HubPolicy;
use super::connection::{Connection, ConnectionState, IndexEntry};
use super::deadlines::Tick;
use super::keys::{GroupKey, HubKey, Slot, UserKey};
use crate::metrics::{EngineMetrics, HubLabels};
use crate::{ConnectionId, GroupName, Hub, Options, UserId};

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
    /// All connections, also those without a complete handshake.
    by_id: HashMap<ConnectionId, Slot>,
    /// Number of memberships of users.
    user_groups: u32,
    changes: Changes,
    /// When memberships of users expire; entries of memberships that were changed meanwhile are skipped.
    expiries: BinaryHeap<std::cmp::Reverse<(Tick, UserKey, GroupKey)>>,
}

#[derive(Debug)]
struct HubEntry {
    hub: Hub,
    members: Vec<Slot>,
    /// Number of its users and groups.
    children: u32,
    gauge: Gauge,
    policy: HubPolicy,
    followers: Option<Box<Followers<Slot>>>,
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
    /// Number of users that are members, with or without connections.
    users: u32,
    followers: Option<Box<Followers<Slot>>>,
}

/// [`crate::Options::user_groups_max`] is reached.
#[derive(Debug)]
pub(crate) struct TooManyUserGroups;

/// [`crate::Options::connection_groups_max`] is reached.
#[derive(Debug)]
pub(crate) struct TooManyGroups;

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
            changes: Changes::default(),
            expiries: BinaryHeap::new(),
        }
    }

    /// Replaces the limits, also of hubs that have connections.
    pub(crate) fn set_options(&mut self, options: &Options) {
        self.options = options.clone();
        for (_, entry) in &mut self.hubs {
            entry.policy = HubPolicy::of_hub(&self.options, &entry.hub);
        }
    }

    /// Adds a connection of the shard.
    pub(crate) fn admit(&mut self, id: ConnectionId, slot: Slot) {
        self.by_id.insert(id, slot);
    }

    /// Removes a connection of the shard. It must have left its hub before.
    pub(crate) fn forget(&mut self, id: ConnectionId) {
        self.by_id.remove(&id);
    }

    /// The handshake is complete: adds the connection to its hub, its user and the user's groups.
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
        connections[slot as usize].state = ConnectionState::Open(IndexEntry { hub, hub_position, user });
        if let Some((user, _)) = user {
            let groups: Vec<GroupKey> =
                self.users[user.0 as usize].groups.iter().map(|(group, _)| *group).collect();
            for group in groups {
                self.join_key(connections, slot, group);
            }
        }
    }

    /// Removes the connection from its hub, its user and its groups, so that it receives no more messages. Returns its index
    /// entry; the caller sets its state.
    pub(crate) fn close(&mut self, connections: &mut Connections, slot: Slot) -> Option<IndexEntry> {
        let index_entry = connections[slot as usize].index_entry()?;
        self.leave_all(connections, slot);
        let hub = &mut self.hubs[index_entry.hub.0 as usize];
        if let Some(followers) = &mut hub.followers {
            followers.leave(slot);
        }
        hub.gauge.dec();
        if let Some(moved) = swap_remove(&mut hub.members, index_entry.hub_position)
            && let ConnectionState::Open(other) = &mut connections[moved as usize].state
        {
            other.hub_position = index_entry.hub_position;
        }
        if let Some((user, position)) = index_entry.user {
            let members = &mut self.users[user.0 as usize].members;
            if let Some(moved) = swap_remove(members, position)
                && let ConnectionState::Open(IndexEntry { user: Some((_, other)), .. }) =
                    &mut connections[moved as usize].state
            {
                *other = position;
            }
            self.remove_user_if_empty(user);
        }
        self.remove_hub_if_empty(index_entry.hub);
        Some(index_entry)
    }

    /// Whether to record changes of groups.
    pub(crate) fn watch(&mut self, is_watched: bool) {
        self.changes.watch(is_watched);
    }

    /// Removes and returns the recorded changes.
    pub(crate) fn take_changes(&mut self) -> Vec<Change> {
        self.changes.drain()
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
        let key = HubKey(to_u32(self.hubs.insert(entry)));
        self.hub_keys.insert(hub.clone(), key);
        key
    }

    fn remove_hub_if_empty(&mut self, key: HubKey) {
        let Some(hub) = self.hubs.get(key.0 as usize) else { return };
        if hub.members.is_empty() && hub.children == 0 {
            let entry = self.hubs.remove(key.0 as usize);
            self.hub_keys.remove(&entry.hub);
        }
    }
}
