//! Changes of groups: [`Membership`], [`Lifetime`], and why a change is refused.

use std::time::Duration;

use crate::Stopped;

/// A change of a group's members.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Membership {
    /// Joins.
    Join,
    /// Leaves.
    Leave,
}

/// How long a user belongs to a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lifetime {
    /// Only the current connections of the user.
    Present,
    /// All connections of the user, current and new, for this long.
    For(Duration),
    /// All connections of the user, current and new, until it is removed.
    Always,
}

/// Why a connection did not join a group.
#[derive(Debug, thiserror::Error)]
pub enum GroupError {
    /// [`Options::connection_groups_max`](crate::Options::connection_groups_max) is reached.
    #[error("the connection is in too many groups (realtime.engine.connection_groups_max)")]
    TooMany,
    /// The engine has ended.
    #[error("the engine has been shut down")]
    Stopped,
}

impl From<Stopped> for GroupError {
    fn from(_: Stopped) -> Self {
        Self::Stopped
    }
}

/// Why a user's membership was not changed.
#[derive(Debug, thiserror::Error)]
pub enum UserGroupError {
    /// [`Options::user_groups_max`](crate::Options::user_groups_max) is reached.
    #[error("too many memberships of users in groups (realtime.engine.user_groups_max)")]
    Full,
    /// The engine has ended.
    #[error("the engine has been shut down")]
    Stopped,
}
