//! The numbers of message types and enum values.

use super::message::{
    AckStatus, ConnectionKind, DataMessageType, FlowOperation, Message, ServerConnectionType,
};

impl Message<'_> {
    /// The number of the message's type.
    pub fn kind(&self) -> u64 {
        match self {
            Self::HandshakeRequest(_) => 1,
            Self::HandshakeResponse { .. } => 2,
            Self::Ping { .. } => 3,
            Self::OpenConnection(_) => 4,
            Self::CloseConnection { .. } => 5,
            Self::ConnectionData { .. } => 6,
            Self::MultiConnectionData { .. } => 7,
            Self::UserData { .. } => 8,
            Self::MultiUserData { .. } => 9,
            Self::BroadcastData { .. } => 10,
            Self::JoinGroup { .. } => 11,
            Self::LeaveGroup { .. } => 12,
            Self::GroupBroadcastData { .. } => 13,
            Self::MultiGroupBroadcastData { .. } => 14,
            Self::ServiceError { .. } => 15,
            Self::UserJoinGroup { .. } => 16,
            Self::UserLeaveGroup { .. } => 17,
            Self::JoinGroupWithAck { .. } => 18,
            Self::LeaveGroupWithAck { .. } => 19,
            Self::Ack { .. } => 20,
            Self::CheckUserInGroupWithAck { .. } => 21,
            Self::ServiceEvent { .. } => 22,
            Self::CheckGroupExistenceWithAck { .. } => 23,
            Self::CheckConnectionExistenceWithAck { .. } => 24,
            Self::CheckUserExistenceWithAck { .. } => 25,
            Self::UserJoinGroupWithAck { .. } => 26,
            Self::UserLeaveGroupWithAck { .. } => 27,
            Self::AccessKeyRequest { .. } => 28,
            Self::AccessKeyResponse { .. } => 29,
            Self::CloseConnectionWithAck { .. } => 30,
            Self::CloseConnectionsWithAck { .. } => 31,
            Self::CloseUserConnectionsWithAck { .. } => 32,
            Self::CloseGroupConnectionsWithAck { .. } => 33,
            Self::ClientInvocation { .. } => 34,
            Self::ClientCompletion { .. } => 35,
            Self::ErrorCompletion { .. } => 36,
            Self::ServiceMapping { .. } => 37,
            Self::ConnectionReconnect { .. } => 38,
            Self::ConnectionFlowControl { .. } => 39,
            Self::GroupMemberQuery { .. } => 40,
            Self::RefreshAuth { .. } => 41,
            Self::GetConnectionClaims { .. } => 42,
            Self::UpdateConnectionClaims { .. } => 43,
            Self::Unknown(kind) => *kind,
        }
    }
}

impl ServerConnectionType {
    pub(super) fn number(self) -> i32 {
        match self {
            Self::Default => 0,
            Self::OnDemand => 1,
            Self::Weak => 2,
            Self::Other(other) => other,
        }
    }
}

impl AckStatus {
    pub(super) fn number(self) -> i32 {
        match self {
            Self::Ok => 1,
            Self::NotFound => 2,
            Self::Timeout => 3,
            Self::InternalServerError => 4,
            Self::Forbidden => 5,
            Self::Other(other) => other,
        }
    }
}

impl DataMessageType {
    pub(super) fn number(self) -> i32 {
        match self {
            Self::Unknown => 0,
            Self::Handshake => 1,
            Self::Invocation => 2,
            Self::Other => 3,
            Self::Close => 4,
        }
    }
}

impl ConnectionKind {
    pub(super) fn number(self) -> i32 {
        match self {
            Self::Client => 1,
            Self::Server => 2,
        }
    }
}

impl FlowOperation {
    pub(super) fn number(self) -> i32 {
        match self {
            Self::Pause => 1,
            Self::PauseAck => 2,
            Self::Resume => 3,
            Self::Offline => 4,
        }
    }
}

impl From<i32> for ServerConnectionType {
    fn from(number: i32) -> Self {
        match number {
            0 => Self::Default,
            1 => Self::OnDemand,
            2 => Self::Weak,
            other => Self::Other(other),
        }
    }
}

impl From<i32> for AckStatus {
    fn from(number: i32) -> Self {
        match number {
            1 => Self::Ok,
            2 => Self::NotFound,
            3 => Self::Timeout,
            4 => Self::InternalServerError,
            5 => Self::Forbidden,
            other => Self::Other(other),
        }
    }
}

impl From<i32> for DataMessageType {
    fn from(number: i32) -> Self {
        match number {
            1 => Self::Handshake,
            2 => Self::Invocation,
            3 => Self::Other,
            4 => Self::Close,
            _ => Self::Unknown,
        }
    }
}

impl TryFrom<i32> for ConnectionKind {
    type Error = ();
    fn try_from(number: i32) -> Result<Self, ()> {
        [Self::Client, Self::Server].into_iter().find(|kind| kind.number() == number).ok_or(())
    }
}

impl TryFrom<i32> for FlowOperation {
    type Error = ();
    fn try_from(number: i32) -> Result<Self, ()> {
        [Self::Pause, Self::PauseAck, Self::Resume, Self::Offline]
            .into_iter()
            .find(|operation| operation.number() == number)
            .ok_or(())
    }
}
