//! [`CompactToken`]: the compact serialization of a JSON Web Token, its header, and the claims about time.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::de::{Deserialize, DeserializeOwned, Deserializer, MapAccess, Visitor};
use serde_json::Value;

use super::error::TokenError;
use super::rules::{TokenRules, Verified};
use crate::claims::Claims;
use crate::unix_seconds::UnixSeconds;

/// A parsed token. Its signature has not been verified.
pub(crate) struct CompactToken<'a> {
    header: TokenHeader,
    payload: &'a str,
    /// The signing input: header and payload with the dot between.
    pub(crate) signed: &'a str,
    pub(crate) signature: Vec<u8>,
}

/// The relevant members of a header. Of duplicate members the last one is used, as in most JSON parsers.
#[derive(Default)]
struct TokenHeader {
    algorithm: Option<Value>,
    key_id: Option<Value>,
    is_critical: bool,
}

/// The payload; its two numeric claims are stored separately.
#[derive(Default)]
struct TokenPayload {
    claims: Claims,
    expires_at: Option<Value>,
    not_before: Option<Value>,
}

const THREE_PARTS: TokenError = TokenError::Malformed("it does not have three parts with dots between");

impl<'a> CompactToken<'a> {
    pub(crate) fn parse(token: &'a str, rules: &TokenRules) -> Result<Self, TokenError> {
        if token.len() > rules.token_bytes_max {
            return Err(TokenError::TooLong { bytes: token.len(), bytes_max: rules.token_bytes_max });
        }
        let (signed, signature) = token.rsplit_once('.').ok_or(THREE_PARTS)?;
        let (header, payload) = signed.split_once('.').ok_or(THREE_PARTS)?;
        if payload.contains('.') {
            return Err(THREE_PARTS);
        }
        let header: TokenHeader = object(header, "the header is not a JSON object in base64url")?;
        if header.is_critical {
            return Err(TokenError::Critical);
        }
        let signature = URL_SAFE_NO_PAD
            .decode(signature)
            .map_err(|_| TokenError::Malformed("the signature is not base64url"))?;
        Ok(Self { header, payload, signed, signature })
    }

    pub(crate) fn algorithm(&self) -> Result<&str, TokenError> {
        let name = self.header.algorithm.as_ref().and_then(Value::as_str);
        name.ok_or(TokenError::Malformed("the header has no 'alg'"))
    }

    pub(crate) fn key_id(&self) -> Option<&str> {
        self.header.key_id.as_ref().and_then(Value::as_str)
    }

    /// The claims, if the token is valid at `now`. Call it after the signature is verified.
    pub(crate) fn claims(&self, now: UnixSeconds, rules: &TokenRules) -> Result<Verified, TokenError> {
        let payload: TokenPayload = object(self.payload, "the payload is not a JSON object in base64url")?;
        let expires_at =
            seconds(payload.expires_at, "'exp' is not a number")?.ok_or(TokenError::MissingExpiry)?;
        if expires_at.saturating_add(rules.leeway.as_secs()) <= now {
            return Err(TokenError::Expired {
                expired_at: expires_at,
                ago_s: now.saturating_sub(expires_at),
            });
        }
        if let Some(not_before) = seconds(payload.not_before, "'nbf' is not a number")?
            && not_before > now.saturating_add(rules.early.as_secs())
        {
            return Err(TokenError::NotYetValid { not_before, in_s: not_before - now });
        }
        Ok(Verified { claims: payload.claims, expires_at })
    }
}

pub(crate) fn algorithm_not_accepted(name: &str, accepted: &'static str) -> TokenError {
    TokenError::Algorithm(truncated(name, 32), accepted)
}

pub(crate) fn wrong_audience(audiences: &[String]) -> TokenError {
    TokenError::Audience(truncated(&audiences.join(" "), 256))
}

/// The start of a text of unknown length.
pub(crate) fn truncated(text: &str, characters_max: usize) -> String {
    text.chars().take(characters_max).collect()
}

/// A NumericDate of RFC 7519; some libraries write a fraction.
fn seconds(value: Option<Value>, why: &'static str) -> Result<Option<UnixSeconds>, TokenError> {
    let Some(value) = value else { return Ok(None) };
    let seconds = value.as_u64().or_else(|| {
        // A negative time is in the past; the cast saturates at both ends.
        value.as_f64().map(|seconds| seconds as u64)
    });
    seconds.map(Some).ok_or(TokenError::Malformed(why))
}

fn object<T: DeserializeOwned>(part: &str, why: &'static str) -> Result<T, TokenError> {
    let bytes = URL_SAFE_NO_PAD.decode(part).map_err(|_| TokenError::Malformed(why))?;
    serde_json::from_slice(&bytes).map_err(|_| TokenError::Malformed(why))
}

/// A JSON object that is read member by member, without building a tree first: every client's token is parsed here twice.
trait Members: Default {
    fn member(&mut self, name: String, value: Value);
}

impl Members for TokenHeader {
    fn member(&mut self, name: String, value: Value) {
        match name.as_str() {
            "alg" => self.algorithm = Some(value),
            "kid" => self.key_id = Some(value),
            "crit" => self.is_critical = true,
            _ => {}
        }
    }
}

impl Members for TokenPayload {
    fn member(&mut self, name: String, value: Value) {
        match name.as_str() {
            "exp" => self.expires_at = Some(value.clone()),
            "nbf" => self.not_before = Some(value.clone()),
            _ => {}
        }
        self.claims.set(name, value);
    }
}

struct Object<T>(std::marker::PhantomData<T>);

impl<'de, T: Members> Visitor<'de> for Object<T> {
    type Value = T;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<T, A::Error> {
        let mut members = T::default();
        while let Some((name, value)) = map.next_entry()? {
            members.member(name, value);
        }
        Ok(members)
    }
}

impl<'de> Deserialize<'de> for TokenHeader {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Object(std::marker::PhantomData))
    }
}

impl<'de> Deserialize<'de> for TokenPayload {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Object(std::marker::PhantomData))
    }
}
