//! [`Options`]: limits and roads of a client.

use std::num::{NonZeroU32, NonZeroU64, NonZeroUsize};
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::policy::AddressPolicy;
use crate::proxy::ProxyChoice;

/// Limits and roads of one client.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// Longest time to get a connection, in milliseconds: resolving, connecting, asking a proxy, TLS. Default 10000.
    pub connect_timeout_ms: NonZeroU64,
    /// Longest time for a request, in milliseconds: until the head of its response where the body is streamed, until its end
    /// otherwise. Default 30000.
    pub request_timeout_ms: NonZeroU64,
    /// How long an unused connection is kept, in milliseconds. Default 60000.
    pub pool_idle_timeout_ms: NonZeroU64,
    /// Most unused connections that are kept for each host. Default 32.
    pub pool_idle_per_host_max: NonZeroUsize,
    /// Largest body of a response that is read as a whole, in bytes. Default 16777216 (16 MiB).
    pub response_bytes_max: NonZeroUsize,
    /// Largest head of a response, in bytes; at least 8192. Default 65536.
    pub response_head_bytes_max: NonZeroU32,
    /// Which HTTP is spoken. Default `auto`.
    pub http_version: HttpVersion,
    /// Which addresses may be reached. Default: all.
    pub addresses: AddressPolicy,
    /// Which proxies are used. Default: those that the environment names.
    pub proxy: ProxyChoice,
    /// Whether the operating system's certificate authorities are trusted. Default true.
    pub native_roots: bool,
    /// Files in PEM form with further certificate authorities to trust. Default none.
    pub extra_root_files: Vec<PathBuf>,
}

/// Which HTTP is spoken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HttpVersion {
    /// HTTP/2 where TLS agrees on it, otherwise HTTP/1.1.
    #[default]
    Auto,
    /// HTTP/1.1 only.
    Http1,
    /// HTTP/2 only, on plain connections without asking first (RFC 9113 section 3.3).
    Http2,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            connect_timeout_ms: NonZeroU64::new(10_000).expect("not zero"),
            request_timeout_ms: NonZeroU64::new(30_000).expect("not zero"),
            pool_idle_timeout_ms: NonZeroU64::new(60_000).expect("not zero"),
            pool_idle_per_host_max: NonZeroUsize::new(32).expect("not zero"),
            response_bytes_max: NonZeroUsize::new(16 * 1024 * 1024).expect("not zero"),
            response_head_bytes_max: NonZeroU32::new(64 * 1024).expect("not zero"),
            http_version: HttpVersion::default(),
            addresses: AddressPolicy::default(),
            proxy: ProxyChoice::default(),
            native_roots: true,
            extra_root_files: Vec::new(),
        }
    }
}

/// `value` milliseconds.
pub(crate) fn milliseconds(value: NonZeroU64) -> Duration {
    Duration::from_millis(value.get())
}
