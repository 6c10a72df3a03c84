//! Tokens of a login provider: JSON Web Tokens that it signed with its private key (RS256, ES256), as Entra ID and other OpenID
//! Connect providers hand them out. Keys and the time are arguments; fetching keys is somebody else's concern.
//!
//! Know these first: [`Provider`], [`JsonWebKeySet`], [`verify`].

mod key_set;

pub use key_set::{JsonWebKeySet, JsonWebKeySetError};

use crate::token::parts::{Parts, algorithm_refused, audience_refused, shown};
use crate::{Rules, TokenError, UnixSeconds, Verified};

/// A login provider that is trusted.
#[derive(Debug, Clone, Copy)]
pub struct Provider<'a> {
    /// Its name, exactly as in the `iss` of its tokens.
    pub issuer: &'a str,
    /// What its tokens must be for: one of these is in their `aud`. A slash at the end does not matter.
    pub audiences: &'a [String],
    /// Its public keys.
    pub keys: &'a JsonWebKeySet,
}

/// Whether a token says that a private key signed it, so that [`verify`] of this module is the one to ask. Nothing is proved by that.
pub fn is_public_key_token(token: &str, rules: &Rules) -> bool {
    Parts::split(token, rules).is_ok_and(|parts| matches!(parts.algorithm(), Ok("RS256" | "ES256")))
}

/// Checks a token: its signature by the key of the provider that it names, or by any that fits where it names none; its issuer,
/// that it is valid at `now`, and that it is for one of the provider's audiences.
///
/// # Errors
///
/// See [`TokenError`]. [`TokenError::UnknownKey`] may mean that the provider has a new key: fetch its keys again.
pub fn verify(
    token: &str,
    provider: Provider<'_>,
    now: UnixSeconds,
    rules: &Rules,
) -> Result<Verified, TokenError> {
    let parts = Parts::split(token, rules)?;
    let name = parts.algorithm()?;
    let Some(algorithm) = key_set::Algorithm::from_name(name) else {
        return Err(algorithm_refused(name, "RS256 or ES256"));
    };
    let signed = parts.signed.as_bytes();
    match provider.keys.verify(algorithm, parts.key_id(), signed, &parts.signature) {
        Some(true) => {}
        Some(false) => return Err(TokenError::IssuerSignature),
        None => return Err(TokenError::UnknownKey(shown(parts.key_id().unwrap_or(""), 128))),
    }
    let verified = parts.claims(now, rules)?;
    let issuer = verified.claims.get("iss").unwrap_or("");
    if issuer != provider.issuer {
        return Err(TokenError::Issuer(shown(issuer, 256)));
    }
    let audiences = verified.claims.values("aud");
    let fits = |aud: &String| {
        let wanted = |wanted: &String| wanted.trim_end_matches('/') == aud.trim_end_matches('/');
        provider.audiences.iter().any(wanted)
    };
    if !audiences.iter().any(fits) {
        return Err(audience_refused(audiences));
    }
    Ok(verified)
}

#[cfg(test)]
mod tests;
