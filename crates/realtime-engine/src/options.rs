//! The engine's configuration.

use std::collections::BTreeMap;
use std::num::{NonZeroU16, NonZeroU32, NonZeroU64};

use serde::{Deserialize, Serialize};

/// What the engine may use and how long it waits. Unknown keys are refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// Number of shards, each one thread. Default: absent, which means one less than the processors, at least 1.
    /// Since 0.1.0.
    pub shards: Option<NonZeroU16>,
    /// Connections that all shards together may hold; a further client is turned away. Default: 100000. Since 0.1.0.
    pub connections_max: u32,
    /// Connections that one hub may have; a further client is turned away. Default: absent, which means any number.
    /// Since 0.1.0.
    pub hub_connections_max: Option<NonZeroU32>,
    /// Groups that one connection may be in; joining a further one is refused. Default: 1000. Since 0.1.0.
    pub connection_groups_max: NonZeroU32,
    /// Streams that one client has asked for and that have not ended; a further one is refused. Default: 1000. Since 0.1.0.
    pub connection_streams_max: NonZeroU32,
    /// Messages, pings of every kind among them, that one connection may send in a second, and at once; one that sends more is
    /// closed. Default: absent, which
    /// means any number. Since 0.1.0.
    pub connection_messages_per_second: Option<u32>,
    /// Bytes that one connection may send in a second, and at once; one that sends more is closed. Default: absent. Since 0.1.0.
    pub connection_bytes_per_second: Option<u32>,
    /// Messages that all connections of a user together may send in a second; the one that sends more is closed.
    /// Default: absent. Since 0.1.0.
    pub user_messages_per_second: Option<u32>,
    /// Bytes that all connections of a user together may send in a second; the one that sends more is closed. Default: absent.
    /// Since 0.1.0.
    pub user_bytes_per_second: Option<u32>,
    /// Calls of one client's methods whose result is awaited at one time. Default: 100. Since 0.1.0.
    pub client_results_max: u32,
    /// Bytes that may wait for one connection, because its client does not read, before `slow_consumer` applies.
    /// A connection for which nothing waits always takes one message. Default: 1048576. Since 0.1.0.
    pub pending_bytes_max: u32,
    /// What happens to a connection beyond `pending_bytes_max`. Default: `disconnect`. Since 0.1.0.
    pub slow_consumer: SlowConsumer,
    /// Bytes that may wait for one connection of what its app server sends to it alone (items of streams, results, calls of its methods),
    /// which do not count as `pending_bytes_max`. Beyond that one, its app server is asked to send more slowly; beyond this one, the
    /// connection is closed. Default: 33554432. Since 0.1.0.
    pub own_pending_bytes_max: u32,
    /// Bytes that may wait for all connections together before one that gets more from its app server is closed. Default: 536870912. Since
    /// 0.1.0.
    pub own_pending_bytes_total: u64,
    /// A connection whose app server was asked to send more slowly, and whose client reads nothing for this long, in milliseconds, is
    /// closed. Default: 30000. Since 0.1.0.
    pub own_stalled_timeout_ms: u64,
    /// Largest message a client may send, in bytes, whether in one frame or many. Default: 1048576. Since 0.1.0.
    pub message_bytes_max: u32,
    /// Largest message a client may send to an app server that takes messages in pieces, in bytes. It is forwarded as it arrives, and the
    /// app's own `MaximumReceiveMessageSize` (32 KiB unless set) ends the connection of a client that sends more than that. Servers whose
    /// SDK is too old for pieces get messages of at most `message_bytes_max`. Default: 67108864. Since 0.1.0.
    pub forwarded_message_bytes_max: u32,
    /// Time a client has for the handshake record, in milliseconds. Default: 15000. Since 0.1.0.
    pub handshake_timeout_ms: u64,
    /// A ping is sent where nothing was sent for this long, in milliseconds. Default: 15000. Since 0.1.0.
    pub keep_alive_ms: u64,
    /// A connection from which nothing came for this long, in milliseconds, is closed. Default: 30000. Since 0.1.0.
    pub client_timeout_ms: u64,
    /// A connection that sent no hub message but pings for this long, in milliseconds, is closed. Default: absent, which means that
    /// it may only listen. Since 0.1.0.
    pub idle_timeout_ms: Option<NonZeroU64>,
    /// Whether clients may reconnect statefully: a new socket takes the place of a lost one, and no message is lost or comes
    /// twice. Default: true. Since 0.1.0.
    pub stateful_reconnect: bool,
    /// Bytes of messages that are kept for a stateful client until it acknowledges them; a connection whose client lets more
    /// than this gather cannot be resumed after the loss of its socket. Of what its app server sends to it alone, more than this slows
    /// the server down, and `own_pending_bytes_max` is kept. Default: 1048576. Since 0.1.0.
    pub stateful_bytes_max: u32,
    /// How long a stateful connection lives without a socket, and a long-polling connection without a poll, in milliseconds.
    /// Default: 15000. Since 0.1.0.
    pub disconnect_timeout_ms: u64,
    /// Time a client has to answer a close, in milliseconds, before its socket is cut. Default: 5000. Since 0.1.0.
    pub close_timeout_ms: u64,
    /// Connections written to before a shard looks at its reads and commands again. Default: 1024. Since 0.1.0.
    pub flush_chunk: u32,
    /// Size of the read buffer that all connections of a shard share, in bytes. Default: 65536. Since 0.1.0.
    pub read_buffer_bytes: u32,
    /// Commands that may wait for a shard; publishers wait, or are told, when it is full. Default: 1024. Since 0.1.0.
    pub commands_max: u32,
    /// Memberships of users in groups that a shard remembers. Default: 1000000. Since 0.1.0.
    pub user_groups_max: u32,
    /// What is different for single hubs, by their names in lower case.
    pub hubs: BTreeMap<String, HubOptions>,
}

/// What is different for one hub. Absent keys are as for all.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HubOptions {
    /// As `pending_bytes_max` of the engine. Default: absent. Since 0.1.0.
    pub pending_bytes_max: Option<u32>,
    /// As `slow_consumer` of the engine. Default: absent. Since 0.1.0.
    pub slow_consumer: Option<SlowConsumer>,
    /// As `hub_connections_max` of the engine. Default: absent. Since 0.1.0.
    pub connections_max: Option<NonZeroU32>,
    /// As `idle_timeout_ms` of the engine. Default: absent. Since 0.1.0.
    pub idle_timeout_ms: Option<NonZeroU64>,
}

/// What happens to a connection whose client does not keep up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum SlowConsumer {
    /// It is cut; its client connects again and finds the present state.
    #[default]
    Disconnect,
    /// The oldest calls of its methods that wait are left out until the new one has room.
    DropOldest,
    /// Of calls of one method with the same first argument, only the latest waits; where that is not enough, it is cut.
    LatestByKey,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            shards: None,
            connections_max: 100_000,
            hub_connections_max: None,
            connection_groups_max: NonZeroU32::new(1000).expect("not zero"),
            connection_streams_max: NonZeroU32::new(1000).expect("not zero"),
            connection_messages_per_second: None,
            connection_bytes_per_second: None,
            user_messages_per_second: None,
            user_bytes_per_second: None,
            client_results_max: 100,
            pending_bytes_max: 1024 * 1024,
            slow_consumer: SlowConsumer::Disconnect,
            own_pending_bytes_max: 32 * 1024 * 1024,
            own_pending_bytes_total: 512 * 1024 * 1024,
            own_stalled_timeout_ms: 30_000,
            message_bytes_max: 1024 * 1024,
            forwarded_message_bytes_max: 64 * 1024 * 1024,
            handshake_timeout_ms: 15_000,
            keep_alive_ms: 15_000,
            client_timeout_ms: 30_000,
            idle_timeout_ms: None,
            stateful_reconnect: true,
            stateful_bytes_max: 1024 * 1024,
            disconnect_timeout_ms: 15_000,
            close_timeout_ms: 5_000,
            flush_chunk: 1024,
            read_buffer_bytes: 64 * 1024,
            commands_max: 1024,
            user_groups_max: 1_000_000,
            hubs: BTreeMap::new(),
        }
    }
}

impl Options {
    /// Whether any hub limits how long a client may say nothing.
    pub(crate) fn limits_idle_time(&self) -> bool {
        self.idle_timeout_ms.is_some() || self.hubs.values().any(|hub| hub.idle_timeout_ms.is_some())
    }

    /// How many shards there will be.
    pub(crate) fn shard_count(&self) -> u16 {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        let fallback = u16::try_from(processors.saturating_sub(1)).unwrap_or(u16::MAX);
        self.shards.map_or(fallback.max(1), NonZeroU16::get)
    }
}
