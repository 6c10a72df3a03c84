//! What all tokens have in common: three parts, a header, and claims about time.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

use super::{Rules, TokenError, UnixSeconds, Verified};
use crate::Claims;

/// A token that was taken apart, with nothing proved about it.
pub(crate) struct Parts<'a> {
    header: Map<String, Value>,
    payload: &'a str,
    /// What is signed: header and payload with the dot between.
    pub(crate) signed: &'a str,
    pub(crate) signature: Vec<u8>,
}

const THREE_PARTS: TokenError = TokenError::Malformed("it does not have three parts with dots between");

impl<'a> Parts<'a> {
    pub(crate) fn split(token: &'a str, rules: &Rules) -> Result<Self, TokenError> {
        if token.len() > rules.token_bytes_max {
            return Err(TokenError::TooLong { bytes: token.len(), bytes_max: rules.token_bytes_max });
        }
        let (signed, signature) = token.rsplit_once('.').ok_or(THREE_PARTS)?;
        let (header, payload) = signed.split_once('.').ok_or(THREE_PARTS)?;
        if payload.contains('.') {
            return Err(THREE_PARTS);
        }
        let header = object(header, "the header is not a JSON object in base64url")?;
        if header.contains_key("crit") {
            return Err(TokenError::Critical);
        }
        let signature = URL_SAFE_NO_PAD
            .decode(signature)
            .map_err(|_| TokenError::Malformed("the signature is not base64url"))?;
        Ok(Self { header, payload, signed, signature })
    }

    pub(crate) fn algorithm(&self) -> Result<&str, TokenError> {
        self.header.get("alg").and_then(Value::as_str).ok_or(TokenError::Malformed("the header has no 'alg'"))
    }

    pub(crate) fn key_id(&self) -> Option<&str> {
        self.header.get("kid").and_then(Value::as_str)
    }

    /// What the token says, if it is valid at `now`. To be asked once its signature is proved.
    pub(crate) fn claims(&self, now: UnixSeconds, rules: &Rules) -> Result<Verified, TokenError> {
        let payload = object(self.payload, "the payload is not a JSON object in base64url")?;
        let expires_at = seconds(&payload, "exp")?.ok_or(TokenError::MissingExpiry)?;
        if expires_at.saturating_add(rules.leeway.as_secs()) <= now {
            return Err(TokenError::Expired {
                expired_at: expires_at,
                ago_s: now.saturating_sub(expires_at),
            });
        }
        if let Some(not_before) = seconds(&payload, "nbf")?
            && not_before > now.saturating_add(rules.early.as_secs())
        {
            return Err(TokenError::NotYetValid { not_before, in_s: not_before - now });
        }
        Ok(Verified { claims: Claims::from_json(payload), expires_at })
    }
}

pub(crate) fn algorithm_refused(name: &str, accepted: &'static str) -> TokenError {
    TokenError::Algorithm(shown(name, 32), accepted)
}

pub(crate) fn audience_refused(audiences: &[String]) -> TokenError {
    TokenError::Audience(shown(&audiences.join(" "), 256))
}

/// Text of unknown length comes back only in part.
pub(crate) fn shown(text: &str, characters_max: usize) -> String {
    text.chars().take(characters_max).collect()
}

/// A number by RFC 7519, with or without a fraction, which some libraries write.
fn seconds(payload: &Map<String, Value>, name: &'static str) -> Result<Option<UnixSeconds>, TokenError> {
    let Some(value) = payload.get(name) else { return Ok(None) };
    let seconds = value.as_u64().or_else(|| {
        // A negative time is long past; the cast saturates at both ends.
        value.as_f64().map(|seconds| seconds as u64)
    });
    let why = if name == "exp" { "'exp' is not a number" } else { "'nbf' is not a number" };
    seconds.map(Some).ok_or(TokenError::Malformed(why))
}

fn object(part: &str, why: &'static str) -> Result<Map<String, Value>, TokenError> {
    let bytes = URL_SAFE_NO_PAD.decode(part).map_err(|_| TokenError::Malformed(why))?;
    serde_json::from_slice(&bytes).map_err(|_| TokenError::Malformed(why))
}
