//! [`Logins`]: apps that authenticate with a token of a login provider (OpenID Connect) instead of one signed with an account
//! key.

use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};

use bytes::Bytes;
use http::{Method, Request, StatusCode};
use identity::openid::{self, JsonWebKeySet, JsonWebKeySetError, Provider};
use identity::{Claims, TokenError, TokenRules, UnixSeconds};

use crate::error_table;
use crate::options::OpenIdOptions;
use crate::rejection::Rejection;

/// Largest key set, in bytes.
const KEY_SET_BYTES_MAX: u64 = 256 * 1024;

/// Keys are not used after this many times their refresh interval without a successful refresh: the provider may have withdrawn
/// them.
const STALE_FACTOR: u64 = 24;

/// Shortest time between two reads of the keys, in seconds, whatever key ids tokens name: otherwise any caller could cause
/// requests to the provider.
const PAUSE_S: u64 = 30;

/// The permission that a request needs, as far as roles distinguish them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Read requests.
    Read,
    /// Requests that send messages or change state.
    Write,
    /// Requests for keys, and server connections.
    Serve,
    /// Requests that change keys.
    Own,
}

/// Verifies tokens of the login provider that is configured.
pub(crate) struct Logins {
    options: OpenIdOptions,
    egress: egress::Client,
    keys: RwLock<Option<Keys>>,
    /// Held by the task that reads the keys; the value is the time of the last attempt.
    reading: tokio::sync::Mutex<Option<UnixSeconds>>,
}

#[derive(Clone)]
struct Keys {
    set: Arc<JsonWebKeySet>,
    read_at: UnixSeconds,
}

/// Why the provider's keys could not be read.
#[derive(Debug, thiserror::Error)]
enum KeysError {
    #[error("cannot read {0}")]
    File(String, #[source] std::io::Error),
    #[error("{0} has more than {KEY_SET_BYTES_MAX} bytes")]
    TooLarge(String),
    #[error("cannot get a response from {0}")]
    Send(String, #[source] egress::SendError),
    #[error("{0} answered {1}")]
    Status(String, StatusCode),
    #[error("cannot read the keys at {0}")]
    Content(String, #[source] JsonWebKeySetError),
}

impl Logins {
    pub(crate) fn new(options: OpenIdOptions, egress: egress::Client) -> Self {
        Self { options, egress, keys: RwLock::new(None), reading: tokio::sync::Mutex::new(None) }
    }

    /// Verifies a token, and that its roles permit the request.
    pub(crate) async fn verify(
        &self,
        token: &str,
        purpose: Purpose,
        now: UnixSeconds,
        rules: &TokenRules,
    ) -> Result<(Claims, UnixSeconds), Rejection> {
        let mut keys = self.keys(None, now).await?;
        let verified = loop {
            let provider = Provider {
                issuer: &self.options.issuer,
                audiences: &self.options.audiences,
                keys: &keys.set,
            };
            match openid::verify(token, provider, now, rules) {
                Err(error @ TokenError::UnknownKey(_)) => {
                    // The provider may have published a new key.
                    let newer = self.keys(Some(keys.read_at), now).await?;
                    if newer.read_at == keys.read_at {
                        return Err(error.into());
                    }
                    keys = newer;
                }
                other => break other?,
            }
        };
        self.admit(&verified.claims, purpose)?;
        Ok((verified.claims, verified.expires_at))
    }

    fn admit(&self, claims: &Claims, purpose: Purpose) -> Result<(), Rejection> {
        let ids = ["oid", "appid", "azp", "sub"];
        let is_known = |name: &&str| claims.values(name).iter().any(|id| self.options.callers.contains(id));
        if !self.options.callers.is_empty() && !ids.iter().any(is_known) {
            let message = "the caller of the token is not one of those configured in openid.callers";
            return Err(Rejection::new(&error_table::CALLER_NOT_ALLOWED, message));
        }
        if !self.options.roles_required {
            return Ok(());
        }
        let needed: &[&str] = match purpose {
            Purpose::Read => &["SignalR REST API Reader", "SignalR REST API Owner", "SignalR Service Owner"],
            Purpose::Write => &["SignalR REST API Owner", "SignalR Service Owner"],
            Purpose::Serve => &["SignalR App Server", "SignalR Service Owner"],
            Purpose::Own => &["SignalR Service Owner"],
        };
        let mut roles = claims.values("roles").iter().chain(claims.values("role"));
        if roles.any(|role| needed.contains(&role.as_str())) {
            return Ok(());
        }
        let message = format!("the token has none of the roles {}", needed.join(", "));
        Err(Rejection::new(&error_table::ROLE_MISSING, message))
    }

    /// The provider's keys: the cached ones while they are fresh, unless they were read at `stale`.
    async fn keys(&self, stale: Option<UnixSeconds>, now: UnixSeconds) -> Result<Keys, Rejection> {
        let fresh_s = self.options.refresh_s.get();
        let usable = |keys: &Keys| now.saturating_sub(keys.read_at) < fresh_s && Some(keys.read_at) != stale;
        if let Some(keys) = self.cached_keys(now).filter(usable) {
            return Ok(keys);
        }
        let mut tried = match (self.reading.try_lock(), self.cached_keys(now)) {
            (Ok(tried), _) => tried,
            // Another task reads them, which may take long: the cached keys are used until then.
            (Err(_), Some(keys)) => return Ok(keys),
            (Err(_), None) => self.reading.lock().await,
        };
        // Another task may have read them meanwhile, or failed a moment ago.
        let cached_keys = self.cached_keys(now);
        if let Some(keys) = cached_keys.clone().filter(usable) {
            return Ok(keys);
        }
        if tried.is_some_and(|tried| now.saturating_sub(tried) < PAUSE_S) {
            return cached_keys.ok_or_else(unavailable);
        }
        *tried = Some(now);
        match self.read().await {
            Ok(set) => {
                let keys = Keys { set: Arc::new(set), read_at: now };
                *self.keys.write().unwrap_or_else(PoisonError::into_inner) = Some(keys.clone());
                Ok(keys)
            }
            Err(error) => {
                // Old keys are better than none: an outage of the provider must not lock out every app.
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    issuer = self.options.issuer,
                    "the keys of the login provider could not be read"
                );
                cached_keys.ok_or_else(unavailable)
            }
        }
    }

    fn cached_keys(&self, now: UnixSeconds) -> Option<Keys> {
        let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner).clone();
        let longest_s = self.options.refresh_s.get().saturating_mul(STALE_FACTOR);
        keys.filter(|keys| now.saturating_sub(keys.read_at) < longest_s)
    }

    async fn read(&self) -> Result<JsonWebKeySet, KeysError> {
        let (place, text) = match (&self.options.key_set_file, &self.options.key_set_url) {
            (Some(file), _) => (file.display().to_string(), read_file(file).await?),
            (None, Some(url)) => (url.clone(), self.fetch(url).await?),
            (None, None) => unreachable!("the options are checked before the service starts"),
        };
        JsonWebKeySet::parse(&text).map_err(|error| KeysError::Content(place, error))
    }

    async fn fetch(&self, url: &str) -> Result<Bytes, KeysError> {
        let request = Request::builder().method(Method::GET).uri(url).body(Bytes::new());
        let request = request.expect("the address was parsed when the options were checked");
        let answer = self.egress.call(request).await;
        let answer = answer.map_err(|error| KeysError::Send(url.to_owned(), error))?;
        if answer.status() != StatusCode::OK {
            return Err(KeysError::Status(url.to_owned(), answer.status()));
        }
        let body = answer.into_body();
        if body.len() as u64 > KEY_SET_BYTES_MAX {
            return Err(KeysError::TooLarge(url.to_owned()));
        }
        Ok(body)
    }
}

async fn read_file(file: &Path) -> Result<Bytes, KeysError> {
    let shown = || file.display().to_string();
    let length = tokio::fs::metadata(file).await.map_err(|error| KeysError::File(shown(), error))?.len();
    if length > KEY_SET_BYTES_MAX {
        return Err(KeysError::TooLarge(shown()));
    }
    let text = tokio::fs::read(file).await.map_err(|error| KeysError::File(shown(), error))?;
    Ok(text.into())
}

fn unavailable() -> Rejection {
    let message = "the keys of the login provider could not be read, so its tokens cannot be verified; the log of the service says why";
    Rejection::new(&error_table::LOGIN_UNAVAILABLE, message)
}

impl std::fmt::Debug for Logins {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Logins").field("issuer", &self.options.issuer).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
