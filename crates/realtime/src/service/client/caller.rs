//! [`Caller`]: the client that sent a request, with a verified token.

use std::net::IpAddr;

use http::Request;
use identity::Claims;

use crate::from_protocol::{Query, hub_of_client};
use crate::rejection::Rejection;
use crate::service::{Shared, access};
use http_messages::Body;
use realtime_engine::Hub;

/// A client whose token was verified.
pub(super) struct Caller<'a> {
    pub(super) query: &'a Query<'a>,
    pub(super) hub: Hub,
    pub(super) claims: Claims,
    /// The remote address of its connection.
    pub(super) address: Option<IpAddr>,
}

/// Verifies the token of a client's request.
pub(super) fn caller<'a>(
    shared: &Shared,
    request: &Request<Body>,
    query: &'a Query<'a>,
) -> Result<Caller<'a>, Rejection> {
    let hub = hub_of_client(query, &shared.instance)?;
    let claims = access::client(shared, request, query, &hub)?;
    let peer = request.extensions().get::<edge::Peer>();
    Ok(Caller { query, hub, claims, address: peer.map(|peer| peer.remote.ip().to_canonical()) })
}
