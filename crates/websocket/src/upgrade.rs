//! The opening handshake of a server (section 4.2).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{CONNECTION, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION, UPGRADE};
use http::{HeaderMap, HeaderName, Method, Request, StatusCode, Version};
use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};

/// Appended to the client's key (section 1.3).
const GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// Why an opening handshake is rejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UpgradeRefused {
    /// Section 4.1: the method must be GET.
    #[error("a WebSocket must be opened with GET")]
    Method,
    /// RFC 6455 uses HTTP/1.1 (RFC 8441 defines another handshake for HTTP/2).
    #[error("a WebSocket must be opened over HTTP/1.1")]
    HttpVersion,
    /// The header `Connection` does not name `Upgrade`, or `Upgrade` does not name `websocket`.
    #[error("the request does not ask for an upgrade to websocket")]
    NotAsked,
    /// The client requests another version; the response names the supported one.
    #[error("only version 13 of the WebSocket protocol is supported")]
    WebSocketVersion,
    /// The key is missing or is not 16 bytes in base64.
    #[error("the header sec-websocket-key must have 16 bytes in base64")]
    Key,
}

impl UpgradeRefused {
    /// The status of the response.
    pub fn status(self) -> StatusCode {
        match self {
            Self::Method => StatusCode::METHOD_NOT_ALLOWED,
            Self::HttpVersion | Self::Key => StatusCode::BAD_REQUEST,
            Self::NotAsked | Self::WebSocketVersion => StatusCode::UPGRADE_REQUIRED,
        }
    }

    /// A header that the response must have (sections 4.2.2 and 4.4; RFC 9110, 15.5.22).
    pub fn header(self) -> Option<(HeaderName, &'static str)> {
        match self {
            Self::WebSocketVersion => Some((SEC_WEBSOCKET_VERSION, "13")),
            Self::NotAsked => Some((UPGRADE, "websocket")),
            Self::Method => Some((http::header::ALLOW, "GET")),
            Self::HttpVersion | Self::Key => None,
        }
    }
}

/// Checks an opening handshake; returns the value of `sec-websocket-accept` for the 101 response.
///
/// # Errors
///
/// If the request is not a valid opening handshake.
pub fn accept_upgrade<B>(request: &Request<B>) -> Result<String, UpgradeRefused> {
    if request.method() != Method::GET {
        return Err(UpgradeRefused::Method);
    }
    if request.version() != Version::HTTP_11 {
        return Err(UpgradeRefused::HttpVersion);
    }
    let headers = request.headers();
    if !has_token(headers, &CONNECTION, "upgrade") || !has_token(headers, &UPGRADE, "websocket") {
        return Err(UpgradeRefused::NotAsked);
    }
    if headers.get(SEC_WEBSOCKET_VERSION).is_none_or(|version| version != "13") {
        return Err(UpgradeRefused::WebSocketVersion);
    }
    let mut keys = headers.get_all(SEC_WEBSOCKET_KEY).iter();
    let (Some(key), None) = (keys.next(), keys.next()) else { return Err(UpgradeRefused::Key) };
    let key = key.to_str().map_err(|_| UpgradeRefused::Key)?.trim();
    if STANDARD.decode(key).map_or(0, |bytes| bytes.len()) != 16 {
        return Err(UpgradeRefused::Key);
    }
    Ok(accept_key(key))
}

/// The value of `sec-websocket-accept` for a client's key (section 4.2.2, step 5.4).
pub fn accept_key(key: &str) -> String {
    STANDARD.encode(digest(&SHA1_FOR_LEGACY_USE_ONLY, format!("{key}{GUID}").as_bytes()))
}

/// Whether a list header contains a token; case-insensitive.
fn has_token(headers: &HeaderMap, name: &HeaderName, token: &str) -> bool {
    headers
        .get_all(name)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|part| part.trim().eq_ignore_ascii_case(token))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(changes: &[(&'static str, Option<&'static str>)], expected: Result<&str, UpgradeRefused>) {
        let mut request = Request::new(());
        for (name, value) in [
            ("connection", "keep-alive, Upgrade"),
            ("upgrade", "WebSocket"),
            ("sec-websocket-version", "13"),
            ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ] {
            request.headers_mut().insert(name, value.parse().unwrap());
        }
        for (name, value) in changes {
            match value {
                Some(value) => drop(request.headers_mut().insert(*name, value.parse().unwrap())),
                None => drop(request.headers_mut().remove(*name)),
            }
        }
        assert_eq!(accept_upgrade(&request).as_deref().map_err(|refused| *refused), expected);
    }

    #[test]
    fn the_key_of_the_specification_gives_its_accept_value() {
        check(&[], Ok("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
    }

    #[test]
    fn an_invalid_handshake_is_rejected_with_its_cause() {
        check(&[("connection", Some("close"))], Err(UpgradeRefused::NotAsked));
        check(&[("upgrade", Some("h2c"))], Err(UpgradeRefused::NotAsked));
        check(&[("upgrade", None)], Err(UpgradeRefused::NotAsked));
        check(&[("sec-websocket-version", Some("8"))], Err(UpgradeRefused::WebSocketVersion));
        check(&[("sec-websocket-key", None)], Err(UpgradeRefused::Key));
        check(&[("sec-websocket-key", Some("AAAA"))], Err(UpgradeRefused::Key));
        check(&[("sec-websocket-key", Some("not base64 at all"))], Err(UpgradeRefused::Key));
        assert_eq!(UpgradeRefused::WebSocketVersion.status(), StatusCode::UPGRADE_REQUIRED);
        assert_eq!(UpgradeRefused::WebSocketVersion.header(), Some((SEC_WEBSOCKET_VERSION, "13")));
    }
}
