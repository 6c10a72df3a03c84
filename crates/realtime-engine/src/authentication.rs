//! [`AuthenticationRefresh`]: new claims for a client whose connection is open.

use std::fmt::Debug;
use std::time::SystemTime;

use crate::{ClientContext, Roles, UserId};

/// New claims for a connection. The shard applies them, because only the shard has the current ones; the service around the
/// engine decides their meaning.
pub trait AuthenticationRefresh: Debug + Send + 'static {
    /// Returns the new state of the connection. `known` is its current client context, `user` its user.
    ///
    /// # Errors
    ///
    /// If the new claims name another user.
    fn apply(self: Box<Self>, known: &ClientContext, user: Option<&UserId>) -> Result<Refreshed, OtherUser>;
}

/// The state of a connection after a refresh of its authentication.
#[derive(Debug, PartialEq)]
pub struct Refreshed {
    /// Its new claims, with the parts of the context that do not change.
    pub client_context: ClientContext,
    /// When the connection is closed because its authentication expires; `None` for never.
    pub ends_at: Option<SystemTime>,
    /// The client's permissions on groups.
    pub roles: Option<Roles>,
    /// Whether its claims differ from those before, apart from their expiry.
    pub is_changed: bool,
}

/// The new claims belong to another user than the connection. Nothing was changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the new claims name a different user than the connection; a refresh cannot change the user")]
pub struct OtherUser;
