//! Parses service messages into [`ServerRequest`]s and checks their names. Pure.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use signalr_protocol::HubProtocol;
use signalr_protocol::service::{self, ConnectionKind, FlowOperation, Message, payload_for};

use super::request::{
    EVENT_CONNECTION, EVENT_GROUP, EVENT_INVALID, EVENT_SERVER_CONNECTION, ExistenceCheck, HubPayloads,
    InvalidRequest, Member, Ping, Send, ServerRequest, Shutdown, shortened,
};
use crate::filter::Filter;
use crate::names::group;
use realtime_engine::{
    ConnectionId, GroupName, InvalidArguments, Lifetime, Membership, OutgoingMessage, Target, UserId,
};

/// Parses a message.
pub(crate) fn parse_request(message: Message<'_>) -> ServerRequest {
    read(message).unwrap_or_else(ServerRequest::Invalid)
}

fn read(message: Message<'_>) -> Result<ServerRequest, InvalidRequest> {
    match message {
        Message::Ping { messages } => Ok(ServerRequest::Ping(ping(&messages))),
        Message::CloseConnection { .. }
        | Message::CloseConnectionWithAck { .. }
        | Message::CloseConnectionsWithAck { .. }
        | Message::CloseUserConnectionsWithAck { .. }
        | Message::CloseGroupConnectionsWithAck { .. } => close(message),
        Message::ConnectionData { connection_id, payload, .. } => Ok(ServerRequest::Data {
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
        | Message::GroupMemberQuery { .. } => parse_query(message),
        Message::ClientInvocation { .. }
        | Message::ClientCompletion { .. }
        | Message::ErrorCompletion { .. } => invocation(message),
        Message::AccessKeyRequest { token, .. } => {
            Ok(ServerRequest::AccessKey { token: token.map(Into::into) })
        }
        Message::RefreshAuth { connection_token, claims, expire_time, ack_id, .. } => {
            Ok(ServerRequest::Refresh {
                token: connection_token.into(),
                claims: claims.into_iter().map(|(kind, value)| (kind.into(), value.into())).collect(),
                expires_at: expire_time.filter(|time| !time.is_dot_net_max()),
                ack: ack_id,
            })
        }
        Message::GetConnectionClaims { connection_token, ack_id, .. } => {
            Ok(ServerRequest::Claims { token: connection_token.into(), ack: ack_id })
        }
        Message::ConnectionFlowControl {
            connection_id,
            connection_type: ConnectionKind::Client,
            operation: FlowOperation::PauseAck,
            ..
        } => Ok(ServerRequest::PauseAck(connection(connection_id, None)?)),
        // The others are sent only by the service, and a second handshake has no effect.
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
        | Message::Unknown(_) => Ok(ServerRequest::Ignored),
    }
}

fn ping(messages: &[&str]) -> Ping {
    let value = |key| service::ping_value(messages, key);
    // The SDK uses `shutdown`, but the specification has `offline`.
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

fn send(message: Message<'_>) -> Result<ServerRequest, InvalidRequest> {
    let (mut excluded, mut excluded_users) = (Vec::new(), Vec::new());
    let (targets, payloads, extensions) = match message {
        Message::MultiConnectionData { connections, payloads, extensions } => (
            valid_targets(&connections, |id| connection(id, None).map(Target::Connection))?,
            payloads,
            extensions,
        ),
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
            (vec![Target::Group(checked_group(group_name, None)?)], payloads, extensions)
        }
        Message::MultiGroupBroadcastData { groups, payloads, extensions } => (
            valid_targets(&groups, |name| checked_group(name, None).map(Target::Group))?,
            payloads,
            extensions,
        ),
        _ => unreachable!("the caller passes only messages with payloads"),
    };
    let filter = extensions.filter.map(filter).transpose()?;
    let payloads = hub_payloads(&payloads);
    if payloads.calls_reserved_method() {
        return Err(reserved_method(None));
    }
    let HubPayloads { json, messagepack, blazorpack } = payloads;
    let message = OutgoingMessage::ready(json, messagepack, blazorpack);
    Ok(ServerRequest::Send(Send { targets, excluded, excluded_users, filter, message }))
}

/// The receivers with a valid name. It is an error only if none is valid, because the others must get their message.
fn valid_targets(
    names: &[&str],
    target: impl Fn(&str) -> Result<Target, InvalidRequest>,
) -> Result<Vec<Target>, InvalidRequest> {
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

/// The payload for each protocol. Empty payloads are ignored, because they are not hub messages.
fn hub_payloads(payloads: &[(&str, &[u8])]) -> HubPayloads {
    let copy = |protocol| {
        payload_for(payloads, protocol).filter(|payload| !payload.is_empty()).map(Bytes::copy_from_slice)
    };
    HubPayloads {
        json: copy(HubProtocol::Json),
        messagepack: copy(HubProtocol::MessagePack),
        blazorpack: copy(HubProtocol::BlazorPack),
    }
}

fn change(message: Message<'_>) -> Result<ServerRequest, InvalidRequest> {
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
        _ => unreachable!("the caller passes only messages about members"),
    };
    let group = group_name.map(|name| checked_group(name, ack)).transpose()?;
    let lifetime = match ttl {
        None => Lifetime::Always,
        Some(..=0) => Lifetime::Present,
        Some(seconds) => Lifetime::For(Duration::from_secs(seconds.unsigned_abs().into())),
    };
    Ok(ServerRequest::Change { member, group, membership, lifetime, ack })
}

fn close(message: Message<'_>) -> Result<ServerRequest, InvalidRequest> {
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
            let whom = Target::Group(checked_group(group_name, Some(ack_id))?);
            (whom, connections(&excluded), text(reason), Some(ack_id))
        }
        _ => unreachable!("the caller passes only messages that close connections"),
    };
    Ok(ServerRequest::Close { whom, excluded, reason, ack })
}

fn parse_query(message: Message<'_>) -> Result<ServerRequest, InvalidRequest> {
    let (subject, ack) = match message {
        Message::CheckUserInGroupWithAck { user_id, group_name, ack_id, .. } => (
            ExistenceCheck::UserInGroup(UserId::new(user_id), checked_group(group_name, Some(ack_id))?),
            ack_id,
        ),
        Message::CheckGroupExistenceWithAck { group_name, ack_id, .. } => {
            (ExistenceCheck::Group(checked_group(group_name, Some(ack_id))?), ack_id)
        }
        Message::CheckConnectionExistenceWithAck { connection_id, ack_id, .. } => {
            (ExistenceCheck::Connection(connection(connection_id, Some(ack_id))?), ack_id)
        }
        Message::CheckUserExistenceWithAck { user_id, ack_id, .. } => {
            (ExistenceCheck::User(UserId::new(user_id)), ack_id)
        }
        Message::GroupMemberQuery { group_name, ack_id, top, continuation_token, max_page_size, .. } => {
            let positive = |number: Option<i32>| number.and_then(|number| u32::try_from(number).ok());
            return Ok(ServerRequest::ListMembers {
                group: checked_group(group_name, Some(ack_id))?,
                ack: ack_id,
                top: positive(top),
                page: positive(max_page_size),
                after: continuation_token.map(Into::into),
            });
        }
        _ => unreachable!("the caller passes only queries"),
    };
    Ok(ServerRequest::Check { subject, ack })
}

fn invocation(message: Message<'_>) -> Result<ServerRequest, InvalidRequest> {
    Ok(match message {
        Message::ClientInvocation { invocation_id, connection_id, caller_server_id, payloads, .. } => {
            match ConnectionId::parse(connection_id) {
                Ok(client) => ServerRequest::Invoke {
                    invocation: invocation_id.into(),
                    client,
                    caller_server: caller_server_id.into(),
                    payloads: hub_payloads(&payloads),
                },
                Err(error) => ServerRequest::InvalidInvocation {
                    invocation: invocation_id.into(),
                    connection: connection_id.into(),
                    caller_server: caller_server_id.into(),
                    why: format!("invalid connection id: {error}").into(),
                },
            }
        }
        Message::ClientCompletion { invocation_id, connection_id, protocol, payload, .. } => {
            ServerRequest::Complete {
                invocation: invocation_id.into(),
                client: connection(connection_id, None)?,
                protocol: protocol.map(Into::into),
                result: Ok(Bytes::copy_from_slice(payload)),
            }
        }
        Message::ErrorCompletion { invocation_id, connection_id, error, .. } => ServerRequest::Complete {
            invocation: invocation_id.into(),
            client: connection(connection_id, None)?,
            protocol: None,
            result: Err(error.map(Into::into)),
        },
        _ => unreachable!("the caller passes only invocations"),
    })
}

/// A connection id, or the error that no such connection exists.
fn connection(text: &str, ack: Option<i32>) -> Result<ConnectionId, InvalidRequest> {
    ConnectionId::parse(text).map_err(|error| InvalidRequest {
        ack,
        object: EVENT_CONNECTION,
        id: shortened(text),
        kind: EVENT_INVALID,
        text: error.to_string().into(),
    })
}

/// Excluded connections. Values that are not connection ids are ignored.
fn connections(texts: &[&str]) -> Vec<ConnectionId> {
    texts.iter().filter_map(|text| ConnectionId::parse(text).ok()).collect()
}

fn checked_group(name: &str, ack: Option<i32>) -> Result<GroupName, InvalidRequest> {
    group(name).map_err(|error| InvalidRequest {
        ack,
        object: EVENT_GROUP,
        id: shortened(name),
        kind: EVENT_INVALID,
        text: error.to_string().into(),
    })
}

fn filter(text: &str) -> Result<Arc<Filter>, InvalidRequest> {
    Filter::parse(text).map(Arc::new).map_err(|error| InvalidRequest {
        ack: None,
        object: EVENT_SERVER_CONNECTION,
        id: shortened(text),
        kind: EVENT_INVALID,
        text: format!("a message was not sent: {error}").into(),
    })
}

/// The error for an invocation of a method that is reserved for the service.
pub(super) fn reserved_method(client: Option<ConnectionId>) -> InvalidRequest {
    let (object, id) = match client {
        Some(client) => (EVENT_CONNECTION, client.to_string().into()),
        None => (EVENT_SERVER_CONNECTION, Box::default()),
    };
    let text = InvalidArguments::ReservedMethod.to_string().into();
    InvalidRequest { ack: None, object, id, kind: EVENT_INVALID, text }
}

#[cfg(test)]
mod tests;
