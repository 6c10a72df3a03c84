//! Master-key signatures of Cosmos DB: creates and verifies the `authorization` header of a request.
//!
//! Not its concern: HTTP, clocks, which resources exist. A signature with an invalid date is rejected; the caller decides how old
//! the date may be ([`DateRule`]).
//!
//! Know these first: [`MasterKey`], [`sign`], [`verify`].

use std::borrow::Cow;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use ring::hmac;

use crate::unix_seconds::UnixSeconds;

/// How far the date of a signature may be ahead of this clock, in seconds, if its age is limited.
const AHEAD_MAX_S: u64 = 5 * 60;

/// Characters that are not percent-encoded in the header: those that JavaScript's `encodeURIComponent` keeps.
const UNESCAPED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'!')
    .remove(b'~')
    .remove(b'*')
    .remove(b'\'')
    .remove(b'(')
    .remove(b')');

/// An account key, prepared for signing. `Debug` does not show it.
#[derive(Clone)]
pub struct MasterKey(hmac::Key);

/// Why a text is not a valid account key.
#[derive(Debug, thiserror::Error)]
pub enum MasterKeyError {
    /// Account keys are base64.
    #[error("the account key is not base64; copy it completely, with its trailing `=` signs")]
    NotBase64,
    /// With an empty key any caller could sign.
    #[error("the account key is empty")]
    Empty,
}

/// The parts of a request that are signed.
#[derive(Clone, Copy, Debug)]
pub struct SignedParts<'a> {
    /// The HTTP method, in any case.
    pub verb: &'a str,
    /// The path of the request URI: percent-encoded, with or without slashes at its ends.
    pub path: &'a str,
    /// The `x-ms-date` header, or empty.
    pub ms_date: &'a str,
    /// The `date` header if `x-ms-date` is missing, otherwise empty.
    pub date: &'a str,
}

/// Which valid dates of a signature are accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DateRule {
    /// All: for a service that other machines cannot reach.
    Any,
    /// Dates up to this age, and at most five minutes ahead.
    Fresh {
        /// The current time.
        now: UnixSeconds,
        /// The maximum age, in seconds; Azure accepts 15 minutes.
        age_max_s: u64,
    },
}

/// Why an `authorization` value is rejected. The texts may be sent to the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// The header is missing.
    #[error("the authorization header is missing; sign the request with an account key")]
    Missing,
    /// The value does not have the form `type=…&ver=…&sig=…`.
    #[error(
        "the authorization header is malformed; it must be `type=master&ver=1.0&sig=<base64>`, percent-encoded"
    )]
    Malformed,
    /// `type=aad`: Microsoft Entra credentials.
    #[error("Microsoft Entra tokens (type=aad) are not supported here; use an account key")]
    EntraNotSupported,
    /// `type=resource`: a resource token of a permission.
    #[error("resource tokens (type=resource) are not supported here; use an account key")]
    ResourceTokenNotSupported,
    /// Neither `x-ms-date` nor `date`.
    #[error(
        "the request has neither an x-ms-date nor a date header, and one of them is part of the signature"
    )]
    DateMissing,
    /// The date is invalid.
    #[error(
        "the date header has an invalid format; x-ms-date must be like `Fri, 20 Nov 2026 21:36:21 GMT` (RFC 1123)"
    )]
    DateMalformed,
    /// The date is too old, or too far ahead.
    #[error(
        "the authorization token is not valid at the current time (token start time: {}, token expiry time: {}, current server time: {}); compare the clocks of both machines, and sign each request anew",
        rfc1123(*signed_at), rfc1123(signed_at.saturating_add(*age_max_s)), rfc1123(*now)
    )]
    DateOutside {
        /// The date of the signature.
        signed_at: UnixSeconds,
        /// How old it may be, in seconds.
        age_max_s: u64,
        /// The current time.
        now: UnixSeconds,
    },
    /// The signature is of another key or another request.
    #[error(
        "the signature does not match; check the account key, and that no proxy changes the path or the date"
    )]
    Mismatch,
}

/// The resource of a path: its type and its link, which are signed.
#[derive(Debug, PartialEq, Eq)]
struct SignedResource<'a> {
    kind: &'a str,
    /// Segments of the link, as in the path.
    link: &'a [&'a str],
}

impl MasterKey {
    /// Parses a key as connection strings contain it: base64.
    pub fn parse(base64: &str) -> Result<Self, MasterKeyError> {
        let bytes = STANDARD.decode(base64.trim()).map_err(|_| MasterKeyError::NotBase64)?;
        if bytes.is_empty() {
            return Err(MasterKeyError::Empty);
        }
        Ok(Self(hmac::Key::new(hmac::HMAC_SHA256, &bytes)))
    }
}

impl fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MasterKey(…)")
    }
}

/// The `authorization` value of a request, percent-encoded as SDKs send it.
pub fn sign(key: &MasterKey, parts: &SignedParts<'_>) -> String {
    let segments = segments(parts.path);
    let resource = resource(&segments);
    let message = message(parts, resource.kind, &decoded(&resource.link.join("/")));
    let signature = STANDARD.encode(hmac::sign(&key.0, message.as_bytes()));
    utf8_percent_encode(&format!("type=master&ver=1.0&sig={signature}"), UNESCAPED).to_string()
}

/// Verifies the `authorization` value of a request with each key, in constant time.
///
/// The signed link consists of names, encoded as in the path or decoded; or it is a resource id (only the last one, in lower
/// case).
///
/// # Errors
///
/// If the value is missing or malformed, its date is invalid or not accepted, or no key made the signature. The signature is
/// verified first: only a caller with a key learns that its date is not accepted.
pub fn verify(
    keys: &[MasterKey],
    authorization: Option<&str>,
    parts: &SignedParts<'_>,
    dates: DateRule,
) -> Result<(), SignatureError> {
    let signature = signature_of(authorization.ok_or(SignatureError::Missing)?)?;
    let date = if parts.ms_date.is_empty() { parts.date } else { parts.ms_date };
    if date.is_empty() {
        return Err(SignatureError::DateMissing);
    }
    let signed_at = parse_date(date).ok_or(SignatureError::DateMalformed)?;
    verify_signature(keys, &signature, parts)?;
    match dates {
        DateRule::Fresh { now, age_max_s }
            if signed_at.saturating_add(age_max_s) < now || signed_at > now.saturating_add(AHEAD_MAX_S) =>
        {
            Err(SignatureError::DateOutside { signed_at, age_max_s, now })
        }
        DateRule::Fresh { .. } | DateRule::Any => Ok(()),
    }
}

fn verify_signature(
    keys: &[MasterKey],
    signature: &[u8],
    parts: &SignedParts<'_>,
) -> Result<(), SignatureError> {
    let segments = segments(parts.path);
    let resource = resource(&segments);
    let matches = |link: &str| {
        let message = message(parts, resource.kind, link);
        keys.iter().any(|key| hmac::verify(&key.0, message.as_bytes(), signature).is_ok())
    };
    let link = resource.link.join("/");
    let by_name = decoded(&link);
    if matches(&by_name) || (by_name != link && matches(&link)) {
        return Ok(());
    }
    // For a resource id, the link is only the last id, in lower case.
    let by_rid = resource.link.last().map(|rid| decoded(rid).to_lowercase());
    if by_rid.is_some_and(|rid| looks_like_rids(resource.link) && matches(&rid)) {
        return Ok(());
    }
    Err(SignatureError::Mismatch)
}

/// Parses a date of RFC 1123, case-insensitive like .NET. Dates before 1970 are invalid.
fn parse_date(text: &str) -> Option<UnixSeconds> {
    let parsed = jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(text.trim()).ok()?;
    u64::try_from(parsed.as_second()).ok()
}

fn rfc1123(time: UnixSeconds) -> String {
    let second = i64::try_from(time).unwrap_or(i64::MAX);
    let timestamp = jiff::Timestamp::from_second(second).unwrap_or(jiff::Timestamp::MAX);
    let printer = jiff::fmt::rfc2822::DateTimePrinter::new();
    printer.timestamp_to_rfc9110_string(&timestamp).unwrap_or_else(|_| time.to_string())
}

/// The signature in `type=master&ver=1.0&sig=<base64>`, percent-encoded or not.
fn signature_of(authorization: &str) -> Result<Vec<u8>, SignatureError> {
    // An unescaped signature may contain `+`, which percent-decoding keeps.
    let plain =
        percent_decode_str(authorization.trim()).decode_utf8().map_err(|_| SignatureError::Malformed)?;
    let mut kind = None;
    let mut signature = None;
    for pair in plain.splitn(3, '&') {
        match pair.split_once('=') {
            Some(("type", value)) => kind = Some(value),
            Some(("sig", value)) => signature = Some(value),
            _ => {}
        }
    }
    match kind {
        Some("master") => {}
        Some("aad") => return Err(SignatureError::EntraNotSupported),
        Some("resource") => return Err(SignatureError::ResourceTokenNotSupported),
        _ => return Err(SignatureError::Malformed),
    }
    STANDARD.decode(signature.ok_or(SignatureError::Malformed)?).map_err(|_| SignatureError::Malformed)
}

/// The string to sign.
fn message(parts: &SignedParts<'_>, kind: &str, link: &str) -> String {
    format!(
        "{}\n{}\n{}\n{}\n{}\n",
        parts.verb.to_lowercase(),
        kind.to_lowercase(),
        link,
        parts.ms_date.to_lowercase(),
        if parts.ms_date.is_empty() { parts.date.to_lowercase() } else { String::new() },
    )
}

fn segments(path: &str) -> Vec<&str> {
    path.split('/').filter(|segment| !segment.is_empty()).collect()
}

/// A path with an odd number of segments is a feed, whose link is its parent; an even number is a resource.
fn resource<'a>(segments: &'a [&'a str]) -> SignedResource<'a> {
    // Deleting a partition key is an operation on the container and is signed as one.
    if let [container @ .., "operations", "partitionkeydelete"] = segments {
        return SignedResource { kind: "colls", link: container };
    }
    match segments {
        [] => SignedResource { kind: "", link: &[] },
        [link @ .., kind] if segments.len() % 2 == 1 => SignedResource { kind, link },
        [.., kind, _] => SignedResource { kind, link: segments },
        [_] => unreachable!("one segment is an odd number of segments"),
    }
}

/// Whether the first id of the path can be a resource id. Otherwise a signature for a resource id could be valid for a link of
/// names.
fn looks_like_rids(link: &[&str]) -> bool {
    let Some(first) = link.get(1) else { return false };
    let standard = decoded(first).replace('-', "/");
    let offer = link.first() == Some(&"offers");
    offer || STANDARD.decode(standard.as_bytes()).is_ok_and(|bytes| bytes.len() == 4)
}

fn decoded(text: &str) -> Cow<'_, str> {
    percent_decode_str(text).decode_utf8_lossy()
}

#[cfg(test)]
mod tests;
