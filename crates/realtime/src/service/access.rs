//! Authorization: verifies the tokens of clients, app servers and apps against their requests.

use std::sync::Arc;
use std::time::Duration;

use http::request::Parts;
use http::{Request, Uri};
use http_messages::Body;
use identity::{Audience, Claims, KeySet, Principal, Resource, TokenRules, Verified, openid, verify};

use super::shared::Shared;
use crate::error_table;
use crate::from_protocol::{Query, bearer};
use crate::login::Purpose;
use crate::options::{APP_TOKEN_BYTES_MAX, CLIENT_TOKEN_BYTES_MAX, Options};
use crate::rejection::Rejection;
use crate::unix_time::unix_now;
use realtime_engine::Hub;

/// Verifies that a request comes from a client of `hub`. Returns the claims of its token.
pub(super) fn client(
    shared: &Shared,
    request: &Request<Body>,
    query: &Query<'_>,
    hub: &Hub,
) -> Result<Claims, Rejection> {
    match request.extensions().get::<Principal>() {
        Some(Principal::Client(client)) if client.hub.eq_ignore_ascii_case(hub.name()) => {
            return Ok(client.claims.clone());
        }
        Some(Principal::InProcess { .. }) => return Ok(Claims::new()),
        _ => {}
    }
    // Browsers cannot set headers on a WebSocket, so the token may be in the query; a header takes precedence (reference, 1.1).
    let token = bearer(request.headers()).or_else(|| query.access_token()).ok_or_else(|| {
        let message =
            "an access token is required, as 'Authorization: Bearer <token>' or as access_token in the query";
        Rejection::new(&error_table::MISSING_TOKEN, message)
    })?;
    let resource = Resource::Client { hub: hub.name() };
    let keys = shared.keys.current();
    Ok(verify_token(shared, &keys, request.uri(), token, resource, CLIENT_TOKEN_BYTES_MAX)?.claims)
}

/// Verifies that a request comes from an app server of `hub`. Returns the claims of its token.
pub(super) async fn server(shared: &Shared, head: &Parts, hub: &Hub) -> Result<Claims, Rejection> {
    match head.extensions.get::<Principal>() {
        Some(Principal::AccessKey(claims)) => return Ok(claims.as_ref().clone()),
        Some(Principal::InProcess { .. }) => return Ok(Claims::new()),
        _ => {}
    }
    let token = bearer(&head.headers).ok_or_else(|| {
        let message = "an access token is required, as 'Authorization: Bearer <token>', signed with an access key for the address /server/?hub=<hub>";
        Rejection::new(&error_table::MISSING_TOKEN, message)
    })?;
    let resource = Resource::Server { hub: hub.name() };
    Ok(verify_app(shared, &head.uri, token, resource, Purpose::Serve).await?.0)
}

/// Verifies that a request comes from an app: the caller holds an account key or a dynamic key, or has a login token with the role for
/// `purpose`. Returns when the token expires; callers inside this process have none.
pub(super) async fn app(shared: &Shared, head: &Parts, purpose: Purpose) -> Result<Option<u64>, Rejection> {
    if let Some(Principal::AccessKey(_) | Principal::InProcess { .. }) = head.extensions.get::<Principal>() {
        return Ok(None);
    }
    let token = bearer(&head.headers).ok_or_else(|| {
        let message = "an access token is required, as 'Authorization: Bearer <token>', signed with an access key for the address of the request";
        Rejection::new(&error_table::MISSING_TOKEN, message)
    })?;
    let resource = Resource::Rest { path: head.uri.path() };
    Ok(Some(verify_app(shared, &head.uri, token, resource, purpose).await?.1))
}

/// Verifies the token of an app. Returns its claims and when it expires.
async fn verify_app(
    shared: &Shared,
    uri: &Uri,
    token: &str,
    resource: Resource<'_>,
    purpose: Purpose,
) -> Result<(Claims, u64), Rejection> {
    // The token repeats the URL that it is for, which may be long: the limit is for the rest.
    let address_bytes = uri.path_and_query().map_or(0, |address| address.as_str().len());
    let bytes_max = APP_TOKEN_BYTES_MAX + 4 * address_bytes.div_ceil(3);
    if let Some(logins) = &shared.logins {
        let rules = rules(&shared.options(), bytes_max);
        if openid::is_public_key_token(token, &rules) {
            // Boxed, because this future is large and most requests do not need it.
            return Box::pin(logins.verify(token, purpose, unix_now(), &rules)).await;
        }
    }
    let mut keys = shared.keys.current();
    if matches!(purpose, Purpose::Serve | Purpose::Own) {
        // A dynamic key expires. Its holder must not get the next one with it, nor the account's keys.
        Arc::make_mut(&mut keys).dynamic.clear();
    }
    let Verified { claims, expires_at } = verify_token(shared, &keys, uri, token, resource, bytes_max)?;
    Ok((claims, expires_at))
}

fn verify_token(
    shared: &Shared,
    keys: &KeySet,
    uri: &Uri,
    token: &str,
    resource: Resource<'_>,
    token_bytes_max: usize,
) -> Result<Verified, Rejection> {
    let host = uri.authority().map(http::uri::Authority::as_str);
    let audience = Audience { resource, host: host.filter(|_| shared.options().audience_host_strict) };
    let rules = rules(&shared.options(), token_bytes_max);
    Ok(verify(token, keys, &audience, unix_now(), &rules)?)
}

/// The rules that tokens must follow.
pub(crate) fn rules(options: &Options, token_bytes_max: usize) -> TokenRules {
    let leeway = Duration::from_secs(options.token_leeway_s);
    TokenRules { token_bytes_max, leeway, ..TokenRules::default() }
}
