//! Options of the engine.

use std::collections::BTreeMap;
use std::num::{NonZeroU16, NonZeroU32, NonZeroU64};
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Limits and timeouts of the engine. Unknown keys are refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// Number of shards, each one thread. Default: absent, which means one less than the processors, at least 1. Since 0.1.0.
    pub shards: Option<NonZeroU16>,
    /// Maximum number of connections; further clients are refused. Reloads. Default: 100000. Since 0.1.0.
    pub connections_max: u32,
    /// Maximum number of connections of one hub; further clients are refused. Reloads. Default: absent, which means no limit. Since 0.1.0.
    pub hub_connections_max: Option<NonZeroU32>,
    /// Maximum number of groups of one connection; joining a further one is refused. Reloads. Default: 1000. Since 0.1.0.
    pub connection_groups_max: NonZeroU32,
    /// Maximum number of open streams that one client has invoked; a further one is refused. Reloads. Default: 1000. Since 0.1.0.
    pub connection_streams_max: NonZeroU32,
    /// Messages a second, pings included, that one connection may send, and in one burst; a connection that sends more is closed.
    /// Reloads. Default: absent, which means no limit. Since 0.1.0.
    pub connection_messages_per_second: Option<u32>,
    /// Bytes a second that one connection may send, and in one burst; a connection that sends more is closed. Reloads. Default: absent.
    /// Since 0.1.0.
    pub connection_bytes_per_second: Option<u32>,
    /// Messages a second that all connections of a user together may send; the connection that exceeds it is closed. Reloads. Default:
    /// absent. Since 0.1.0.
    pub user_messages_per_second: Option<u32>,
    /// Bytes a second that all connections of a user together may send; the connection that exceeds it is closed. Reloads. Default:
    /// absent. Since 0.1.0.
    pub user_bytes_per_second: Option<u32>,
    /// Invocations of one client's methods that may wait for a result at the same time. Reloads. Default: 100. Since 0.1.0.
    pub client_results_max: u32,
    /// Bytes that may be pending for one connection whose client reads too slowly; at this limit `slow_consumer` applies. A connection
    /// without pending bytes always accepts one message. Reloads. Default: 1048576. Since 0.1.0.
    pub pending_bytes_max: u32,
    /// What happens to a connection at the limit of `pending_bytes_max`. Reloads. Default: `disconnect`. Since 0.1.0.
    pub slow_consumer: SlowConsumer,
    /// Bytes that may be pending for one connection of messages that its app server sends to it alone (stream items, results, invocations
    /// of its methods); they do not count towards `pending_bytes_max`. Above `pending_bytes_max` its app server is asked to send more
    /// slowly; above this limit the connection is closed. Reloads. Default: 33554432. Since 0.1.0.
    pub own_pending_bytes_max: u32,
    /// Bytes of such messages that may be pending for all connections together; at the limit, a connection that receives more from its
    /// app server is closed. Reloads. Default: 536870912. Since 0.1.0.
    pub own_pending_bytes_total: u64,
    /// A connection whose app server was asked to send more slowly, and whose client reads nothing for this long, in milliseconds, is
    /// closed. Reloads. Default: 30000. Since 0.1.0.
    pub own_stalled_timeout_ms: u64,
    /// Largest message a client may send, in bytes, whether in one frame or many. Reloads. Default: 1048576. Since 0.1.0.
    pub message_bytes_max: u32,
    /// Largest message a client may send to an app server that accepts messages in parts, in bytes. It is forwarded as it arrives, and
    /// the app's own `MaximumReceiveMessageSize` (32 KiB by default) closes the connection of a client that sends more. App servers whose
    /// SDK does not support parts receive messages of at most `message_bytes_max`. Reloads. Default: 67108864. Since 0.1.0.
    pub forwarded_message_bytes_max: u32,
    /// Time limit for a client's handshake, in milliseconds. Reloads. Default: 15000. Since 0.1.0.
    pub handshake_timeout_ms: u64,
    /// A ping is sent after this time without a message to the client, in milliseconds. Reloads. Default: 15000. Since 0.1.0.
    pub keep_alive_ms: u64,
    /// A connection is closed after this time without a message from the client, in milliseconds. Reloads. Default: 30000. Since 0.1.0.
    pub client_timeout_ms: u64,
    /// A connection is closed after this time without a hub message other than a ping from the client, in milliseconds. Reloads. Default:
    /// absent, which means never. Since 0.1.0.
    pub idle_timeout_ms: Option<NonZeroU64>,
    /// Whether clients may use stateful reconnect: a new socket replaces a lost one, and no message is lost or duplicated. Reloads.
    /// Default: true. Since 0.1.0.
    pub stateful_reconnect: bool,
    /// Bytes of messages that are buffered for a stateful client until it acknowledges them; a connection that exceeds this cannot be
    /// resumed after it has lost its socket. For messages that its app server sends to it alone, the app server is slowed down above
    /// this, and the buffer may contain `own_pending_bytes_max`. Reloads. Default: 1048576. Since 0.1.0.
    pub stateful_bytes_max: u32,
    /// How long a stateful connection stays open without a socket, and a long-polling connection without a poll, in milliseconds. Reloads.
    /// Default: 15000. Since 0.1.0.
    pub disconnect_timeout_ms: u64,
    /// Time limit for a client to respond to a close, in milliseconds; then its socket is dropped. Reloads. Default: 5000. Since 0.1.0.
    pub close_timeout_ms: u64,
    /// Number of connections that a shard writes to before it handles reads and commands again. Reloads. Default: 1024. Since 0.1.0.
    pub flush_chunk: u32,
    /// Size of the read buffer that all connections of a shard share, in bytes. Default: 65536. Since 0.1.0.
    pub read_buffer_bytes: u32,
    /// Commands that may be queued for a shard; when the queue is full, publishers wait or receive an error. Default: 1024. Since
    /// 0.1.0.
    pub commands_max: u32,
    /// Maximum number of memberships of users in groups. Reloads. Default: 1000000. Since 0.1.0.
    pub user_groups_max: u32,
    /// Options of single hubs, by their names in lower case. Reloads.
    pub hubs: BTreeMap<String, HubOptions>,
}

/// Options of one hub. An absent option has the engine's value.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HubOptions {
    /// As `pending_bytes_max` of the engine. Reloads. Default: absent. Since 0.1.0.
    pub pending_bytes_max: Option<u32>,
    /// As `slow_consumer` of the engine. Reloads. Default: absent. Since 0.1.0.
    pub slow_consumer: Option<SlowConsumer>,
    /// As `hub_connections_max` of the engine. Reloads. Default: absent. Since 0.1.0.
    pub connections_max: Option<NonZeroU32>,
    /// As `idle_timeout_ms` of the engine. Reloads. Default: absent. Since 0.1.0.
    pub idle_timeout_ms: Option<NonZeroU64>,
}

/// What happens to a connection whose client reads too slowly.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum SlowConsumer {
    /// It is closed; its client reconnects and reads the current state.
    #[default]
    Disconnect,
    /// The oldest pending invocations are dropped until the new one fits.
    DropOldest,
    /// Of pending invocations of one method with the same first argument, all but the latest are dropped; if that is not enough,
    /// the connection is closed.
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
    /// Whether any hub has an idle timeout.
    pub(crate) fn limits_idle_time(&self) -> bool {
        self.idle_timeout_ms.is_some() || self.hubs.values().any(|hub| hub.idle_timeout_ms.is_some())
    }

    /// The shortest timeout or interval of connections, which decides how long a tick of the shards' clocks is.
    pub(crate) fn shortest_timeout(&self) -> Duration {
        let rest =
            [self.keep_alive_ms, self.client_timeout_ms, self.close_timeout_ms, self.disconnect_timeout_ms];
        Duration::from_millis(rest.into_iter().fold(self.handshake_timeout_ms, u64::min))
    }

    /// The number of shards.
    pub(crate) fn shard_count(&self) -> u16 {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        let fallback = u16::try_from(processors.saturating_sub(1)).unwrap_or(u16::MAX);
        self.shards.map_or(fallback.max(1), NonZeroU16::get)
    }
}
