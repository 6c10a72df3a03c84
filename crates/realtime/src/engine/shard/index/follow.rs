//! Who follows what is kept of a hub or of a group, and who is being brought up to date.

use std::collections::HashMap;

use super::{Connections, Index, TooManyGroups};
use crate::engine::shard::connection::{GroupKey, HubKey, Slot};
use crate::engine::{Begun, CaughtUp, GroupName, Hub, Kept, Target};

/// The members of a hub or group whose messages are kept, as far as that matters.
#[derive(Debug, Default)]
pub(crate) struct Followers {
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
        let members: Vec<Slot> = match of {
            _ if self.followers(of).is_some() => Vec::new(),
            Of::Hub(key) => self.hubs[key.0 as usize].members.clone(),
            Of::Group(key) => self.groups[key.0 as usize].members.clone(),
        };
        let followers = self.followers_or_new(of);
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
    ) -> Begun {
        let Some(places) = connections[slot as usize].places() else { return Begun::NoConnection };
        let of = match group {
            None => Of::Hub(places.hub),
            Some(name) => {
                let key = self.group_key(Some(places.hub), name);
                let is_member =
                    |key| connections[slot as usize].groups().iter().any(|(joined, _)| *joined == key);
                match key.filter(|key| is_member(*key)) {
                    Some(key) => Of::Group(key),
                    None if may_join => {
                        if let Err(TooManyGroups) = self.join(connections, slot, name) {
                            return Begun::TooManyGroups;
                        }
                        let key = self.group_key(Some(places.hub), name);
                        Of::Group(key.expect("a group with a member exists"))
                    }
                    None => return Begun::NoMember,
                }
            }
        };
        let followers = self.followers_or_new(of);
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
