//! The way of a message from an app: REST requests, both generations.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use trace::TraceContext;

use super::{Shared, access, read_body};
use crate::engine::{ConnectionId, Hub, Lifetime, Membership, Publish, Target, UserId};
use crate::error::Refusal;
use crate::from_protocol::{
    Api, Operation, Query, Routed, To, group, hub_of_rest, outgoing_message, refuse_compressed, route,
};
use crate::{Body, to_protocol};

const CONNECTION_ABSENT: &str = "Warning.Connection.NotExisted";
const CONNECTION_ABSENT_ERROR: &str = "Error.Connection.NotExisted";
const USER_ABSENT: &str = "Warning.User.NotExisted";
const GROUP_ABSENT: &str = "Warning.Group.NotExisted";
const USER_NOT_IN_GROUP: &str = "Info.User.NotInGroup";

/// Longest time in a group that a user can be given: a year, as in the service.
const GROUP_SECONDS_MAX: u64 = 366 * 24 * 60 * 60;

/// Answers any request below `/api`, with the label for metrics.
pub(super) async fn answer(shared: &Arc<Shared>, request: Request<Body>) -> (&'static str, Response<Body>) {
    let routed = match route(request.method(), request.uri().path()) {
        Ok(routed) => routed,
        Err(refusal) => return ("unknown", to_protocol::error_detail(refusal)),
    };
    let operation = routed.operation.name();
    let answered = carry_out(shared, request, routed).await;
    (operation, answered.map_or_else(to_protocol::error_detail, to_protocol::empty))
}

/// One request that is allowed, without its body.
struct Call<'a> {
    shared: &'a Shared,
    api: Api,
    hub: Hub,
    query: &'a Query<'a>,
}

async fn carry_out(shared: &Shared, request: Request<Body>, routed: Routed) -> Result<StatusCode, Refusal> {
    let Routed { api, hub, operation } = routed;
    if operation == Operation::Health {
        return Ok(StatusCode::OK);
    }
    access::app(shared, &request)?;
    refuse_compressed(request.headers())?;
    let (parts, body) = request.into_parts();
    let query = Query::parse(parts.uri.query());
    if api == Api::Dated && query.get("api-version").is_none_or(str::is_empty) {
        let message =
            "the query lacks api-version=<date>, such as 2022-06-01; paths without it begin with /api/v1";
        return Err(Refusal::bad_request("MissingApiVersion", message));
    }
    if let Operation::NotYet(what) = operation {
        return Err(Refusal::not_yet(what));
    }
    let call = Call { shared, api, hub: hub_of_rest(&hub, &query, &shared.instance)?, query: &query };
    match operation {
        Operation::Send(to) => {
            let body = read_body(body, shared.options.body_bytes_max).await?;
            call.send(to, &parts.headers, &body).await
        }
        Operation::Close(to) => call.close(to).await,
        Operation::Exists(to) => call.exists(&to).await,
        Operation::UserInGroup { user, group: name } => call.user_in_group(&user, &name).await,
        Operation::ConnectionJoins { connection, group: name } => {
            call.change_connection(&connection, &name, Membership::Join).await
        }
        Operation::ConnectionLeaves { connection, group: name } => {
            call.change_connection(&connection, &name, Membership::Leave).await
        }
        Operation::ConnectionLeavesAll { connection } => call.connection_leaves_all(&connection).await,
        Operation::UserJoins { user, group: name } => call.user_joins(&user, &name).await,
        Operation::UserLeaves { user, group: name } => call.user_leaves(&user, &name).await,
        Operation::UserLeavesAll { user } => call.user_leaves_all(&user).await,
        Operation::Health | Operation::NotYet(_) => {
            unreachable!("health and what is not offered were answered above")
        }
    }
}

impl Call<'_> {
    async fn send(&self, to: To, headers: &HeaderMap, body: &Bytes) -> Result<StatusCode, Refusal> {
        let message = outgoing_message(headers, body)?;
        // Who is not there gets nothing, and the sender is told nothing (reference, 2.1).
        let Some(target) = target(to)? else { return Ok(StatusCode::ACCEPTED) };
        let traceparent = headers.get("traceparent").and_then(|value| value.to_str().ok());
        let publish = Publish {
            hub: self.hub.clone(),
            target,
            excluded: self.excluded(),
            excluded_users: Vec::new(),
            message,
            trace: traceparent.and_then(TraceContext::parse),
        };
        self.shared.engine.publish(publish).await?;
        Ok(StatusCode::ACCEPTED)
    }

    async fn close(&self, to: To) -> Result<StatusCode, Refusal> {
        let status = match (&to, self.api) {
            (To::Connection(_), Api::V1) => StatusCode::ACCEPTED,
            (To::Connection(_), Api::Dated) => StatusCode::OK,
            _ => StatusCode::NO_CONTENT,
        };
        if let Some(target) = target(to)? {
            let reason = self.query.get("reason").filter(|reason| !reason.is_empty());
            self.shared.engine.close(&self.hub, &target, &self.excluded(), reason).await?;
        }
        Ok(status)
    }

    async fn exists(&self, to: &To) -> Result<StatusCode, Refusal> {
        let (engine, hub) = (&self.shared.engine, &self.hub);
        let (exists, code, what) = match to {
            To::Connection(id) => {
                let exists = match ConnectionId::parse(id) {
                    Ok(id) => engine.connection_exists(hub, id).await?,
                    Err(_) => false,
                };
                (exists, CONNECTION_ABSENT, "the connection does not exist")
            }
            To::User(user) => {
                let exists = engine.user_exists(hub, &UserId::new(user)).await?;
                (exists, USER_ABSENT, "the user has no connection")
            }
            To::Group(name) => {
                let exists = engine.group_exists(hub, &group(name)?).await?;
                (exists, GROUP_ABSENT, "the group has no connection")
            }
            To::All => return Ok(StatusCode::OK),
        };
        if exists { Ok(StatusCode::OK) } else { Err(Refusal::absent(code, what)) }
    }

    async fn user_in_group(&self, user: &str, name: &str) -> Result<StatusCode, Refusal> {
        let group = group(name)?;
        if self.shared.engine.user_in_group(&self.hub, &UserId::new(user), &group).await? {
            Ok(StatusCode::OK)
        } else {
            Err(Refusal::absent(USER_NOT_IN_GROUP, "the user is not in the group"))
        }
    }

    async fn change_connection(
        &self,
        connection: &str,
        name: &str,
        membership: Membership,
    ) -> Result<StatusCode, Refusal> {
        let group = group(name)?;
        let found = match ConnectionId::parse(connection) {
            Ok(id) => self.shared.engine.change_connection(&self.hub, id, &group, membership).await?,
            Err(_) => false,
        };
        if found {
            Ok(StatusCode::OK)
        } else {
            Err(Refusal::absent(CONNECTION_ABSENT_ERROR, "the connection does not exist"))
        }
    }

    /// Succeeds as well where the connection is gone: then it is in no group.
    async fn connection_leaves_all(&self, connection: &str) -> Result<StatusCode, Refusal> {
        if let Ok(id) = ConnectionId::parse(connection) {
            self.shared.engine.leave_all_groups(&self.hub, id).await?;
        }
        Ok(StatusCode::OK)
    }

    async fn user_joins(&self, user: &str, name: &str) -> Result<StatusCode, Refusal> {
        let (group, lifetime) = (group(name)?, self.lifetime()?);
        let user = UserId::new(user);
        self.shared.engine.change_user(&self.hub, &user, &group, Membership::Join, lifetime).await?;
        Ok(self.either(StatusCode::ACCEPTED, StatusCode::OK))
    }

    async fn user_leaves(&self, user: &str, name: &str) -> Result<StatusCode, Refusal> {
        let (group, user) = (group(name)?, UserId::new(user));
        self.shared.engine.change_user(&self.hub, &user, &group, Membership::Leave, Lifetime::Always).await?;
        Ok(self.either(StatusCode::ACCEPTED, StatusCode::NO_CONTENT))
    }

    async fn user_leaves_all(&self, user: &str) -> Result<StatusCode, Refusal> {
        self.shared.engine.user_leaves_all_groups(&self.hub, &UserId::new(user)).await?;
        Ok(self.either(StatusCode::OK, StatusCode::NO_CONTENT))
    }

    /// The status of a success in each generation.
    fn either(&self, v1: StatusCode, dated: StatusCode) -> StatusCode {
        if self.api == Api::V1 { v1 } else { dated }
    }

    /// Connections that the caller leaves out. What is no connection id names no connection.
    fn excluded(&self) -> Vec<ConnectionId> {
        self.query.all("excluded").filter_map(|id| ConnectionId::parse(id).ok()).collect()
    }

    /// How long a user stays in a group: `ttl`, in seconds.
    fn lifetime(&self) -> Result<Lifetime, Refusal> {
        let Some(ttl) = self.query.get("ttl").filter(|ttl| !ttl.is_empty()) else {
            return Ok(Lifetime::Always);
        };
        match ttl.parse::<u64>() {
            // By the reference a ttl of 0 reaches only the connections of this moment.
            Ok(0) => Ok(Lifetime::Present),
            Ok(seconds) => Ok(Lifetime::For(Duration::from_secs(seconds.min(GROUP_SECONDS_MAX)))),
            Err(_) => {
                Err(Refusal::bad_request("InvalidTtl", "ttl is a whole number of seconds, such as ttl=3600"))
            }
        }
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
