//! The engine's configuration.

use std::num::NonZeroU16;

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
    /// Bytes that may wait for one connection, because its client does not read, before `slow_consumer` applies.
    /// A connection for which nothing waits always takes one message. Default: 1048576. Since 0.1.0.
    pub pending_bytes_max: u32,
    /// What happens to a connection beyond `pending_bytes_max`. Default: `disconnect`. Since 0.1.0.
    pub slow_consumer: SlowConsumer,
    /// Largest message a client may send, in bytes, whether in one frame or many. Default: 1048576. Since 0.1.0.
    pub message_bytes_max: u32,
    /// Time a client has for the handshake record, in milliseconds; an [`crate::engine::Admission`] may say otherwise.
    /// Default: 15000. Since 0.1.0.
    pub handshake_timeout_ms: u64,
    /// A ping is sent where nothing was sent for this long, in milliseconds. Default: 15000. Since 0.1.0.
    pub keep_alive_ms: u64,
    /// A connection from which nothing came for this long, in milliseconds, is closed. Default: 30000. Since 0.1.0.
    pub client_timeout_ms: u64,
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
}

/// What happens to a connection whose client does not keep up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum SlowConsumer {
    /// It is cut; its client connects again and finds the present state.
    #[default]
    Disconnect,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            shards: None,
            connections_max: 100_000,
            pending_bytes_max: 1024 * 1024,
            slow_consumer: SlowConsumer::Disconnect,
            message_bytes_max: 1024 * 1024,
            handshake_timeout_ms: 15_000,
            keep_alive_ms: 15_000,
            client_timeout_ms: 30_000,
            close_timeout_ms: 5_000,
            flush_chunk: 1024,
            read_buffer_bytes: 64 * 1024,
            commands_max: 1024,
            user_groups_max: 1_000_000,
        }
    }
}

impl Options {
    /// How many shards there will be.
    pub(crate) fn shard_count(&self) -> u16 {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        let fallback = u16::try_from(processors.saturating_sub(1)).unwrap_or(u16::MAX);
        self.shards.map_or(fallback.max(1), NonZeroU16::get)
    }
}
