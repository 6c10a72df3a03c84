//! [`TokenError`]: why a token is rejected.

use crate::unix_seconds::UnixSeconds;

/// Why a token is rejected. The text may be sent to the caller: it contains nothing that the caller did not send.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// It exceeds [`TokenRules::token_bytes_max`](crate::TokenRules::token_bytes_max).
    #[error("the token has {bytes} bytes, more than the {bytes_max} allowed")]
    TooLong {
        /// Its length.
        bytes: usize,
        /// The limit.
        bytes_max: usize,
    },
    /// It is not a JSON Web Token in compact serialization.
    #[error("the token is malformed: {0}")]
    Malformed(&'static str),
    /// Its algorithm is not accepted.
    #[error("the token's algorithm '{0}' is not accepted; use {1}")]
    Algorithm(String, &'static str),
    /// Its header requires extensions; none is supported (RFC 7515, section 4.1.11).
    #[error("the token's header has 'crit', which names extensions that are not supported")]
    Critical,
    /// No valid key made its signature.
    #[error("the token's signature does not match any valid access key")]
    Signature,
    /// It has no expiration time.
    #[error("the token has no 'exp' claim")]
    MissingExpiry,
    /// It has expired.
    #[error("the token expired at {expired_at} (Unix time), {ago_s} seconds ago")]
    Expired {
        /// Its expiration time.
        expired_at: UnixSeconds,
        /// Seconds since then.
        ago_s: u64,
    },
    /// It is not valid yet.
    #[error("the token is not valid before {not_before} (Unix time), in {in_s} seconds")]
    NotYetValid {
        /// Its `nbf`.
        not_before: UnixSeconds,
        /// Seconds until then.
        in_s: u64,
    },
    /// It was issued for another audience.
    #[error("the token's audience '{0}' does not match this resource")]
    Audience(String),
    /// Its issuer is not trusted.
    #[error("the token's issuer '{0}' is not the one that is configured")]
    Issuer(String),
    /// No key of its issuer made its signature.
    #[error("the token's signature does not match a key of its issuer")]
    IssuerSignature,
    /// The known key set of its issuer has no key with this `kid`.
    #[error("the token's 'kid' names '{0}', which is not a key of its issuer")]
    UnknownKey(String),
}
