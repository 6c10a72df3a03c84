//! [`Target`]: which connections of a hub are meant.

use crate::{ConnectionId, GroupName, UserId};

/// Which connections of a hub are meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// All that did their handshake.
    All,
    /// Those in a group.
    Group(GroupName),
    /// Those of a user.
    User(UserId),
    /// One.
    Connection(ConnectionId),
}
