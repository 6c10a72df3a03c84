//! Tokens of an OpenID provider, such as Microsoft Entra ID: JSON Web Tokens that it signs with its private key (RS256, ES256). Keys
//! and the time are arguments; this module does not fetch keys.
//!
//! Know these first: [`Provider`], [`JsonWebKeySet`], [`verify`].

mod key_set;

pub use key_set::{JsonWebKeySet, JsonWebKeySetError};

use crate::token::compact::{CompactToken, algorithm_not_accepted, truncated, wrong_audience};
use crate::token::error::TokenError;
use crate::token::rules::{TokenRules, Verified};
use crate::unix_seconds::UnixSeconds;

/// A trusted OpenID provider.
#[derive(Debug, Clone, Copy)]
pub struct Provider<'a> {
    /// Its issuer identifier: the `iss` of its tokens, compared exactly.
    pub issuer: &'a str,
    /// Accepted audiences: the `aud` of its tokens contains one of these. A slash at the end is ignored.
    pub audiences: &'a [String],
    /// Its public keys.
    pub keys: &'a JsonWebKeySet,
}

/// Whether the algorithm of a token is one of this module, so that [`verify`] of this module applies. Verifies nothing.
pub fn is_public_key_token(token: &str, rules: &TokenRules) -> bool {
    CompactToken::parse(token, rules).is_ok_and(|parsed| matches!(parsed.algorithm(), Ok("RS256" | "ES256")))
}

/// Validates a token: its signature (by the provider's key that its `kid` names; without `kid`, by any of them), its issuer, its
/// lifetime at `now`, and its audience.
///
/// # Errors
///
/// See [`TokenError`]. [`TokenError::UnknownKey`] may mean that the provider has a new key: fetch its keys again.
pub fn verify(
    token: &str,
    provider: Provider<'_>,
    now: UnixSeconds,
    rules: &TokenRules,
) -> Result<Verified, TokenError> {
    let parsed = CompactToken::parse(token, rules)?;
    let name = parsed.algorithm()?;
    let Some(algorithm) = key_set::PublicKeyAlgorithm::from_name(name) else {
        return Err(algorithm_not_accepted(name, "RS256 or ES256"));
    };
    let signed = parsed.signed.as_bytes();
    match provider.keys.verify(algorithm, parsed.key_id(), signed, &parsed.signature) {
        Some(true) => {}
        Some(false) => return Err(TokenError::IssuerSignature),
        None => return Err(TokenError::UnknownKey(truncated(parsed.key_id().unwrap_or(""), 128))),
    }
    let verified = parsed.claims(now, rules)?;
    let issuer = verified.claims.get("iss").unwrap_or("");
    if issuer != provider.issuer {
        return Err(TokenError::Issuer(truncated(issuer, 256)));
    }
    let audiences = verified.claims.values("aud");
    let is_accepted = |aud: &String| {
        let equals = |accepted: &String| accepted.trim_end_matches('/') == aud.trim_end_matches('/');
        provider.audiences.iter().any(equals)
    };
    if !audiences.iter().any(is_accepted) {
        return Err(wrong_audience(audiences));
    }
    Ok(verified)
}

#[cfg(test)]
mod tests;
