//! Tokens: JSON Web Tokens in compact form, signed with an account key (RFC 7515, RFC 7519; HS256 and HS512 only).
//!
//! The algorithm comes from an allow-list and the key is always ours, so that `none` and keys brought by the token cannot occur. A
//! `kid` chooses a dynamic key where it names one; any other is ignored, because the SDKs put a hash of the account key there that nobody can
//! recompute. `exp` is required. `nbf` is checked with more patience than `exp`, so that a caller whose clock is a little ahead
//! is not locked out; `iat` and `iss` are not checked, as the service does not.
//!
//! Tokens of a login provider, signed with its private key, are another kind: see `openid.rs`. What the two have in common is
//! in `token/parts.rs`. Neither takes the algorithms of the other, so that a public key can never be used as a shared secret.

pub(crate) mod parts;

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::hmac;
use serde_json::{Value, json};

use crate::{AccessKey, Audience, Claims, KeySet};
use parts::Parts;

/// How a token is signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Algorithm {
    /// HMAC with SHA-256, what the SDKs use unless told otherwise.
    #[default]
    Hs256,
    /// HMAC with SHA-512.
    Hs512,
}

/// Seconds since the Unix epoch. Time comes in as an argument everywhere in this crate.
pub type UnixSeconds = u64;

/// How strictly [`verify`] looks.
#[derive(Debug, Clone)]
pub struct Rules {
    /// Longest token, in bytes. The SDKs refuse to make a client's token of more than 4,096.
    pub token_bytes_max: usize,
    /// How far the issuer's clock may be behind ours: how long a token is accepted after its `exp`.
    pub leeway: Duration,
    /// How far the issuer's clock may be ahead of ours: how long before its `nbf` a token is accepted.
    pub early: Duration,
}

/// Why a token is refused. The text may be shown to the caller: it holds nothing that the caller did not send.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// It is longer than allowed.
    #[error("the token has {bytes} bytes, more than the {bytes_max} allowed")]
    TooLong {
        /// Its length.
        bytes: usize,
        /// The limit.
        bytes_max: usize,
    },
    /// It is not a compact JSON Web Token.
    #[error("the token is malformed: {0}")]
    Malformed(&'static str),
    /// Its algorithm is not one of those that are accepted here.
    #[error("the token's algorithm '{0}' is not accepted; use {1}")]
    Algorithm(String, &'static str),
    /// Its header demands extensions, and we know none (RFC 7515, section 4.1.11).
    #[error("the token's header has 'crit', which names extensions that are not supported")]
    Critical,
    /// No valid key signed it.
    #[error("the token's signature does not match any valid access key")]
    Signature,
    /// It never ends.
    #[error("the token has no 'exp' claim")]
    MissingExpiry,
    /// It has ended.
    #[error("the token expired at {expired_at} (Unix time), {ago_s} seconds ago")]
    Expired {
        /// When.
        expired_at: UnixSeconds,
        /// How long ago.
        ago_s: u64,
    },
    /// Its time has not come.
    #[error("the token is not valid before {not_before} (Unix time), in {in_s} seconds")]
    NotYetValid {
        /// From when on it is.
        not_before: UnixSeconds,
        /// How far away that is.
        in_s: u64,
    },
    /// It was made for something else.
    #[error("the token's audience '{0}' does not match this resource")]
    Audience(String),
    /// It comes from a login provider that is not trusted.
    #[error("the token's issuer '{0}' is not the one that is configured")]
    Issuer(String),
    /// None of its login provider's keys signed it.
    #[error("the token's signature does not match a key of its issuer")]
    IssuerSignature,
    /// Its login provider has no key of that name, as far as we know.
    #[error("the token's 'kid' names '{0}', which is no key of its issuer")]
    UnknownKey(String),
}

/// A token that fits.
#[derive(Debug, Clone)]
pub struct Verified {
    /// What it says.
    pub claims: Claims,
    /// When it ends.
    pub expires_at: UnixSeconds,
}

impl Default for Rules {
    fn default() -> Self {
        Self { token_bytes_max: 8_192, leeway: Duration::from_secs(5), early: Duration::from_secs(300) }
    }
}

impl Algorithm {
    /// The name in a token's header.
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

/// Checks a token: its signature by a dynamic key that it names, or otherwise by any account key of `keys`; that it is valid at
/// `now`; and that it is for `expected`.
pub fn verify(
    token: &str,
    keys: &KeySet,
    expected: &Audience<'_>,
    now: UnixSeconds,
    rules: &Rules,
) -> Result<Verified, TokenError> {
    let parts = Parts::split(token, rules)?;
    let name = parts.algorithm()?;
    let algorithm =
        Algorithm::from_name(name).ok_or_else(|| parts::algorithm_refused(name, "HS256 or HS512"))?;
    let fits = |key: &AccessKey| {
        // Compared in constant time.
        hmac::verify(&algorithm.key(key), parts.signed.as_bytes(), &parts.signature).is_ok()
    };
    let signed_by_us = match parts.key_id().and_then(|id| keys.dynamic(id, now)) {
        Some(dynamic) => fits(dynamic),
        None => keys.iter().any(fits),
    };
    if !signed_by_us {
        return Err(TokenError::Signature);
    }
    let verified = parts.claims(now, rules)?;
    let audiences = verified.claims.values("aud");
    if !audiences.iter().any(|aud| expected.matches(aud)) {
        return Err(parts::audience_refused(audiences));
    }
    Ok(verified)
}

/// Makes a token that says `claims`, for `audience`, until `expires_at`. Claims named `aud`, `exp` or `iat` are overwritten: use
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

/// Like [`sign`], with a dynamic key, which the token names.
pub fn sign_dynamic(
    claims: &Claims,
    audience: &str,
    now: UnixSeconds,
    expires_at: UnixSeconds,
    key: &crate::DynamicKey,
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
