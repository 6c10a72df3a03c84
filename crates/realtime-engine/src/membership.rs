//! Changes of groups: [`Membership`], [`Lifetime`], and why a change is refused.

use std::time::Duration;

use crate::Stopped;

/// A change of a group's members.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Membership {
    /// Become a member.
    Join,
    /// Be one no longer.
    Leave,
}

/// How long a user belongs to a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lifetime {
    /// Only the connections that the user has now.
    Present,
    /// All connections that it has or gets within this time.
    For(Duration),
    /// All connections that it has or gets, until it is taken out.
    Always,
}

/// Why a connection did not join a group.
#[derive(Debug, thiserror::Error)]
pub enum GroupError {
    /// [`Options::connection_groups_max`](crate::Options::connection_groups_max) is reached.
    #[error("the connection is in as many groups as it may be")]
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
    #[error("the engine remembers as many memberships of users as it may")]
    Full,
    /// The engine has ended.
    #[error("the engine has been shut down")]
    Stopped,
}
