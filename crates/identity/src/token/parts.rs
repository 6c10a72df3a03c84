//! What all tokens have in common: three parts, a header, and claims about time.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::de::{Deserialize, DeserializeOwned, Deserializer, MapAccess, Visitor};
use serde_json::Value;

use super::{Rules, TokenError, UnixSeconds, Verified};
use crate::Claims;

/// A token that was taken apart, with nothing proved about it.
pub(crate) struct Parts<'a> {
    header: Header,
    payload: &'a str,
    /// What is signed: header and payload with the dot between.
    pub(crate) signed: &'a str,
    pub(crate) signature: Vec<u8>,
}

/// What of a header matters. A member that stands there twice counts as it stands last, as in most readers of JSON.
#[derive(Default)]
struct Header {
    algorithm: Option<Value>,
    key_id: Option<Value>,
    is_critical: bool,
}

/// A payload, with the two of its claims that are numbers.
#[derive(Default)]
struct Payload {
    claims: Claims,
    expires_at: Option<Value>,
    not_before: Option<Value>,
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
        let header: Header = object(header, "the header is not a JSON object in base64url")?;
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

    /// What the token says, if it is valid at `now`. To be asked once its signature is proved.
    pub(crate) fn claims(&self, now: UnixSeconds, rules: &Rules) -> Result<Verified, TokenError> {
        let payload: Payload = object(self.payload, "the payload is not a JSON object in base64url")?;
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
fn seconds(value: Option<Value>, why: &'static str) -> Result<Option<UnixSeconds>, TokenError> {
    let Some(value) = value else { return Ok(None) };
    let seconds = value.as_u64().or_else(|| {
        // A negative time is long past; the cast saturates at both ends.
        value.as_f64().map(|seconds| seconds as u64)
    });
    seconds.map(Some).ok_or(TokenError::Malformed(why))
}

fn object<T: DeserializeOwned>(part: &str, why: &'static str) -> Result<T, TokenError> {
    let bytes = URL_SAFE_NO_PAD.decode(part).map_err(|_| TokenError::Malformed(why))?;
    serde_json::from_slice(&bytes).map_err(|_| TokenError::Malformed(why))
}

/// A JSON object that is read member by member, so that no tree of it is built first: every client's token passes here twice.
trait Members: Default {
    fn member(&mut self, name: String, value: Value);
}

impl Members for Header {
    fn member(&mut self, name: String, value: Value) {
        match name.as_str() {
            "alg" => self.algorithm = Some(value),
            "kid" => self.key_id = Some(value),
            "crit" => self.is_critical = true,
            _ => {}
        }
    }
}

impl Members for Payload {
    fn member(&mut self, name: String, value: Value) {
        match name.as_str() {
            "exp" => self.expires_at = Some(value.clone()),
            "nbf" => self.not_before = Some(value.clone()),
            _ => {}
        }
        self.claims.read(name, value);
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

impl<'de> Deserialize<'de> for Header {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Object(std::marker::PhantomData))
    }
}

impl<'de> Deserialize<'de> for Payload {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Object(std::marker::PhantomData))
    }
}
