//! The handshake: one JSON record from the client, one back. Both end with 0x1E, whatever protocol is agreed on.

use crate::json::{members, text};
use crate::{HubProtocol, ParseError, RECORD_SEPARATOR};

/// The answer to a handshake that was understood.
pub const HANDSHAKE_ACCEPTED: &[u8] = b"{}\x1e";

/// The newest version of the hub protocol. It differs from 1 only by the messages of stateful reconnect, which a client sends only where
/// negotiate offered it.
pub const HANDSHAKE_VERSION_MAX: i32 = 2;

/// What a client asks for in its first record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HandshakeRequest {
    /// The encoding of everything that follows.
    pub protocol: HubProtocol,
    /// The version of the hub protocol that the client asks for: at most [`HANDSHAKE_VERSION_MAX`].
    pub version: i32,
}

/// Why a handshake is refused. The text is what [`handshake_refused`] sends to the client.
#[derive(Debug, thiserror::Error)]
pub enum HandshakeError {
    /// The record is not a handshake request.
    #[error("the first message must be a handshake such as {{\"protocol\":\"json\",\"version\":1}}")]
    Malformed(#[source] ParseError),
    /// The protocol is none that we speak.
    #[error("the hub protocol '{0}' is not supported; use 'json' or 'messagepack'")]
    Protocol(String),
    /// The version is none that we speak.
    #[error("version {0} of the hub protocol is not supported; use version 1 or 2")]
    Version(i32),
}

impl HandshakeRequest {
    /// Reads the payload of the first record, without its separator. BlazorPack is read like the others: whether anybody is there to
    /// speak it is for the caller to say, by [`HandshakeError::Protocol`]. As in ASP.NET Core 8 and later, every version up to the newest is
    /// accepted, 0 too, which `signalrcore` sends.
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
            // Only the beginning of a name that anybody may send comes back to them.
            return Err(HandshakeError::Protocol(name.chars().take(64).collect()));
        };
        if version > HANDSHAKE_VERSION_MAX {
            return Err(HandshakeError::Version(version));
        }
        Ok(Self { protocol, version })
    }
}

/// The record that refuses a handshake; the connection is closed after it.
pub fn handshake_refused(why: &str) -> Vec<u8> {
    let mut record = serde_json::json!({ "error": why }).to_string().into_bytes();
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
    fn handshakes_are_read_in_any_property_order() {
        check(r#"{"protocol":"json","version":1}"#, "json 1");
        check(r#"{"version":1,"protocol":"messagepack","extra":[1]}"#, "messagepack 1");
        check(r#"{"protocol":"json","version":2}"#, "json 2");
        check(r#"{"protocol":"json","version":0}"#, "json 0");
        check(r#"{"protocol":"json","version":-1}"#, "json -1");
        check(r#"{"protocol":"blazorpack","version":1}"#, "blazorpack 1");
    }

    #[test]
    fn refusals_say_what_is_wrong() {
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
        assert_eq!(handshake_refused("a \"b\""), b"{\"error\":\"a \\\"b\\\"\"}\x1e");
    }
}
