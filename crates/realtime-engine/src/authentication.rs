//! [`AuthenticationRefresh`]: new claims for a client whose connection is open.

use std::fmt::Debug;
use std::time::SystemTime;

use crate::{ClientContext, Roles, UserId};

/// New claims for a connection. The shard applies them, because only the shard knows the present ones; what they mean is
/// decided by the service around the engine.
pub trait AuthenticationRefresh: Debug + Send + 'static {
    /// What the connection has afterwards. `known` is what it has now, `user` is its user.
    ///
    /// # Errors
    ///
    /// If the new claims name another user.
    fn apply(self: Box<Self>, known: &ClientContext, user: Option<&UserId>) -> Result<Refreshed, OtherUser>;
}

/// What a connection has after its authentication was refreshed.
#[derive(Debug, PartialEq)]
pub struct Refreshed {
    /// Its new claims, beside what does not change.
    pub client_context: ClientContext,
    /// When the connection is to be closed because its authentication ends; absent means never.
    pub ends_at: Option<SystemTime>,
    /// What the client may do without a backend.
    pub roles: Option<Roles>,
    /// Whether its claims differ from those before; the time of the end does not count.
    pub is_changed: bool,
}

/// The new claims belong to another user than the connection. Nothing was changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the new claims name another user than the one of the connection; a refresh cannot change the user")]
pub struct OtherUser;
