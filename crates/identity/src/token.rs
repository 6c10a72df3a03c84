//! Tokens: JSON Web Tokens in compact form, signed with an account key (RFC 7515, RFC 7519; HS256 and HS512 only).
//!
//! The algorithm comes from an allow-list and the key is always ours, so that `none` and keys named by the token cannot occur. A `kid`
//! in a key-signed token is ignored: the SDKs put a hash of the key there that nobody can recompute. `exp` is required; `nbf`,
//! `iat` and `iss` are not checked, as the service does not, so that a caller whose clock is ahead is not locked out.
//!
//! Later a second kind of key, found by `kid` in a login provider's key set (RS256), joins [`Algorithm`] and the search for a
//! key in [`verify`]; the rules after the signature stay the same.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::hmac;
use serde_json::{Map, Value, json};

use crate::{AccessKey, Audience, Claims, KeySet};

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
    /// How far the issuer's clock may be behind ours.
    pub leeway: Duration,
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
    /// Its algorithm is not one of ours.
    #[error("the token's algorithm '{0}' is not accepted; use HS256 or HS512")]
    Algorithm(String),
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
    /// It was made for something else.
    #[error("the token's audience '{0}' does not match this resource")]
    Audience(String),
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
        Self { token_bytes_max: 8_192, leeway: Duration::from_secs(5) }
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

/// Checks a token: its signature by any key of `keys`, that it has not ended at `now`, and that it is for `expected`.
pub fn verify(
    token: &str,
    keys: &KeySet,
    expected: &Audience<'_>,
    now: UnixSeconds,
    rules: &Rules,
) -> Result<Verified, TokenError> {
    if token.len() > rules.token_bytes_max {
        return Err(TokenError::TooLong { bytes: token.len(), bytes_max: rules.token_bytes_max });
    }
    let (signed, signature) = token.rsplit_once('.').ok_or(THREE_PARTS)?;
    let (header, payload) = signed.split_once('.').ok_or(THREE_PARTS)?;
    if payload.contains('.') {
        return Err(THREE_PARTS);
    }
    let algorithm = algorithm(&object(header, "the header is not a JSON object in base64url")?)?;
    let signature = URL_SAFE_NO_PAD
        .decode(signature)
        .map_err(|_| TokenError::Malformed("the signature is not base64url"))?;
    let fits = |key: &AccessKey| {
        // Compared in constant time.
        hmac::verify(&algorithm.key(key), signed.as_bytes(), &signature).is_ok()
    };
    if !keys.iter().any(fits) {
        return Err(TokenError::Signature);
    }
    let payload = object(payload, "the payload is not a JSON object in base64url")?;
    let expires_at = expiry(&payload)?;
    if expires_at.saturating_add(rules.leeway.as_secs()) <= now {
        return Err(TokenError::Expired { expired_at: expires_at, ago_s: now.saturating_sub(expires_at) });
    }
    let claims = Claims::from_json(&payload);
    let audiences = claims.values("aud");
    if !audiences.iter().any(|aud| expected.matches(aud)) {
        // Text of unknown length comes back only in part.
        let shown = audiences.join(" ").chars().take(256).collect();
        return Err(TokenError::Audience(shown));
    }
    Ok(Verified { claims, expires_at })
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
    let header = json!({ "alg": algorithm.name(), "typ": "JWT" });
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

const THREE_PARTS: TokenError = TokenError::Malformed("it does not have three parts with dots between");

fn algorithm(header: &Map<String, Value>) -> Result<Algorithm, TokenError> {
    if header.contains_key("crit") {
        return Err(TokenError::Critical);
    }
    let name =
        header.get("alg").and_then(Value::as_str).ok_or(TokenError::Malformed("the header has no 'alg'"))?;
    Algorithm::from_name(name).ok_or_else(|| TokenError::Algorithm(name.chars().take(32).collect()))
}

/// A number by RFC 7519, with or without a fraction, which some libraries write.
fn expiry(payload: &Map<String, Value>) -> Result<UnixSeconds, TokenError> {
    let exp = payload.get("exp").ok_or(TokenError::MissingExpiry)?;
    let seconds = exp.as_u64().or_else(|| {
        // A negative time is long past; the cast saturates at both ends.
        exp.as_f64().map(|seconds| seconds as u64)
    });
    seconds.ok_or(TokenError::Malformed("'exp' is not a number"))
}

fn object(part: &str, why: &'static str) -> Result<Map<String, Value>, TokenError> {
    let bytes = URL_SAFE_NO_PAD.decode(part).map_err(|_| TokenError::Malformed(why))?;
    serde_json::from_slice(&bytes).map_err(|_| TokenError::Malformed(why))
}

#[cfg(test)]
mod tests;
