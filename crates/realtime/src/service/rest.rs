//! The REST API for apps, in both versions: authorization, routing and the response. The operations are in the files below `rest/`, by
//! subject.

mod authentication;
mod groups;
mod keys;
mod presence;
mod request;
mod send;
mod watch;

pub(crate) use keys::answer_key_rotation;

use std::sync::Arc;

use http::{Request, Response, StatusCode};
use http_messages::Body;

use super::access;
use super::body::read_body;
use super::shared::Shared;
use crate::error_table;
use crate::from_protocol::{Api, Operation, Query, Routed, hub_of_rest, refuse_compressed, route};
use crate::login::Purpose;
use crate::rejection::Rejection;
use crate::to_protocol;
use request::RestRequest;

/// Responds to a request below `/api`. Also returns the operation, as a metrics label.
pub(super) async fn answer(shared: &Arc<Shared>, request: Request<Body>) -> (&'static str, Response<Body>) {
    let routed = match route(request.method(), request.uri().path()) {
        Ok(routed) => routed,
        Err(rejection) => return ("unknown", to_protocol::error_detail(rejection)),
    };
    let operation = routed.operation.name();
    let answered = carry_out(shared, request, routed).await;
    (operation, answered.unwrap_or_else(to_protocol::error_detail))
}

async fn carry_out(
    shared: &Arc<Shared>,
    request: Request<Body>,
    routed: Routed,
) -> Result<Response<Body>, Rejection> {
    let Routed { api, hub, operation } = routed;
    if operation == Operation::Health {
        return Ok(http_messages::empty(StatusCode::OK));
    }
    let (head, body) = request.into_parts();
    let query = Query::parse(head.uri.query());
    if operation == Operation::AccessKey {
        // Older SDKs send no version, and use both prefixes.
        return Box::pin(keys::access_key(shared, &head)).await;
    }
    let expires_at = access::app(shared, &head, operation.purpose()).await?;
    refuse_compressed(&head.headers)?;
    if api == Api::Dated && query.get("api-version").is_none_or(str::is_empty) {
        let message = "the query has no api-version; add for example api-version=2022-06-01, or use a path below /api/v1";
        return Err(Rejection::new(&error_table::MISSING_API_VERSION, message).about("api-version"));
    }
    let hub = hub_of_rest(&hub, &query, &shared.instance)?;
    let call = RestRequest { shared, api, hub, query: &query, head: &head, expires_at };
    match operation {
        Operation::Send(to) => {
            let body = read_body(shared, body, shared.options().body_bytes_max).await?;
            Ok(http_messages::empty(call.send(to, &body).await?))
        }
        // Boxed, so that the future of a send stays small.
        other => Box::pin(call.perform(other, body)).await,
    }
}

impl Operation {
    /// The permission that a caller with a login token needs.
    fn purpose(&self) -> Purpose {
        match self {
            Self::Health
            | Self::Exists(_)
            | Self::UserInGroup { .. }
            | Self::ListConnections(_)
            | Self::ListUsers
            | Self::ListGroups
            | Self::Count
            | Self::ConnectionClaims
            | Self::Watch => Purpose::Read,
            Self::AccessKey => Purpose::Serve,
            _ => Purpose::Write,
        }
    }
}

impl RestRequest<'_> {
    /// Performs an operation other than a send.
    async fn perform(&self, operation: Operation, body: Body) -> Result<Response<Body>, Rejection> {
        let bytes_max = self.shared.options().body_bytes_max;
        let status = match operation {
            Operation::StreamItem { connection, stream } => {
                self.stream_items(&connection, &stream, &*read_body(self.shared, body, bytes_max).await?)
                    .await?
            }
            Operation::StreamEnd { connection, stream } => self.stream_end(&connection, &stream).await?,
            Operation::Execute => self.execute(&*read_body(self.shared, body, bytes_max).await?).await?,
            Operation::Invoke { connection } => {
                return self.invoke(&connection, &*read_body(self.shared, body, bytes_max).await?).await;
            }
            Operation::RefreshAuth => {
                return self.refresh_auth(&read_body(self.shared, body, bytes_max).await?).await;
            }
            Operation::ConnectionClaims => {
                return self.connection_claims(&read_body(self.shared, body, bytes_max).await?).await;
            }
            Operation::Close(to) => self.close(to).await?,
            Operation::Exists(to) => self.exists(&to).await?,
            Operation::UserInGroup { user, group } => self.user_in_group(&user, &group).await?,
            Operation::ConnectionJoins { connection, group } => {
                self.connection_joins(&connection, &group).await?
            }
            Operation::ConnectionLeaves { connection, group } => {
                self.connection_leaves(&connection, &group).await?
            }
            Operation::ConnectionLeavesAll { connection } => self.connection_leaves_all(&connection).await?,
            Operation::UserJoins { user, group } => self.user_joins(&user, &group).await?,
            Operation::UserLeaves { user, group } => self.user_leaves(&user, &group).await?,
            Operation::UserLeavesAll { user } => self.user_leaves_all(&user).await?,
            Operation::ListConnections(to) => return self.list_connections(to).await,
            Operation::ListUsers => return self.list_users().await,
            Operation::ListGroups => return self.list_groups().await,
            Operation::Count => return self.count().await,
            Operation::Watch => return self.watch().await,
            Operation::GenerateToken => return self.generate_token(),
            Operation::Health | Operation::AccessKey | Operation::Send(_) => {
                unreachable!("handled above")
            }
        };
        Ok(http_messages::empty(status))
    }
}
