//! The authentication of an open connection: which claims a client has after its app has refreshed them, whether they are of the
//! same user, and when the connection ends (reference, 1.8). Pure; a shard applies it to the client context of a connection.
//!
//! Claims are stored under the short names of the token that the SDKs write, whatever names the app uses.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use identity::Claims;

use crate::claim_types::{self, long_type, name_in_token, with_long_types};
use realtime_engine::{AuthenticationRefresh, ClientContext, OtherUser, Refreshed, Roles, UserId};

/// The claim with the time at which the client's authentication expires, in Unix seconds.
const EXPIRES_ON: &str = "asrs.s.aeo";

/// The claim with the user id that the app has chosen.
const USER_ID: &str = "asrs.s.uid";

/// Claims about the token, not about its user. A refresh does not change them, and the app does not receive them: the next token
/// has its own.
const OF_THE_TOKEN: [&str; 4] = ["aud", "exp", "iat", "nbf"];

/// The claim types of roles in .NET.
const ROLE_TYPES: [&str; 2] = ["role", "http://schemas.microsoft.com/ws/2008/06/identity/claims/role"];

/// The claim types of the user's identifier in .NET.
const NAME_IDENTIFIERS: [&str; 3] =
    ["nameid", "sub", "http://schemas.xmlsoap.org/ws/2005/05/identity/claims/nameidentifier"];

/// A refresh of a connection's authentication.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refresh {
    pub(crate) claims: NewClaims,
    /// When the authentication expires, in Unix seconds; `None` leaves the time unchanged.
    pub(crate) expires_on: Option<u64>,
}

/// The claims of a refresh.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum NewClaims {
    /// They stay unchanged.
    Keep,
    /// Claims from the client's app; they replace all but the system claims.
    OfApp(Vec<(String, String)>),
    /// Claims of a token that the client sent itself; they replace all.
    OfToken(Claims),
}

impl AuthenticationRefresh for Refresh {
    fn apply(self: Box<Self>, known: &ClientContext, user: Option<&UserId>) -> Result<Refreshed, OtherUser> {
        refresh(known, user.map(UserId::as_str), *self)
    }
}

/// Applies a refresh to a connection of `user` with the client context `known`.
///
/// # Errors
///
/// If the user would change.
fn refresh(known: &ClientContext, user: Option<&str>, refresh: Refresh) -> Result<Refreshed, OtherUser> {
    let old: Claims = claim_types::parse(&known.claims).into_iter().collect();
    let mut claims = match refresh.claims {
        NewClaims::Keep => old.clone(),
        NewClaims::OfToken(claims) if claims.user_id() != user => return Err(OtherUser),
        NewClaims::OfToken(claims) => claims,
        NewClaims::OfApp(given) => merged(&old, given, user)?,
    };
    if let Some(seconds) = refresh.expires_on {
        claims = without(&claims, EXPIRES_ON);
        claims.push(EXPIRES_ON, seconds.to_string());
    }
    Ok(Refreshed {
        ends_at: ends_at(&claims),
        roles: roles(&claims),
        is_changed: comparable(&old) != comparable(&claims),
        client_context: ClientContext {
            claims: payload(&claims).into(),
            query: known.query.clone(),
            remote: known.remote,
        },
    })
}

/// The connection's system claims, followed by the claims from the app.
fn merged(old: &Claims, given: Vec<(String, String)>, user: Option<&str>) -> Result<Claims, OtherUser> {
    let given: Claims = given.into_iter().collect();
    let is_other = match (given.get(USER_ID), given.user_id()) {
        (Some(_), named) => named != user,
        (None, None) => false,
        // The app may have chosen a user id that differs from the identifier in the token; then the identifier must not change.
        (None, Some(named)) => {
            let was_there = |kind: &str| old.values(kind).iter().any(|value| value == named);
            Some(named) != user && !NAME_IDENTIFIERS.into_iter().any(was_there)
        }
    };
    if is_other {
        return Err(OtherUser);
    }
    let stays = |kind: &str| {
        OF_THE_TOKEN.contains(&kind) || (kind.starts_with("asrs.s.") && given.get(kind).is_none())
    };
    let mut merged = Claims::new();
    push_all(&mut merged, old.iter().filter(|(kind, _)| stays(kind)));
    for (kind, values) in given.iter() {
        for value in values {
            match name_in_token(kind) {
                Some(name) => merged.push(name, value),
                None => merged.push_user(kind, value),
            }
        }
    }
    if merged.user_id() != user {
        // The user of a connection never changes, whatever the claims are.
        merged = without(&merged, USER_ID);
        merged.push(USER_ID, user.unwrap_or_default());
    }
    Ok(merged)
}

/// When a connection ends because its authentication expires: at the time that the app has given, or else with its token; `None`
/// if the app has not asked for it.
pub(crate) fn ends_at(claims: &Claims) -> Option<SystemTime> {
    UNIX_EPOCH.checked_add(Duration::from_secs(ends_at_unix_s(claims)?))
}

fn ends_at_unix_s(claims: &Claims) -> Option<u64> {
    let system = claims.system();
    system.close_on_auth_expiration.then(|| system.auth_expires_on_unix_s.or_else(|| expiry(claims)))?
}

/// The time in seconds in which a client must send a new token; `None` if its connection does not end with its authentication.
pub(crate) fn lifetime_s(claims: &Claims, now: u64) -> Option<u64> {
    let ends_at = ends_at_unix_s(claims)?;
    Some(expiry(claims).map_or(ends_at, |expiry| expiry.min(ends_at)).saturating_sub(now))
}

fn expiry(claims: &Claims) -> Option<u64> {
    claims.get("exp")?.parse().ok()
}

/// The roles of a token: what its client may do itself.
pub(crate) fn roles(claims: &Claims) -> Option<Roles> {
    Roles::from_claims(ROLE_TYPES.iter().flat_map(|kind| claims.values(kind)).map(String::as_str))
}

/// The payload of a token with these claims: a JSON object.
pub(crate) fn payload(claims: &Claims) -> String {
    serde_json::Value::Object(claims.to_json()).to_string()
}

/// All claims of a connection for its app, except those about the token itself: the app makes a new token from them. `payload` is
/// the stored payload of the connection's token.
pub(crate) fn claims_for_app(payload: &str) -> Vec<(String, String)> {
    let mut kept = claim_types::parse(payload);
    kept.retain(|(kind, _)| !OF_THE_TOKEN.contains(&kind.as_str()));
    let listed = with_long_types(kept.iter().map(|(kind, value)| (kind.as_str(), value.as_str())));
    let mut told: Vec<_> = listed.map(|(kind, value)| (kind.to_owned(), value.to_owned())).collect();
    // A token may name its user twice, by `nameid` and by `sub`; both have the same long type. The next token must be of the same
    // user.
    let next: Claims =
        told.iter().map(|(kind, value)| (name_in_token(kind).unwrap_or(kind), value.as_str())).collect();
    let kept: Claims = kept.into_iter().collect();
    if next.user_id() != kept.user_id() {
        told.push((USER_ID.to_owned(), kept.user_id().unwrap_or_default().to_owned()));
    }
    told
}

/// Claims in a form that compares equal if they mean the same: sorted, and with long types.
fn comparable(claims: &Claims) -> Vec<(&str, &str)> {
    let counts = |kind: &str| !OF_THE_TOKEN.contains(&kind) && kind != EXPIRES_ON;
    let all = claims.iter().filter(|(kind, _)| counts(kind));
    let mut all: Vec<_> = all
        .flat_map(|(kind, values)| {
            values.iter().map(move |value| (long_type(kind).unwrap_or(kind), value.as_str()))
        })
        .collect();
    all.sort_unstable();
    all
}

fn without(claims: &Claims, kind: &str) -> Claims {
    let mut rest = Claims::new();
    push_all(&mut rest, claims.iter().filter(|(other, _)| *other != kind));
    rest
}

fn push_all<'a>(to: &mut Claims, claims: impl Iterator<Item = (&'a str, &'a [String])>) {
    for (kind, values) in claims {
        for value in values {
            to.push(kind, value);
        }
    }
}

#[cfg(test)]
mod tests;
