//! [`TokenRules`]: the limits of a validation, and its result.

use std::time::Duration;

use crate::claims::Claims;
use crate::unix_seconds::UnixSeconds;

/// The limits of a validation.
#[derive(Debug, Clone)]
pub struct TokenRules {
    /// Longest token, in bytes. SDKs issue client tokens of at most 4,096 bytes.
    pub token_bytes_max: usize,
    /// How long a token is accepted after its `exp`: how far the issuer's clock may be behind.
    pub leeway: Duration,
    /// How long a token is accepted before its `nbf`: how far the issuer's clock may be ahead.
    pub early: Duration,
}

/// A valid token.
#[derive(Debug, Clone)]
pub struct Verified {
    /// Its claims.
    pub claims: Claims,
    /// Its expiration time.
    pub expires_at: UnixSeconds,
}

impl Default for TokenRules {
    fn default() -> Self {
        Self { token_bytes_max: 8_192, leeway: Duration::from_secs(5), early: Duration::from_secs(300) }
    }
}
