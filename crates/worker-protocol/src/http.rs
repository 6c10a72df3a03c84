//! Parts of HTTP requests and responses: the identities of a caller, and cookies.

use std::time::SystemTime;

use serde::{Deserialize, Serialize};

/// One identity of a caller.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RpcClaimsIdentity {
    /// How the caller was authenticated.
    pub authentication_type: Option<String>,
    /// Type of the claim that has the name.
    pub name_claim_type: Option<String>,
    /// Type of the claim that has the roles.
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
    /// Domain to which it is sent.
    pub domain: Option<String>,
    /// Path to which it is sent.
    pub path: Option<String>,
    /// When it expires. In [`crate::frames`]: milliseconds since 1970, as a number.
    #[serde(with = "expires_ms", rename = "expiresMs", alias = "expires")]
    pub expires: Option<SystemTime>,
    /// Whether it is sent over TLS only.
    pub secure: Option<bool>,
    /// Whether scripts cannot read it.
    pub http_only: Option<bool>,
    /// Whether it is sent with cross-site requests.
    pub same_site: SameSite,
    /// Seconds until it expires.
    pub max_age: Option<f64>,
}

/// Whether a cookie is sent with cross-site requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum SameSite {
    /// The attribute is left out. FunctionRpc calls it `None`.
    #[default]
    Unset,
    /// `SameSite=Lax`.
    Lax,
    /// `SameSite=Strict`.
    Strict,
    /// `SameSite=None`. FunctionRpc calls it `ExplicitNone`.
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
