//! From requests in the service's dialect to our words: queries, hub names, tokens' places, bodies. Pure.

mod authentication;
mod commands;
pub(crate) mod fields;
mod message;
mod page;
mod route;
mod stream;

use std::borrow::Cow;

use http::HeaderMap;
use http::header::AUTHORIZATION;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use state::Instance;

use crate::engine::Hub;
use crate::error::Refusal;
use crate::{InvalidHub, engine};

pub(crate) use authentication::{RefreshAuth, connection_token};
pub(crate) use commands::commands;
pub(crate) use message::{Payload, invocation, refuse_compressed};
pub(crate) use page::Page;
pub(crate) use route::{Api, Operation, Routed, To, route};
pub(crate) use stream::{stream_id, stream_items};

/// What a query may hold unescaped (RFC 3986, unreserved).
const UNESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Longest group name, in characters.
const GROUP_CHARS_MAX: usize = 1_024;

/// A decoded query. Names are compared without case, as ASP.NET Core does.
#[derive(Debug, Default)]
pub(crate) struct Query<'a>(Vec<(Cow<'a, str>, Cow<'a, str>)>);

impl<'a> Query<'a> {
    pub(crate) fn parse(query: Option<&'a str>) -> Self {
        let pairs = query.unwrap_or("").split('&').filter(|pair| !pair.is_empty());
        Self(
            pairs
                .map(|pair| {
                    let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
                    (decode(name), decode(value))
                })
                .collect(),
        )
    }

    pub(crate) fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        self.0
            .iter()
            .filter(move |(other, _)| other.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_ref())
    }

    /// The query again, encoded, without some names.
    pub(crate) fn without(&self, names: &[&str]) -> String {
        let mut query = String::new();
        let kept =
            self.0.iter().filter(|(name, _)| !names.iter().any(|other| name.eq_ignore_ascii_case(other)));
        for (name, value) in kept {
            if !query.is_empty() {
                query.push('&');
            }
            query.extend(utf8_percent_encode(name, UNESCAPED));
            query.push('=');
            query.extend(utf8_percent_encode(value, UNESCAPED));
        }
        query
    }

    /// The token of a client. The last one counts: an app's own address may have one too, and the client appends its own.
    pub(crate) fn access_token(&self) -> Option<&str> {
        self.all("access_token").last().filter(|token| !token.is_empty())
    }

    /// The id that a client negotiated; the last one, as for [`Query::access_token`]. An empty one is none.
    pub(crate) fn id(&self) -> Option<&str> {
        self.all("id").last().filter(|id| !id.is_empty())
    }

    /// The first value of a name.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.all(name).next()
    }
}

/// The hub that a client names in its query: exactly one.
pub(crate) fn hub_of_client(query: &Query<'_>, instance: &Instance) -> Result<Hub, Refusal> {
    let mut names = query.all("hub");
    let Some(name) = names.next() else {
        return Err(Refusal::bad_request("MissingHub", "the query lacks hub=<name>"));
    };
    if names.next().is_some() {
        return Err(Refusal::bad_request("SeveralHubs", "the query names more than one hub"));
    }
    Ok(hub(name, instance)?)
}

/// The hub of a REST request: its path names it, and `application` goes in front (`app_hub`).
pub(crate) fn hub_of_rest(name: &str, query: &Query<'_>, instance: &Instance) -> Result<Hub, Refusal> {
    let bare = hub(name, instance)?;
    match query.get("application").filter(|application| !application.is_empty()) {
        Some(application) => Ok(hub(&format!("{application}_{}", bare.name()), instance)?),
        None => Ok(bare),
    }
}

/// Checks a hub's name and lower-cases it. The pattern is ^[A-Za-z][A-Za-z0-9_`,.[\]]{0,127}$ (reference, 1.9).
pub(crate) fn hub(name: &str, instance: &Instance) -> Result<Hub, InvalidHub> {
    let mut bytes = name.bytes();
    let first = bytes.next().is_some_and(|byte| byte.is_ascii_alphabetic());
    let rest = bytes
        .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'`' | b',' | b'.' | b'[' | b']'));
    if !first || !rest || name.len() > 128 {
        return Err(InvalidHub(name.chars().take(128).collect()));
    }
    Ok(Hub::new(instance.clone(), &name.to_ascii_lowercase()))
}

/// Checks a group's name: 1 to 1,024 characters, not only white space.
pub(crate) fn group(name: &str) -> Result<engine::GroupName, Refusal> {
    if name.trim().is_empty() || name.chars().nth(GROUP_CHARS_MAX).is_some() {
        let message =
            format!("a group name has 1 to {GROUP_CHARS_MAX} characters and is not only white space");
        return Err(Refusal::bad_request("InvalidGroup", message));
    }
    Ok(engine::GroupName::new(name))
}

/// The bearer token of a header. Anything else in `authorization` counts as none.
pub(crate) fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.trim().split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// Percent-decodes a part of a query, where a plus is a space, as ASP.NET Core reads it. What is not UTF-8 becomes replacement
/// characters, which no name matches.
fn decode(text: &str) -> Cow<'_, str> {
    // Most parts, and the longest of them, which are tokens, have nothing to decode.
    if memchr::memchr2(b'%', b'+', text.as_bytes()).is_none() {
        return Cow::Borrowed(text);
    }
    if text.contains('+') {
        let spaced = text.replace('+', " ");
        return Cow::Owned(percent_decode_str(&spaced).decode_utf8_lossy().into_owned());
    }
    percent_decode_str(text).decode_utf8_lossy()
}

#[cfg(test)]
mod tests;
