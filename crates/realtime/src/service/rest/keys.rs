//! Tokens and keys that are issued to apps.

use std::sync::Arc;
use std::time::Duration;

use http::request::Parts;
use http::{Request, Response};
use http_messages::Body;
use identity::{AccessKey, Claims};
use serde::Deserialize;
use serde_json::json;

use super::request::RestRequest;
use crate::client_access::{self, ClientAccessError};
use crate::error_table;
use crate::login::Purpose;
use crate::rejection::Rejection;
use crate::service::body::read_body;
use crate::service::{Shared, access};
use crate::store::keys::{KeyChange, KeyError, KeyRotation};
use crate::to_protocol;
use crate::unix_time::unix_now;

/// Longest lifetime of a client's token, in minutes: a year.
const MINUTES_MAX: u64 = 366 * 24 * 60;

/// Default lifetime of a client's token (the vendor's description of the operation).
const MINUTES: u64 = 60;

impl RestRequest<'_> {
    /// Responds with `{token}`, a client token for the hub, with the host name of the request as audience.
    pub(super) fn generate_token(&self) -> Result<Response<Body>, Rejection> {
        let minutes = match self.text("minutesToExpire") {
            None => MINUTES,
            Some(text) => {
                let minutes = text.parse().ok().filter(|minutes| (1..=MINUTES_MAX).contains(minutes));
                minutes.ok_or_else(|| {
                    let message = format!("minutesToExpire must be a whole number from 1 to {MINUTES_MAX}");
                    Rejection::new(&error_table::INVALID_MINUTES_TO_EXPIRE, message).about("minutesToExpire")
                })?
            }
        };
        // The roles of the client; the vendor's other real-time service has the same parameter.
        let claims: Claims = self.query.all("role").map(|role| ("role", role)).collect();
        let uri = &self.head.uri;
        let (scheme, authority) =
            (uri.scheme_str().unwrap_or("http"), uri.authority().map_or("localhost", |a| a.as_str()));
        let base = format!("{scheme}://{authority}");
        let lifetime = Duration::from_secs(minutes * 60);
        let key = &self.shared.keys.current().primary;
        let access = client_access::issue(key, &self.hub, self.text("userId"), &claims, lifetime, &base);
        let access = access.map_err(|error| match error {
            ClientAccessError::Hub(error) => error.into(),
            ClientAccessError::TooLong { .. } => {
                Rejection::new(&error_table::TOKEN_TOO_LONG, error.to_string())
                    .with_status(http::StatusCode::BAD_REQUEST)
                    .about("userId")
            }
        })?;
        Ok(to_protocol::json(json!({ "token": access.access_token }).to_string()))
    }
}

/// Responds with `{AccessKey, KeyId}`: a key with which an app server that logged in signs its clients' tokens.
pub(super) async fn access_key(shared: &Arc<Shared>, head: &Parts) -> Result<Response<Body>, Rejection> {
    access::app(shared, head, Purpose::Serve).await?;
    let key = shared.keys.issue(unix_now()).await.map_err(|error| Rejection::store_failed(&error))?;
    Ok(to_protocol::json(json!({ "AccessKey": key.key.expose(), "KeyId": key.id }).to_string()))
}

/// The body of a request to change the account keys.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Rotate {
    renew: Vec<KeyName>,
    primary: Option<String>,
    secondary: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum KeyName {
    Primary,
    Secondary,
}

/// Changes the account keys; see [`crate::Handle::answer_key_rotation`].
pub(crate) async fn answer_key_rotation(shared: &Arc<Shared>, request: Request<Body>) -> Response<Body> {
    let (head, body) = request.into_parts();
    rotate(shared, &head, body).await.unwrap_or_else(to_protocol::error_detail)
}

async fn rotate(shared: &Arc<Shared>, head: &Parts, body: Body) -> Result<Response<Body>, Rejection> {
    access::app(shared, head, Purpose::Own).await?;
    let body = read_body(shared, body, shared.options().body_bytes_max).await?;
    let rotate: Rotate = serde_json::from_slice(&body).map_err(|error| {
        Rejection::new(&error_table::INVALID_BODY, format!("the body is invalid: {error}"))
    })?;
    let change = |which: KeyName, given: Option<&String>| match given {
        Some(key) if !rotate.renew.contains(&which) => {
            AccessKey::new(key.as_str()).map(KeyChange::Set).map_err(|error| {
                let name = if which == KeyName::Primary { "primary" } else { "secondary" };
                Rejection::new(&error_table::INVALID_KEY, error.to_string()).about(name)
            })
        }
        Some(_) => {
            Err(Rejection::new(&error_table::INVALID_KEY, "a key can be renewed or set, not both")
                .about("renew"))
        }
        None if rotate.renew.contains(&which) => Ok(KeyChange::Renew),
        None => Ok(KeyChange::Keep),
    };
    let rotation = KeyRotation {
        primary: change(KeyName::Primary, rotate.primary.as_ref())?,
        secondary: change(KeyName::Secondary, rotate.secondary.as_ref())?,
    };
    let keys = shared.keys.rotate(rotation).await.map_err(|error| match error {
        KeyError::Public(which) => Rejection::new(&error_table::INVALID_KEY, error.to_string()).about(which),
        KeyError::Store(_) => Rejection::store_failed(&error),
    })?;
    tracing::info!(
        "the account keys were changed; tokens signed with a replaced key are refused from now on"
    );
    let secondary = keys.secondary.as_ref().map(AccessKey::expose);
    Ok(to_protocol::json(json!({ "primary": keys.primary.expose(), "secondary": secondary }).to_string()))
}
