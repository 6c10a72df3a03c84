//! [`Query`]: the decoded query of a request, and the hub that it names.

use std::borrow::Cow;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use state::Instance;

use crate::error_table;
use crate::names::hub;
use crate::rejection::Rejection;
use realtime_engine::Hub;

/// Characters that need no escape in a query (RFC 3986, unreserved).
pub(super) const UNESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

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

    /// The encoded query without some parameters.
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

    /// The token of a client. If there are several, the last one is used: the app's own URL may have one, and the client appends
    /// its own.
    pub(crate) fn access_token(&self) -> Option<&str> {
        self.all("access_token").last().filter(|token| !token.is_empty())
    }

    /// The connection token of a client; the last one, as for [`Query::access_token`]. An empty value counts as absent.
    pub(crate) fn id(&self) -> Option<&str> {
        self.all("id").last().filter(|id| !id.is_empty())
    }

    /// The first value of a parameter.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.all(name).next()
    }
}

/// The hub in the query of a client, which must name exactly one.
pub(crate) fn hub_of_client(query: &Query<'_>, instance: &Instance) -> Result<Hub, Rejection> {
    let mut names = query.all("hub");
    let Some(name) = names.next() else {
        return Err(Rejection::new(&error_table::MISSING_HUB, "the query has no hub; add hub=<name>"));
    };
    if names.next().is_some() {
        return Err(Rejection::new(&error_table::SEVERAL_HUBS, "the query names more than one hub"));
    }
    Ok(hub(name, instance)?)
}

/// The hub of a REST request: named in its path, with `application` as prefix (`app_hub`).
pub(crate) fn hub_of_rest(name: &str, query: &Query<'_>, instance: &Instance) -> Result<Hub, Rejection> {
    let bare = hub(name, instance)?;
    match query.get("application").filter(|application| !application.is_empty()) {
        Some(application) => Ok(hub(&format!("{application}_{}", bare.name()), instance)?),
        None => Ok(bare),
    }
}

/// Percent-decodes a part of a query; a plus is a space, as in ASP.NET Core. Invalid UTF-8 becomes replacement characters, which
/// no name matches.
pub(super) fn decode(text: &str) -> Cow<'_, str> {
    // Most parts, and tokens as the longest of them, have nothing to decode.
    if memchr::memchr2(b'%', b'+', text.as_bytes()).is_none() {
        return Cow::Borrowed(text);
    }
    if text.contains('+') {
        let spaced = text.replace('+', " ");
        return Cow::Owned(percent_decode_str(&spaced).decode_utf8_lossy().into_owned());
    }
    percent_decode_str(text).decode_utf8_lossy()
}
