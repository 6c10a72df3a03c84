//! [`Target`]: the connections of a hub that receive a message.

use crate::{ConnectionId, GroupName, UserId};

/// The connections of a hub that receive a message, or are closed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// All that have completed their handshake.
    All,
    /// The members of a group.
    Group(GroupName),
    /// The connections of a user.
    User(UserId),
    /// One connection.
    Connection(ConnectionId),
}
