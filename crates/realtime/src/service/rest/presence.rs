//! Presence: existence checks, lists and counts.

use http::{Response, StatusCode};
use http_messages::Body;
use serde_json::{Value, json};

use super::request::RestRequest;
use crate::error_table;
use crate::from_protocol::{Page, To};
use crate::names::group;
use crate::rejection::Rejection;
use crate::to_protocol;
use realtime_engine::{ConnectionId, ListScope, NameKind, NamedCount, UserId};

impl RestRequest<'_> {
    pub(super) async fn exists(&self, to: &To) -> Result<StatusCode, Rejection> {
        let (engine, hub) = (&self.shared.engine, &self.hub);
        let (exists, error, what) = match to {
            To::Connection(id) => {
                let exists = match ConnectionId::parse(id) {
                    Ok(id) => engine.connection_exists(hub, id).await?,
                    Err(_) => false,
                };
                (exists, &error_table::WARNING_CONNECTION_NOT_EXISTED, "the connection does not exist")
            }
            To::User(user) => {
                let exists = engine.user_exists(hub, &UserId::new(user)).await?;
                (exists, &error_table::WARNING_USER_NOT_EXISTED, "the user has no connection")
            }
            To::Group(name) => {
                let exists = engine.group_exists(hub, &group(name)?).await?;
                (exists, &error_table::WARNING_GROUP_NOT_EXISTED, "the group has no connection")
            }
            To::All => return Ok(StatusCode::OK),
        };
        if exists { Ok(StatusCode::OK) } else { Err(Rejection::new(error, what)) }
    }

    pub(super) async fn user_in_group(&self, user: &str, name: &str) -> Result<StatusCode, Rejection> {
        let group = group(name)?;
        if self.shared.engine.user_in_group(&self.hub, &UserId::new(user), &group).await? {
            Ok(StatusCode::OK)
        } else {
            Err(Rejection::new(&error_table::INFO_USER_NOT_IN_GROUP, "the user is not in the group"))
        }
    }

    /// Responds with `{value: [{connectionId, userId?}], nextLink?}`, as the vendor lists the connections of a group.
    pub(super) async fn list_connections(&self, of: To) -> Result<Response<Body>, Rejection> {
        let page = Page::read(self.query)?;
        let after = page.after.as_deref().map(ConnectionId::parse).transpose().map_err(|_| wrong_token())?;
        let scope = match of {
            To::All => ListScope::Hub,
            To::Group(name) => ListScope::Group(group(&name)?),
            To::User(user) => ListScope::User(UserId::new(&user)),
            To::Connection(_) => unreachable!("no route lists the connections of a connection"),
        };
        let count = page.entries() + 1;
        let mut members = self.shared.engine.list_members(&self.hub, &scope, after, count).await?;
        let more = page.cut(&mut members);
        let value = members.iter().map(|member| {
            let mut entry = json!({ "connectionId": member.connection.to_string() });
            if let Some(user) = &member.user {
                entry["userId"] = user.as_str().into();
            }
            entry
        });
        let last = members.last().filter(|_| more).map(|member| member.connection.to_string());
        Ok(self.page(&page, value.collect(), last.as_deref()))
    }

    /// Responds with `{value: [{userId, connections}], nextLink?}`.
    pub(super) async fn list_users(&self) -> Result<Response<Body>, Rejection> {
        self.list_names(NameKind::Users, "userId").await
    }

    /// Responds with `{value: [{group, connections}], nextLink?}`.
    pub(super) async fn list_groups(&self) -> Result<Response<Body>, Rejection> {
        self.list_names(NameKind::Groups, "group").await
    }

    async fn list_names(&self, names: NameKind, label: &str) -> Result<Response<Body>, Rejection> {
        let page = Page::read(self.query)?;
        let (after, count) = (page.after.as_deref(), page.entries() + 1);
        let mut found = self.shared.engine.list_names(&self.hub, names, after, count).await?;
        let more = page.cut(&mut found);
        let entry = |NamedCount { name, connections }: &NamedCount| json!({ label: name, "connections": connections });
        let value = found.iter().map(entry).collect();
        let last = found.last().filter(|_| more).map(|named| named.name.as_str());
        Ok(self.page(&page, value, last))
    }

    /// Responds with `{connections, users, groups}`.
    pub(super) async fn count(&self) -> Result<Response<Body>, Rejection> {
        let counts = self.shared.engine.counts(&self.hub).await?;
        let (connections, users, groups) = (counts.connections, counts.users(), counts.groups());
        let body = json!({ "connections": connections, "users": users, "groups": groups });
        Ok(to_protocol::json(body.to_string()))
    }

    fn page(&self, page: &Page, value: Vec<Value>, last: Option<&str>) -> Response<Body> {
        let mut body = json!({ "value": value });
        if let Some(last) = last {
            body["nextLink"] = page.next_link(&self.head.uri, last).into();
        }
        to_protocol::json(body.to_string())
    }
}

fn wrong_token() -> Rejection {
    let message = "the continuationToken was not returned by this list; follow nextLink unchanged";
    Rejection::new(&error_table::INVALID_CONTINUATION_TOKEN, message).about("continuationToken")
}
