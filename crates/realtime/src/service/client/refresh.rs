//! A new token for a connection that lives: `POST /client/refresh?hub=…&id=<connectionToken>`, as ASP.NET Core's prototype has it
//! (reference, 1.8). The user must stay the same.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::{Method, Request, Response, StatusCode};
use identity::Claims;
use serde_json::json;

use super::{caller, facts, roles};
use crate::engine::{ConnectionId, Facts, Roles};
use crate::error::Refusal;
use crate::from_protocol::Query;
use crate::service::{Shared, unix_now};
use crate::{Body, to_protocol};

/// How long the token lasts, in seconds, where the connection ends with it.
pub(super) fn lifetime_s(claims: &Claims) -> Option<u64> {
    let system = claims.system();
    let ends_at = system.auth_expires_on_unix_s.filter(|_| system.close_on_auth_expiration)?;
    Some(ends_at.saturating_sub(unix_now()))
}

/// What a connection is to be told about its new token.
pub(super) struct Refresh {
    connection: ConnectionId,
    lifetime_s: Option<u64>,
    facts: Option<Arc<Facts>>,
    roles: Option<Roles>,
}

/// Reads the request; the inner error is an answer in the words of the prototype.
pub(super) fn read(
    shared: &Shared,
    request: &Request<Body>,
) -> Result<Result<Refresh, Response<Body>>, Refusal> {
    if *request.method() != Method::POST {
        return Err(Refusal::method("POST, OPTIONS"));
    }
    let query = Query::parse(request.uri().query());
    let Some(secret) = query.id() else {
        let why = "the query lacks id=<connectionToken>";
        return Ok(Err(refused(StatusCode::BAD_REQUEST, "missing_connection_token", why)));
    };
    let caller = match caller(shared, request, &query) {
        Ok(caller) => caller,
        Err(refusal) if refusal.status == StatusCode::UNAUTHORIZED => {
            return Ok(Err(refused(refusal.status, "invalid_token", &refusal.message)));
        }
        Err(refusal) => return Err(refusal),
    };
    let Some(session) = shared.sessions.get(secret, &caller.hub, caller.claims.user_id()) else {
        return Ok(Err(not_found()));
    };
    let keeps_facts =
        shared.upstream.keeps_facts(&caller.hub) || shared.servers.answers_for(session.connection);
    Ok(Ok(Refresh {
        connection: session.connection,
        lifetime_s: lifetime_s(&caller.claims),
        facts: keeps_facts.then(|| facts(&caller.claims, &query, None).into()),
        roles: roles(&caller.claims),
    }))
}

/// Gives the connection its new token.
pub(super) async fn carry_out(shared: &Shared, refresh: Refresh) -> Result<Response<Body>, Refusal> {
    let Refresh { connection, lifetime_s, facts, roles } = refresh;
    let expires_at = lifetime_s.map(|seconds| SystemTime::now() + Duration::from_secs(seconds));
    if !shared.engine.refresh(connection, expires_at, facts.clone(), roles).await? {
        return Ok(not_found());
    }
    if let Some(facts) = facts {
        shared.servers.refreshed(connection, facts);
    }
    let mut body = json!({ "connectionId": connection.to_string(), "refreshedAt": unix_now() });
    if let Some(seconds) = lifetime_s {
        body["tokenLifetimeSeconds"] = seconds.into();
    }
    Ok(to_protocol::json(body.to_string()))
}

fn not_found() -> Response<Body> {
    let why = "no connection that ends with its token has this id and this user";
    refused(StatusCode::NOT_FOUND, "connection_not_found", why)
}

fn refused(status: StatusCode, error: &str, why: &str) -> Response<Body> {
    let mut response = to_protocol::json(json!({ "error": error, "error_description": why }).to_string());
    *response.status_mut() = status;
    response
}
