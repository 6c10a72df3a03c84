//! [`RestRequest`]: a REST request of an authorized caller.

use std::sync::Arc;

use http::StatusCode;
use http::request::Parts;

use crate::from_protocol::{Api, Query, To};
use crate::names::group;
use crate::rejection::Rejection;
use crate::service::Shared;
use realtime_engine::{ConnectionId, Hub, Target, UserId};

/// A REST request of an authorized caller, without its body.
pub(super) struct RestRequest<'a> {
    pub(super) shared: &'a Arc<Shared>,
    pub(super) api: Api,
    pub(super) hub: Hub,
    pub(super) query: &'a Query<'a>,
    pub(super) head: &'a Parts,
    /// When the caller's token expires, in Unix seconds; `None` for callers in this process.
    pub(super) expires_at: Option<u64>,
}

impl RestRequest<'_> {
    /// The status for success, which differs between the two versions of the API.
    pub(super) fn either(&self, v1: StatusCode, dated: StatusCode) -> StatusCode {
        if self.api == Api::V1 { v1 } else { dated }
    }

    /// The connections that the caller excludes. Values that are not connection ids are ignored.
    pub(super) fn excluded(&self) -> Vec<ConnectionId> {
        self.query.all("excluded").filter_map(|id| ConnectionId::parse(id).ok()).collect()
    }

    /// A query parameter; an empty one counts as absent.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.query.get(name).filter(|text| !text.is_empty())
    }
}

/// The receivers that a path names; `None` for a connection that cannot exist.
pub(super) fn target(to: To) -> Result<Option<Target>, Rejection> {
    Ok(match to {
        To::All => Some(Target::All),
        To::Group(name) => Some(Target::Group(group(&name)?)),
        To::User(user) => Some(Target::User(UserId::new(&user))),
        To::Connection(id) => ConnectionId::parse(&id).ok().map(Target::Connection),
    })
}
