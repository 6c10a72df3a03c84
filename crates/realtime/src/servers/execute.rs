//! Carries out what app servers want, one order after the other for each server connection.

mod calls;
mod filtered;
mod keys;
mod logins;
mod pings;

use std::sync::Arc;
use std::time::Instant;

use signalr_protocol::service::{AckStatus, GroupMembers};
use tracing::debug;

use super::client::{Client, Deferral, Whole};
use super::from_protocol::reserved;
use super::link::Link;
use super::order::{
    EVENT_BUFFER_FULL, EVENT_CONNECTION, EVENT_INVALID, EVENT_NOT_EXISTED, EVENT_SERVER_CONNECTION, Member,
    Order, Send, Stay, Subject, Wrong,
};
use super::{Servers, to_protocol};
use crate::engine::{
    Action, Candidate, CloseRequest, ConnectionId, GroupError, GroupName, Lifetime, ListScope, Membership,
    OutgoingMessage, Predicate, Publish, PublishError, ServerClose, Stopped, Target,
};
use crate::rejection::Rejection;
use crate::store::user_groups::MembershipError;

/// Members of a group in one answer, at most; as in the REST operation.
const PAGE_MAX: u32 = 200;

/// How an order ended, for its ack.
#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    Ok,
    NotFound(&'static str),
    Failed(String),
}

impl Servers {
    /// Carries out one order.
    ///
    /// # Errors
    ///
    /// If the engine has ended.
    pub(super) async fn execute(&self, link: &Arc<Link>, order: Order) -> Result<(), Stopped> {
        let Some(order) = self.unless_deferred(link, order) else { return Ok(()) };
        match order {
            Order::Data { client, payload } => self.data(link, client, &payload).await?,
            deferrable => self.carry_out(link, deferrable).await?,
        }
        Ok(())
    }

    /// Keeps an order about one client for later, if that client's handshake is not answered yet: only the answer makes it a member of
    /// its hub, and what a server sends in its `OnConnected` may overtake it.
    fn unless_deferred(&self, link: &Arc<Link>, order: Order) -> Option<Order> {
        let about = match &order {
            Order::Send(Send { targets, .. }) => match &targets[..] {
                [Target::Connection(id)] => *id,
                _ => return Some(order),
            },
            Order::Change { member: Member::Connection(id), .. }
            | Order::Check { subject: Subject::Connection(id), .. }
            | Order::Invoke { client: id, .. } => *id,
            _ => return Some(order),
        };
        let Some(client) = self.client(&link.hub, about) else { return Some(order) };
        match client.defer(link, order) {
            Deferral::Now(order) => Some(order),
            Deferral::Later => None,
            Deferral::TooMany(order) => {
                let why = "too many messages wait for the answer to the client's handshake";
                self.decline(link, &order, AckStatus::InternalServerError, why);
                let id = about.to_string();
                link.outbox.push(&to_protocol::event(EVENT_CONNECTION, &id, EVENT_BUFFER_FULL, why));
                None
            }
        }
    }

    async fn carry_out(&self, link: &Arc<Link>, order: Order) -> Result<(), Stopped> {
        match order {
            Order::Send(send) => self.send(link, send).await,
            Order::Close { whom, excluded, reason, ack } => {
                let outcome = self.close(link, whom, &excluded, reason.as_deref()).await?;
                answer(link, ack, outcome);
                Ok(())
            }
            Order::Change { member, group, membership, stay, ack } => {
                let outcome = self.change(link, member, group, membership, stay).await?;
                answer(link, ack, outcome);
                Ok(())
            }
            Order::Check { subject, ack } => {
                let outcome = self.check(link, subject).await?;
                answer(link, Some(ack), outcome);
                Ok(())
            }
            Order::ListMembers { group, ack, top, page, after } => {
                let most = top.unwrap_or(PAGE_MAX).min(page.unwrap_or(PAGE_MAX)).clamp(1, PAGE_MAX);
                self.list(link, group, ack, most, after.as_deref()).await
            }
            Order::Invoke { invocation, client, caller_server, payloads } => {
                self.invoke(link, invocation, client, caller_server, payloads).await
            }
            Order::NotInvoked { invocation, connection, caller_server, why } => {
                self.refuse_call(link, &invocation, &connection, &caller_server, &why);
                Ok(())
            }
            Order::Complete { invocation, client, protocol, result } => {
                self.complete(link, &invocation, client, protocol.as_deref(), result);
                Ok(())
            }
            Order::Refresh { token, claims, expires_at, ack } => {
                self.refresh(link, &token, claims, expires_at, ack).await
            }
            Order::Claims { token, ack } => self.claims(link, &token, ack).await,
            Order::AccessKey { token } => {
                self.hand_out_key(link, token.as_deref()).await;
                Ok(())
            }
            Order::Ping(ping) => self.ping(link, ping).await,
            Order::PauseAck(id) => {
                if let Some(client) = self.client(&link.hub, id) {
                    client.pause_acknowledged(link);
                }
                Ok(())
            }
            Order::TooLong(refused) => self.refuse(link, refused).await,
            Order::Wrong(wrong) => {
                tell(link, &wrong);
                Ok(())
            }
            Order::Data { .. } | Order::Nothing => Ok(()),
        }
    }

    /// Bytes of a server for one client, and, behind the answer to the handshake, what waited for it.
    async fn data(&self, link: &Arc<Link>, id: ConnectionId, payload: &[u8]) -> Result<(), Stopped> {
        let Some(client) = self.client(&link.hub, id) else {
            self.not_there(link, id);
            return Ok(());
        };
        let whole = match client.take_in(link, payload, self.0.client_message_bytes_max) {
            Ok(whole) => whole,
            Err(error) => return self.broken(link, &client, id, &error.to_string()).await,
        };
        let Whole { answer, messages, left_out } = whole;
        if left_out > 0 {
            tell(link, &reserved(Some(id)));
        }
        if let Some(record) = answer {
            self.engine().from_server(id, record).await?;
            for (origin, order) in client.join() {
                self.carry_out(&origin, order).await?;
            }
        }
        if let Some((bytes, count)) = messages {
            let message = OutgoingMessage::raw(bytes, count);
            self.publish(link, publish(link, Target::Connection(id), message)).await?;
        }
        Ok(())
    }

    /// What a server sent for a client cannot be given to it.
    pub(super) async fn broken(
        &self,
        link: &Link,
        client: &Client,
        id: ConnectionId,
        why: &str,
    ) -> Result<(), Stopped> {
        let text = format!("the messages for the client cannot be told apart: {why}");
        let name = id.to_string();
        link.outbox.push(&to_protocol::event(EVENT_CONNECTION, &name, EVENT_INVALID, &text));
        let close = ServerClose {
            error: Some("the app server sent a message that cannot be read".into()),
            allow_reconnect: false,
            say_close: true,
        };
        self.end_client(client, id, close).await;
        link.outbox.push_from(id, |out| to_protocol::close(id, Some(&text), None, out));
        Ok(())
    }

    async fn send(&self, link: &Link, send: Send) -> Result<(), Stopped> {
        let Send { targets, excluded, excluded_users, filter, message } = send;
        for target in targets {
            if let Some(filter) = &filter {
                let chosen = filtered::Chosen {
                    target,
                    excluded: excluded.clone(),
                    excluded_users: excluded_users.clone(),
                    filter: Arc::clone(filter),
                };
                let which = Predicate::new(move |candidate: &Candidate<'_>| chosen.has(candidate));
                self.engine().execute(&link.hub, which, vec![Action::Send(message.clone())]).await?;
                continue;
            }
            let mut publish = publish(link, target, message.clone());
            publish.excluded.clone_from(&excluded);
            publish.excluded_users.clone_from(&excluded_users);
            self.publish(link, publish).await?;
        }
        Ok(())
    }

    /// Publishes; a server that has to wait for it is told that it sends too fast.
    pub(super) async fn publish(&self, link: &Link, publish: Publish) -> Result<(), Stopped> {
        match self.engine().try_publish(publish.clone()) {
            Ok(()) => Ok(()),
            Err(PublishError::Stopped) => Err(Stopped),
            Err(PublishError::NotRecorded(why)) => {
                tracing::warn!(%why, "a message of an app server was not sent");
                Ok(())
            }
            Err(PublishError::Busy) => {
                if link.may_hint(Instant::now()) {
                    let text =
                        "more is sent than the service takes at the moment; it reads on when it has room";
                    let (object, kind) = (EVENT_SERVER_CONNECTION, EVENT_BUFFER_FULL);
                    link.outbox.push(&to_protocol::event(object, &link.connection, kind, text));
                }
                match self.engine().publish(publish).await {
                    Err(PublishError::Stopped) => Err(Stopped),
                    Err(PublishError::NotRecorded(why)) => {
                        // The service protocol has no answer to a send; the keeper counts it.
                        tracing::warn!(%why, "a message of an app server was not sent");
                        Ok(())
                    }
                    Ok(()) | Err(PublishError::Busy) => Ok(()),
                }
            }
        }
    }

    async fn close(
        &self,
        link: &Link,
        whom: Target,
        excluded: &[ConnectionId],
        reason: Option<&str>,
    ) -> Result<Outcome, Stopped> {
        if let Target::Connection(id) = whom
            && let Some(client) = self.client(&link.hub, id)
        {
            let owner = client.owner();
            // A server that closes its own client properly has said Close to it.
            let say_close = reason.is_some() || !client.said_close();
            let close = ServerClose { error: reason.map(Into::into), allow_reconnect: false, say_close };
            let found = self.end_client(&client, id, close).await;
            // Only the one who closes it knows already.
            if let Some(owner) = owner.filter(|owner| owner.server != link.server) {
                owner.outbox.push_from(id, |out| to_protocol::close(id, reason, None, out));
            }
            return Ok(if found { Outcome::Ok } else { Outcome::NotFound("the connection does not exist") });
        }
        let is_one = matches!(whom, Target::Connection(_));
        let closing = CloseRequest { reason: reason.map(Into::into), allow_reconnect: false };
        let closed = self.engine().close(&link.hub, &whom, excluded, &closing).await?;
        Ok(if is_one && closed == 0 {
            Outcome::NotFound("the connection does not exist")
        } else {
            Outcome::Ok
        })
    }

    async fn change(
        &self,
        link: &Link,
        member: Member,
        group: Option<GroupName>,
        membership: Membership,
        stay: Stay,
    ) -> Result<Outcome, Stopped> {
        let (engine, user_groups, hub) = (self.engine(), &self.0.powers.user_groups, &link.hub);
        match (member, group) {
            (Member::Connection(id), Some(group)) => {
                Ok(match engine.change_connection(hub, id, &group, membership).await {
                    Ok(true) => Outcome::Ok,
                    Ok(false) => Outcome::NotFound("the connection does not exist"),
                    Err(GroupError::Stopped) => return Err(Stopped),
                    Err(error @ GroupError::TooMany) => Outcome::Failed(error.to_string()),
                })
            }
            (Member::Connection(id), None) => {
                engine.leave_all_groups(hub, id).await?;
                Ok(Outcome::Ok)
            }
            (Member::User(user), Some(group)) if membership == Membership::Join => {
                let lifetime = match stay {
                    Stay::Present => Lifetime::Present,
                    Stay::For(time) => Lifetime::For(time),
                    Stay::Always => Lifetime::Always,
                };
                changed(user_groups.join(hub, &user, &group, lifetime).await)
            }
            (Member::User(user), Some(group)) => changed(user_groups.leave(hub, &user, &group).await),
            (Member::User(user), None) => changed(user_groups.leave_all(hub, &user).await),
        }
    }

    async fn check(&self, link: &Link, subject: Subject) -> Result<Outcome, Stopped> {
        let (engine, hub) = (self.engine(), &link.hub);
        let (is_there, text) = match subject {
            Subject::Connection(id) => {
                (engine.connection_exists(hub, id).await?, "the connection does not exist")
            }
            Subject::User(user) => (engine.user_exists(hub, &user).await?, "the user has no connection"),
            Subject::Group(group) => (engine.group_exists(hub, &group).await?, "the group has no connection"),
            Subject::UserInGroup(user, group) => {
                (engine.user_in_group(hub, &user, &group).await?, "the user is not in the group")
            }
        };
        Ok(if is_there { Outcome::Ok } else { Outcome::NotFound(text) })
    }

    async fn list(
        &self,
        link: &Link,
        group: GroupName,
        ack: i32,
        most: u32,
        after: Option<&str>,
    ) -> Result<(), Stopped> {
        let Ok(after) = after.map(ConnectionId::parse).transpose() else {
            let text = "the continuation token is none that this service gave";
            answer(link, Some(ack), Outcome::Failed(text.to_owned()));
            return Ok(());
        };
        let most = most as usize;
        // One more tells whether there is a next page.
        let mut members =
            self.engine().list_members(&link.hub, &ListScope::Group(group), after, most + 1).await?;
        let has_more = members.len() > most;
        members.truncate(most);
        let ids: Vec<String> = members.iter().map(|member| member.connection.to_string()).collect();
        let users = members.iter().map(|member| member.user.as_ref().map(crate::engine::UserId::as_str));
        let payload = GroupMembers {
            members: ids.iter().map(String::as_str).zip(users).collect(),
            continuation_token: ids.last().map(String::as_str).filter(|_| has_more),
        }
        .encode();
        link.outbox.push(&to_protocol::ack(ack, AckStatus::Ok, "", Some(&payload)));
        Ok(())
    }

    /// Answers an order that is not carried out, if its sender waits for an answer.
    pub(super) fn decline(&self, link: &Link, order: &Order, status: AckStatus, why: &str) {
        match order {
            Order::Invoke { invocation, client, caller_server, .. } => {
                self.refuse_call(link, invocation, &client.to_string(), caller_server, why);
            }
            order => {
                if let Some(ack_id) = order.ack() {
                    link.outbox.push(&to_protocol::ack(ack_id, status, why, None));
                }
            }
        }
    }

    /// Tells a server that its call of a client was not made, no sooner than its SDK knows that it waits for a result.
    pub(super) fn refuse_call(
        &self,
        link: &Link,
        invocation: &str,
        connection: &str,
        caller_server: &str,
        why: &str,
    ) {
        let message = to_protocol::no_result(invocation, connection, caller_server, why);
        let not_before = link.result_not_before(self.options(), Instant::now());
        link.outbox.push_later(not_before, |out| message.encode(out));
    }

    /// A server has sent bytes for a client that is not there. That is an event only where the client did not end a moment ago: the SDK
    /// answers a client's Close with another one, and a result may be under way.
    fn not_there(&self, link: &Link, id: ConnectionId) {
        if self.has_departed(id) {
            return;
        }
        debug!(%id, server = %link.server, "an app server wrote to a client that is not there");
        if link.may_hint(Instant::now()) {
            let (id, text) = (id.to_string(), "the connection does not exist");
            link.outbox.push(&to_protocol::event(EVENT_CONNECTION, &id, EVENT_NOT_EXISTED, text));
        }
    }
}

fn changed(change: Result<(), MembershipError>) -> Result<Outcome, Stopped> {
    match change {
        Ok(()) => Ok(Outcome::Ok),
        Err(MembershipError::Stopped(stopped)) => Err(stopped),
        Err(error) => Ok(Outcome::Failed(Rejection::from(error).message)),
    }
}

pub(super) fn publish(link: &Link, target: Target, message: OutgoingMessage) -> Publish {
    Publish {
        hub: link.hub.clone(),
        target,
        excluded: Vec::new(),
        excluded_users: Vec::new(),
        message,
        trace: None,
    }
}

fn answer(link: &Link, ack: Option<i32>, outcome: Outcome) {
    let Some(ack) = ack else { return };
    let message = match &outcome {
        Outcome::Ok => to_protocol::ack(ack, AckStatus::Ok, "", None),
        Outcome::NotFound(why) => to_protocol::ack(ack, AckStatus::NotFound, why, None),
        Outcome::Failed(why) => to_protocol::ack(ack, AckStatus::InternalServerError, why, None),
    };
    link.outbox.push(&message);
}

/// Says what is wrong with an order: to whoever waits for an answer there, otherwise as an event.
fn tell(link: &Link, wrong: &Wrong) {
    let Wrong { ack, object, id, kind, text } = wrong;
    debug!(server = %link.server, %id, %text, "an app server wants what cannot be done");
    match ack {
        // Whoever asks for something by a name that cannot be one learns that it is not there.
        Some(ack) => link.outbox.push(&to_protocol::ack(*ack, AckStatus::NotFound, text, None)),
        None => link.outbox.push(&to_protocol::event(*object, id, *kind, text)),
    }
}
