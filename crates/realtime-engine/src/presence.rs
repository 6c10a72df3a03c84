//! Presence: who is there, as lists and numbers; and choosing among those who are there.

use std::collections::HashSet;
use std::fmt;

use super::{CloseRequest, ConnectionId, GroupName, OutgoingMessage, UserId};

/// Whose connections a list has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListScope {
    /// All of the hub.
    Hub,
    /// Those in a group.
    Group(GroupName),
    /// Those of a user.
    User(UserId),
}

/// A connection in a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectionEntry {
    /// Its id.
    pub connection: ConnectionId,
    /// Its user, if it has one.
    pub user: Option<UserId>,
}

/// What a list names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameKind {
    /// Users with at least one connection.
    Users,
    /// Groups with at least one connection.
    Groups,
}

/// A user or a group in a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedCount {
    /// Its name.
    pub name: String,
    /// How many connections it has.
    pub connections: u64,
}

/// How many there are in a hub.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PresenceCounts {
    /// Connections.
    pub connections: u64,
    /// Distinct users and groups, by their names: a user may have connections in several shards.
    pub(crate) users: HashSet<Box<str>>,
    pub(crate) groups: HashSet<Box<str>>,
}

/// A connection that is looked at, to decide whether an action concerns it.
pub struct Candidate<'a> {
    /// Its id.
    pub connection: ConnectionId,
    /// Its user.
    pub user: Option<&'a str>,
    /// Its groups.
    pub groups: &'a [&'a str],
}

/// Chooses connections. It runs on the shards' threads, for every connection of a hub: it must be quick.
pub struct Predicate(Box<dyn Fn(&Candidate<'_>) -> bool + Send + Sync>);

/// What is done with the connections that were chosen.
#[derive(Clone, Debug)]
pub enum Action {
    /// They get a message.
    Send(OutgoingMessage),
    /// They become members of a group.
    Join(GroupName),
    /// They leave a group.
    Leave(GroupName),
    /// They are closed.
    Close(CloseRequest),
}

impl Predicate {
    /// Chooses those for which `choose` says so.
    pub fn new(choose: impl Fn(&Candidate<'_>) -> bool + Send + Sync + 'static) -> Self {
        Self(Box::new(choose))
    }

    pub(crate) fn chooses(&self, candidate: &Candidate<'_>) -> bool {
        (self.0)(candidate)
    }
}

impl fmt::Debug for Predicate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Predicate(..)")
    }
}

impl PresenceCounts {
    /// Users with at least one connection.
    pub fn users(&self) -> u64 {
        self.users.len() as u64
    }

    /// Groups with at least one connection.
    pub fn groups(&self) -> u64 {
        self.groups.len() as u64
    }

    pub(crate) fn add(&mut self, other: Self) {
        self.connections += other.connections;
        self.users.extend(other.users);
        self.groups.extend(other.groups);
    }
}
