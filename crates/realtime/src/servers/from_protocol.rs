//! From service messages to [`Order`]: what an app server wants, in our words, with names checked. Pure.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use signalr_protocol::HubProtocol;
use signalr_protocol::service::{self, ConnectionKind, FlowOperation, Message, payload_for};

use super::order::{
    ByProtocol, EVENT_CONNECTION, EVENT_GROUP, EVENT_INVALID, EVENT_SERVER_CONNECTION, Member, Order, Ping,
    Send, Shutdown, Stay, Subject, Wrong,
};
use crate::engine::{ConnectionId, GroupName, InvalidArguments, Membership, OutgoingMessage, Target, UserId};
use crate::filter::Filter;
use crate::names::group;

/// Reads an order out of a message.
pub(crate) fn order(message: Message<'_>) -> Order {
    read(message).unwrap_or_else(Order::Wrong)
}

fn read(message: Message<'_>) -> Result<Order, Wrong> {
    match message {
        Message::Ping { messages } => Ok(Order::Ping(ping(&messages))),
        Message::CloseConnection { .. }
        | Message::CloseConnectionWithAck { .. }
        | Message::CloseConnectionsWithAck { .. }
        | Message::CloseUserConnectionsWithAck { .. }
        | Message::CloseGroupConnectionsWithAck { .. } => close(message),
        Message::ConnectionData { connection_id, payload, .. } => Ok(Order::Data {
            client: connection(connection_id, None)?,
            payload: Bytes::copy_from_slice(payload),
        }),
        Message::MultiConnectionData { .. }
        | Message::UserData { .. }
        | Message::MultiUserData { .. }
        | Message::BroadcastData { .. }
        | Message::GroupBroadcastData { .. }
        | Message::MultiGroupBroadcastData { .. } => send(message),
        Message::JoinGroup { .. }
        | Message::LeaveGroup { .. }
        | Message::UserJoinGroup { .. }
        | Message::UserLeaveGroup { .. }
        | Message::JoinGroupWithAck { .. }
        | Message::LeaveGroupWithAck { .. }
        | Message::UserJoinGroupWithAck { .. }
        | Message::UserLeaveGroupWithAck { .. } => change(message),
        Message::CheckUserInGroupWithAck { .. }
        | Message::CheckGroupExistenceWithAck { .. }
        | Message::CheckConnectionExistenceWithAck { .. }
        | Message::CheckUserExistenceWithAck { .. }
        | Message::GroupMemberQuery { .. } => question(message),
        Message::ClientInvocation { .. }
        | Message::ClientCompletion { .. }
        | Message::ErrorCompletion { .. } => invocation(message),
        Message::AccessKeyRequest { token, .. } => Ok(Order::AccessKey { token: token.map(Into::into) }),
        Message::RefreshAuth { connection_token, claims, expire_time, ack_id, .. } => Ok(Order::Refresh {
            token: connection_token.into(),
            claims: claims.into_iter().map(|(kind, value)| (kind.into(), value.into())).collect(),
            expires_at: expire_time.filter(|time| !time.is_dot_net_max()),
            ack: ack_id,
        }),
        Message::GetConnectionClaims { connection_token, ack_id, .. } => {
            Ok(Order::Claims { token: connection_token.into(), ack: ack_id })
        }
        Message::ConnectionFlowControl {
            connection_id,
            connection_type: ConnectionKind::Client,
            operation: FlowOperation::PauseAck,
            ..
        } => Ok(Order::PauseAck(connection(connection_id, None)?)),
        // A second handshake is for whoever reads to refuse; the rest goes from the service to servers.
        Message::HandshakeRequest(_)
        | Message::HandshakeResponse { .. }
        | Message::OpenConnection(_)
        | Message::ServiceError { .. }
        | Message::Ack { .. }
        | Message::ServiceEvent { .. }
        | Message::AccessKeyResponse { .. }
        | Message::ServiceMapping { .. }
        | Message::ConnectionReconnect { .. }
        | Message::ConnectionFlowControl { .. }
        | Message::UpdateConnectionClaims { .. }
        | Message::Unknown(_) => Ok(Order::Nothing),
    }
}

fn ping(messages: &[&str]) -> Ping {
    let value = |key| service::ping_value(messages, key);
    // The code of the SDK says `shutdown` where the specification says `offline`.
    if let Some(end) = value("shutdown").or_else(|| value("offline")) {
        return match end {
            "fin:0" => Ping::Shutdown(Shutdown::Drop),
            "fin:1" => Ping::Shutdown(Shutdown::Migrate),
            "fin:2" => Ping::Shutdown(Shutdown::Wait),
            _ => Ping::Alive,
        };
    }
    if let Some(id) = value("echo") {
        return Ping::Echo(id.into());
    }
    match (value("status"), value("servers")) {
        (Some(_), _) => Ping::Status,
        (None, Some(_)) => Ping::Servers,
        (None, None) => Ping::Alive,
    }
}

fn send(message: Message<'_>) -> Result<Order, Wrong> {
    let (mut excluded, mut excluded_users) = (Vec::new(), Vec::new());
    let (targets, payloads, extensions) = match message {
        Message::MultiConnectionData { connections, payloads, extensions } => {
            (some(&connections, |id| connection(id, None).map(Target::Connection))?, payloads, extensions)
        }
        Message::UserData { user_id, payloads, extensions } => {
            (vec![Target::User(UserId::new(user_id))], payloads, extensions)
        }
        Message::MultiUserData { users, payloads, extensions } => {
            let user = |user| Target::User(UserId::new(user));
            (users.into_iter().map(user).collect(), payloads, extensions)
        }
        Message::BroadcastData { excluded: without, payloads, extensions } => {
            excluded = connections(&without);
            (vec![Target::All], payloads, extensions)
        }
        Message::GroupBroadcastData {
            group_name,
            excluded: without,
            payloads,
            extensions,
            excluded_users: users,
            ..
        } => {
            excluded = connections(&without);
            excluded_users = users.into_iter().map(UserId::new).collect();
            (vec![Target::Group(named(group_name, None)?)], payloads, extensions)
        }
        Message::MultiGroupBroadcastData { groups, payloads, extensions } => {
            (some(&groups, |name| named(name, None).map(Target::Group))?, payloads, extensions)
        }
        _ => unreachable!("only messages with payloads come here"),
    };
    let filter = extensions.filter.map(filter).transpose()?;
    let payloads = by_protocol(&payloads);
    if payloads.call_reserved_method() {
        return Err(reserved(None));
    }
    let ByProtocol { json, messagepack, blazorpack } = payloads;
    let message = OutgoingMessage::ready(json, messagepack, blazorpack);
    Ok(Order::Send(Send { targets, excluded, excluded_users, filter, message }))
}

/// The receivers whose names can be ones. Only where none can, that is wrong: the others are not to miss their message.
fn some(names: &[&str], target: impl Fn(&str) -> Result<Target, Wrong>) -> Result<Vec<Target>, Wrong> {
    let (mut targets, mut wrong) = (Vec::new(), None);
    for name in names {
        match target(name) {
            Ok(target) => targets.push(target),
            Err(why) => wrong = Some(why),
        }
    }
    match wrong {
        Some(wrong) if targets.is_empty() => Err(wrong),
        _ => Ok(targets),
    }
}

/// What is sent in each protocol; none that is empty, for it would be no hub message.
fn by_protocol(payloads: &[(&str, &[u8])]) -> ByProtocol {
    let copy = |protocol| {
        payload_for(payloads, protocol).filter(|payload| !payload.is_empty()).map(Bytes::copy_from_slice)
    };
    ByProtocol {
        json: copy(HubProtocol::Json),
        messagepack: copy(HubProtocol::MessagePack),
        blazorpack: copy(HubProtocol::BlazorPack),
    }
}

fn change(message: Message<'_>) -> Result<Order, Wrong> {
    use Membership::{Join, Leave};
    let (member, ack, group_name, membership, ttl) = match message {
        Message::JoinGroup { connection_id, group_name, .. } => {
            (Member::Connection(connection(connection_id, None)?), None, Some(group_name), Join, None)
        }
        Message::LeaveGroup { connection_id, group_name, .. } => {
            (Member::Connection(connection(connection_id, None)?), None, group_name, Leave, None)
        }
        Message::JoinGroupWithAck { connection_id, group_name, ack_id, .. } => {
            let ack = Some(ack_id);
            (Member::Connection(connection(connection_id, ack)?), ack, Some(group_name), Join, None)
        }
        Message::LeaveGroupWithAck { connection_id, group_name, ack_id, .. } => {
            let ack = Some(ack_id);
            (Member::Connection(connection(connection_id, ack)?), ack, group_name, Leave, None)
        }
        Message::UserJoinGroup { user_id, group_name, extensions } => {
            (Member::User(UserId::new(user_id)), None, Some(group_name), Join, extensions.ttl)
        }
        Message::UserLeaveGroup { user_id, group_name, .. } => {
            (Member::User(UserId::new(user_id)), None, group_name, Leave, None)
        }
        Message::UserJoinGroupWithAck { user_id, group_name, ack_id, extensions } => {
            (Member::User(UserId::new(user_id)), Some(ack_id), Some(group_name), Join, extensions.ttl)
        }
        Message::UserLeaveGroupWithAck { user_id, group_name, ack_id, .. } => {
            (Member::User(UserId::new(user_id)), Some(ack_id), group_name, Leave, None)
        }
        _ => unreachable!("only messages about members come here"),
    };
    let group = group_name.map(|name| named(name, ack)).transpose()?;
    let stay = match ttl {
        None => Stay::Always,
        Some(..=0) => Stay::Present,
        Some(seconds) => Stay::For(Duration::from_secs(seconds.unsigned_abs().into())),
    };
    Ok(Order::Change { member, group, membership, stay, ack })
}

fn close(message: Message<'_>) -> Result<Order, Wrong> {
    let text = |reason: Option<&str>| reason.filter(|reason| !reason.is_empty()).map(Into::into);
    let (whom, excluded, reason, ack) = match message {
        Message::CloseConnection { connection_id, error_message, .. } => {
            let whom = Target::Connection(connection(connection_id, None)?);
            (whom, Vec::new(), text(error_message), None)
        }
        Message::CloseConnectionWithAck { connection_id, reason, ack_id, .. } => {
            let whom = Target::Connection(connection(connection_id, Some(ack_id))?);
            (whom, Vec::new(), text(reason), Some(ack_id))
        }
        Message::CloseConnectionsWithAck { reason, ack_id, excluded, .. } => {
            (Target::All, connections(&excluded), text(reason), Some(ack_id))
        }
        Message::CloseUserConnectionsWithAck { user_id, reason, ack_id, excluded, .. } => {
            (Target::User(UserId::new(user_id)), connections(&excluded), text(reason), Some(ack_id))
        }
        Message::CloseGroupConnectionsWithAck { group_name, reason, ack_id, excluded, .. } => {
            let whom = Target::Group(named(group_name, Some(ack_id))?);
            (whom, connections(&excluded), text(reason), Some(ack_id))
        }
        _ => unreachable!("only messages that close come here"),
    };
    Ok(Order::Close { whom, excluded, reason, ack })
}

fn question(message: Message<'_>) -> Result<Order, Wrong> {
    let (subject, ack) = match message {
        Message::CheckUserInGroupWithAck { user_id, group_name, ack_id, .. } => {
            (Subject::UserInGroup(UserId::new(user_id), named(group_name, Some(ack_id))?), ack_id)
        }
        Message::CheckGroupExistenceWithAck { group_name, ack_id, .. } => {
            (Subject::Group(named(group_name, Some(ack_id))?), ack_id)
        }
        Message::CheckConnectionExistenceWithAck { connection_id, ack_id, .. } => {
            (Subject::Connection(connection(connection_id, Some(ack_id))?), ack_id)
        }
        Message::CheckUserExistenceWithAck { user_id, ack_id, .. } => {
            (Subject::User(UserId::new(user_id)), ack_id)
        }
        Message::GroupMemberQuery { group_name, ack_id, top, continuation_token, max_page_size, .. } => {
            let positive = |number: Option<i32>| number.and_then(|number| u32::try_from(number).ok());
            return Ok(Order::ListMembers {
                group: named(group_name, Some(ack_id))?,
                ack: ack_id,
                top: positive(top),
                page: positive(max_page_size),
                after: continuation_token.map(Into::into),
            });
        }
        _ => unreachable!("only questions come here"),
    };
    Ok(Order::Check { subject, ack })
}

fn invocation(message: Message<'_>) -> Result<Order, Wrong> {
    Ok(match message {
        Message::ClientInvocation { invocation_id, connection_id, caller_server_id, payloads, .. } => {
            match ConnectionId::parse(connection_id) {
                Ok(client) => Order::Invoke {
                    invocation: invocation_id.into(),
                    client,
                    caller_server: caller_server_id.into(),
                    payloads: by_protocol(&payloads),
                },
                Err(error) => Order::NotInvoked {
                    invocation: invocation_id.into(),
                    connection: connection_id.into(),
                    caller_server: caller_server_id.into(),
                    why: format!("no connection can have this id: {error}").into(),
                },
            }
        }
        Message::ClientCompletion { invocation_id, connection_id, protocol, payload, .. } => {
            Order::Complete {
                invocation: invocation_id.into(),
                client: connection(connection_id, None)?,
                protocol: protocol.map(Into::into),
                result: Ok(Bytes::copy_from_slice(payload)),
            }
        }
        Message::ErrorCompletion { invocation_id, connection_id, error, .. } => Order::Complete {
            invocation: invocation_id.into(),
            client: connection(connection_id, None)?,
            protocol: None,
            result: Err(error.map(Into::into)),
        },
        _ => unreachable!("only invocations come here"),
    })
}

/// A connection id, or the answer that there is no such connection: what is no id names none.
fn connection(text: &str, ack: Option<i32>) -> Result<ConnectionId, Wrong> {
    ConnectionId::parse(text).map_err(|error| Wrong {
        ack,
        object: EVENT_CONNECTION,
        id: shortened(text),
        kind: EVENT_INVALID,
        text: error.to_string().into(),
    })
}

/// Connections that are left out. What is no id names none.
fn connections(texts: &[&str]) -> Vec<ConnectionId> {
    texts.iter().filter_map(|text| ConnectionId::parse(text).ok()).collect()
}

fn named(name: &str, ack: Option<i32>) -> Result<GroupName, Wrong> {
    group(name).map_err(|error| Wrong {
        ack,
        object: EVENT_GROUP,
        id: shortened(name),
        kind: EVENT_INVALID,
        text: error.to_string().into(),
    })
}

fn filter(text: &str) -> Result<Arc<Filter>, Wrong> {
    Filter::parse(text).map(Arc::new).map_err(|error| Wrong {
        ack: None,
        object: EVENT_SERVER_CONNECTION,
        id: shortened(text),
        kind: EVENT_INVALID,
        text: format!("a message was sent to nobody: {error}").into(),
    })
}

/// The answer to a call of a method that only the service calls.
pub(super) fn reserved(client: Option<ConnectionId>) -> Wrong {
    let (object, id) = match client {
        Some(client) => (EVENT_CONNECTION, client.to_string().into()),
        None => (EVENT_SERVER_CONNECTION, Box::default()),
    };
    let text = InvalidArguments::ReservedMethod.to_string().into();
    Wrong { ack: None, object, id, kind: EVENT_INVALID, text }
}

/// What anybody may send comes back only in part.
pub(super) fn shortened(text: &str) -> Box<str> {
    text.chars().take(128).collect::<String>().into()
}

#[cfg(test)]
mod tests;
