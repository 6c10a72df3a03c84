//! Apps refresh the authentication of a client's connection and read its claims: the service's part in the refresh of serverless
//! clients (azure-signalr, issue 2281). The connection token is in the body, so that it is not in logs of URLs.

use http::Response;
use http_messages::Body;
use serde_json::{Value, json};

use super::request::RestRequest;
use crate::authentication;
use crate::error_table;
use crate::from_protocol::{RefreshAuth, connection_token};
use crate::rejection::Rejection;
use crate::to_protocol;
use realtime_engine::{ClientContext, ConnectionId, ConnectionToken, OtherUser};

impl RestRequest<'_> {
    /// Responds with the new claims of the connection, from which the app makes the client's next token.
    pub(super) async fn refresh_auth(&self, body: &[u8]) -> Result<Response<Body>, Rejection> {
        let RefreshAuth { token, refresh } = RefreshAuth::read(body)?;
        let connection = connection(&token)?;
        let refreshed = self.shared.engine.refresh(&self.hub, connection, refresh).await?;
        match refreshed.ok_or_else(no_connection)? {
            Ok(client_context) => Ok(claims(&client_context)),
            Err(other @ OtherUser) => {
                let message = other.to_string();
                Err(Rejection::new(&error_table::CONNECTION_USER_MISMATCH, message).about("claims"))
            }
        }
    }

    /// Responds with all claims of a connection.
    pub(super) async fn connection_claims(&self, body: &[u8]) -> Result<Response<Body>, Rejection> {
        let connection = connection(&connection_token(body)?)?;
        let client_context = self.shared.engine.client_context(&self.hub, connection).await?;
        Ok(claims(&*client_context.ok_or_else(no_connection)?))
    }
}

fn connection(token: &str) -> Result<ConnectionId, Rejection> {
    ConnectionToken::parse(token).map(ConnectionToken::connection).map_err(|_| no_connection())
}

fn no_connection() -> Rejection {
    let message = "no open connection of this hub has this token; connections without negotiation, or with version 0 of it, have none";
    Rejection::new(&error_table::CONNECTION_NOT_FOUND, message).about("connectionToken")
}

/// The claims as `{claims: [{type, value}]}`.
fn claims(client_context: &ClientContext) -> Response<Body> {
    let claims: Vec<Value> = authentication::claims_for_app(&client_context.claims)
        .into_iter()
        .map(|(kind, value)| json!({ "type": kind, "value": value }))
        .collect();
    to_protocol::json(json!({ "claims": claims }).to_string())
}
