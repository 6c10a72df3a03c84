//! [`Options`]: the limits of a listener. Every one of them has a value; none can be switched off.

use std::num::{NonZeroU32, NonZeroU64, NonZeroUsize};
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Limits of one listener.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// Most open HTTP connections. When the limit is reached, a new connection replaces the idle connection that has been silent
    /// longest: first one that never sent a byte, then one that never sent a complete request, then one between two requests. If no
    /// connection is idle, the new connection is closed at once. Upgraded connections do not count. Reloads. Default 10000.
    pub connections_max: NonZeroUsize,
    /// Most open HTTP connections of one address, counted as for `connections_max`; an IPv6 network of 64 bits is one address. When
    /// the limit is reached, a new connection replaces a silent one of the same address. Behind a proxy all connections have the
    /// proxy's address: set it to `connections_max` there. Reloads. Default 4000. Since 0.1.0.
    pub connections_per_address_max: NonZeroUsize,
    /// How long a connection must be silent before a new connection may replace it, in milliseconds; during a TLS handshake it is
    /// half of `tls_handshake_timeout_ms`. If no connection has been silent that long, the new one is closed at once. Reloads.
    /// Default 50. Since 0.1.0.
    pub silent_after_ms: NonZeroU64,
    /// Largest request head, in bytes, request line and fields together; beyond it 431, which pages of other origins can read.
    /// At least 8192. Reloads. Default 32768.
    #[serde(deserialize_with = "head_bytes")]
    pub head_bytes_max: u32,
    /// Most fields in an HTTP/1 request head; beyond it 431. Reloads. Default 100.
    pub head_fields_max: NonZeroUsize,
    /// Longest time for a request head to arrive, in milliseconds, counted from its first byte, or for the first request from the
    /// moment when the connection was accepted. Reloads. Default 15000.
    pub head_timeout_ms: NonZeroU64,
    /// Longest time that a connection may stay open without a request, in milliseconds. Reloads. Default 120000.
    pub idle_timeout_ms: NonZeroU64,
    /// Least rate at which a request body must arrive, in bytes a second, over the last `body_window_ms` in which we waited for it;
    /// reading a slower body fails. Reloads. Default 240.
    pub body_bytes_per_second_min: NonZeroU32,
    /// Time over which `body_bytes_per_second_min` is measured, in milliseconds, which is also the longest silence within a request
    /// body. Bytes that arrived earlier do not count. Reloads. Default 10000. Since 0.1.0.
    pub body_window_ms: NonZeroU64,
    /// Time by which the beginning of a request body may be later than `body_bytes_per_second_min` allows, in milliseconds. Reloads.
    /// Default 5000.
    pub body_grace_ms: NonZeroU64,
    /// Longest time that a peer may read nothing of what is sent to it, in milliseconds; then the connection is closed, or on HTTP/2
    /// the stream is reset whose response is not read. Time in which there is nothing to send does not count, so an event stream or
    /// a long poll may be silent. Connections that were upgraded have limits of their own. Reloads. Default 30000.
    pub write_timeout_ms: NonZeroU64,
    /// Least rate at which a peer reads what is sent to it, in bytes a second, over the last `write_timeout_ms` in which we waited
    /// for it; the connection of a slower peer is closed. Reloads. Default 240. Since 0.1.0.
    pub write_bytes_per_second_min: NonZeroU32,
    /// Most bytes of responses that may wait in memory for the clients of all ports to read them. Beyond it, addresses that hold
    /// more than an equal share get no further responses: 503 if none was begun, otherwise the response is aborted. Reloads. Default
    /// 268435456. Since 0.1.0.
    pub unsent_bytes_max: NonZeroUsize,
    /// The same for the clients of one address. A single response may exceed it. Reloads. Default 67108864. Since 0.1.0.
    pub unsent_bytes_per_address_max: NonZeroUsize,
    /// Longest time that the rest of a request body is discarded after the request was answered without it, in milliseconds. Until
    /// then the connection is not closed, so that a client that is still sending can read the response. Reloads. Default 5000.
    pub unread_timeout_ms: NonZeroU64,
    /// Longest time for a TLS handshake, in milliseconds. Reloads. Default 10000.
    pub tls_handshake_timeout_ms: NonZeroU64,
    /// Longest time that running requests may take to finish once shutdown was asked for, in milliseconds.
    /// Default 10000.
    pub drain_timeout_ms: NonZeroU64,
    /// Most requests at a time on one HTTP/2 connection. Reloads. Default 200.
    pub http2_streams_max: NonZeroU32,
    /// Most HTTP/2 requests at a time on all connections of one address; beyond it 503. Behind a proxy that speaks HTTP/2 to this
    /// port, all requests have the proxy's address. Reloads. Default 2000. Since 0.1.0.
    pub http2_streams_per_address_max: NonZeroU32,
    /// Time between pings to a silent HTTP/2 peer, in milliseconds; the connection of a peer that does not answer within the same
    /// time is closed. Reloads. Default 30000.
    pub http2_ping_interval_ms: NonZeroU64,
    /// Most bytes that one upgraded TLS connection may hold encrypted and unsent. Reloads. Default 65536.
    pub upgraded_tls_bytes_max: NonZeroUsize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            connections_max: NonZeroUsize::new(10_000).expect("not zero"),
            connections_per_address_max: NonZeroUsize::new(4_000).expect("not zero"),
            silent_after_ms: NonZeroU64::new(50).expect("not zero"),
            head_bytes_max: 32 * 1024,
            head_fields_max: NonZeroUsize::new(100).expect("not zero"),
            head_timeout_ms: NonZeroU64::new(15_000).expect("not zero"),
            idle_timeout_ms: NonZeroU64::new(120_000).expect("not zero"),
            body_bytes_per_second_min: NonZeroU32::new(240).expect("not zero"),
            body_window_ms: NonZeroU64::new(10_000).expect("not zero"),
            body_grace_ms: NonZeroU64::new(5_000).expect("not zero"),
            write_timeout_ms: NonZeroU64::new(30_000).expect("not zero"),
            write_bytes_per_second_min: NonZeroU32::new(240).expect("not zero"),
            unsent_bytes_max: NonZeroUsize::new(256 * 1024 * 1024).expect("not zero"),
            unsent_bytes_per_address_max: NonZeroUsize::new(64 * 1024 * 1024).expect("not zero"),
            unread_timeout_ms: NonZeroU64::new(5_000).expect("not zero"),
            tls_handshake_timeout_ms: NonZeroU64::new(10_000).expect("not zero"),
            drain_timeout_ms: NonZeroU64::new(10_000).expect("not zero"),
            http2_streams_max: NonZeroU32::new(200).expect("not zero"),
            http2_streams_per_address_max: NonZeroU32::new(2_000).expect("not zero"),
            http2_ping_interval_ms: NonZeroU64::new(30_000).expect("not zero"),
            upgraded_tls_bytes_max: NonZeroUsize::new(64 * 1024).expect("not zero"),
        }
    }
}

impl Options {
    /// [`Options::head_bytes_max`], but never less than the protocol implementation can work with.
    pub(crate) fn head_bytes_max(&self) -> usize {
        self.head_bytes_max.max(HEAD_BYTES_MIN) as usize
    }
}

/// The least read buffer of the HTTP/1 implementation.
const HEAD_BYTES_MIN: u32 = 8192;

fn head_bytes<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    let value = u32::deserialize(deserializer)?;
    if value < HEAD_BYTES_MIN {
        let text = format!("head_bytes_max is {value}, and must be at least {HEAD_BYTES_MIN}");
        return Err(serde::de::Error::custom(text));
    }
    Ok(value)
}

/// `value` milliseconds.
pub(crate) fn milliseconds(value: NonZeroU64) -> Duration {
    Duration::from_millis(value.get())
}
