//! The REST interface for apps, both generations: who may call, which operation, and its answer. The operations are in the files
//! below `rest/`, by what they are about.

mod authentication;
mod groups;
mod keys;
mod presence;
mod send;
pub(crate) mod watch;

pub(crate) use keys::answer_key_rotation;

use std::sync::Arc;

use http::request::Parts;
use http::{Request, Response, StatusCode};
use http_messages::Body;

use super::{Shared, access, read_body};
use crate::engine::{ConnectionId, Hub, Target, UserId};
use crate::error::Refusal;
use crate::from_protocol::{Api, Operation, Query, Routed, To, group, hub_of_rest, refuse_compressed, route};
use crate::login::Purpose;
use crate::to_protocol;

/// Answers any request below `/api`, with the label for metrics.
pub(super) async fn answer(shared: &Arc<Shared>, request: Request<Body>) -> (&'static str, Response<Body>) {
    let routed = match route(request.method(), request.uri().path()) {
        Ok(routed) => routed,
        Err(refusal) => return ("unknown", to_protocol::error_detail(refusal)),
    };
    let operation = routed.operation.name();
    let answered = carry_out(shared, request, routed).await;
    (operation, answered.unwrap_or_else(to_protocol::error_detail))
}

/// One request that is allowed.
struct Call<'a> {
    shared: &'a Arc<Shared>,
    api: Api,
    hub: Hub,
    query: &'a Query<'a>,
    head: &'a Parts,
    /// When the caller's token ends, in Unix seconds; absent for callers in this process.
    expires_at: Option<u64>,
}

async fn carry_out(
    shared: &Arc<Shared>,
    request: Request<Body>,
    routed: Routed,
) -> Result<Response<Body>, Refusal> {
    let Routed { api, hub, operation } = routed;
    if operation == Operation::Health {
        return Ok(http_messages::empty(StatusCode::OK));
    }
    let (head, body) = request.into_parts();
    let query = Query::parse(head.uri.query());
    if operation == Operation::AccessKey {
        // Older SDKs ask without a version, and below both prefixes.
        return Box::pin(keys::access_key(shared, &head)).await;
    }
    let expires_at = access::app(shared, &head, operation.purpose()).await?;
    refuse_compressed(&head.headers)?;
    if api == Api::Dated && query.get("api-version").is_none_or(str::is_empty) {
        let message =
            "the query lacks api-version=<date>, such as 2022-06-01; paths without it begin with /api/v1";
        return Err(Refusal::bad_request("MissingApiVersion", message).about("api-version"));
    }
    let hub = hub_of_rest(&hub, &query, &shared.instance)?;
    let call = Call { shared, api, hub, query: &query, head: &head, expires_at };
    match operation {
        Operation::Send(to) => {
            let body = read_body(shared, body, shared.options.body_bytes_max).await?;
            Ok(http_messages::empty(call.send(to, &body).await?))
        }
        // In a box of its own: a send needs no room for what the others keep while they wait.
        other => Box::pin(call.perform(other, body)).await,
    }
}

impl Operation {
    /// What somebody must be allowed to do who asks for it.
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

impl Call<'_> {
    /// Any operation but a send.
    async fn perform(&self, operation: Operation, body: Body) -> Result<Response<Body>, Refusal> {
        let bytes_max = self.shared.options.body_bytes_max;
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
                unreachable!("it was answered above")
            }
        };
        Ok(http_messages::empty(status))
    }

    /// The status of a success in each generation.
    fn either(&self, v1: StatusCode, dated: StatusCode) -> StatusCode {
        if self.api == Api::V1 { v1 } else { dated }
    }

    /// Connections that the caller leaves out. What is no connection id names no connection.
    fn excluded(&self) -> Vec<ConnectionId> {
        self.query.all("excluded").filter_map(|id| ConnectionId::parse(id).ok()).collect()
    }

    /// A text of the query; an empty one counts as absent.
    fn text(&self, name: &str) -> Option<&str> {
        self.query.get(name).filter(|text| !text.is_empty())
    }
}

/// Who is meant; `None` where the path names a connection that cannot exist.
fn target(to: To) -> Result<Option<Target>, Refusal> {
    Ok(match to {
        To::All => Some(Target::All),
        To::Group(name) => Some(Target::Group(group(&name)?)),
        To::User(user) => Some(Target::User(UserId::new(&user))),
        To::Connection(id) => ConnectionId::parse(&id).ok().map(Target::Connection),
    })
}
