//! [`ServerRequest`]: a request of an app server to the service, independent of the service protocol.

use std::sync::Arc;

use bytes::Bytes;
use signalr_protocol::HubProtocol;
use signalr_protocol::service::UnixTime;

use super::oversized::OversizedMessage;
use crate::filter::Filter;
use realtime_engine::{
    ConnectionId, GroupName, Lifetime, Membership, OutgoingMessage, Target, UserId, calls_reserved_method,
};

/// The numbers of a [`ServiceEvent`](signalr_protocol::service::Message::ServiceEvent): its object and its kind.
pub(crate) const EVENT_CONNECTION: i32 = 1;
pub(crate) const EVENT_GROUP: i32 = 3;
pub(crate) const EVENT_SERVER_CONNECTION: i32 = 4;
pub(crate) const EVENT_INVALID: i32 = 1;
pub(crate) const EVENT_NOT_EXISTED: i32 = 2;
pub(crate) const EVENT_BUFFER_FULL: i32 = 3;

/// A request of an app server.
#[derive(Debug, Clone)]
pub(crate) enum ServerRequest {
    Send(Send),
    /// Bytes for one client, as its app server wrote them.
    Data {
        client: ConnectionId,
        payload: Bytes,
    },
    Close {
        whom: Target,
        excluded: Vec<ConnectionId>,
        reason: Option<Box<str>>,
        ack: Option<i32>,
    },
    Change {
        member: Member,
        /// None means all groups.
        group: Option<GroupName>,
        membership: Membership,
        lifetime: Lifetime,
        ack: Option<i32>,
    },
    Check {
        subject: ExistenceCheck,
        ack: i32,
    },
    ListMembers {
        group: GroupName,
        ack: i32,
        top: Option<u32>,
        page: Option<u32>,
        after: Option<Box<str>>,
    },
    Invoke {
        invocation: Arc<str>,
        client: ConnectionId,
        caller_server: Arc<str>,
        payloads: HubPayloads,
    },
    /// An invocation that is invalid; the caller waits for its result.
    InvalidInvocation {
        invocation: Box<str>,
        /// As the caller wrote it, because its SDK compares it.
        connection: Box<str>,
        caller_server: Box<str>,
        why: Box<str>,
    },
    /// The result of a client invocation, or an error, from the app server of the client.
    Complete {
        invocation: Box<str>,
        client: ConnectionId,
        protocol: Option<Box<str>>,
        result: Result<Bytes, Option<Box<str>>>,
    },
    Refresh {
        token: Box<str>,
        claims: Vec<(Box<str>, Box<str>)>,
        expires_at: Option<UnixTime>,
        ack: i32,
    },
    Claims {
        token: Box<str>,
        ack: i32,
    },
    /// Asks for a key to sign client tokens with; for app servers that log in at a login provider.
    AccessKey {
        token: Option<Box<str>>,
    },
    Ping(Ping),
    /// The app server has paused its messages to a client.
    PauseAck(ConnectionId),
    /// A message above the size limit.
    Oversized(OversizedMessage),
    /// An invalid request; the response is an ack or an event.
    Invalid(InvalidRequest),
    /// A message of a later protocol version, or one that only the service sends.
    Ignored,
}

impl ServerRequest {
    /// The id of the ack that the app server waits for.
    pub(crate) fn ack_id(&self) -> Option<i32> {
        match self {
            Self::Close { ack, .. } | Self::Change { ack, .. } => *ack,
            Self::Check { ack, .. }
            | Self::ListMembers { ack, .. }
            | Self::Refresh { ack, .. }
            | Self::Claims { ack, .. } => Some(*ack),
            Self::Invalid(invalid) => invalid.ack,
            Self::Send(_)
            | Self::Data { .. }
            | Self::Invoke { .. }
            | Self::InvalidInvocation { .. }
            | Self::Complete { .. }
            | Self::AccessKey { .. }
            | Self::Ping(_)
            | Self::PauseAck(_)
            | Self::Oversized(_)
            | Self::Ignored => None,
        }
    }
}

/// A message for clients.
#[derive(Debug, Clone)]
pub(crate) struct Send {
    pub(crate) targets: Vec<Target>,
    pub(crate) excluded: Vec<ConnectionId>,
    pub(crate) excluded_users: Vec<UserId>,
    /// Selects among these receivers.
    pub(crate) filter: Option<Arc<Filter>>,
    pub(crate) message: OutgoingMessage,
}

/// A hub message in each hub protocol for which the app server encoded it.
#[derive(Debug, Clone, Default)]
pub(crate) struct HubPayloads {
    pub(crate) json: Option<Bytes>,
    pub(crate) messagepack: Option<Bytes>,
    pub(crate) blazorpack: Option<Bytes>,
}

impl HubPayloads {
    /// Whether one of the encodings invokes a method that is reserved for the service.
    pub(crate) fn calls_reserved_method(&self) -> bool {
        let forms = [
            (HubProtocol::Json, &self.json),
            (HubProtocol::MessagePack, &self.messagepack),
            (HubProtocol::BlazorPack, &self.blazorpack),
        ];
        let is_reserved = |(protocol, framed): (HubProtocol, &Option<Bytes>)| {
            framed.as_ref().is_some_and(|framed| calls_reserved_method(protocol, framed))
        };
        forms.into_iter().any(is_reserved)
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Member {
    Connection(ConnectionId),
    User(UserId),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ExistenceCheck {
    Connection(ConnectionId),
    User(UserId),
    Group(GroupName),
    UserInGroup(UserId, GroupName),
}

/// The request in a ping. Other pings only show that the app server is alive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Ping {
    Alive,
    /// Whether the hub has clients, and the totals of the service.
    Status,
    /// The ids of the connected app servers.
    Servers,
    /// The service returns it unchanged.
    Echo(Box<str>),
    /// The app server shuts down.
    Shutdown(Shutdown),
}

/// What happens to the clients of an app server that shuts down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shutdown {
    /// `fin:0`: their connections are closed.
    Drop,
    /// `fin:1`: they migrate to other app servers.
    Migrate,
    /// `fin:2`: they stay until they disconnect.
    Wait,
}

/// Why a request cannot be executed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct InvalidRequest {
    pub(crate) ack: Option<i32>,
    /// The object of the event: one of the `EVENT_` numbers.
    pub(crate) object: i32,
    pub(crate) id: Box<str>,
    /// The kind of the event: one of the `EVENT_` numbers.
    pub(crate) kind: i32,
    pub(crate) text: Box<str>,
}

/// Shortens text of an app server that is part of a response.
pub(super) fn shortened(text: &str) -> Box<str> {
    text.chars().take(128).collect::<String>().into()
}
