//! Options of server connections.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::forwarded_headers::HeaderLimits;

/// Limits and timers of server connections: those of app servers, and those of management SDKs with a persistent transport.
/// Unknown keys are refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// Most server connections of all hubs together; a further one is refused. Default: 1000. Since 0.1.0.
    pub connections_max: usize,
    /// Longest time for the handshake of an app server, in milliseconds. Default: 15000. Since 0.1.0.
    pub handshake_timeout_ms: u64,
    /// Interval of pings to an app server, in milliseconds; its SDK closes the connection after 30 seconds without one. Default:
    /// 5000. Since 0.1.0.
    pub keep_alive_ms: u64,
    /// A server connection is closed if nothing was received from it for this time, or nothing could be written to it, in
    /// milliseconds. Default: 30000. Since 0.1.0.
    pub timeout_ms: u64,
    /// Longest time for an app server to close its connection after the close frame, in milliseconds. Default: 5000. Since 0.1.0.
    pub close_timeout_ms: u64,
    /// Largest message from an app server, in bytes. A longer one is refused: if an ack or a result is expected, it is an error,
    /// otherwise the app server receives an event. The connection and its clients stay open. Default: 16777216. Since 0.1.0.
    pub message_bytes_max: u32,
    /// Most bytes that are queued for one app server before reading from its clients is paused. Default: 4194304. Since 0.1.0.
    pub pending_bytes_max: usize,
    /// Most client invocations that wait for their results. Default: 100000. Since 0.1.0.
    pub invocations_max: usize,
    /// Longest time that a client invocation waits for its result, in milliseconds. Default: 600000. Since 0.1.0.
    pub invocation_timeout_ms: u64,
    /// Shortest time between a client invocation of an app server and the forwarding of its result, in milliseconds. The SDK
    /// registers that it waits for a result only after it has sent the invocation, and drops an earlier result. 0 forwards
    /// results at once. Default: 20. Since 0.1.0.
    pub result_delay_ms: u64,
    /// As `result_delay_ms`, for the first 32 invocations on each server connection, while the app server's code is not compiled
    /// yet. Default: 50. Since 0.1.0.
    pub first_result_delay_ms: u64,
    /// In Classic mode, longest time that a client that negotiated with an app server waits for a server connection of its hub,
    /// in milliseconds; then it is refused. Default: 5000. Since 0.1.0.
    pub await_server_timeout_ms: u64,
    /// Longest time for an app server to pause its messages to a client that migrates, in milliseconds. Default: 2000. Since
    /// 0.1.0.
    pub pause_timeout_ms: u64,
    /// Most headers of a client's connect request that are forwarded to its app server; a client with more is refused (431).
    /// Default: 100. Since 0.1.0.
    pub client_headers_max: usize,
    /// Most bytes of these headers, names and values together; they stay in memory for as long as the client is connected.
    /// Default: 16384. Since 0.1.0.
    pub client_header_bytes_max: usize,
    /// Longest time for an app server that shuts down to complete the invocations of its clients, in milliseconds, before they
    /// migrate. New invocations are held back meanwhile. An invocation or a stream that is not complete by then ends with an
    /// error. Default: 10000. Since 0.1.0.
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
