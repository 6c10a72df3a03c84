//! Clients that have logged in again: app servers refresh the authentication of a connection and ask for its claims. Any server connection
//! of the hub may, and so may one that only sends: the persistent transport of the management SDK, for clients of upstreams.

use std::sync::Arc;

use signalr_protocol::service::{AckStatus, ServiceClaims, UnixTime, claims_payload};

use super::{Outcome, answer};
use crate::authentication::{self, NewClaims, Refresh};
use crate::engine::{ClientContext, ConnectionId, ConnectionToken, OtherUser, Stopped};
use crate::servers::link::Link;
use crate::servers::{Servers, to_protocol};

const NO_CONNECTION: &str = "no open connection of this hub has this token; connections without negotiation or of its version 0 have none";

impl Servers {
    pub(super) async fn refresh(
        &self,
        link: &Link,
        token: &str,
        claims: Vec<(Box<str>, Box<str>)>,
        expires_at: Option<UnixTime>,
        ack: i32,
    ) -> Result<(), Stopped> {
        let Some(connection) = connection(token) else {
            answer(link, Some(ack), Outcome::NotFound(NO_CONNECTION));
            return Ok(());
        };
        let claims = claims.into_iter().map(|(kind, value)| (kind.into_string(), value.into_string()));
        let claims = if claims.len() == 0 { NewClaims::Keep } else { NewClaims::OfApp(claims.collect()) };
        // A moment before 1970 has passed as well as any other.
        let expires_on = expires_at.map(|at| u64::try_from(at.seconds).unwrap_or(0));
        match self.engine().refresh(&link.hub, connection, Refresh { claims, expires_on }).await? {
            None => answer(link, Some(ack), Outcome::NotFound(NO_CONNECTION)),
            Some(Ok(client_context)) => answer_claims(link, &client_context, ack),
            Some(Err(other @ OtherUser)) => {
                link.outbox.push(&to_protocol::ack(ack, AckStatus::Forbidden, &other.to_string(), None));
            }
        }
        Ok(())
    }

    pub(super) async fn claims(&self, link: &Link, token: &str, ack: i32) -> Result<(), Stopped> {
        let client_context = match connection(token) {
            Some(connection) => self.engine().client_context(&link.hub, connection).await?,
            None => None,
        };
        match client_context {
            Some(client_context) => answer_claims(link, &client_context, ack),
            None => answer(link, Some(ack), Outcome::NotFound(NO_CONNECTION)),
        }
        Ok(())
    }
}

/// The connection that a token is for.
fn connection(token: &str) -> Option<ConnectionId> {
    ConnectionToken::parse(token).ok().map(ConnectionToken::connection)
}

/// Answers with the claims of a connection, from which the SDK makes the client's next token.
fn answer_claims(link: &Link, client_context: &Arc<ClientContext>, ack: i32) {
    let claims = authentication::told(&client_context.claims);
    let claims: ServiceClaims<'_> =
        claims.iter().map(|(kind, value)| (kind.as_str(), value.as_str())).collect();
    link.outbox.push(&to_protocol::ack(ack, AckStatus::Ok, "", Some(&claims_payload(&claims))));
}
