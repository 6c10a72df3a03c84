//! Access by keys: functions by their `authLevel`, `/admin` by the master key.

use http::request::Parts;
use http::{HeaderValue, Response};
use http_messages::{Body, error_chain};

use super::dispatch::Dispatch;
use super::respond::{error, error_text};
use crate::error_table::response;
use crate::function::{AuthLevel, HttpTrigger};
use crate::invoke::Function;
use crate::keys::{KeyLevel, KnownKey, extension_key};

impl Dispatch {
    /// The key of a caller that may call the function, or the response that rejects it.
    pub(super) async fn admit(
        &self,
        parts: &Parts,
        function: &Function,
        trigger: &HttpTrigger,
    ) -> Result<Option<KnownKey>, Response<Body>> {
        if !self.is_auth_enforced {
            return Ok(None);
        }
        let level = trigger.auth_level;
        let key = match self.valid_key(parts, Some(function.name())).await {
            // A function without a required key can be called while the keys cannot be read.
            Err(_) if level == AuthLevel::Anonymous && !function.declaration.is_disabled => None,
            key => key?,
        };
        if function.declaration.is_disabled && !key.as_ref().is_some_and(|key| key.level == KeyLevel::Admin) {
            return Err(error(&response::NOT_FOUND));
        }
        if level == AuthLevel::Anonymous || key.as_ref().is_some_and(|key| key.permits(level)) {
            return Ok(key);
        }
        Err(error(&response::UNAUTHORIZED))
    }

    /// The response that rejects a caller without the master key, if keys are enforced: 403 for a lesser key of the host, 401
    /// otherwise.
    pub(super) async fn reject_unless_admin(&self, parts: &Parts) -> Option<Response<Body>> {
        if !self.is_auth_enforced {
            return None;
        }
        self.reject_unless(parts, |key| key.level == KeyLevel::Admin).await
    }

    /// The response that rejects a caller of an extension's webhook, if keys are enforced: it needs the system key of the extension,
    /// or the master key.
    pub(super) async fn reject_unless_extension(
        &self,
        parts: &Parts,
        extension: &str,
    ) -> Option<Response<Body>> {
        if !self.is_auth_enforced {
            return None;
        }
        let name = extension_key(extension);
        let permits = |key: &KnownKey| {
            let is_own = key.level == KeyLevel::System && key.name.eq_ignore_ascii_case(&name);
            is_own || key.level == KeyLevel::Admin
        };
        self.reject_unless(parts, permits).await
    }

    async fn reject_unless(
        &self,
        parts: &Parts,
        permits: impl Fn(&KnownKey) -> bool,
    ) -> Option<Response<Body>> {
        let key = match self.valid_key(parts, None).await {
            Ok(key) => key,
            Err(rejection) => return Some(rejection),
        };
        if key.as_ref().is_some_and(permits) {
            return None;
        }
        if key.is_some() {
            return Some(error(&response::FORBIDDEN));
        }
        let mut response = error(&response::UNAUTHORIZED);
        let authorization = parts.headers.get(http::header::AUTHORIZATION).map(HeaderValue::as_bytes);
        let has_token = authorization.is_some_and(|value| {
            value.get(..7).is_some_and(|scheme| scheme.eq_ignore_ascii_case(b"bearer "))
        });
        let challenge = if has_token { "Bearer error=\"invalid_token\"" } else { "Bearer" };
        response.headers_mut().insert(http::header::WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
        Some(response)
    }

    /// The key that a caller sent, if it is valid for the host or for this function.
    async fn valid_key(
        &self,
        parts: &Parts,
        function: Option<&str>,
    ) -> Result<Option<KnownKey>, Response<Body>> {
        let Some(presented) = presented_key(parts) else { return Ok(None) };
        self.keys.identify(&presented, function).await.map_err(|cause| {
            let code = response::KEYS_UNAVAILABLE.code;
            tracing::error!(error = error_chain(&cause), code, "keys cannot be read");
            let why =
                "The keys of this app cannot be read at the moment, so no key can be checked. See the log.\n";
            error_text(&response::KEYS_UNAVAILABLE, why)
        })
    }
}

/// The key in a request: the header takes precedence over the query.
fn presented_key(parts: &Parts) -> Option<String> {
    let header = parts.headers.get("x-functions-key").and_then(|value| value.to_str().ok());
    header
        .map(str::to_owned)
        .or_else(|| functions_contract::query_parameter(parts.uri.query().unwrap_or_default(), "code"))
}
