//! Who may do what: tokens of clients and of apps, checked against the request they came with.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::request::Parts;
use http::{Request, Uri};
use http_messages::Body;
use identity::{Audience, Claims, KeySet, Principal, Resource, TokenRules, Verified, openid, verify};

use super::Shared;
use crate::engine::Hub;
use crate::error::Refusal;
use crate::from_protocol::{Query, bearer};
use crate::login::Purpose;
use crate::options::{APP_TOKEN_BYTES_MAX, CLIENT_TOKEN_BYTES_MAX, Options};

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
    let token = bearer(request.headers()).or_else(|| query.access_token()).ok_or_else(|| {
        let message =
            "an access token is required, as 'Authorization: Bearer <token>' or as access_token in the query";
        Refusal::unauthorized("MissingToken", message)
    })?;
    let resource = Resource::Client { hub: hub.name() };
    let keys = shared.keys.current();
    Ok(check(shared, &keys, request.uri(), token, resource, CLIENT_TOKEN_BYTES_MAX)?.claims)
}

/// Checks that the request comes from an app server of `hub`, and says what its token says.
pub(super) async fn server(shared: &Shared, head: &Parts, hub: &Hub) -> Result<Claims, Refusal> {
    match head.extensions.get::<Principal>() {
        Some(Principal::AccessKey(claims)) => return Ok(claims.as_ref().clone()),
        Some(Principal::InProcess { .. }) => return Ok(Claims::new()),
        _ => {}
    }
    let token = bearer(&head.headers).ok_or_else(|| {
        let message = "an access token is required, as 'Authorization: Bearer <token>', signed with an access key for the address /server/?hub=<hub>";
        Refusal::unauthorized("MissingToken", message)
    })?;
    let resource = Resource::Server { hub: hub.name() };
    Ok(prove(shared, &head.uri, token, resource, Purpose::Serve).await?.0)
}

/// Checks that the request comes from an app: somebody who holds an account key or a dynamic one, or who logged in and may do what
/// it wants. Says when its token ends; callers that this process vouches for have none.
pub(super) async fn app(shared: &Shared, head: &Parts, purpose: Purpose) -> Result<Option<u64>, Refusal> {
    if let Some(Principal::AccessKey(_) | Principal::InProcess { .. }) = head.extensions.get::<Principal>() {
        return Ok(None);
    }
    let token = bearer(&head.headers).ok_or_else(|| {
        let message = "an access token is required, as 'Authorization: Bearer <token>', signed with an access key for the address of the request";
        Refusal::unauthorized("MissingToken", message)
    })?;
    let resource = Resource::Rest { path: head.uri.path() };
    Ok(Some(prove(shared, &head.uri, token, resource, purpose).await?.1))
}

/// Checks the token of an app: what it says, and when it ends.
async fn prove(
    shared: &Shared,
    uri: &Uri,
    token: &str,
    resource: Resource<'_>,
    purpose: Purpose,
) -> Result<(Claims, u64), Refusal> {
    // The token repeats the address that it is for, which may be long by itself: what it says beside that is bounded.
    let address_bytes = uri.path_and_query().map_or(0, |address| address.as_str().len());
    let bytes_max = APP_TOKEN_BYTES_MAX + 4 * address_bytes.div_ceil(3);
    if let Some(logins) = &shared.logins {
        let rules = rules(&shared.options, bytes_max);
        if openid::is_public_key_token(token, &rules) {
            // In a box of its own: hardly any request needs room for what a login keeps while it waits.
            return Box::pin(logins.verify(token, purpose, unix_now(), &rules)).await;
        }
    }
    let mut keys = shared.keys.current();
    if matches!(purpose, Purpose::Serve | Purpose::Own) {
        // A dynamic key ends by itself. Whoever only holds one must not be able to get the next, or the account's.
        Arc::make_mut(&mut keys).dynamic.clear();
    }
    let Verified { claims, expires_at } = check(shared, &keys, uri, token, resource, bytes_max)?;
    Ok((claims, expires_at))
}

fn check(
    shared: &Shared,
    keys: &KeySet,
    uri: &Uri,
    token: &str,
    resource: Resource<'_>,
    token_bytes_max: usize,
) -> Result<Verified, Refusal> {
    let host = uri.authority().map(http::uri::Authority::as_str);
    let audience = Audience { resource, host: host.filter(|_| shared.options.audience_host_strict) };
    let rules = rules(&shared.options, token_bytes_max);
    Ok(verify(token, keys, &audience, unix_now(), &rules)?)
}

/// What tokens must comply with.
pub(super) fn rules(options: &Options, token_bytes_max: usize) -> TokenRules {
    let leeway = Duration::from_secs(options.token_leeway_s);
    TokenRules { token_bytes_max, leeway, ..TokenRules::default() }
}

/// Seconds since the Unix epoch; a clock before it counts as the epoch.
pub(crate) fn unix_now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
