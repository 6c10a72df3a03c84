//! Who follows what is kept of a hub or of a group, and who is being brought up to date.

use std::collections::HashMap;

use super::{Connections, Index, TooManyGroups};
use crate::engine::shard::connection::{GroupKey, HubKey, Slot};
use crate::engine::{Begun, CaughtUp, GroupName, Hub, Kept, Target};

/// The members of a hub or group whose messages are kept, as far as that matters.
#[derive(Debug, Default)]
pub(crate) struct Followers {
    /// The life of the log to which the numbers below belong.
    epoch: Option<u64>,
    /// The newest message that came by.
    last: Option<u64>,
    /// From which message on each member has had everything.
    since: HashMap<Slot, u64>,
    /// Members from whom messages are withheld, and the newest one withheld.
    withheld: HashMap<Slot, Option<u64>>,
    /// Members who got messages from the log that have not come by yet, and which message is the first that they lack: a message
    /// can be read from the log before it is handed to the shards.
    ahead: HashMap<Slot, u64>,
    /// Members who are told the position of each message.
    follows: Vec<Slot>,
}

/// Of whom messages are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Of {
    Hub(HubKey),
    Group(GroupKey),
}

impl Followers {
    fn joined(&mut self, slot: Slot) {
        if let Some(last) = self.last {
            self.since.insert(slot, last + 1);
        }
    }

    /// Numbers of an earlier life of the log mean nothing in this one. Its messages have all come by: a log is removed by the task
    /// that hands them to the shards, and not before everybody who is being brought up to date is done.
    fn in_log(&mut self, epoch: u64) {
        if self.epoch != Some(epoch) {
            (self.epoch, self.last) = (Some(epoch), None);
            self.since.clear();
            self.ahead.clear();
        }
    }

    pub(super) fn left(&mut self, slot: Slot) {
        self.since.remove(&slot);
        self.withheld.remove(&slot);
        self.ahead.remove(&slot);
        self.follows.retain(|other| *other != slot);
    }
}

impl Index {
    /// A kept message comes by: takes those out of its receivers from whom it is withheld, and says who is told its position.
    pub(crate) fn pass_kept(
        &mut self,
        hub: &Hub,
        target: &Target,
        kept: Kept,
        receivers: &mut Vec<Slot>,
    ) -> Vec<Slot> {
        let Some(of) = self.of(hub, target) else { return Vec::new() };
        let is_begun = |followers: &mut Followers| followers.epoch == Some(kept.epoch);
        let members: Vec<Slot> = match of {
            _ if self.followers(of).is_some_and(is_begun) => Vec::new(),
            Of::Hub(key) => self.hubs[key.0 as usize].members.clone(),
            Of::Group(key) => self.groups[key.0 as usize].members.clone(),
        };
        let followers = self.followers_or_new(of);
        followers.in_log(kept.epoch);
        // Those who were here before the first one have everything from it on.
        followers.since.extend(members.into_iter().map(|slot| (slot, kept.offset)));
        followers.last = Some(kept.offset);
        receivers.retain(|slot| !followers.withheld.contains_key(slot));
        for newest in followers.withheld.values_mut() {
            *newest = Some(kept.offset);
        }
        let mut told = followers.follows.clone();
        if !followers.ahead.is_empty() {
            let lacks = |slot: &Slot| followers.ahead.get(slot).is_none_or(|next| kept.offset >= *next);
            receivers.retain(lacks);
            told.retain(lacks);
            followers.ahead.retain(|_, next| kept.offset + 1 < *next);
        }
        told
    }

    /// A connection wants to follow a group, or the hub itself.
    pub(crate) fn follow(
        &mut self,
        connections: &mut Connections,
        slot: Slot,
        group: Option<&GroupName>,
        may_join: bool,
        epoch: u64,
    ) -> Begun {
        let Some(places) = connections[slot as usize].places() else { return Begun::NoConnection };
        let of = match group {
            None => Of::Hub(places.hub),
            Some(name) => {
                if !self.is_member(connections, slot, name) {
                    if !may_join {
                        return Begun::NoMember;
                    }
                    if let Err(TooManyGroups) = self.join(connections, slot, name) {
                        return Begun::TooManyGroups;
                    }
                }
                let key = self.group_key(Some(places.hub), name);
                Of::Group(key.expect("a group with a member exists"))
            }
        };
        let followers = self.followers_or_new(of);
        followers.in_log(epoch);
        let next = followers.last.map(|last| last + 1);
        match followers.since.get(&slot).copied() {
            // Something reached it already; whatever it missed comes after that.
            Some(since) if Some(since) != next => {
                if !followers.follows.contains(&slot) {
                    followers.follows.push(slot);
                }
                Begun::Since(since)
            }
            _ => {
                followers.withheld.insert(slot, None);
                Begun::Withheld
            }
        }
    }

    /// Whether a connection is a member of a group of its hub.
    pub(crate) fn is_member(&self, connections: &Connections, slot: Slot, group: &GroupName) -> bool {
        let Some(connection) = connections.get(slot as usize) else { return false };
        let key = connection.places().and_then(|places| self.group_key(Some(places.hub), group));
        key.is_some_and(|key| connection.groups().iter().any(|(joined, _)| *joined == key))
    }

    /// A connection has had everything below `next`.
    pub(crate) fn catch_up(
        &mut self,
        connections: &Connections,
        slot: Slot,
        group: Option<&GroupName>,
        next: u64,
    ) -> CaughtUp {
        let Some(of) = self.of_connection(connections, slot, group) else { return CaughtUp::Gone };
        let Some(followers) = self.followers(of) else { return CaughtUp::Gone };
        match followers.withheld.get(&slot).copied() {
            None => CaughtUp::Gone,
            Some(Some(newest)) if newest >= next => CaughtUp::Behind(newest),
            Some(_) => {
                followers.withheld.remove(&slot);
                followers.since.insert(slot, next);
                if followers.last.is_none_or(|last| last + 1 < next) {
                    followers.ahead.insert(slot, next);
                }
                if !followers.follows.contains(&slot) {
                    followers.follows.push(slot);
                }
                CaughtUp::Live
            }
        }
    }

    /// A connection follows no longer; it stays a member.
    pub(crate) fn unfollow(&mut self, connections: &Connections, slot: Slot, group: Option<&GroupName>) {
        if let Some(of) = self.of_connection(connections, slot, group)
            && let Some(followers) = self.followers(of)
        {
            followers.withheld.remove(&slot);
            followers.follows.retain(|other| *other != slot);
        }
    }

    /// A connection became a member of a group.
    pub(super) fn follower_joined(&mut self, slot: Slot, group: GroupKey) {
        if let Some(followers) = &mut self.groups[group.0 as usize].followers {
            followers.joined(slot);
        }
    }

    /// A connection became a member of a hub.
    pub(super) fn follower_opened(&mut self, slot: Slot, hub: HubKey) {
        if let Some(followers) = &mut self.hubs[hub.0 as usize].followers {
            followers.joined(slot);
        }
    }

    fn of(&self, hub: &Hub, target: &Target) -> Option<Of> {
        let hub = self.hub_keys.get(hub).copied();
        match target {
            Target::All => hub.map(Of::Hub),
            Target::Group(group) => self.group_key(hub, group).map(Of::Group),
            Target::User(_) | Target::Connection(_) => None,
        }
    }

    fn of_connection(&self, connections: &Connections, slot: Slot, group: Option<&GroupName>) -> Option<Of> {
        let places = connections.get(slot as usize)?.places()?;
        match group {
            None => Some(Of::Hub(places.hub)),
            Some(group) => self.group_key(Some(places.hub), group).map(Of::Group),
        }
    }

    fn followers(&mut self, of: Of) -> Option<&mut Followers> {
        match of {
            Of::Hub(key) => self.hubs[key.0 as usize].followers.as_deref_mut(),
            Of::Group(key) => self.groups[key.0 as usize].followers.as_deref_mut(),
        }
    }

    fn followers_or_new(&mut self, of: Of) -> &mut Followers {
        let followers = match of {
            Of::Hub(key) => &mut self.hubs[key.0 as usize].followers,
            Of::Group(key) => &mut self.groups[key.0 as usize].followers,
        };
        followers.get_or_insert_default()
    }
}
