//! Requests below `/client`: negotiate, connect on each transport, refresh the authentication. `connect.rs` has WebSockets, `requests.rs`
//! Server-Sent Events and long polling.

mod admission;
mod caller;
mod connect;
mod negotiate;
mod refresh;
mod rejections;
mod requests;
mod transports;

use std::sync::Arc;

use http::header::{ACCEPT, HOST, UPGRADE};
use http::{HeaderMap, HeaderValue, Method, Request, Response, Uri};

use super::{Shared, server};
use crate::from_protocol::{Query, refuse_compressed};
use crate::rejection::Rejection;
use crate::to_protocol;
use caller::{Caller, caller};
use http_messages::Body;

/// Responds to a request below `/client`. Also returns the operation, as a metrics label.
pub(super) async fn answer(
    shared: &Arc<Shared>,
    mut request: Request<Body>,
) -> (&'static str, Response<Body>) {
    let path = request.uri().path().trim_end_matches('/').to_ascii_lowercase();
    let is_get = *request.method() == Method::GET;
    let (operation, answered) = if path == "/client/negotiate" {
        if let Some((hub, sticky)) = negotiate::to_await(shared, &request) {
            shared.servers.await_server(&hub, sticky.as_ref()).await;
        }
        ("negotiate", negotiate::negotiate(shared, &request))
    } else if path == "/client/refresh" {
        // Two steps, because the body is not `Sync` and must not be held across an await.
        let refreshed = match refresh::read(shared, &request) {
            Ok(Ok(asked)) => refresh::carry_out(shared, asked).await,
            Ok(Err(answer)) => Ok(answer),
            Err(rejection) => Err(rejection),
        };
        ("refresh", refreshed)
    } else if path == "/client" {
        route(shared, &mut request).await
    } else {
        let message = "unknown path; clients negotiate at /client/negotiate and connect at /client/";
        ("unknown", Err(Rejection::not_found(message)))
    };
    let is_refused = answered.is_err();
    let mut response = answered.unwrap_or_else(to_protocol::error_text);
    if is_get && is_refused {
        // Otherwise the next poll of the same URL could receive a cached response.
        requests::never_cached(&mut response);
    }
    (operation, response)
}

/// Passes a request to `/client` to its transport.
async fn route(
    shared: &Arc<Shared>,
    request: &mut Request<Body>,
) -> (&'static str, Result<Response<Body>, Rejection>) {
    let uri = request.uri().clone();
    let query = Query::parse(uri.query());
    let caller = match caller(shared, request, &query) {
        Ok(caller) => caller,
        Err(rejection) => return ("connect", Err(rejection)),
    };
    add_host(request.headers_mut(), &uri);
    if *request.method() == Method::GET
        && server::is_of_app_server(&query)
        && starts_connection(shared, &caller)
    {
        shared.servers.await_server(&caller.hub, server::sticky(&caller.claims).as_ref()).await;
    }
    let accepts_events = |request: &Request<Body>| {
        let accept = request.headers().get(ACCEPT).and_then(|accept| accept.to_str().ok());
        accept.is_some_and(|accept| accept.contains("text/event-stream"))
    };
    match *request.method() {
        Method::GET if asks_for_websocket(request) => {
            ("connect", connect::websocket(shared, request, caller))
        }
        Method::GET if accepts_events(request) => {
            ("events", requests::events(shared, caller, request.headers()).await)
        }
        Method::GET => ("poll", requests::poll(shared, caller, request.headers()).await),
        Method::POST => {
            if let Err(rejection) = refuse_compressed(request.headers()) {
                return ("send", Err(rejection));
            }
            let body = std::mem::take(request.body_mut());
            ("send", requests::send(shared, &caller, body).await)
        }
        Method::DELETE => ("delete", requests::delete(shared, &caller).await),
        _ => ("unknown", Err(Rejection::method("GET, POST, DELETE, OPTIONS"))),
    }
}

/// Adds `Host` to requests over HTTP/2, which have none: hubs read it (`HttpContext.Request.Host`).
fn add_host(headers: &mut HeaderMap, uri: &Uri) {
    if let Some(authority) = uri.authority().filter(|_| !headers.contains_key(HOST))
        && let Ok(host) = HeaderValue::from_str(authority.as_str())
    {
        headers.insert(HOST, host);
    }
}

/// Whether a request asks for a WebSocket. Other protocols in `upgrade`, as clients of HTTP/2 offer them, are ignored.
fn asks_for_websocket(request: &Request<Body>) -> bool {
    let mut upgrades = request.headers().get_all(UPGRADE).into_iter().filter_map(|value| value.to_str().ok());
    let is_websocket = |protocol: &str| {
        protocol.trim().split('/').next().is_some_and(|name| name.eq_ignore_ascii_case("websocket"))
    };
    upgrades.any(|value| value.split(',').any(is_websocket))
}

/// Whether a request starts a connection, and does not belong to an open one.
fn starts_connection(shared: &Shared, caller: &Caller<'_>) -> bool {
    let Caller { query, hub, claims, .. } = caller;
    query.id().is_none_or(|secret| shared.sessions.get(secret, hub, claims.user_id()).is_none())
}
