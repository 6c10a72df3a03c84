//! A client refreshes its authentication at the service itself: `POST /client/refresh?hub=…&id=<connectionToken>` with a new
//! token of this service. Clients that negotiated with their app refresh there, and the app calls the service
//! (`servers/execute/authentication.rs`, `service/rest/authentication.rs`). The texts are those of ASP.NET Core, which clients
//! compare (reference, 1.8).

use http::{Method, Request, Response, StatusCode};
use http_messages::Body;
use serde_json::json;

use super::caller::caller;
use crate::authentication::{self, NewClaims, Refresh};
use crate::from_protocol::Query;
use crate::rejection::Rejection;
use crate::service::Shared;
use crate::to_protocol;
use crate::unix_time::unix_now;
use realtime_engine::{ConnectionId, ConnectionToken, Hub, OtherUser};

/// Header in which the SDK of apps has the connection token; clients of ASP.NET Core have it in the query.
const CONNECTION_TOKEN: &str = "x-signalr-connection-token";

/// A refresh request.
pub(super) struct Asked {
    hub: Hub,
    /// `None` if the token was not issued by this service.
    connection: Option<ConnectionId>,
    claims: identity::Claims,
}

/// Parses the request; the inner error is a response with a text of ASP.NET Core.
pub(super) fn read(
    shared: &Shared,
    request: &Request<Body>,
) -> Result<Result<Asked, Response<Body>>, Rejection> {
    if *request.method() != Method::POST {
        return Err(Rejection::method("POST, OPTIONS"));
    }
    let query = Query::parse(request.uri().query());
    let header = request.headers().get(CONNECTION_TOKEN).and_then(|value| value.to_str().ok());
    let Some(token) = query.id().or(header).filter(|token| !token.is_empty()) else {
        let why = "the query has no id; add id=<connectionToken>";
        return Ok(Err(refused(StatusCode::BAD_REQUEST, "missing_connection_token", why)));
    };
    let connection = ConnectionToken::parse(token).ok().map(ConnectionToken::connection);
    match caller(shared, request, &query) {
        Ok(caller) => Ok(Ok(Asked { hub: caller.hub, connection, claims: caller.claims })),
        Err(rejection) if rejection.status == StatusCode::UNAUTHORIZED => {
            Ok(Err(refused(rejection.status, "invalid_token", &rejection.message)))
        }
        Err(rejection) => Err(rejection),
    }
}

/// Replaces the claims and the expiry of the connection by those of the new token.
pub(super) async fn carry_out(shared: &Shared, asked: Asked) -> Result<Response<Body>, Rejection> {
    let Asked { hub, connection, claims } = asked;
    let lifetime_s = authentication::lifetime_s(&claims, unix_now());
    let refresh = Refresh { claims: NewClaims::OfToken(claims), expires_on: None };
    let refreshed = match connection {
        Some(connection) => shared.engine.refresh(&hub, connection, refresh).await?,
        None => None,
    };
    Ok(match refreshed {
        Some(Ok(_)) => {
            let body = lifetime_s.map_or(json!({}), |seconds| json!({ "tokenLifetimeSeconds": seconds }));
            to_protocol::json(body.to_string())
        }
        Some(Err(other @ OtherUser)) => {
            refused(StatusCode::FORBIDDEN, "permission_change_rejected", &other.to_string())
        }
        None => {
            let why = "no open connection of this hub has this token";
            refused(StatusCode::NOT_FOUND, "connection_not_found", why)
        }
    })
}

fn refused(status: StatusCode, error: &str, why: &str) -> Response<Body> {
    let mut response = to_protocol::json(json!({ "error": error, "error_description": why }).to_string());
    *response.status_mut() = status;
    response
}
