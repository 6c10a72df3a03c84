//! [`Claims`] of a token and, for SignalR clients, [`SystemClaims`].

use serde_json::{Map, Value};

/// The prefix that SignalR SDKs give to a user's claim whose name is reserved, such as `aud`.
const USER_PREFIX: &str = "asrs.u.";

/// Names that are reserved for the token itself (reference: "User claims that collide with system claims").
const RESERVED: [&str; 11] =
    ["aud", "exp", "iat", "nbf", "iss", "actort", "acr", "azp", "c_hash", "jti", "nonce"];

/// The claims for the user id, by precedence: the service's own claim, then the two short names and the long name of .NET's
/// `NameIdentifier`.
const USER_ID_TYPES: [&str; 4] =
    ["asrs.s.uid", "nameid", "sub", "http://schemas.xmlsoap.org/ws/2005/05/identity/claims/nameidentifier"];

/// Claims in order: each type has one or several values. Values are text; numbers, booleans and objects are stored as JSON.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Claims {
    entries: Vec<(String, Values)>,
}

/// The values of a claim. Nearly every claim has a single value, which needs no list.
#[derive(Debug, Clone)]
enum Values {
    One([String; 1]),
    Several(Vec<String>),
}

/// The claims by which SDKs configure a client's connection; their names begin with `asrs.s.`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SystemClaims<'a> {
    /// `uid`: the user id.
    pub user_id: Option<&'a str>,
    /// `coae`: whether the connection closes when the authentication expires.
    pub close_on_auth_expiration: bool,
    /// `aeo`: when the authentication expires, in seconds since the Unix epoch.
    pub auth_expires_on_unix_s: Option<u64>,
    /// `cht`: the handshake timeout, 1 to 30 seconds.
    pub handshake_timeout_s: Option<u64>,
    /// `ttl`: how long a poll without data takes, 1 to 300 seconds.
    pub poll_interval_s: Option<u64>,
    /// `derror`: whether detailed errors of hub methods are sent.
    pub detailed_errors: bool,
}

impl Claims {
    /// No claims.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a value to a type.
    pub fn push(&mut self, kind: impl Into<String>, value: impl Into<String>) {
        let (kind, value) = (kind.into(), value.into());
        match self.entries.iter_mut().find(|(other, _)| *other == kind) {
            Some((_, values)) => values.push(value),
            None => self.entries.push((kind, Values::One([value]))),
        }
    }

    /// Adds a claim of the user; a reserved name gets a prefix, as in the SDKs.
    pub fn push_user(&mut self, kind: &str, value: impl Into<String>) {
        let second_subject = kind == "sub" && self.get("sub").is_some();
        if RESERVED.contains(&kind) || second_subject {
            self.push(format!("{USER_PREFIX}{kind}"), value);
        } else {
            self.push(kind, value);
        }
    }

    /// The first value of a type.
    pub fn get(&self, kind: &str) -> Option<&str> {
        self.values(kind).first().map(String::as_str)
    }

    /// All values of a type.
    pub fn values(&self, kind: &str) -> &[String] {
        self.entries.iter().find(|(other, _)| other == kind).map_or(&[], |(_, values)| values.as_slice())
    }

    /// All types with their values, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &[String])> {
        self.entries.iter().map(|(kind, values)| (kind.as_str(), values.as_slice()))
    }

    /// The user id, if there is one. Empty claims are skipped; but an empty `asrs.s.uid` means that there is no user, as in the
    /// emulator.
    pub fn user_id(&self) -> Option<&str> {
        if self.get("asrs.s.uid") == Some("") {
            return None;
        }
        let mut ids = USER_ID_TYPES.iter().flat_map(|kind| self.values(kind)).filter(|id| !id.is_empty());
        ids.next().map(String::as_str)
    }

    /// The system claims. Values outside their range count as absent.
    pub fn system(&self) -> SystemClaims<'_> {
        let number = |kind: &str| self.get(kind).and_then(|value| value.parse::<u64>().ok());
        let flag = |kind: &str| self.get(kind).is_some_and(|value| value.eq_ignore_ascii_case("true"));
        SystemClaims {
            user_id: self.get("asrs.s.uid").filter(|id| !id.is_empty()),
            close_on_auth_expiration: flag("asrs.s.coae"),
            auth_expires_on_unix_s: number("asrs.s.aeo"),
            handshake_timeout_s: number("asrs.s.cht").filter(|seconds| (1..=30).contains(seconds)),
            poll_interval_s: number("asrs.s.ttl").filter(|seconds| (1..=300).contains(seconds)),
            detailed_errors: flag("asrs.s.derror"),
        }
    }

    /// Sets a claim to the JSON value of a token; null removes it. Of duplicate claims the last one is used, as in most JSON
    /// parsers.
    pub(crate) fn set(&mut self, kind: String, value: Value) {
        let text = |value| match value {
            Value::String(text) => text,
            other => other.to_string(),
        };
        let values = match value {
            Value::Null => {
                self.entries.retain(|(other, _)| *other != kind);
                return;
            }
            Value::Array(several) => {
                Values::Several(several.into_iter().filter(|value| !value.is_null()).map(text).collect())
            }
            single => Values::One([text(single)]),
        };
        match self.entries.iter_mut().find(|(other, _)| *other == kind) {
            Some((_, earlier)) => *earlier = values,
            None => self.entries.push((kind, values)),
        }
    }

    /// The payload of a token: one value as text, several as an array.
    pub fn to_json(&self) -> Map<String, Value> {
        let value = |values: &[String]| match values {
            [single] => Value::from(single.as_str()),
            several => Value::from(several),
        };
        self.iter().map(|(kind, values)| (kind.to_owned(), value(values))).collect()
    }
}

impl Values {
    fn as_slice(&self) -> &[String] {
        match self {
            Self::One(single) => single,
            Self::Several(several) => several,
        }
    }

    fn push(&mut self, value: String) {
        match self {
            Self::One([first]) => *self = Self::Several(vec![std::mem::take(first), value]),
            Self::Several(several) => several.push(value),
        }
    }
}

/// A single value equals a list with this value.
impl PartialEq for Values {
    fn eq(&self, other: &Self) -> bool {
        self.as_slice() == other.as_slice()
    }
}

impl Eq for Values {}

impl<K: Into<String>, V: Into<String>> FromIterator<(K, V)> for Claims {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(pairs: I) -> Self {
        let mut claims = Self::new();
        for (kind, value) in pairs {
            claims.push(kind, value);
        }
        claims
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_user_id_is_found_by_the_precedence_of_the_reference() {
        let check = |pairs: &[(&str, &str)], expected| {
            assert_eq!(pairs.iter().copied().collect::<Claims>().user_id(), expected, "{pairs:?}");
        };
        check(&[], None);
        check(&[("sub", "s")], Some("s"));
        check(&[("sub", "s"), ("nameid", "n")], Some("n"));
        check(&[("sub", "s"), ("nameid", "n"), ("asrs.s.uid", "u")], Some("u"));
        check(&[("sub", "s"), ("nameid", "")], Some("s"));
        check(&[("sub", "s"), ("asrs.s.uid", "")], None);
    }

    #[test]
    fn null_claims_count_as_absent() {
        let mut claims = Claims::new();
        for (kind, value) in [
            ("asrs.s.uid", Value::Null),
            ("nameid", Value::from("n")),
            ("role", serde_json::json!([null, "a", null])),
            ("name", Value::from("x")),
            ("name", Value::Null),
            ("sub", serde_json::json!([null])),
        ] {
            claims.set(kind.to_owned(), value);
        }
        assert_eq!(claims.user_id(), Some("n"));
        assert_eq!((claims.get("asrs.s.uid"), claims.get("name")), (None, None));
        assert_eq!((claims.values("role"), claims.get("sub")), (&["a".to_owned()][..], None));
    }

    #[test]
    fn reserved_names_of_user_claims_get_a_prefix() {
        let mut claims = Claims::new();
        for (kind, value) in [("role", "a"), ("aud", "x"), ("sub", "1"), ("sub", "2"), ("role", "b")] {
            claims.push_user(kind, value);
        }
        let shown = Value::Object(claims.to_json()).to_string();
        assert_eq!(shown, r#"{"role":["a","b"],"asrs.u.aud":"x","sub":"1","asrs.u.sub":"2"}"#);
    }

    #[test]
    fn system_claims_outside_their_range_count_as_absent() {
        let claims: Claims =
            [("asrs.s.cht", "31"), ("asrs.s.ttl", "300"), ("asrs.s.coae", "True"), ("asrs.s.aeo", "12")]
                .into_iter()
                .collect();
        let expected = SystemClaims {
            close_on_auth_expiration: true,
            auth_expires_on_unix_s: Some(12),
            poll_interval_s: Some(300),
            ..SystemClaims::default()
        };
        assert_eq!(claims.system(), expected);
    }
}
