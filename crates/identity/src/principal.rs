//! [`Principal`]: the authenticated caller. It is in the extensions of an `http` request.

use std::sync::Arc;

use crate::claims::Claims;

/// An authenticated caller.
#[derive(Debug, Clone)]
pub enum Principal {
    /// A caller with an account key: an app server, a REST client, an SDK.
    AccessKey(Arc<Claims>),
    /// A client of a hub with a client token.
    Client(Arc<ClientIdentity>),
    /// A caller with a key of the functions host.
    FunctionKey {
        /// The name of the key, such as `default` or `_master`.
        name: Arc<str>,
    },
    /// Another component of this process.
    InProcess {
        /// Its name, for logs.
        name: &'static str,
    },
}

/// A client of a SignalR hub.
#[derive(Debug, Clone)]
pub struct ClientIdentity {
    /// The hub of its token.
    pub hub: String,
    /// The user id, if its token has one.
    pub user_id: Option<String>,
    /// The claims of its token.
    pub claims: Claims,
}

impl Principal {
    /// The user id of the caller, if there is one.
    pub fn user_id(&self) -> Option<&str> {
        match self {
            Self::AccessKey(claims) => claims.user_id(),
            Self::Client(client) => client.user_id.as_deref(),
            Self::FunctionKey { .. } | Self::InProcess { .. } => None,
        }
    }
}
