//! The service messages, borrowed from the bytes that they were parsed from.

/// Data for clients: by name of the hub protocol, one or more framed hub messages.
pub type Payloads<'a> = Vec<(&'a str, &'a [u8])>;

/// The claims of a client's token, in order; a type may occur more than once.
pub type ServiceClaims<'a> = Vec<(&'a str, &'a str)>;

/// Headers that concern a client. A name occurs once: the SDK fails on a second one.
pub type ClientHeaders<'a> = Vec<(&'a str, Vec<&'a str>)>;

/// Optional members of most messages, a map with numeric keys. A member is sent only in messages that have it: old SDKs cannot skip
/// unknown members.
#[cfg_attr(test, derive(serde::Serialize), serde(rename_all = "camelCase"))]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Extensions<'a> {
    /// 1: identifies the message in diagnostic logs.
    pub tracing_id: Option<u64>,
    /// 2: the lifetime of a user's group membership, in seconds.
    pub ttl: Option<i32>,
    /// 3: the hub protocol of a client.
    pub protocol: Option<&'a str>,
    /// 4: an OData filter on the receivers.
    pub filter: Option<&'a str>,
    /// 5: the type of a client's data.
    pub data_message_type: DataMessageType,
    /// 6: the rest of the data follows in the next message for the same client.
    pub is_partial: bool,
}

/// The type of the payload of [`Message::ConnectionData`].
#[cfg_attr(test, derive(serde::Serialize))]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DataMessageType {
    /// 0, or an unknown number.
    #[default]
    Unknown,
    /// 1: a handshake request or response.
    Handshake,
    /// 2: invocations, stream items, completions and similar messages.
    Invocation,
    /// 3: pings, acks and sequences.
    Other,
    /// 4: a close message.
    Close,
}

/// The type of a server connection.
#[cfg_attr(test, derive(serde::Serialize))]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServerConnectionType {
    /// 0: carries clients.
    Default,
    /// 1: carries clients; opened on request of the service.
    OnDemand,
    /// 2: carries no clients; only sends.
    Weak,
    /// An unknown number.
    Other(i32),
}

/// The subject of a flow control message.
#[cfg_attr(test, derive(serde::Serialize))]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConnectionKind {
    /// 1: a client connection.
    Client,
    /// 2: a server connection.
    Server,
}

/// The operation of a flow control message.
#[cfg_attr(test, derive(serde::Serialize))]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FlowOperation {
    /// 1: the service asks the app server to pause sending to the connection.
    Pause,
    /// 2: the app server has paused.
    PauseAck,
    /// 3: the service asks the app server to resume.
    Resume,
    /// 4: the service asks the app server to use other server connections.
    Offline,
}

/// The result of an operation.
#[cfg_attr(test, derive(serde::Serialize))]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AckStatus {
    /// 1: done, or true.
    Ok,
    /// 2: the subject does not exist, or false.
    NotFound,
    /// 3: timed out.
    Timeout,
    /// 4: the service failed.
    InternalServerError,
    /// 5: not allowed.
    Forbidden,
    /// An unknown number.
    Other(i32),
}

/// A time: seconds since the Unix epoch, and nanoseconds.
#[cfg_attr(test, derive(serde::Serialize), serde(rename_all = "camelCase"))]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnixTime {
    /// May be negative.
    pub seconds: i64,
    /// Below 1,000,000,000.
    pub nanoseconds: u32,
}

/// The first message on a server connection.
#[cfg_attr(test, derive(serde::Serialize), serde(rename_all = "camelCase"))]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ServiceHandshakeRequest<'a> {
    /// The version of the protocol: [`super::VERSION`].
    pub version: i32,
    /// The type of the connection.
    pub connection_type: ServerConnectionType,
    /// For [`ServerConnectionType::OnDemand`]: the instance that requested the connection.
    pub target: Option<&'a str>,
    /// Whether clients may be moved to another app server: 0 never, 1 when this one shuts down, 2 also when the connection is lost.
    pub migration_level: i32,
    /// Has no members in this message.
    pub extensions: Extensions<'a>,
    /// Whether clients may use stateful reconnect. SDKs since 2024 send it; they can skip unknown members of [`Extensions`].
    pub allow_stateful_reconnects: Option<bool>,
}

/// A client has connected.
#[cfg_attr(test, derive(serde::Serialize), serde(rename_all = "camelCase"))]
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct OpenConnection<'a> {
    /// Its connection id.
    pub connection_id: &'a str,
    /// The claims of its token.
    pub claims: ServiceClaims<'a>,
    /// Headers of the service, such as `Asrs-Instance-Id` and `Asrs-Migrate-From`.
    pub headers: ClientHeaders<'a>,
    /// Its query string, with the question mark.
    pub query_string: Option<&'a str>,
    /// The client's hub protocol, and a tracing id.
    pub extensions: Extensions<'a>,
}

/// A service message. `connection_id`, `user_id` and `group_name` are its subject; the [`Message::Ack`] for it has the same `ack_id`;
/// see [`Extensions`] for `extensions`.
#[cfg_attr(test, derive(serde::Serialize), serde(tag = "type", rename_all_fields = "camelCase"))]
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "the fields of all variants are explained in one place, above")]
pub enum Message<'a> {
    /// 1: an app server opens a server connection.
    HandshakeRequest(ServiceHandshakeRequest<'a>),
    /// 2: the service accepts the connection (no error, or an empty one) or rejects it.
    HandshakeResponse {
        error_message: Option<&'a str>,
        extensions: Extensions<'a>,
        connection_id: Option<&'a str>,
    },
    /// 3: keeps the connection alive; alternating keys and values, see [`super::ping_value`].
    Ping { messages: Vec<&'a str> },
    /// 4: a client has connected.
    OpenConnection(OpenConnection<'a>),
    /// 5: a client has disconnected, or must be disconnected. An empty error counts as none.
    CloseConnection {
        connection_id: &'a str,
        error_message: Option<&'a str>,
        headers: ClientHeaders<'a>,
        extensions: Extensions<'a>,
    },
    /// 6: data from a client or for a client.
    ConnectionData { connection_id: &'a str, payload: &'a [u8], extensions: Extensions<'a> },
    /// 7: to several clients.
    MultiConnectionData { connections: Vec<&'a str>, payloads: Payloads<'a>, extensions: Extensions<'a> },
    /// 8: to all clients of a user.
    UserData { user_id: &'a str, payloads: Payloads<'a>, extensions: Extensions<'a> },
    /// 9: to all clients of several users.
    MultiUserData { users: Vec<&'a str>, payloads: Payloads<'a>, extensions: Extensions<'a> },
    /// 10: to all clients of the hub except the excluded ones.
    BroadcastData { excluded: Vec<&'a str>, payloads: Payloads<'a>, extensions: Extensions<'a> },
    /// 11: adds a client to a group.
    JoinGroup { connection_id: &'a str, group_name: &'a str, extensions: Extensions<'a> },
    /// 12: removes a client from a group; no name means all groups.
    LeaveGroup { connection_id: &'a str, group_name: Option<&'a str>, extensions: Extensions<'a> },
    /// 13: to a group, except the excluded connections and users.
    GroupBroadcastData {
        group_name: &'a str,
        excluded: Vec<&'a str>,
        payloads: Payloads<'a>,
        extensions: Extensions<'a>,
        excluded_users: Vec<&'a str>,
        caller_user_id: Option<&'a str>,
    },
    /// 14: to several groups.
    MultiGroupBroadcastData { groups: Vec<&'a str>, payloads: Payloads<'a>, extensions: Extensions<'a> },
    /// 15: the service accepts no further messages on this connection.
    ServiceError { error_message: Option<&'a str> },
    /// 16: adds a user to a group, for `ttl` seconds if that is present.
    UserJoinGroup { user_id: &'a str, group_name: &'a str, extensions: Extensions<'a> },
    /// 17: removes a user from a group; no name means all groups.
    UserLeaveGroup { user_id: &'a str, group_name: Option<&'a str>, extensions: Extensions<'a> },
    /// 18: like 11, with ack.
    JoinGroupWithAck { connection_id: &'a str, group_name: &'a str, ack_id: i32, extensions: Extensions<'a> },
    /// 19: like 12, with ack.
    LeaveGroupWithAck {
        connection_id: &'a str,
        group_name: Option<&'a str>,
        ack_id: i32,
        extensions: Extensions<'a>,
    },
    /// 20: the ack for the message with this `ack_id`.
    Ack {
        ack_id: i32,
        status: AckStatus,
        message: Option<&'a str>,
        extensions: Extensions<'a>,
        payload: Option<&'a [u8]>,
    },
    /// 21: asks whether a user is in a group.
    CheckUserInGroupWithAck { user_id: &'a str, group_name: &'a str, ack_id: i32, extensions: Extensions<'a> },
    /// 22: an event for an app server. `object`: 0 the instance, 1 a connection, 2 a user, 3 a group, 4 a server connection. `kind`: 0
    /// reloading, 1 invalid, 2 does not exist, 3 its buffer is full.
    ServiceEvent {
        object: i32,
        id: Option<&'a str>,
        kind: i32,
        message: Option<&'a str>,
        extensions: Extensions<'a>,
    },
    /// 23: asks whether a group has a client.
    CheckGroupExistenceWithAck { group_name: &'a str, ack_id: i32, extensions: Extensions<'a> },
    /// 24: asks whether a client is connected.
    CheckConnectionExistenceWithAck { connection_id: &'a str, ack_id: i32, extensions: Extensions<'a> },
    /// 25: asks whether a user has a client.
    CheckUserExistenceWithAck { user_id: &'a str, ack_id: i32, extensions: Extensions<'a> },
    /// 26: like 16, with ack.
    UserJoinGroupWithAck { user_id: &'a str, group_name: &'a str, ack_id: i32, extensions: Extensions<'a> },
    /// 27: like 17, with ack.
    UserLeaveGroupWithAck {
        user_id: &'a str,
        group_name: Option<&'a str>,
        ack_id: i32,
        extensions: Extensions<'a>,
    },
    /// 28: requests a key to sign tokens with, by an Entra ID token.
    AccessKeyRequest { token: Option<&'a str>, kid: Option<&'a str>, extensions: Extensions<'a> },
    /// 29: the key and its id, or an error.
    AccessKeyResponse {
        kid: Option<&'a str>,
        access_key: Option<&'a str>,
        error_type: Option<&'a str>,
        error_message: Option<&'a str>,
        extensions: Extensions<'a>,
    },
    /// 30: closes a client connection, with ack. Replaced by 5 in newer SDKs.
    CloseConnectionWithAck {
        connection_id: &'a str,
        reason: Option<&'a str>,
        ack_id: i32,
        extensions: Extensions<'a>,
    },
    /// 31: closes all client connections of the hub except the excluded ones, with ack.
    CloseConnectionsWithAck {
        reason: Option<&'a str>,
        ack_id: i32,
        excluded: Vec<&'a str>,
        extensions: Extensions<'a>,
    },
    /// 32: closes the client connections of a user, with ack.
    CloseUserConnectionsWithAck {
        user_id: &'a str,
        reason: Option<&'a str>,
        ack_id: i32,
        excluded: Vec<&'a str>,
        extensions: Extensions<'a>,
    },
    /// 33: closes the client connections of a group, with ack.
    CloseGroupConnectionsWithAck {
        group_name: &'a str,
        reason: Option<&'a str>,
        ack_id: i32,
        excluded: Vec<&'a str>,
        extensions: Extensions<'a>,
    },
    /// 34: invokes a client method that returns a result; forwarded to the app server of the client.
    ClientInvocation {
        invocation_id: &'a str,
        connection_id: &'a str,
        caller_server_id: &'a str,
        payloads: Payloads<'a>,
        extensions: Extensions<'a>,
    },
    /// 35: the client's result, a framed completion in its hub protocol. From the caller itself it is empty and only ends the wait.
    ClientCompletion {
        invocation_id: &'a str,
        connection_id: &'a str,
        caller_server_id: &'a str,
        protocol: Option<&'a str>,
        payload: &'a [u8],
        extensions: Extensions<'a>,
    },
    /// 36: the invocation failed.
    ErrorCompletion {
        invocation_id: &'a str,
        connection_id: &'a str,
        caller_server_id: &'a str,
        error: Option<&'a str>,
        extensions: Extensions<'a>,
    },
    /// 37: the service instance to which the invoked client is connected.
    ServiceMapping {
        invocation_id: &'a str,
        connection_id: &'a str,
        instance_id: &'a str,
        extensions: Extensions<'a>,
    },
    /// 38: a client has reconnected statefully.
    ConnectionReconnect { connection_id: &'a str, extensions: Extensions<'a> },
    /// 39: flow control: pauses and resumes.
    ConnectionFlowControl {
        connection_id: &'a str,
        connection_type: ConnectionKind,
        operation: FlowOperation,
        extensions: Extensions<'a>,
    },
    /// 40: requests the members of a group; the payload of the ack is [`super::GroupMembers`]. The extensions precede the fields.
    GroupMemberQuery {
        extensions: Extensions<'a>,
        group_name: &'a str,
        ack_id: i32,
        /// The requested number of members in total.
        top: Option<i32>,
        /// From an earlier ack.
        continuation_token: Option<&'a str>,
        /// The requested number of members in one ack. Missing in the first versions of the message.
        max_page_size: Option<i32>,
    },
    /// 41: a client has authenticated again: its new expiration time and claims. Without claims, they are unchanged. Without a
    /// time, or with the last one of the .NET date range, it is unchanged. The payload of the ack has all claims of the client,
    /// see [`super::claims_payload`].
    RefreshAuth {
        /// The connection token, known only to the client and its app.
        connection_token: &'a str,
        claims: ServiceClaims<'a>,
        expire_time: Option<UnixTime>,
        ack_id: i32,
        extensions: Extensions<'a>,
    },
    /// 42: requests the claims of a client; they are the payload of the ack, see [`super::claims_payload`].
    GetConnectionClaims { connection_token: &'a str, ack_id: i32, extensions: Extensions<'a> },
    /// 43: the new claims of a client, for its app server.
    UpdateConnectionClaims { connection_id: &'a str, claims: ServiceClaims<'a>, extensions: Extensions<'a> },
    /// An unknown type; ignore it.
    Unknown(u64),
}

impl UnixTime {
    /// Seconds from 1 January 0001, the .NET epoch, to the Unix epoch.
    const DOT_NET_EPOCH: i64 = 62_135_596_800;

    /// The last tick of the year 9999: `DateTime.MaxValue`.
    const TICKS_MAX: u64 = 3_155_378_975_999_999_999;

    /// From .NET ticks of 100 nanoseconds. `None` if it is later than any .NET date.
    pub(super) fn from_ticks(ticks: u64) -> Option<Self> {
        let ticks = i64::try_from(ticks).ok().filter(|_| ticks <= Self::TICKS_MAX)?;
        let nanoseconds = u32::try_from(ticks % 10_000_000 * 100).ok()?;
        Some(Self { seconds: ticks / 10_000_000 - Self::DOT_NET_EPOCH, nanoseconds })
    }

    /// Whether it is the last second of the .NET date range, which the SDK sends for an unchanged time.
    pub fn is_dot_net_max(self) -> bool {
        self.seconds >= 253_402_300_799
    }
}
