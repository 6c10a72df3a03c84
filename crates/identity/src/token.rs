//! JSON Web Tokens that are signed with an account key (RFC 7515, RFC 7519; HS256 and HS512 only).
//!
//! The algorithm comes from an allow-list, and only configured keys are used; `alg: none` and keys inside a token are rejected. A
//! `kid` selects the dynamic key with this id. Any other `kid` is ignored, because the SDKs put a hash of the account key there
//! that cannot be recomputed. `exp` is required. The leeway for `nbf` is larger than the one for `exp`, so that a caller whose
//! clock is slightly ahead is accepted; `iat` and `iss` are not checked, as in the real service.
//!
//! Tokens of an OpenID provider are signed with its private key, see `openid.rs`. Code for both kinds is in `token/compact.rs`.
//! Neither accepts the algorithms of the other, so that a public key can never be used as a shared secret.

pub(crate) mod compact;
pub(crate) mod error;
pub(crate) mod rules;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::hmac;
use serde_json::{Value, json};

use self::compact::CompactToken;
use self::error::TokenError;
use self::rules::{TokenRules, Verified};
use crate::access_key::{AccessKey, DynamicKey, KeySet};
use crate::audience::Audience;
use crate::claims::Claims;
use crate::unix_seconds::UnixSeconds;

/// How a token is signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Algorithm {
    /// HMAC with SHA-256, the default of the SDKs.
    #[default]
    Hs256,
    /// HMAC with SHA-512.
    Hs512,
}

impl Algorithm {
    /// The value of `alg`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Hs256 => "HS256",
            Self::Hs512 => "HS512",
        }
    }

    fn from_name(name: &str) -> Option<Self> {
        [Self::Hs256, Self::Hs512].into_iter().find(|algorithm| algorithm.name() == name)
    }

    fn key(self, key: &AccessKey) -> hmac::Key {
        let algorithm = match self {
            Self::Hs256 => hmac::HMAC_SHA256,
            Self::Hs512 => hmac::HMAC_SHA512,
        };
        hmac::Key::new(algorithm, key.expose().as_bytes())
    }
}

/// Validates a token: its signature (by the dynamic key that its `kid` names, otherwise by any account key of `keys`), its lifetime
/// at `now`, and its audience.
///
/// # Errors
///
/// See [`TokenError`].
pub fn verify(
    token: &str,
    keys: &KeySet,
    expected: &Audience<'_>,
    now: UnixSeconds,
    rules: &TokenRules,
) -> Result<Verified, TokenError> {
    let parsed = CompactToken::parse(token, rules)?;
    let name = parsed.algorithm()?;
    let algorithm =
        Algorithm::from_name(name).ok_or_else(|| compact::algorithm_not_accepted(name, "HS256 or HS512"))?;
    let has_signed = |key: &AccessKey| {
        // Compared in constant time.
        hmac::verify(&algorithm.key(key), parsed.signed.as_bytes(), &parsed.signature).is_ok()
    };
    let is_signed = match parsed.key_id().and_then(|id| keys.dynamic(id, now)) {
        Some(dynamic) => has_signed(dynamic),
        None => keys.iter().any(has_signed),
    };
    if !is_signed {
        return Err(TokenError::Signature);
    }
    let verified = parsed.claims(now, rules)?;
    let audiences = verified.claims.values("aud");
    if !audiences.iter().any(|aud| expected.matches(aud)) {
        return Err(compact::wrong_audience(audiences));
    }
    Ok(verified)
}

/// Issues a token with `claims` for `audience`, valid until `expires_at`. Claims named `aud`, `exp` or `iat` are overwritten: use
/// [`Claims::push_user`] for those of a user.
pub fn sign(
    claims: &Claims,
    audience: &str,
    now: UnixSeconds,
    expires_at: UnixSeconds,
    key: &AccessKey,
    algorithm: Algorithm,
) -> String {
    sign_as(claims, audience, now, expires_at, key, algorithm, None)
}

/// Like [`sign`], with a dynamic key and its id as `kid`.
pub fn sign_dynamic(
    claims: &Claims,
    audience: &str,
    now: UnixSeconds,
    expires_at: UnixSeconds,
    key: &DynamicKey,
) -> String {
    sign_as(claims, audience, now, expires_at, &key.key, Algorithm::Hs256, Some(&key.id))
}

fn sign_as(
    claims: &Claims,
    audience: &str,
    now: UnixSeconds,
    expires_at: UnixSeconds,
    key: &AccessKey,
    algorithm: Algorithm,
    key_id: Option<&str>,
) -> String {
    let mut header = json!({ "alg": algorithm.name(), "typ": "JWT" });
    if let Some(id) = key_id {
        header["kid"] = id.into();
    }
    let mut payload = claims.to_json();
    payload.insert("aud".to_owned(), audience.into());
    payload.insert("iat".to_owned(), now.into());
    payload.insert("exp".to_owned(), expires_at.into());
    let mut token = URL_SAFE_NO_PAD.encode(header.to_string());
    token.push('.');
    URL_SAFE_NO_PAD.encode_string(Value::Object(payload).to_string(), &mut token);
    let signature = hmac::sign(&algorithm.key(key), token.as_bytes());
    token.push('.');
    URL_SAFE_NO_PAD.encode_string(signature, &mut token);
    token
}

#[cfg(test)]
mod tests;
