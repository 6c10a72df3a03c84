//! Clients that have logged in again: what their app servers say about it, and ask.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use identity::Claims;
use signalr_protocol::service::{AckStatus, Extensions, Message, UnixTime, claims_payload};

use super::{Outcome, answer};
use crate::engine::{ClientConnection, ConnectionId, Facts, Stopped};
use crate::servers::client::Client;
use crate::servers::link::Link;
use crate::servers::{Servers, lock, to_protocol};

/// The status by which newer SDKs understand that the user would change. Its number is not published; 5 follows those that are.
const FORBIDDEN: AckStatus = AckStatus::Other(5);

impl Servers {
    /// A client by the token that its own app knows, or by its id.
    fn by_token(&self, link: &Link, token: &str) -> Option<(ConnectionId, Arc<Client>)> {
        let id = lock(&self.0.clients).by_token.get(token).copied();
        let id = id.or_else(|| ConnectionId::parse(token).ok())?;
        self.client(&link.hub, id).map(|client| (id, client))
    }

    pub(super) async fn refresh(
        &self,
        link: &Link,
        token: &str,
        claims: &[(Box<str>, Box<str>)],
        expires_at: Option<UnixTime>,
        ack: i32,
    ) -> Result<(), Stopped> {
        let known = self.by_token(link, token).and_then(|(id, client)| Some((id, client.known()?, client)));
        let Some((id, known, client)) = known else {
            answer(link, Some(ack), Outcome::NotFound("no connection has this token"));
            return Ok(());
        };
        let facts = (!claims.is_empty()).then(|| renewed(&known, claims));
        if let Some((user, _)) = &facts
            && user.as_deref() != known.user.as_ref().map(crate::engine::UserId::as_str)
        {
            let text = "the new claims name another user";
            link.outbox.push(&to_protocol::ack(ack, FORBIDDEN, text, None));
            return Ok(());
        }
        let facts = facts.map(|(_, facts)| Arc::new(facts));
        if let Some(expires_at) = expires_at {
            let expires_at = system_time(expires_at);
            if !self.engine().refresh(id, expires_at, facts.clone(), None).await? {
                answer(link, Some(ack), Outcome::NotFound("the connection does not exist"));
                return Ok(());
            }
        }
        if let Some(facts) = facts {
            renew(&client, id, facts);
        }
        answer(link, Some(ack), Outcome::Ok);
        Ok(())
    }

    /// Whether an app server answers for this client.
    pub(crate) fn answers_for(&self, id: ConnectionId) -> bool {
        lock(&self.0.clients).by_id.contains_key(&id)
    }

    /// A client has shown a new token by itself.
    pub(crate) fn refreshed(&self, id: ConnectionId, facts: Arc<Facts>) {
        let client = lock(&self.0.clients).by_id.get(&id).cloned();
        if let Some(client) = client {
            renew(&client, id, facts);
        }
    }

    pub(super) fn claims(&self, link: &Link, token: &str, ack: i32) {
        let known = self.by_token(link, token).and_then(|(_, client)| client.known());
        let Some(known) = known else {
            return answer(link, Some(ack), Outcome::NotFound("no connection has this token"));
        };
        let claims = known.facts.map(|facts| to_protocol::parse_claims(&facts.claims)).unwrap_or_default();
        let payload = claims_payload(&to_protocol::told(&claims));
        link.outbox.push(&to_protocol::ack(ack, AckStatus::Ok, "", Some(&payload)));
    }
}

/// The user that the new claims name, and the client's new facts.
fn renewed(known: &ClientConnection, claims: &[(Box<str>, Box<str>)]) -> (Option<String>, Facts) {
    let claims: Claims = claims.iter().map(|(kind, value)| (&**kind, &**value)).collect();
    let query = known.facts.as_ref().map(|facts| facts.query.clone()).unwrap_or_default();
    let arrival = known.facts.as_ref().and_then(|facts| facts.arrival);
    let text = serde_json::Value::Object(claims.to_json()).to_string();
    (claims.user_id().map(str::to_owned), Facts { claims: text.into(), query, arrival })
}

/// Keeps a client's new facts, and tells its server where its claims are others than before.
fn renew(client: &Client, id: ConnectionId, facts: Arc<Facts>) {
    if client.refresh(&facts) {
        tell_owner(client, id, &facts);
    }
}

/// Tells the client's own server, which need not be the one that was asked to log it in.
fn tell_owner(client: &Client, id: ConnectionId, facts: &Facts) {
    let Some(owner) = client.owner().filter(|owner| owner.modern) else { return };
    let (id, claims) = (id.to_string(), to_protocol::parse_claims(&facts.claims));
    owner.outbox.push(&Message::UpdateConnectionClaims {
        connection_id: &id,
        claims: to_protocol::told(&claims),
        extensions: Extensions::default(),
    });
}

/// A moment that has passed already counts as now.
fn system_time(time: UnixTime) -> Option<SystemTime> {
    let seconds = u64::try_from(time.seconds).unwrap_or(0);
    UNIX_EPOCH.checked_add(Duration::new(seconds, time.nanoseconds))
}
