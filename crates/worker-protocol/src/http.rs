//! HTTP requests and responses as a worker sees them.

use std::collections::BTreeMap;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use crate::TypedData;

/// A request (towards the worker) or a response (from it); the protocol has one message for both.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RpcHttp {
    /// Request: the method, in upper case.
    pub method: String,
    /// Request: the absolute address, `scheme://host[:port]/path?query`.
    pub url: String,
    /// Headers. In requests, names are lower-case and several values of a name are joined by `,`.
    pub headers: BTreeMap<String, String>,
    /// The body; [`TypedData::Null`] when there is none.
    pub body: TypedData,
    /// Request: values of the route's parameters.
    pub params: BTreeMap<String, String>,
    /// Request: the query's parameters, the last value of each name.
    pub query: BTreeMap<String, String>,
    /// Response: the status in decimal digits; empty stands for 200.
    pub status_code: String,
    /// Response: whether the host may choose the body's form by the request's `Accept`.
    pub enable_content_negotiation: bool,
    /// Request: who calls.
    pub identities: Vec<RpcClaimsIdentity>,
    /// Response: cookies to set.
    pub cookies: Vec<RpcHttpCookie>,
}

/// One identity of a caller.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RpcClaimsIdentity {
    /// How the caller proved it.
    pub authentication_type: Option<String>,
    /// Which claim holds the name.
    pub name_claim_type: Option<String>,
    /// Which claim holds the roles.
    pub role_claim_type: Option<String>,
    /// The claims.
    pub claims: Vec<RpcClaim>,
}

/// One claim of an identity.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RpcClaim {
    /// Its value.
    pub value: String,
    /// Its type.
    #[serde(rename = "type")]
    pub kind: String,
}

/// A cookie that a response sets (RFC 6265, section 4.1).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RpcHttpCookie {
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: String,
    /// Hosts that receive it.
    pub domain: Option<String>,
    /// Path that must be requested.
    pub path: Option<String>,
    /// When it ends. In our frames: milliseconds since 1970, as a number.
    #[serde(with = "expires_ms", rename = "expiresMs", alias = "expires")]
    pub expires: Option<SystemTime>,
    /// Whether it needs an encrypted request.
    pub secure: Option<bool>,
    /// Whether scripts cannot read it.
    pub http_only: Option<bool>,
    /// Whether it goes along with cross-site requests.
    pub same_site: SameSite,
    /// Seconds until it ends.
    pub max_age: Option<f64>,
}

/// Whether a cookie goes along with cross-site requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum SameSite {
    /// Not said: the attribute is left out. The wire calls it `None`.
    #[default]
    Unset,
    /// `SameSite=Lax`.
    Lax,
    /// `SameSite=Strict`.
    Strict,
    /// `SameSite=None`. The wire calls it `ExplicitNone`.
    None,
}

mod expires_ms {
    use std::time::{Duration, SystemTime, UNIX_EPOCH};

    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(time: &Option<SystemTime>, out: S) -> Result<S::Ok, S::Error> {
        match time {
            None => out.serialize_none(),
            Some(time) => {
                let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
                out.serialize_u64(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
            }
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<SystemTime>, D::Error> {
        let ms = Option::<f64>::deserialize(from)?;
        let ms = ms.filter(|ms| ms.is_finite() && *ms >= 0.0);
        let since = ms.and_then(|ms| Duration::try_from_secs_f64(ms / 1000.0).ok());
        Ok(since.and_then(|since| UNIX_EPOCH.checked_add(since)))
    }
}
