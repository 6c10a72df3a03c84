//! App servers refresh the authentication of a client connection and read its claims. Any server connection of the hub may do so, also one
//! that only sends: the persistent transport of the management SDK, for clients of upstreams.

use std::sync::Arc;

use signalr_protocol::service::{AckStatus, ServiceClaims, UnixTime, claims_payload};

use super::acks::{RequestResult, acknowledge};
use crate::authentication::{self, NewClaims, Refresh};
use crate::servers::server_connection::ServerConnection;
use crate::servers::shared::Servers;
use crate::servers::to_protocol;
use realtime_engine::{ClientContext, ConnectionId, ConnectionToken, OtherUser, Stopped};

const NO_CONNECTION: &str = "no open connection of this hub has this token; connections without negotiation, or with version 0 of it, have none";

impl Servers {
    pub(super) async fn refresh(
        &self,
        server: &ServerConnection,
        token: &str,
        claims: Vec<(Box<str>, Box<str>)>,
        expires_at: Option<UnixTime>,
        ack: i32,
    ) -> Result<(), Stopped> {
        let Some(connection) = connection(token) else {
            acknowledge(server, Some(ack), RequestResult::NotFound(NO_CONNECTION));
            return Ok(());
        };
        let claims = claims.into_iter().map(|(kind, value)| (kind.into_string(), value.into_string()));
        let claims = if claims.len() == 0 { NewClaims::Keep } else { NewClaims::OfApp(claims.collect()) };
        // A time before 1970 is in the past, like 0.
        let expires_on = expires_at.map(|at| u64::try_from(at.seconds).unwrap_or(0));
        match self.engine().refresh(&server.hub, connection, Refresh { claims, expires_on }).await? {
            None => acknowledge(server, Some(ack), RequestResult::NotFound(NO_CONNECTION)),
            Some(Ok(client_context)) => acknowledge_with_claims(server, &client_context, ack),
            Some(Err(other @ OtherUser)) => {
                server.send_queue.push(&to_protocol::ack(
                    ack,
                    AckStatus::Forbidden,
                    &other.to_string(),
                    None,
                ));
            }
        }
        Ok(())
    }

    pub(super) async fn claims(
        &self,
        server: &ServerConnection,
        token: &str,
        ack: i32,
    ) -> Result<(), Stopped> {
        let client_context = match connection(token) {
            Some(connection) => self.engine().client_context(&server.hub, connection).await?,
            None => None,
        };
        match client_context {
            Some(client_context) => acknowledge_with_claims(server, &client_context, ack),
            None => acknowledge(server, Some(ack), RequestResult::NotFound(NO_CONNECTION)),
        }
        Ok(())
    }
}

/// The connection that a token names.
fn connection(token: &str) -> Option<ConnectionId> {
    ConnectionToken::parse(token).ok().map(ConnectionToken::connection)
}

/// Responds with the claims of a connection, from which the SDK creates the client's next token.
fn acknowledge_with_claims(server: &ServerConnection, client_context: &Arc<ClientContext>, ack: i32) {
    let claims = authentication::claims_for_app(&client_context.claims);
    let claims: ServiceClaims<'_> =
        claims.iter().map(|(kind, value)| (kind.as_str(), value.as_str())).collect();
    server.send_queue.push(&to_protocol::ack(ack, AckStatus::Ok, "", Some(&claims_payload(&claims))));
}
