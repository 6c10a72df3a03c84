//! The service messages, borrowed from the bytes they were read from.

/// What is sent to clients: for each hub protocol by name, one or more framed hub messages.
pub type Payloads<'a> = Vec<(&'a str, &'a [u8])>;

/// Claims of a client's token, in order; a type may stand there more than once.
pub type Claims<'a> = Vec<(&'a str, &'a str)>;

/// Headers that concern a client. A name stands there once: the SDK fails on a second one.
pub type Headers<'a> = Vec<(&'a str, Vec<&'a str>)>;

/// Optional members that most messages carry in a map with numbers as keys. A member is sent only on messages that have it: old SDKs
/// cannot step over one that they do not expect.
#[cfg_attr(test, derive(serde::Serialize), serde(rename_all = "camelCase"))]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Extensions<'a> {
    /// 1: names the message in diagnostic logs.
    pub tracing_id: Option<u64>,
    /// 2: how long a user's membership lasts, in seconds.
    pub ttl: Option<i32>,
    /// 3: the hub protocol of a client.
    pub protocol: Option<&'a str>,
    /// 4: an OData filter on the receivers.
    pub filter: Option<&'a str>,
    /// 5: what a client's bytes are.
    pub data_message_type: DataMessageType,
    /// 6: the rest of these bytes follows in the next message for the same client.
    pub is_partial: bool,
}

/// What the bytes of a [`Message::ConnectionData`] are.
#[cfg_attr(test, derive(serde::Serialize))]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DataMessageType {
    /// 0: not said, or a number that is not known.
    #[default]
    Unknown,
    /// 1: the record of a handshake, or the answer to it.
    Handshake,
    /// 2: invocations, stream items, completions and the like.
    Invocation,
    /// 3: pings, acks and sequences.
    Other,
    /// 4: a close message.
    Close,
}

/// What a server connection is for.
#[cfg_attr(test, derive(serde::Serialize))]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServerConnectionType {
    /// 0: one that carries clients.
    Default,
    /// 1: one that carries clients, opened because the service asked for it.
    OnDemand,
    /// 2: one that carries no clients and only sends.
    Weak,
    /// A number that is not known.
    Other(i32),
}

/// What a flow control message is about.
#[cfg_attr(test, derive(serde::Serialize))]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConnectionKind {
    /// 1: a client connection.
    Client,
    /// 2: a server connection.
    Server,
}

/// What a flow control message asks or says.
#[cfg_attr(test, derive(serde::Serialize))]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FlowOperation {
    /// 1: the service asks the app server to hold back what it has for the connection.
    Pause,
    /// 2: the app server holds it back.
    PauseAck,
    /// 3: the service asks the app server to go on.
    Resume,
    /// 4: the service asks the app server to send over other server connections.
    Offline,
}

/// How an operation ended.
#[cfg_attr(test, derive(serde::Serialize))]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AckStatus {
    /// 1: done, or yes.
    Ok,
    /// 2: whom it is about does not exist, or no.
    NotFound,
    /// 3: it took too long.
    Timeout,
    /// 4: the service failed.
    InternalServerError,
    /// 5: it is not allowed.
    Forbidden,
    /// A number that is not known.
    Other(i32),
}

/// A moment: seconds since the Unix epoch, and nanoseconds.
#[cfg_attr(test, derive(serde::Serialize), serde(rename_all = "camelCase"))]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnixTime {
    /// May be negative.
    pub seconds: i64,
    /// Below 1,000,000,000.
    pub nanoseconds: u32,
}

/// The first message of an app server.
#[cfg_attr(test, derive(serde::Serialize), serde(rename_all = "camelCase"))]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HandshakeRequest<'a> {
    /// The version of the protocol: [`super::VERSION`].
    pub version: i32,
    /// What the connection is for.
    pub connection_type: ServerConnectionType,
    /// For [`ServerConnectionType::OnDemand`]: the instance that asked for the connection.
    pub target: Option<&'a str>,
    /// Whether clients may be moved to another app server: 0 never, 1 when this one shuts down, 2 also when the connection is lost.
    pub migration_level: i32,
    /// None has a meaning here.
    pub extensions: Extensions<'a>,
    /// Whether clients may reconnect statefully. SDKs since 2024 say it; whoever does can step over members of [`Extensions`] that
    /// it does not know.
    pub allow_stateful_reconnects: Option<bool>,
}

/// A client has connected.
#[cfg_attr(test, derive(serde::Serialize), serde(rename_all = "camelCase"))]
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct OpenConnection<'a> {
    /// Its connection id.
    pub connection_id: &'a str,
    /// What its token says.
    pub claims: Claims<'a>,
    /// What the service says about it, such as `Asrs-Instance-Id` and `Asrs-Migrate-From`.
    pub headers: Headers<'a>,
    /// Its query, with the question mark.
    pub query_string: Option<&'a str>,
    /// The client's protocol, a tracing id.
    pub extensions: Extensions<'a>,
}

/// One message. `connection_id`, `user_id` and `group_name` name who it is about; `ack_id` comes back in the [`Message::Ack`] that answers;
/// `extensions` are described with each member of [`Extensions`].
#[cfg_attr(test, derive(serde::Serialize), serde(tag = "type", rename_all_fields = "camelCase"))]
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "the fields of all variants are explained in one place, above")]
pub enum Message<'a> {
    /// 1: an app server introduces its connection.
    HandshakeRequest(HandshakeRequest<'a>),
    /// 2: the service takes the connection (no error, or an empty one) or refuses it.
    HandshakeResponse {
        error_message: Option<&'a str>,
        extensions: Extensions<'a>,
        connection_id: Option<&'a str>,
    },
    /// 3: a sign of life, with keys and values in turn; see [`super::ping_value`].
    Ping { messages: Vec<&'a str> },
    /// 4: the service says that a client has connected.
    OpenConnection(OpenConnection<'a>),
    /// 5: a client is gone, or is to go. An error that is present and empty counts as none.
    CloseConnection {
        connection_id: &'a str,
        error_message: Option<&'a str>,
        headers: Headers<'a>,
        extensions: Extensions<'a>,
    },
    /// 6: bytes from a client, or to a client.
    ConnectionData { connection_id: &'a str, payload: &'a [u8], extensions: Extensions<'a> },
    /// 7: to several clients.
    MultiConnectionData { connections: Vec<&'a str>, payloads: Payloads<'a>, extensions: Extensions<'a> },
    /// 8: to all clients of a user.
    UserData { user_id: &'a str, payloads: Payloads<'a>, extensions: Extensions<'a> },
    /// 9: to all clients of several users.
    MultiUserData { users: Vec<&'a str>, payloads: Payloads<'a>, extensions: Extensions<'a> },
    /// 10: to all clients of the hub but those excluded.
    BroadcastData { excluded: Vec<&'a str>, payloads: Payloads<'a>, extensions: Extensions<'a> },
    /// 11: puts a client into a group.
    JoinGroup { connection_id: &'a str, group_name: &'a str, extensions: Extensions<'a> },
    /// 12: takes a client out of a group; no name means all groups.
    LeaveGroup { connection_id: &'a str, group_name: Option<&'a str>, extensions: Extensions<'a> },
    /// 13: to a group, but not to the connections and users excluded.
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
    /// 15: the service will no longer take messages on this connection.
    ServiceError { error_message: Option<&'a str> },
    /// 16: puts a user into a group, for `ttl` seconds where that is present.
    UserJoinGroup { user_id: &'a str, group_name: &'a str, extensions: Extensions<'a> },
    /// 17: takes a user out of a group; no name means all groups.
    UserLeaveGroup { user_id: &'a str, group_name: Option<&'a str>, extensions: Extensions<'a> },
    /// 18: as 11, answered.
    JoinGroupWithAck { connection_id: &'a str, group_name: &'a str, ack_id: i32, extensions: Extensions<'a> },
    /// 19: as 12, answered.
    LeaveGroupWithAck {
        connection_id: &'a str,
        group_name: Option<&'a str>,
        ack_id: i32,
        extensions: Extensions<'a>,
    },
    /// 20: answers a message that had this `ack_id`.
    Ack {
        ack_id: i32,
        status: AckStatus,
        message: Option<&'a str>,
        extensions: Extensions<'a>,
        payload: Option<&'a [u8]>,
    },
    /// 21: asks whether a user is in a group.
    CheckUserInGroupWithAck { user_id: &'a str, group_name: &'a str, ack_id: i32, extensions: Extensions<'a> },
    /// 22: tells an app server of something about an object. `object`: 0 the instance, 1 a connection, 2 a user, 3 a group, 4 a server
    /// connection. `kind`: 0 reloading, 1 invalid, 2 does not exist, 3 its buffer is full.
    ServiceEvent {
        object: i32,
        id: Option<&'a str>,
        kind: i32,
        message: Option<&'a str>,
        extensions: Extensions<'a>,
    },
    /// 23: asks whether a group has a client.
    CheckGroupExistenceWithAck { group_name: &'a str, ack_id: i32, extensions: Extensions<'a> },
    /// 24: asks whether a client is there.
    CheckConnectionExistenceWithAck { connection_id: &'a str, ack_id: i32, extensions: Extensions<'a> },
    /// 25: asks whether a user has a client.
    CheckUserExistenceWithAck { user_id: &'a str, ack_id: i32, extensions: Extensions<'a> },
    /// 26: as 16, answered.
    UserJoinGroupWithAck { user_id: &'a str, group_name: &'a str, ack_id: i32, extensions: Extensions<'a> },
    /// 27: as 17, answered.
    UserLeaveGroupWithAck {
        user_id: &'a str,
        group_name: Option<&'a str>,
        ack_id: i32,
        extensions: Extensions<'a>,
    },
    /// 28: asks for a key to sign tokens with, on the strength of a login token.
    AccessKeyRequest { token: Option<&'a str>, kid: Option<&'a str>, extensions: Extensions<'a> },
    /// 29: the key and its name, or an error.
    AccessKeyResponse {
        kid: Option<&'a str>,
        access_key: Option<&'a str>,
        error_type: Option<&'a str>,
        error_message: Option<&'a str>,
        extensions: Extensions<'a>,
    },
    /// 30: closes a client, answered. Replaced by 5 in newer SDKs.
    CloseConnectionWithAck {
        connection_id: &'a str,
        reason: Option<&'a str>,
        ack_id: i32,
        extensions: Extensions<'a>,
    },
    /// 31: closes all clients of the hub but those excluded, answered.
    CloseConnectionsWithAck {
        reason: Option<&'a str>,
        ack_id: i32,
        excluded: Vec<&'a str>,
        extensions: Extensions<'a>,
    },
    /// 32: closes the clients of a user, answered.
    CloseUserConnectionsWithAck {
        user_id: &'a str,
        reason: Option<&'a str>,
        ack_id: i32,
        excluded: Vec<&'a str>,
        extensions: Extensions<'a>,
    },
    /// 33: closes the clients of a group, answered.
    CloseGroupConnectionsWithAck {
        group_name: &'a str,
        reason: Option<&'a str>,
        ack_id: i32,
        excluded: Vec<&'a str>,
        extensions: Extensions<'a>,
    },
    /// 34: calls a client's method and waits for its result; forwarded to the app server that the client belongs to.
    ClientInvocation {
        invocation_id: &'a str,
        connection_id: &'a str,
        caller_server_id: &'a str,
        payloads: Payloads<'a>,
        extensions: Extensions<'a>,
    },
    /// 35: the client's result, as a framed completion in its protocol. Empty from the caller itself, where it only ends the waiting.
    ClientCompletion {
        invocation_id: &'a str,
        connection_id: &'a str,
        caller_server_id: &'a str,
        protocol: Option<&'a str>,
        payload: &'a [u8],
        extensions: Extensions<'a>,
    },
    /// 36: there will be no result.
    ErrorCompletion {
        invocation_id: &'a str,
        connection_id: &'a str,
        caller_server_id: &'a str,
        error: Option<&'a str>,
        extensions: Extensions<'a>,
    },
    /// 37: which instance of the service the called client is connected to.
    ServiceMapping {
        invocation_id: &'a str,
        connection_id: &'a str,
        instance_id: &'a str,
        extensions: Extensions<'a>,
    },
    /// 38: a client has come back on a new socket.
    ConnectionReconnect { connection_id: &'a str, extensions: Extensions<'a> },
    /// 39: holds back and goes on.
    ConnectionFlowControl {
        connection_id: &'a str,
        connection_type: ConnectionKind,
        operation: FlowOperation,
        extensions: Extensions<'a>,
    },
    /// 40: asks for the members of a group; the ack carries [`super::GroupMembers`]. The extensions stand in front of the fields.
    GroupMemberQuery {
        extensions: Extensions<'a>,
        group_name: &'a str,
        ack_id: i32,
        /// How many members are wanted in all.
        top: Option<i32>,
        /// From an earlier answer.
        continuation_token: Option<&'a str>,
        /// How many members are wanted in one answer. Absent in the first versions of the message.
        max_page_size: Option<i32>,
    },
    /// 41: a client has logged in again: its new end, and its new claims. No claims mean that they stay. No time, or the last one that a
    /// .NET date can be, means that it stays. The ack carries all claims that the client has then, see [`super::claims_payload`].
    RefreshAuth {
        /// The token of the connection, which only its client and its app know.
        connection_token: &'a str,
        claims: Claims<'a>,
        expire_time: Option<UnixTime>,
        ack_id: i32,
        extensions: Extensions<'a>,
    },
    /// 42: asks for the claims of a client; the ack carries them, see [`super::claims_payload`].
    GetConnectionClaims { connection_token: &'a str, ack_id: i32, extensions: Extensions<'a> },
    /// 43: tells the app server of a client about its new claims.
    UpdateConnectionClaims { connection_id: &'a str, claims: Claims<'a>, extensions: Extensions<'a> },
    /// A type that is not known yet; to be ignored.
    Unknown(u64),
}

impl UnixTime {
    /// Seconds from 1 January 0001, where .NET counts from, to the Unix epoch.
    const DOT_NET_EPOCH: i64 = 62_135_596_800;

    /// The last tick of the year 9999: `DateTime.MaxValue`.
    const TICKS_MAX: u64 = 3_155_378_975_999_999_999;

    /// From .NET ticks: 100 nanoseconds each. `None` for what is later than any .NET date.
    pub(super) fn from_ticks(ticks: u64) -> Option<Self> {
        let ticks = i64::try_from(ticks).ok().filter(|_| ticks <= Self::TICKS_MAX)?;
        let nanoseconds = u32::try_from(ticks % 10_000_000 * 100).ok()?;
        Some(Self { seconds: ticks / 10_000_000 - Self::DOT_NET_EPOCH, nanoseconds })
    }

    /// Whether it is the last second that a .NET date can be, by which the SDK says that a time stays as it is.
    pub fn is_dot_net_max(self) -> bool {
        self.seconds >= 253_402_300_799
    }
}
