//! Parses [`Message`].

use super::error::ServiceParseError;
use super::fields::FieldReader;
use super::message::{Extensions, Message, OpenConnection, ServerConnectionType, ServiceHandshakeRequest};

/// Parses one payload, without framing ([`super::FRAMING`]).
///
/// # Errors
///
/// If it is not an array that begins with a type, or a field of a known type is missing or invalid.
pub fn parse(payload: &[u8]) -> Result<Message<'_>, ServiceParseError> {
    let (kind, mut fields) = FieldReader::open(payload)?;
    match kind {
        1..=6 | 15 | 22 | 38 | 39 => connection_message(kind, &mut fields),
        7..=10 | 13 | 14 => data_message(kind, &mut fields),
        11 | 12 | 16..=19 | 26 | 27 => group_message(kind, &mut fields),
        20 | 21 | 23..=25 | 30..=33 | 40 => ack_message(kind, &mut fields),
        28 | 29 | 41..=43 => auth_message(kind, &mut fields),
        34..=37 => client_result_message(kind, &mut fields),
        unknown => Ok(Message::Unknown(unknown)),
    }
}

/// Messages about server connections, client connections and their data.
fn connection_message<'a>(kind: u64, fields: &mut FieldReader<'a>) -> Result<Message<'a>, ServiceParseError> {
    Ok(match kind {
        1 => Message::HandshakeRequest(handshake_request(fields)?),
        2 => Message::HandshakeResponse {
            error_message: fields.optional_text("errorMessage")?,
            extensions: fields.extensions()?,
            connection_id: fields.optional_text("connectionId")?,
        },
        3 => Message::Ping { messages: fields.rest("messages")? },
        4 => Message::OpenConnection(OpenConnection {
            connection_id: fields.text("connectionId")?,
            claims: fields.claims()?,
            headers: fields.headers()?,
            query_string: fields.optional_text("queryString")?,
            extensions: fields.extensions()?,
        }),
        5 => Message::CloseConnection {
            connection_id: fields.text("connectionId")?,
            error_message: fields.optional_text("errorMessage")?,
            headers: fields.headers()?,
            extensions: fields.extensions()?,
        },
        6 => Message::ConnectionData {
            connection_id: fields.text("connectionId")?,
            payload: fields.bytes("payload")?,
            extensions: fields.extensions()?,
        },
        15 => Message::ServiceError { error_message: fields.optional_text("errorMessage")? },
        22 => Message::ServiceEvent {
            object: fields.number("type")?,
            id: fields.optional_text("id")?,
            kind: fields.number("kind")?,
            message: fields.optional_text("message")?,
            extensions: fields.extensions()?,
        },
        38 => Message::ConnectionReconnect {
            connection_id: fields.text("connectionId")?,
            extensions: fields.extensions()?,
        },
        _ => Message::ConnectionFlowControl {
            connection_id: fields.text("connectionId")?,
            connection_type: known("connectionType", fields.number("connectionType")?)?,
            operation: known("operation", fields.number("operation")?)?,
            extensions: fields.extensions()?,
        },
    })
}

fn handshake_request<'a>(
    fields: &mut FieldReader<'a>,
) -> Result<ServiceHandshakeRequest<'a>, ServiceParseError> {
    let version = fields.number("version")?;
    // The first SDKs send only the version; later ones also the type and the target.
    if fields.left() < 2 {
        return Ok(ServiceHandshakeRequest {
            version,
            connection_type: ServerConnectionType::Default,
            target: None,
            migration_level: 0,
            extensions: Extensions::default(),
            allow_stateful_reconnects: None,
        });
    }
    Ok(ServiceHandshakeRequest {
        version,
        connection_type: fields.number("connectionType")?.into(),
        target: fields.optional_text("target")?,
        migration_level: fields.optional_number("migrationLevel")?.unwrap_or(0),
        extensions: fields.extensions()?,
        allow_stateful_reconnects: fields.flag("allowStatefulReconnects")?,
    })
}

/// Messages to several clients.
fn data_message<'a>(kind: u64, fields: &mut FieldReader<'a>) -> Result<Message<'a>, ServiceParseError> {
    Ok(match kind {
        7 => Message::MultiConnectionData {
            connections: fields.texts("connectionList")?,
            payloads: fields.payloads()?,
            extensions: fields.extensions()?,
        },
        8 => Message::UserData {
            user_id: fields.text("userId")?,
            payloads: fields.payloads()?,
            extensions: fields.extensions()?,
        },
        9 => Message::MultiUserData {
            users: fields.texts("userList")?,
            payloads: fields.payloads()?,
            extensions: fields.extensions()?,
        },
        10 => Message::BroadcastData {
            excluded: fields.texts("excludedList")?,
            payloads: fields.payloads()?,
            extensions: fields.extensions()?,
        },
        13 => Message::GroupBroadcastData {
            group_name: fields.text("groupName")?,
            excluded: fields.texts("excludedList")?,
            payloads: fields.payloads()?,
            extensions: fields.extensions()?,
            excluded_users: fields.texts("excludedUserList")?,
            caller_user_id: fields.optional_text("callerUserId")?,
        },
        _ => Message::MultiGroupBroadcastData {
            groups: fields.texts("groupList")?,
            payloads: fields.payloads()?,
            extensions: fields.extensions()?,
        },
    })
}

/// Messages about group membership.
fn group_message<'a>(kind: u64, fields: &mut FieldReader<'a>) -> Result<Message<'a>, ServiceParseError> {
    let member = fields.text(if matches!(kind, 16 | 17 | 26 | 27) { "userId" } else { "connectionId" })?;
    let group_name = match kind {
        12 | 17 | 19 | 27 => fields.optional_text("groupName")?,
        _ => Some(fields.text("groupName")?),
    };
    let ack_id = if matches!(kind, 18 | 19 | 26 | 27) { fields.number("ackId")? } else { 0 };
    let extensions = fields.extensions()?;
    Ok(match (kind, group_name) {
        (11, Some(group_name)) => Message::JoinGroup { connection_id: member, group_name, extensions },
        (12, group_name) => Message::LeaveGroup { connection_id: member, group_name, extensions },
        (16, Some(group_name)) => Message::UserJoinGroup { user_id: member, group_name, extensions },
        (17, group_name) => Message::UserLeaveGroup { user_id: member, group_name, extensions },
        (18, Some(group_name)) => {
            Message::JoinGroupWithAck { connection_id: member, group_name, ack_id, extensions }
        }
        (19, group_name) => {
            Message::LeaveGroupWithAck { connection_id: member, group_name, ack_id, extensions }
        }
        (26, Some(group_name)) => {
            Message::UserJoinGroupWithAck { user_id: member, group_name, ack_id, extensions }
        }
        (27, group_name) => {
            Message::UserLeaveGroupWithAck { user_id: member, group_name, ack_id, extensions }
        }
        _ => unreachable!("the types that require a group have one"),
    })
}

/// Messages that request an ack, and the ack.
fn ack_message<'a>(kind: u64, fields: &mut FieldReader<'a>) -> Result<Message<'a>, ServiceParseError> {
    Ok(match kind {
        20 => Message::Ack {
            ack_id: fields.number("ackId")?,
            status: fields.number("status")?.into(),
            message: fields.optional_text("message")?,
            extensions: fields.extensions()?,
            payload: fields.optional_bytes("payload")?,
        },
        21 => Message::CheckUserInGroupWithAck {
            user_id: fields.text("userId")?,
            group_name: fields.text("groupName")?,
            ack_id: fields.number("ackId")?,
            extensions: fields.extensions()?,
        },
        23 => Message::CheckGroupExistenceWithAck {
            group_name: fields.text("groupName")?,
            ack_id: fields.number("ackId")?,
            extensions: fields.extensions()?,
        },
        24 => Message::CheckConnectionExistenceWithAck {
            connection_id: fields.text("connectionId")?,
            ack_id: fields.number("ackId")?,
            extensions: fields.extensions()?,
        },
        25 => Message::CheckUserExistenceWithAck {
            user_id: fields.text("userId")?,
            ack_id: fields.number("ackId")?,
            extensions: fields.extensions()?,
        },
        40 => Message::GroupMemberQuery {
            extensions: fields.extensions()?,
            group_name: fields.text("groupName")?,
            ack_id: fields.number("ackId")?,
            top: fields.optional_number("top")?,
            continuation_token: fields.optional_text("continuationToken")?,
            max_page_size: fields.optional_number("maxPageSize")?,
        },
        _ => close_message(kind, fields)?,
    })
}

fn close_message<'a>(kind: u64, fields: &mut FieldReader<'a>) -> Result<Message<'a>, ServiceParseError> {
    Ok(match kind {
        30 => Message::CloseConnectionWithAck {
            connection_id: fields.text("connectionId")?,
            reason: fields.optional_text("reason")?,
            ack_id: fields.number("ackId")?,
            extensions: fields.extensions()?,
        },
        31 => Message::CloseConnectionsWithAck {
            reason: fields.optional_text("reason")?,
            ack_id: fields.number("ackId")?,
            excluded: fields.texts("excluded")?,
            extensions: fields.extensions()?,
        },
        32 => Message::CloseUserConnectionsWithAck {
            user_id: fields.text("userId")?,
            reason: fields.optional_text("reason")?,
            ack_id: fields.number("ackId")?,
            excluded: fields.texts("excluded")?,
            extensions: fields.extensions()?,
        },
        _ => Message::CloseGroupConnectionsWithAck {
            group_name: fields.text("group")?,
            reason: fields.optional_text("reason")?,
            ack_id: fields.number("ackId")?,
            excluded: fields.texts("excluded")?,
            extensions: fields.extensions()?,
        },
    })
}

/// Messages about access keys and the authentication of clients.
fn auth_message<'a>(kind: u64, fields: &mut FieldReader<'a>) -> Result<Message<'a>, ServiceParseError> {
    Ok(match kind {
        28 => Message::AccessKeyRequest {
            token: fields.optional_text("token")?,
            kid: fields.optional_text("kid")?,
            extensions: fields.extensions()?,
        },
        29 => Message::AccessKeyResponse {
            kid: fields.optional_text("kid")?,
            access_key: fields.optional_text("accessKey")?,
            error_type: fields.optional_text("errorType")?,
            error_message: fields.optional_text("errorMessage")?,
            extensions: fields.extensions()?,
        },
        41 => Message::RefreshAuth {
            connection_token: fields.text("connectionToken")?,
            claims: fields.claims()?,
            expire_time: fields.time("expireTime")?,
            ack_id: fields.number("ackId")?,
            extensions: fields.extensions()?,
        },
        42 => Message::GetConnectionClaims {
            connection_token: fields.text("connectionToken")?,
            ack_id: fields.number("ackId")?,
            extensions: fields.extensions()?,
        },
        _ => Message::UpdateConnectionClaims {
            connection_id: fields.text("connectionId")?,
            claims: fields.claims()?,
            extensions: fields.extensions()?,
        },
    })
}

/// Messages about client results.
fn client_result_message<'a>(
    kind: u64,
    fields: &mut FieldReader<'a>,
) -> Result<Message<'a>, ServiceParseError> {
    let invocation_id = fields.text("invocationId")?;
    let connection_id = fields.text("connectionId")?;
    let caller_server_id = fields.text(if kind == 37 { "instanceId" } else { "callerServerId" })?;
    Ok(match kind {
        34 => Message::ClientInvocation {
            invocation_id,
            connection_id,
            caller_server_id,
            payloads: fields.payloads()?,
            extensions: fields.extensions()?,
        },
        35 => Message::ClientCompletion {
            invocation_id,
            connection_id,
            caller_server_id,
            protocol: fields.optional_text("protocol")?,
            payload: fields.bytes("payload")?,
            extensions: fields.extensions()?,
        },
        36 => Message::ErrorCompletion {
            invocation_id,
            connection_id,
            caller_server_id,
            error: fields.optional_text("error")?,
            extensions: fields.extensions()?,
        },
        _ => Message::ServiceMapping {
            invocation_id,
            connection_id,
            instance_id: caller_server_id,
            extensions: fields.extensions()?,
        },
    })
}

/// An enum value; an unknown number is an error, as in the SDK.
fn known<T: TryFrom<i32>>(field: &'static str, number: i32) -> Result<T, ServiceParseError> {
    T::try_from(number).map_err(|_| ServiceParseError::Field { field, why: "the number is unknown" })
}
