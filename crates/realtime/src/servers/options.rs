//! Limits and timers of server connections.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::forwarded_headers::HeaderLimits;

/// Bounds and timers of server connections: those of app servers, and those of management SDKs with a persistent transport. Unknown keys are
/// refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// Server connections of all hubs together; a further one is turned away. Default: 1000. Since 0.1.0.
    pub connections_max: usize,
    /// Time an app server has for its handshake, in milliseconds. Default: 15000. Since 0.1.0.
    pub handshake_timeout_ms: u64,
    /// An app server gets a ping this often, in milliseconds; its SDK gives up after 30 seconds without any. Default: 5000. Since 0.1.0.
    pub keep_alive_ms: u64,
    /// A server connection from which nothing came for this long, in milliseconds, or that takes nothing for as long, is ended. Default: 30000.
    /// Since 0.1.0.
    pub timeout_ms: u64,
    /// Time an app server has to answer a close, in milliseconds, before its connection is cut. Default: 5000. Since 0.1.0.
    pub close_timeout_ms: u64,
    /// Largest message from an app server, in bytes. A longer one is refused: whoever waits for an answer gets an error, and the server an
    /// event; the connection and its clients live on. Default: 16777216. Since 0.1.0.
    pub message_bytes_max: u32,
    /// Bytes that may wait for one app server before its clients are no longer read. Default: 4194304. Since 0.1.0.
    pub pending_bytes_max: usize,
    /// Calls of clients that may wait for their results. Default: 100000. Since 0.1.0.
    pub invocations_max: usize,
    /// How long a call of a client may wait for its result, in milliseconds. Default: 600000. Since 0.1.0.
    pub invocation_timeout_ms: u64,
    /// An app server that calls a method of a client gets the result no sooner than this after the call, in milliseconds: its SDK notes only
    /// after it has sent the call that it waits for a result, and drops one that comes before. 0 passes results on at once. Default: 20.
    /// Since 0.1.0.
    pub result_delay_ms: u64,
    /// As `result_delay_ms`, for the first 32 calls on each server connection, when the code of the process is not compiled yet. Default: 50.
    /// Since 0.1.0.
    pub first_result_delay_ms: u64,
    /// In Classic mode, a client that negotiated with an app server waits for a server connection of its hub this long, in milliseconds, and is
    /// then refused. Default: 5000. Since 0.1.0.
    pub await_server_timeout_ms: u64,
    /// How long an app server may take to hold back what it has for a client that moves to another one, in milliseconds. Default: 2000.
    /// Since 0.1.0.
    pub pause_timeout_ms: u64,
    /// Headers of a client's connect request that its app server is told, at most; a client with more is refused (431). Default: 100.
    /// Since 0.1.0.
    pub client_headers_max: usize,
    /// Bytes of these headers, names and values together; they are kept in memory for as long as the client is connected. Default: 16384.
    /// Since 0.1.0.
    pub client_header_bytes_max: usize,
    /// How long an app server that shuts down may take to answer the calls that its clients have made, in milliseconds, before they move
    /// to another one. Meanwhile their new calls are held back. A call, or a stream, that is not complete by then ends with an error.
    /// Default: 10000. Since 0.1.0.
    pub move_timeout_ms: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            connections_max: 1000,
            handshake_timeout_ms: 15_000,
            keep_alive_ms: 5_000,
            timeout_ms: 30_000,
            close_timeout_ms: 5_000,
            message_bytes_max: 16 * 1024 * 1024,
            pending_bytes_max: 4 * 1024 * 1024,
            invocations_max: 100_000,
            invocation_timeout_ms: 600_000,
            await_server_timeout_ms: 5_000,
            result_delay_ms: 20,
            first_result_delay_ms: 50,
            pause_timeout_ms: 2_000,
            client_headers_max: 100,
            client_header_bytes_max: 16 * 1024,
            move_timeout_ms: 10_000,
        }
    }
}

impl Options {
    pub(crate) fn handshake_timeout(&self) -> Duration {
        Duration::from_millis(self.handshake_timeout_ms)
    }

    pub(crate) fn keep_alive(&self) -> Duration {
        // An interval of zero would spin.
        Duration::from_millis(self.keep_alive_ms.max(1))
    }

    pub(crate) fn timeout(&self) -> Duration {
        Duration::from_millis(self.timeout_ms)
    }

    pub(crate) fn close_timeout(&self) -> Duration {
        Duration::from_millis(self.close_timeout_ms)
    }

    pub(crate) fn invocation_timeout(&self) -> Duration {
        Duration::from_millis(self.invocation_timeout_ms)
    }

    pub(crate) fn pause_timeout(&self) -> Duration {
        Duration::from_millis(self.pause_timeout_ms)
    }

    pub(crate) fn client_header_limits(&self) -> HeaderLimits {
        HeaderLimits { values_max: self.client_headers_max, bytes_max: self.client_header_bytes_max }
    }

    pub(crate) fn result_delay(&self, is_first: bool) -> Duration {
        Duration::from_millis(if is_first { self.first_result_delay_ms } else { self.result_delay_ms })
    }

    pub(crate) fn await_server_timeout(&self) -> Duration {
        Duration::from_millis(self.await_server_timeout_ms)
    }

    pub(crate) fn move_timeout(&self) -> Duration {
        Duration::from_millis(self.move_timeout_ms)
    }
}
