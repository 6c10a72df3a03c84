//! Requests of app servers about connections, users and groups: closes, memberships, existence checks, lists.

use signalr_protocol::service::{AckStatus, GroupMembers};

use super::acks::{RequestResult, acknowledge};
use crate::rejection::Rejection;
use crate::servers::request::{ExistenceCheck, Member};
use crate::servers::server_connection::ServerConnection;
use crate::servers::shared::Servers;
use crate::servers::to_protocol;
use crate::store::user_groups::MembershipError;
use realtime_engine::{
    CloseRequest, ConnectionId, GroupError, GroupName, Lifetime, ListScope, Membership, ServerClose, Stopped,
    Target,
};

impl Servers {
    /// Closes clients. One client of an app server is closed by its connection id, all others by the engine.
    pub(super) async fn close(
        &self,
        server: &ServerConnection,
        whom: Target,
        excluded: &[ConnectionId],
        reason: Option<&str>,
    ) -> Result<RequestResult, Stopped> {
        if let Target::Connection(id) = whom
            && let Some(client) = self.client(&server.hub, id)
        {
            let owner = client.owner();
            // An app server that closes its own client has usually sent it a Close message.
            let send_close = reason.is_some() || !client.close_sent();
            let close = ServerClose { error: reason.map(Into::into), allow_reconnect: false, send_close };
            let found = self.end_client(&client, id, close).await;
            // The app server that closes the client needs no CloseConnection.
            if let Some(owner) = owner.filter(|owner| owner.server_id != server.server_id) {
                owner.send_queue.push_for(id, |out| to_protocol::close(id, reason, None, out));
            }
            return Ok(if found {
                RequestResult::Ok
            } else {
                RequestResult::NotFound("the connection does not exist")
            });
        }
        let is_one = matches!(whom, Target::Connection(_));
        let closing = CloseRequest { reason: reason.map(Into::into), allow_reconnect: false };
        let closed = self.engine().close(&server.hub, &whom, excluded, &closing).await?;
        Ok(if is_one && closed == 0 {
            RequestResult::NotFound("the connection does not exist")
        } else {
            RequestResult::Ok
        })
    }

    /// Changes the membership of a connection or a user in a group, or in all groups.
    pub(super) async fn change(
        &self,
        server: &ServerConnection,
        member: Member,
        group: Option<GroupName>,
        membership: Membership,
        lifetime: Lifetime,
    ) -> Result<RequestResult, Stopped> {
        let (engine, user_groups, hub) = (self.engine(), &self.0.services.user_groups, &server.hub);
        match (member, group) {
            (Member::Connection(id), Some(group)) => {
                Ok(match engine.change_connection(hub, id, &group, membership).await {
                    Ok(true) => RequestResult::Ok,
                    Ok(false) => RequestResult::NotFound("the connection does not exist"),
                    Err(GroupError::Stopped) => return Err(Stopped),
                    Err(error @ GroupError::TooMany) => RequestResult::Failed(error.to_string()),
                })
            }
            (Member::Connection(id), None) => {
                engine.leave_all_groups(hub, id).await?;
                Ok(RequestResult::Ok)
            }
            (Member::User(user), Some(group)) if membership == Membership::Join => {
                changed(user_groups.join(hub, &user, &group, lifetime).await)
            }
            (Member::User(user), Some(group)) => changed(user_groups.leave(hub, &user, &group).await),
            (Member::User(user), None) => changed(user_groups.leave_all(hub, &user).await),
        }
    }

    /// Whether a connection, a user, a group or a membership exists.
    pub(super) async fn check(
        &self,
        server: &ServerConnection,
        subject: ExistenceCheck,
    ) -> Result<RequestResult, Stopped> {
        let (engine, hub) = (self.engine(), &server.hub);
        let (is_there, text) = match subject {
            ExistenceCheck::Connection(id) => {
                (engine.connection_exists(hub, id).await?, "the connection does not exist")
            }
            ExistenceCheck::User(user) => {
                (engine.user_exists(hub, &user).await?, "the user has no connection")
            }
            ExistenceCheck::Group(group) => {
                (engine.group_exists(hub, &group).await?, "the group has no connection")
            }
            ExistenceCheck::UserInGroup(user, group) => {
                (engine.user_in_group(hub, &user, &group).await?, "the user is not in the group")
            }
        };
        Ok(if is_there { RequestResult::Ok } else { RequestResult::NotFound(text) })
    }

    /// Sends one page of the members of a group as an ack.
    pub(super) async fn list(
        &self,
        server: &ServerConnection,
        group: GroupName,
        ack: i32,
        page_size: u32,
        after: Option<&str>,
    ) -> Result<(), Stopped> {
        let Ok(after) = after.map(ConnectionId::parse).transpose() else {
            let text = "the continuation token is not from this service";
            acknowledge(server, Some(ack), RequestResult::Failed(text.to_owned()));
            return Ok(());
        };
        let page_size = page_size as usize;
        // One more shows whether there is a next page.
        let mut members =
            self.engine().list_members(&server.hub, &ListScope::Group(group), after, page_size + 1).await?;
        let has_more = members.len() > page_size;
        members.truncate(page_size);
        let ids: Vec<String> = members.iter().map(|member| member.connection.to_string()).collect();
        let users = members.iter().map(|member| member.user.as_ref().map(realtime_engine::UserId::as_str));
        let payload = GroupMembers {
            members: ids.iter().map(String::as_str).zip(users).collect(),
            continuation_token: ids.last().map(String::as_str).filter(|_| has_more),
        }
        .encode();
        server.send_queue.push(&to_protocol::ack(ack, AckStatus::Ok, "", Some(&payload)));
        Ok(())
    }
}

fn changed(change: Result<(), MembershipError>) -> Result<RequestResult, Stopped> {
    match change {
        Ok(()) => Ok(RequestResult::Ok),
        Err(MembershipError::Stopped(stopped)) => Err(stopped),
        Err(error) => Ok(RequestResult::Failed(Rejection::from(error).message)),
    }
}
