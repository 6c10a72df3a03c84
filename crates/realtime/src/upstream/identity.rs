//! [`ManagedIdentity`]: tokens of this machine's managed identity, by the protocol of App Service: a GET of `IDENTITY_ENDPOINT`
//! with the secret `IDENTITY_HEADER` returns a token for a resource. Other token services may implement the same protocol.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Request, StatusCode, Uri};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;

use super::claims;
use super::options::{Options, without_query};

const API_VERSION: &str = "2019-08-01";
const SECRET: HeaderName = HeaderName::from_static("x-identity-header");

/// A token is fetched again when it expires in less than this.
const RENEW_BEFORE: Duration = Duration::from_secs(5 * 60);

/// Fetches tokens, and caches each until it expires.
#[derive(Debug)]
pub(crate) struct ManagedIdentity {
    endpoint: String,
    secret: HeaderValue,
    egress: egress::Client,
    /// One slot for each resource.
    tokens: Mutex<HashMap<Arc<str>, TokenSlot>>,
}

/// The holder of the lock fetches the token; other callers wait for its result.
type TokenSlot = Arc<tokio::sync::Mutex<Option<Token>>>;

#[derive(Clone, Debug)]
struct Token {
    text: Arc<str>,
    renew_at: SystemTime,
}

/// Why a token could not be fetched.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ManagedIdentityError {
    #[error("cannot get a response from {endpoint}, which issues tokens")]
    Send {
        endpoint: String,
        #[source]
        cause: egress::SendError,
    },
    #[error("{endpoint} refused a token for this resource with status {}: {text}", status.as_u16())]
    Status { endpoint: String, status: StatusCode, text: String },
    #[error("{endpoint} sent a response without a token")]
    InvalidResponse {
        endpoint: String,
        #[source]
        cause: serde_json::Error,
    },
}

/// The configured identity endpoint cannot be used.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum IdentityError {
    /// The address is not absolute, or not http or https.
    #[error("identity_endpoint `{0}` is not an absolute http or https address")]
    Endpoint(String),
    /// One of the two options is missing.
    #[error(
        "identity_endpoint and identity_header belong together: set both (or IDENTITY_ENDPOINT and IDENTITY_HEADER), or neither"
    )]
    Incomplete,
}

#[derive(Deserialize)]
struct TokenResponse {
    access_token: String,
    expires_on: ExpiresOn,
}

/// Seconds since 1970; some endpoints write them as a string.
#[derive(Deserialize)]
#[serde(untagged)]
enum ExpiresOn {
    Number(u64),
    Text(String),
}

/// Checks the options; returns whether an identity endpoint is configured.
pub(crate) fn is_configured(options: &Options) -> Result<bool, IdentityError> {
    let set = |text: &Option<String>| text.as_deref().is_some_and(|text| !text.is_empty());
    match (set(&options.identity_endpoint), set(&options.identity_header)) {
        (false, false) => Ok(false),
        (true, true) => {
            let endpoint = options.identity_endpoint.as_deref().unwrap_or_default();
            let uri = endpoint.parse::<Uri>().ok();
            let is_web = uri.is_some_and(|uri| matches!(uri.scheme_str(), Some("http" | "https")));
            if is_web { Ok(true) } else { Err(IdentityError::Endpoint(without_query(endpoint).to_owned())) }
        }
        _ => Err(IdentityError::Incomplete),
    }
}

impl ManagedIdentity {
    /// Creates a client of the identity endpoint from options for which [`is_configured`] returned true.
    pub(crate) fn new(options: &Options, egress: egress::Client) -> Self {
        let mut secret = claims::verbatim(options.identity_header.as_deref().unwrap_or_default());
        secret.set_sensitive(true);
        let endpoint = options.identity_endpoint.clone().unwrap_or_default();
        Self { endpoint, secret, egress, tokens: Mutex::default() }
    }

    /// A token for `resource`, from the cache or fetched.
    pub(crate) async fn token(&self, resource: &Arc<str>) -> Result<Arc<str>, ManagedIdentityError> {
        let slot = {
            let mut tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(tokens.entry(Arc::clone(resource)).or_default())
        };
        let mut kept = slot.lock().await;
        if let Some(token) = kept.as_ref().filter(|token| token.renew_at > SystemTime::now()) {
            return Ok(Arc::clone(&token.text));
        }
        let token = self.fetch(resource).await?;
        let text = Arc::clone(&token.text);
        *kept = Some(token);
        Ok(text)
    }

    async fn fetch(&self, resource: &str) -> Result<Token, ManagedIdentityError> {
        let endpoint = || without_query(&self.endpoint).to_owned();
        let joint = if self.endpoint.contains('?') { '&' } else { '?' };
        let resource = utf8_percent_encode(resource, NON_ALPHANUMERIC);
        let address = format!("{}{joint}resource={resource}&api-version={API_VERSION}", self.endpoint);
        let mut request = Request::new(Bytes::new());
        *request.uri_mut() = address.parse().expect("the endpoint was checked, and the rest is escaped");
        request.headers_mut().insert(SECRET, self.secret.clone());
        let answer = self.egress.call(request).await;
        let answer = answer.map_err(|cause| ManagedIdentityError::Send { endpoint: endpoint(), cause })?;
        if answer.status() != StatusCode::OK {
            let text = String::from_utf8_lossy(answer.body()).chars().take(200).collect();
            return Err(ManagedIdentityError::Status { endpoint: endpoint(), status: answer.status(), text });
        }
        let answer: TokenResponse = serde_json::from_slice(answer.body())
            .map_err(|cause| ManagedIdentityError::InvalidResponse { endpoint: endpoint(), cause })?;
        let expires_on = match answer.expires_on {
            ExpiresOn::Number(seconds) => seconds,
            // A date in another format is not parsed; the token is then fetched for each request.
            ExpiresOn::Text(text) => text.parse().unwrap_or(0),
        };
        let expires_at = UNIX_EPOCH.checked_add(Duration::from_secs(expires_on)).unwrap_or(UNIX_EPOCH);
        let renew_at = expires_at.checked_sub(RENEW_BEFORE).unwrap_or(UNIX_EPOCH);
        Ok(Token { text: answer.access_token.into(), renew_at })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoint_and_secret_belong_together() {
        let check = |endpoint: Option<&str>, header: Option<&str>, expected: Result<bool, &str>| {
            let options = Options {
                identity_endpoint: endpoint.map(str::to_owned),
                identity_header: header.map(str::to_owned),
                ..Options::default()
            };
            let result = is_configured(&options).map_err(|error| error.to_string());
            assert_eq!(result, expected.map_err(str::to_owned));
        };
        let half = "identity_endpoint and identity_header belong together: set both (or IDENTITY_ENDPOINT and IDENTITY_HEADER), or neither";
        check(None, None, Ok(false));
        check(Some(""), None, Ok(false));
        check(Some("http://localhost:42356/msi/token"), Some("secret"), Ok(true));
        check(Some("http://localhost:42356/msi/token"), None, Err(half));
        check(None, Some("secret"), Err(half));
        check(
            Some("/msi/token?x=1"),
            Some("secret"),
            Err("identity_endpoint `/msi/token` is not an absolute http or https address"),
        );
    }
}
