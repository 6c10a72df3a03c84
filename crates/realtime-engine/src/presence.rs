//! Presence: lists and counts of connections, users and groups; actions on connections that match a predicate.

use std::collections::HashSet;
use std::fmt;

use super::{CloseRequest, ConnectionId, GroupName, OutgoingMessage, UserId};

/// The connections that a list contains.
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

/// Which names a list contains.
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
    /// The number of its connections.
    pub connections: u64,
}

/// Counts of a hub.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PresenceCounts {
    /// Connections.
    pub connections: u64,
    /// Distinct users and groups by name, because a user may have connections in several shards.
    pub(crate) users: HashSet<Box<str>>,
    pub(crate) groups: HashSet<Box<str>>,
}

/// A connection that a predicate is evaluated for.
pub struct Candidate<'a> {
    /// Its id.
    pub connection: ConnectionId,
    /// Its user.
    pub user: Option<&'a str>,
    /// Its groups.
    pub groups: &'a [&'a str],
}

/// Selects connections. It runs on the shards' threads, for every connection of a hub, so it must be fast.
pub struct Predicate(Box<dyn Fn(&Candidate<'_>) -> bool + Send + Sync>);

/// An action on the selected connections.
#[derive(Clone, Debug)]
pub enum Action {
    /// Sends them a message.
    Send(OutgoingMessage),
    /// Adds them to a group.
    Join(GroupName),
    /// Removes them from a group.
    Leave(GroupName),
    /// Closes them.
    Close(CloseRequest),
}

impl Predicate {
    /// Selects the connections for which `choose` returns true.
    pub fn new(choose: impl Fn(&Candidate<'_>) -> bool + Send + Sync + 'static) -> Self {
        Self(Box::new(choose))
    }

    pub(crate) fn matches(&self, candidate: &Candidate<'_>) -> bool {
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
