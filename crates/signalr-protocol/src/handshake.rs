//! The handshake: a JSON message from the client and one from the server. Both end with 0x1E, whatever the hub protocol.

use crate::framing::RECORD_SEPARATOR;
use crate::hub_protocol::HubProtocol;
use crate::json::{members, text};
use crate::parse_error::ParseError;

/// The response to a valid handshake request.
pub const HANDSHAKE_SUCCESS: &[u8] = b"{}\x1e";

/// The newest version of the hub protocol. It adds the messages of stateful reconnect to version 1; a client sends them only if
/// negotiate offered stateful reconnect.
pub const HANDSHAKE_VERSION_MAX: i32 = 2;

/// The handshake request of a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HandshakeRequest {
    /// The encoding of all messages that follow.
    pub protocol: HubProtocol,
    /// The requested version of the hub protocol: at most [`HANDSHAKE_VERSION_MAX`].
    pub version: i32,
}

/// Why a handshake fails. [`handshake_error`] sends the text to the client.
#[derive(Debug, thiserror::Error)]
pub enum HandshakeError {
    /// The message is not a handshake request.
    #[error("the first message must be a handshake such as {{\"protocol\":\"json\",\"version\":1}}")]
    Malformed(#[source] ParseError),
    /// The protocol is not supported.
    #[error("the hub protocol '{0}' is not supported; use 'json' or 'messagepack'")]
    Protocol(String),
    /// The version is not supported.
    #[error("version {0} of the hub protocol is not supported; use version 1 or 2")]
    Version(i32),
}

impl HandshakeRequest {
    /// Parses a handshake request, without its separator. BlazorPack is accepted here: if no app server supports it, the caller returns
    /// [`HandshakeError::Protocol`]. As in ASP.NET Core 8 and later, every version up to the newest is accepted, also 0, which
    /// `signalrcore` sends.
    ///
    /// # Errors
    ///
    /// See [`HandshakeError`].
    pub fn parse(record: &[u8]) -> Result<Self, HandshakeError> {
        let (mut protocol, mut version) = (None, None);
        members(record, |name, value| match name {
            "protocol" => protocol = Some(value),
            "version" => version = Some(value),
            _ => {}
        })
        .map_err(HandshakeError::Malformed)?;
        let protocol =
            text("protocol", protocol).and_then(|name| name.ok_or(ParseError::Missing("protocol")));
        let name = protocol.map_err(HandshakeError::Malformed)?;
        let version = version.ok_or(ParseError::Missing("version")).and_then(|version| {
            version.parse::<i32>().map_err(|_| ParseError::Type { name: "version", expected: "Number" })
        });
        let version = version.map_err(HandshakeError::Malformed)?;
        let Some(protocol) = HubProtocol::from_name(&name) else {
            // Only the start of a name of unknown length is returned.
            return Err(HandshakeError::Protocol(name.chars().take(64).collect()));
        };
        if version > HANDSHAKE_VERSION_MAX {
            return Err(HandshakeError::Version(version));
        }
        Ok(Self { protocol, version })
    }
}

/// The response to an invalid handshake request; close the connection after it.
pub fn handshake_error(error: &str) -> Vec<u8> {
    let mut record = serde_json::json!({ "error": error }).to_string().into_bytes();
    record.push(RECORD_SEPARATOR);
    record
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(record: &str, expected: &str) {
        let outcome = match HandshakeRequest::parse(record.as_bytes()) {
            Ok(request) => format!("{} {}", request.protocol.name(), request.version),
            Err(error) => error.to_string(),
        };
        assert_eq!(outcome, expected);
    }

    #[test]
    fn handshake_requests_are_parsed_in_any_property_order() {
        check(r#"{"protocol":"json","version":1}"#, "json 1");
        check(r#"{"version":1,"protocol":"messagepack","extra":[1]}"#, "messagepack 1");
        check(r#"{"protocol":"json","version":2}"#, "json 2");
        check(r#"{"protocol":"json","version":0}"#, "json 0");
        check(r#"{"protocol":"json","version":-1}"#, "json -1");
        check(r#"{"protocol":"blazorpack","version":1}"#, "blazorpack 1");
    }

    #[test]
    fn invalid_handshake_requests_have_an_error_text() {
        check(
            r#"{"protocol":"xml","version":1}"#,
            "the hub protocol 'xml' is not supported; use 'json' or 'messagepack'",
        );
        check(
            r#"{"protocol":"json","version":7}"#,
            "version 7 of the hub protocol is not supported; use version 1 or 2",
        );
        let malformed = "the first message must be a handshake such as {\"protocol\":\"json\",\"version\":1}";
        for record in [r#"{"type":6}"#, "", "[]", r#"["json",1]"#, r#"{"protocol":"json","version":"1"}"#] {
            check(record, malformed);
        }
        assert_eq!(handshake_error("a \"b\""), b"{\"error\":\"a \\\"b\\\"\"}\x1e");
    }
}
