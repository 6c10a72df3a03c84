//! [`Handle`]: the realtime service for callers in this process, without HTTP and without tokens.

mod keys;
mod memberships;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use identity::{Algorithm, Claims};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use trace::TraceContext;

use crate::engine::{ConnectionId, EngineHandle, Filter, Hub, Publish, Target};
use crate::error::{ClientAccessError, InvalidHub, SendError, TraceError};
use crate::events::{DeadLetterPage, DeadLettersError};
use crate::from_protocol;
use crate::options::CLIENT_TOKEN_BYTES_MAX;
use crate::service::{Shared, unix_now};

/// What of a hub's name needs no escape in a query.
const UNESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'_').remove(b'.');

/// Sends, and hands out access. Cheap to clone. Groups, presence and closing are on [`Handle::engine`], with hubs from
/// [`Handle::hub`].
#[derive(Clone, Debug)]
pub struct Handle {
    shared: Arc<Shared>,
}

/// A message and who gets it.
#[derive(Clone, Debug)]
pub struct Message<'a> {
    /// The hub, in any case; with an application prefix, `app_hub`.
    pub hub: &'a str,
    /// Which of its connections.
    pub to: Target,
    /// Connections that do not get it although they belong to `to`.
    pub excluded: Vec<ConnectionId>,
    /// The client's method to call.
    pub target: &'a str,
    /// Its arguments: the text of a JSON array.
    pub arguments: &'a str,
    /// The trace that the sending belongs to.
    pub trace: Option<TraceContext>,
}

/// What a client needs to connect: the content of `signalRConnectionInfo`, and of a redirect in a negotiate answer.
#[derive(Clone, PartialEq, Eq)]
pub struct ClientAccess {
    /// Where to negotiate.
    pub url: String,
    /// The bearer token for it. A secret of the client.
    pub access_token: String,
}

impl Handle {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// Sends a message; waits while shards are busy. Messages that one caller sends one after the other reach each receiver in
    /// that order.
    pub async fn send(&self, message: Message<'_>) -> Result<(), SendError> {
        let Message { hub, to, excluded, target, arguments, trace } = message;
        let hub = self.hub(hub)?;
        let message = from_protocol::invocation(target, arguments)?;
        let publish = Publish { hub, target: to, excluded, excluded_users: Vec::new(), message, trace };
        Ok(self.shared.engine.publish(publish).await?)
    }

    /// The hub of that name: checked, lower-cased, in this service's instance.
    pub fn hub(&self, name: &str) -> Result<Hub, InvalidHub> {
        from_protocol::hub(name, &self.shared.instance)
    }

    /// Connection events that could not be delivered, oldest first: at most `letters_max` from `after` on, which is
    /// [`DeadLetterPage::next`] of the page before.
    ///
    /// # Errors
    ///
    /// If `after` is no such place, or the journal fails.
    pub async fn dead_letters(
        &self,
        after: Option<&str>,
        letters_max: usize,
    ) -> Result<DeadLetterPage, DeadLettersError> {
        self.shared.dispatcher.dead_letters().page(after, letters_max, SystemTime::now()).await
    }

    /// The sockets: groups, users, presence, closing, counts.
    pub fn engine(&self) -> &EngineHandle {
        &self.shared.engine
    }

    /// The live trace: everything that `filter` lets pass, from now on, as the body of an answer with one JSON object a line. It says
    /// what was left out where its reader is too slow.
    ///
    /// # Errors
    ///
    /// If too many watch already, or the service is shutting down.
    pub async fn trace(&self, filter: Filter) -> Result<http_messages::Body, TraceError> {
        crate::service::trace(&self.shared, filter).await
    }

    /// Lets one client into a hub for `lifetime`: an address below `base_url` (scheme and host by which clients reach this service,
    /// without a slash at the end) and a token for it. Claims of the user whose names a token needs itself, such as
    /// `aud`, are renamed as the SDKs do.
    pub fn client_access(
        &self,
        hub: &str,
        user_id: Option<&str>,
        claims: &Claims,
        lifetime: Duration,
        base_url: &str,
    ) -> Result<ClientAccess, ClientAccessError> {
        let hub = self.hub(hub)?;
        let name = utf8_percent_encode(hub.name(), UNESCAPED);
        let url = format!("{}/client/?hub={name}", base_url.trim_end_matches('/'));
        let mut said = Claims::new();
        if let Some(user_id) = user_id {
            said.push("asrs.s.uid", user_id);
        }
        for (kind, values) in claims.iter() {
            for value in values {
                said.push_user(kind, value.as_str());
            }
        }
        let now = unix_now();
        let expires_at = now.saturating_add(lifetime.as_secs());
        let key = &self.shared.keys.current().primary;
        let access_token = identity::sign(&said, &url, now, expires_at, key, Algorithm::Hs256);
        if access_token.len() > CLIENT_TOKEN_BYTES_MAX {
            return Err(ClientAccessError::TooLong {
                bytes: access_token.len(),
                bytes_max: CLIENT_TOKEN_BYTES_MAX,
            });
        }
        Ok(ClientAccess { url, access_token })
    }
}

impl std::fmt::Debug for ClientAccess {
    /// Without the token.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ClientAccess").field("url", &self.url).finish_non_exhaustive()
    }
}
