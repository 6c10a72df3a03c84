//! Who may do what: tokens of clients and of apps, checked against the request they came with.

use std::time::{SystemTime, UNIX_EPOCH};

use http::Request;
use identity::{Audience, Claims, Principal, Resource, Rules, verify};

use super::Shared;
use crate::Body;
use crate::engine::Hub;
use crate::error::Refusal;
use crate::from_protocol::{Query, bearer};
use crate::options::{APP_TOKEN_BYTES_MAX, CLIENT_TOKEN_BYTES_MAX};

/// Checks that the request comes from a client of `hub`, and says what its token says.
pub(super) fn client(
    shared: &Shared,
    request: &Request<Body>,
    query: &Query<'_>,
    hub: &Hub,
) -> Result<Claims, Refusal> {
    match request.extensions().get::<Principal>() {
        Some(Principal::Client(client)) if client.hub.eq_ignore_ascii_case(hub.name()) => {
            return Ok(client.claims.clone());
        }
        Some(Principal::InProcess { .. }) => return Ok(Claims::new()),
        _ => {}
    }
    // Browsers cannot set headers on a WebSocket, so the token may stand in the query; a header wins (reference, 1.1).
    let token = bearer(request.headers()).or_else(|| query.get("access_token")).ok_or_else(|| {
        let message =
            "an access token is required, as 'Authorization: Bearer <token>' or as access_token in the query";
        Refusal::unauthorized("MissingToken", message)
    })?;
    let resource = Resource::Client { hub: hub.name() };
    check(shared, request, token, resource, CLIENT_TOKEN_BYTES_MAX)
}

/// Checks that the request comes from somebody who holds an account key.
pub(super) fn app(shared: &Shared, request: &Request<Body>) -> Result<(), Refusal> {
    if let Some(Principal::AccessKey(_) | Principal::InProcess { .. }) =
        request.extensions().get::<Principal>()
    {
        return Ok(());
    }
    let token = bearer(request.headers()).ok_or_else(|| {
        let message = "an access token is required, as 'Authorization: Bearer <token>', signed with an access key for the address of the request";
        Refusal::unauthorized("MissingToken", message)
    })?;
    let resource = Resource::Rest { path: request.uri().path() };
    check(shared, request, token, resource, APP_TOKEN_BYTES_MAX).map(|_| ())
}

fn check(
    shared: &Shared,
    request: &Request<Body>,
    token: &str,
    resource: Resource<'_>,
    token_bytes_max: usize,
) -> Result<Claims, Refusal> {
    let host = request.uri().authority().map(http::uri::Authority::as_str);
    let audience = Audience { resource, host: host.filter(|_| shared.options.audience_host_strict) };
    let leeway = std::time::Duration::from_secs(shared.options.token_leeway_s);
    let rules = Rules { token_bytes_max, leeway, ..Rules::default() };
    let verified = verify(token, &shared.keys, &audience, unix_now(), &rules)?;
    Ok(verified.claims)
}

/// Seconds since the Unix epoch; a clock before it counts as the epoch.
pub(crate) fn unix_now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
