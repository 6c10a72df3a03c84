//! Parses requests of Azure SignalR Service's HTTP interfaces into our types. Pure.

mod authentication;
mod commands;
pub(crate) mod fields;
mod message;
mod page;
mod query;
mod route;
mod stream;

use http::HeaderMap;
use http::header::AUTHORIZATION;

pub(crate) use authentication::{RefreshAuth, connection_token};
pub(crate) use commands::commands;
pub(crate) use message::{InvalidInvocation, Payload, invocation, refuse_compressed};
pub(crate) use page::Page;
pub(crate) use query::{Query, hub_of_client, hub_of_rest};
pub(crate) use route::{Api, Operation, Routed, To, route};
pub(crate) use stream::{stream_id, stream_items};

/// The bearer token of the `authorization` header; `None` for any other scheme.
pub(crate) fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.trim().split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

#[cfg(test)]
mod tests;
