//! Encodes [`Message`].

use super::message::{Message, OpenConnection, ServiceHandshakeRequest};
use super::writer::{FieldWriter, count};
use crate::framing::{finish_frame, write_frame_start};
use crate::hub_protocol::HubProtocol;

impl Message<'_> {
    /// Appends the message with framing. [`Message::Unknown`] appends nothing.
    pub fn encode(&self, out: &mut Vec<u8>) {
        if let Self::Unknown(_) = self {
            return;
        }
        let start = write_frame_start(HubProtocol::MessagePack, out);
        let mut writer = FieldWriter { out };
        match (self, self.kind()) {
            (Self::HandshakeRequest(request), _) => writer.handshake_request(request),
            (Self::OpenConnection(open), _) => writer.open_connection(open),
            (Self::Ping { messages }, _) => {
                writer.begin(3, count(messages.len()));
                messages.iter().for_each(|message| writer.text(message));
            }
            (_, 7..=10 | 13 | 14) => writer.data_message(self),
            (_, 11 | 12 | 16..=19 | 26 | 27) => writer.group_message(self),
            (_, 30..=33) => writer.close_message(self),
            (_, 20 | 21 | 23..=25 | 40) => writer.ack_message(self),
            (_, 28 | 29 | 41..=43) => writer.auth_message(self),
            (_, 34..=37) => writer.client_result_message(self),
            _ => writer.connection_message(self),
        }
        finish_frame(&start, out);
    }
}

impl FieldWriter<'_> {
    fn handshake_request(&mut self, request: &ServiceHandshakeRequest<'_>) {
        let ServiceHandshakeRequest {
            version,
            connection_type,
            target,
            migration_level,
            extensions,
            allow_stateful_reconnects,
        } = request;
        self.begin(1, if allow_stateful_reconnects.is_some() { 6 } else { 5 });
        self.number(*version);
        self.number(connection_type.number());
        self.optional_text(*target);
        self.number(*migration_level);
        self.extensions(extensions);
        if let Some(allowed) = allow_stateful_reconnects {
            self.flag(*allowed);
        }
    }

    fn open_connection(&mut self, open: &OpenConnection<'_>) {
        let OpenConnection { connection_id, claims, headers, query_string, extensions } = open;
        self.begin(4, 5);
        self.text(connection_id);
        self.claims(claims);
        self.headers(headers);
        self.optional_text(*query_string);
        self.extensions(extensions);
    }

    /// Messages about server connections, client connections and their data.
    fn connection_message(&mut self, message: &Message<'_>) {
        match message {
            Message::HandshakeResponse { error_message, extensions, connection_id } => {
                self.begin(2, 3);
                self.optional_text(*error_message);
                self.extensions(extensions);
                self.optional_text(*connection_id);
            }
            Message::CloseConnection { connection_id, error_message, headers, extensions } => {
                self.begin(5, 4);
                self.text(connection_id);
                self.optional_text(*error_message);
                self.headers(headers);
                self.extensions(extensions);
            }
            Message::ConnectionData { connection_id, payload, extensions } => {
                self.begin(6, 3);
                self.text(connection_id);
                self.bytes(payload);
                self.extensions(extensions);
            }
            Message::ServiceError { error_message } => {
                self.begin(15, 1);
                self.optional_text(*error_message);
            }
            Message::ServiceEvent { object, id, kind, message, extensions } => {
                self.begin(22, 5);
                self.number(*object);
                self.optional_text(*id);
                self.number(*kind);
                self.optional_text(*message);
                self.extensions(extensions);
            }
            Message::ConnectionReconnect { connection_id, extensions } => {
                self.begin(38, 2);
                self.text(connection_id);
                self.extensions(extensions);
            }
            Message::ConnectionFlowControl { connection_id, connection_type, operation, extensions } => {
                self.begin(39, 4);
                self.text(connection_id);
                self.number(connection_type.number());
                self.number(operation.number());
                self.extensions(extensions);
            }
            _ => unreachable!("each type is passed to the function that encodes it"),
        }
    }

    /// Messages to several clients.
    fn data_message(&mut self, message: &Message<'_>) {
        match message {
            Message::MultiConnectionData { connections, payloads, extensions } => {
                self.begin(7, 3);
                self.texts(connections);
                self.payloads(payloads);
                self.extensions(extensions);
            }
            Message::UserData { user_id, payloads, extensions } => {
                self.begin(8, 3);
                self.text(user_id);
                self.payloads(payloads);
                self.extensions(extensions);
            }
            Message::MultiUserData { users, payloads, extensions } => {
                self.begin(9, 3);
                self.texts(users);
                self.payloads(payloads);
                self.extensions(extensions);
            }
            Message::BroadcastData { excluded, payloads, extensions } => {
                self.begin(10, 3);
                self.texts(excluded);
                self.payloads(payloads);
                self.extensions(extensions);
            }
            Message::GroupBroadcastData {
                group_name,
                excluded,
                payloads,
                extensions,
                excluded_users,
                caller_user_id,
            } => {
                self.begin(13, 6);
                self.text(group_name);
                self.texts(excluded);
                self.payloads(payloads);
                self.extensions(extensions);
                self.texts(excluded_users);
                self.optional_text(*caller_user_id);
            }
            Message::MultiGroupBroadcastData { groups, payloads, extensions } => {
                self.begin(14, 3);
                self.texts(groups);
                self.payloads(payloads);
                self.extensions(extensions);
            }
            _ => unreachable!("each type is passed to the function that encodes it"),
        }
    }

    /// Messages about group membership.
    fn group_message(&mut self, message: &Message<'_>) {
        let (member, group, ack_id, extensions) = match message {
            Message::JoinGroup { connection_id: member, group_name, extensions }
            | Message::UserJoinGroup { user_id: member, group_name, extensions } => {
                (member, Some(*group_name), None, extensions)
            }
            Message::LeaveGroup { connection_id: member, group_name, extensions }
            | Message::UserLeaveGroup { user_id: member, group_name, extensions } => {
                (member, *group_name, None, extensions)
            }
            Message::JoinGroupWithAck { connection_id: member, group_name, ack_id, extensions }
            | Message::UserJoinGroupWithAck { user_id: member, group_name, ack_id, extensions } => {
                (member, Some(*group_name), Some(ack_id), extensions)
            }
            Message::LeaveGroupWithAck { connection_id: member, group_name, ack_id, extensions }
            | Message::UserLeaveGroupWithAck { user_id: member, group_name, ack_id, extensions } => {
                (member, *group_name, Some(ack_id), extensions)
            }
            _ => unreachable!("each type is passed to the function that encodes it"),
        };
        self.begin(message.kind(), if ack_id.is_some() { 4 } else { 3 });
        self.text(member);
        self.optional_text(group);
        if let Some(ack_id) = ack_id {
            self.number(*ack_id);
        }
        self.extensions(extensions);
    }

    /// Messages that request an ack, and the ack.
    fn ack_message(&mut self, message: &Message<'_>) {
        match message {
            Message::Ack { ack_id, status, message, extensions, payload } => {
                self.begin(20, 5);
                self.number(*ack_id);
                self.number(status.number());
                self.optional_text(*message);
                self.extensions(extensions);
                self.optional_bytes(*payload);
            }
            Message::CheckUserInGroupWithAck { user_id, group_name, ack_id, extensions } => {
                self.begin(21, 4);
                self.text(user_id);
                self.text(group_name);
                self.number(*ack_id);
                self.extensions(extensions);
            }
            Message::CheckGroupExistenceWithAck { group_name, ack_id, extensions } => {
                self.begin(23, 3);
                self.text(group_name);
                self.number(*ack_id);
                self.extensions(extensions);
            }
            Message::CheckConnectionExistenceWithAck { connection_id, ack_id, extensions } => {
                self.begin(24, 3);
                self.text(connection_id);
                self.number(*ack_id);
                self.extensions(extensions);
            }
            Message::CheckUserExistenceWithAck { user_id, ack_id, extensions } => {
                self.begin(25, 3);
                self.text(user_id);
                self.number(*ack_id);
                self.extensions(extensions);
            }
            Message::GroupMemberQuery {
                extensions,
                group_name,
                ack_id,
                top,
                continuation_token,
                max_page_size,
            } => {
                self.begin(40, 6);
                self.extensions(extensions);
                self.text(group_name);
                self.number(*ack_id);
                self.optional_number(*top);
                self.optional_text(*continuation_token);
                self.optional_number(*max_page_size);
            }
            _ => unreachable!("each type is passed to the function that encodes it"),
        }
    }

    /// Messages that close clients, with an ack.
    fn close_message(&mut self, message: &Message<'_>) {
        match message {
            Message::CloseConnectionWithAck { connection_id, reason, ack_id, extensions } => {
                self.begin(30, 4);
                self.text(connection_id);
                self.optional_text(*reason);
                self.number(*ack_id);
                self.extensions(extensions);
            }
            Message::CloseConnectionsWithAck { reason, ack_id, excluded, extensions } => {
                self.begin(31, 4);
                self.optional_text(*reason);
                self.number(*ack_id);
                self.texts(excluded);
                self.extensions(extensions);
            }
            Message::CloseUserConnectionsWithAck { user_id, reason, ack_id, excluded, extensions } => {
                self.begin(32, 5);
                self.text(user_id);
                self.optional_text(*reason);
                self.number(*ack_id);
                self.texts(excluded);
                self.extensions(extensions);
            }
            Message::CloseGroupConnectionsWithAck { group_name, reason, ack_id, excluded, extensions } => {
                self.begin(33, 5);
                self.text(group_name);
                self.optional_text(*reason);
                self.number(*ack_id);
                self.texts(excluded);
                self.extensions(extensions);
            }
            _ => unreachable!("each type is passed to the function that encodes it"),
        }
    }

    /// Messages about access keys and the authentication of clients.
    fn auth_message(&mut self, message: &Message<'_>) {
        match message {
            Message::AccessKeyRequest { token, kid, extensions } => {
                self.begin(28, 3);
                self.optional_text(*token);
                self.optional_text(*kid);
                self.extensions(extensions);
            }
            Message::AccessKeyResponse { kid, access_key, error_type, error_message, extensions } => {
                self.begin(29, 5);
                self.optional_text(*kid);
                self.optional_text(*access_key);
                self.optional_text(*error_type);
                self.optional_text(*error_message);
                self.extensions(extensions);
            }
            Message::RefreshAuth { connection_token, claims, expire_time, ack_id, extensions } => {
                self.begin(41, 5);
                self.text(connection_token);
                self.claims(claims);
                self.time(*expire_time);
                self.number(*ack_id);
                self.extensions(extensions);
            }
            Message::GetConnectionClaims { connection_token, ack_id, extensions } => {
                self.begin(42, 3);
                self.text(connection_token);
                self.number(*ack_id);
                self.extensions(extensions);
            }
            Message::UpdateConnectionClaims { connection_id, claims, extensions } => {
                self.begin(43, 3);
                self.text(connection_id);
                self.claims(claims);
                self.extensions(extensions);
            }
            _ => unreachable!("each type is passed to the function that encodes it"),
        }
    }

    /// Messages about client results.
    fn client_result_message(&mut self, message: &Message<'_>) {
        match message {
            Message::ClientInvocation {
                invocation_id,
                connection_id,
                caller_server_id,
                payloads,
                extensions,
            } => {
                self.begin(34, 5);
                self.text(invocation_id);
                self.text(connection_id);
                self.text(caller_server_id);
                self.payloads(payloads);
                self.extensions(extensions);
            }
            Message::ClientCompletion {
                invocation_id,
                connection_id,
                caller_server_id,
                protocol,
                payload,
                extensions,
            } => {
                self.begin(35, 6);
                self.text(invocation_id);
                self.text(connection_id);
                self.text(caller_server_id);
                self.optional_text(*protocol);
                self.bytes(payload);
                self.extensions(extensions);
            }
            Message::ErrorCompletion {
                invocation_id,
                connection_id,
                caller_server_id,
                error,
                extensions,
            } => {
                self.begin(36, 5);
                self.text(invocation_id);
                self.text(connection_id);
                self.text(caller_server_id);
                self.optional_text(*error);
                self.extensions(extensions);
            }
            Message::ServiceMapping { invocation_id, connection_id, instance_id, extensions } => {
                self.begin(37, 4);
                self.text(invocation_id);
                self.text(connection_id);
                self.text(instance_id);
                self.extensions(extensions);
            }
            _ => unreachable!("each type is passed to the function that encodes it"),
        }
    }
}
