//! Who a request comes from, once that is proved. A [`Principal`] travels in the extensions of an `http` request.

use std::sync::Arc;

use crate::Claims;

/// A caller whose identity is proved, or vouched for by this process.
#[derive(Debug, Clone)]
pub enum Principal {
    /// Holds an account key: an app server, a REST caller, an SDK.
    AccessKey(Arc<Claims>),
    /// A client of a hub, admitted by whoever holds an account key.
    Client(Arc<Client>),
    /// Holds a key of the functions host.
    FunctionKey {
        /// The name of the key, such as `default` or `_master`.
        name: Arc<str>,
    },
    /// Another part of this process.
    InProcess {
        /// Which one, for logs.
        name: &'static str,
    },
}

/// A client of a SignalR hub.
#[derive(Debug, Clone)]
pub struct Client {
    /// The hub that its token is for.
    pub hub: String,
    /// Who it is, if its token says so.
    pub user_id: Option<String>,
    /// Everything that its token says.
    pub claims: Claims,
}

impl Principal {
    /// The user behind the caller, where there is one.
    pub fn user_id(&self) -> Option<&str> {
        match self {
            Self::AccessKey(claims) => claims.user_id(),
            Self::Client(client) => client.user_id.as_deref(),
            Self::FunctionKey { .. } | Self::InProcess { .. } => None,
        }
    }
}
