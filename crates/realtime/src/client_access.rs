//! [`ClientAccess`]: the URL and the access token with which one client connects.

use std::time::Duration;

use identity::{AccessKey, Algorithm, Claims};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::names::InvalidHub;
use crate::options::CLIENT_TOKEN_BYTES_MAX;
use crate::unix_time::unix_now;
use realtime_engine::Hub;

/// Characters of a hub name that need no escape in a query.
const UNESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'_').remove(b'.');

/// What a client needs to connect: the content of `signalRConnectionInfo`, and of a redirect in a negotiate response.
#[derive(Clone, PartialEq, Eq)]
pub struct ClientAccess {
    /// The URL at which the client negotiates.
    pub url: String,
    /// The bearer token for it. A secret of the client.
    pub access_token: String,
}

/// Why a client gets no access.
#[derive(Debug, thiserror::Error)]
pub enum ClientAccessError {
    /// The hub name is invalid.
    #[error(transparent)]
    Hub(#[from] InvalidHub),
    /// The service accepts no token of this length.
    #[error(
        "the client's token would have {bytes} bytes, more than the {bytes_max} allowed; give it fewer claims"
    )]
    TooLong {
        /// The length of the token.
        bytes: usize,
        /// The limit.
        bytes_max: usize,
    },
}

/// Issues a token for a hub that is valid for `lifetime`, signed with `key`.
pub(crate) fn issue(
    key: &AccessKey,
    hub: &Hub,
    user_id: Option<&str>,
    claims: &Claims,
    lifetime: Duration,
    base_url: &str,
) -> Result<ClientAccess, ClientAccessError> {
    let name = utf8_percent_encode(hub.name(), UNESCAPED);
    let url = format!("{}/client/?hub={name}", base_url.trim_end_matches('/'));
    let mut token_claims = Claims::new();
    if let Some(user_id) = user_id {
        token_claims.push("asrs.s.uid", user_id);
    }
    for (kind, values) in claims.iter() {
        for value in values {
            token_claims.push_user(kind, value.as_str());
        }
    }
    let now = unix_now();
    let expires_at = now.saturating_add(lifetime.as_secs());
    let access_token = identity::sign(&token_claims, &url, now, expires_at, key, Algorithm::Hs256);
    if access_token.len() > CLIENT_TOKEN_BYTES_MAX {
        return Err(ClientAccessError::TooLong {
            bytes: access_token.len(),
            bytes_max: CLIENT_TOKEN_BYTES_MAX,
        });
    }
    Ok(ClientAccess { url, access_token })
}

impl std::fmt::Debug for ClientAccess {
    /// Does not print the token.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ClientAccess").field("url", &self.url).finish_non_exhaustive()
    }
}
