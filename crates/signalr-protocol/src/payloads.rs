//! The multi-protocol payload of the service's REST interface (`application/octet-stream`): a MessagePack map from protocol
//! name to one complete framed hub message.

use crate::msgpack::reader::{Reader, Token};
use crate::{HubProtocol, ParseError, next_message};

/// Why a multi-protocol payload cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PayloadsError {
    /// It is not a map from text to binary.
    #[error("the body is not a MessagePack map of protocol name to message")]
    Map(#[source] ParseError),
    /// The message of a protocol is not exactly one framed hub message.
    #[error("the '{0}' message is not one framed hub message")]
    Message(&'static str),
    /// It holds no message of a protocol that we speak.
    #[error("the body holds no message for 'json' or 'messagepack'")]
    Empty,
}

/// Reads the map; gives the framed message of each protocol that we can read, in the order of the map. Others are skipped.
pub fn parse_payloads(body: &[u8]) -> Result<Vec<(HubProtocol, &[u8])>, PayloadsError> {
    let mut reader = Reader::new(body);
    let Token::Map(count) = reader.token().map_err(PayloadsError::Map)? else {
        return Err(PayloadsError::Map(ParseError::MessagePack("a map is expected")));
    };
    let mut payloads = Vec::new();
    for _ in 0..count {
        let name = reader.string().map_err(PayloadsError::Map)?;
        let Token::Binary(message) = reader.token().map_err(PayloadsError::Map)? else {
            return Err(PayloadsError::Map(ParseError::MessagePack("binary is expected")));
        };
        let protocol = HubProtocol::from_name(&name).filter(|protocol| *protocol != HubProtocol::BlazorPack);
        let Some(protocol) = protocol else { continue };
        match next_message(protocol, message, message.len()) {
            Ok(Some((_, used))) if used == message.len() => payloads.push((protocol, message)),
            _ => return Err(PayloadsError::Message(protocol.name())),
        }
    }
    if payloads.is_empty() { Err(PayloadsError::Empty) } else { Ok(payloads) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_map_of_framed_messages_is_read_and_others_are_skipped() {
        let body = b"\x83\xa4json\xc4\x0b{\"type\":6}\x1e\xabmessagepack\xc4\x03\x02\x91\x06\xa3xml\xc4\x01x";
        let payloads = parse_payloads(body).unwrap();
        let expected: [(HubProtocol, &[u8]); 2] =
            [(HubProtocol::Json, b"{\"type\":6}\x1e"), (HubProtocol::MessagePack, b"\x02\x91\x06")];
        assert_eq!(payloads, expected);
    }

    #[test]
    fn other_bodies_are_refused_with_the_reason() {
        let check = |body: &[u8], expected: &str| {
            assert_eq!(parse_payloads(body).unwrap_err().to_string(), expected);
        };
        check(b"{}", "the body is not a MessagePack map of protocol name to message");
        check(b"\x81\xa4json\xc4\x02{}", "the 'json' message is not one framed hub message");
        check(b"\x80", "the body holds no message for 'json' or 'messagepack'");
        check(
            b"\x81\xabmessagepack\xc4\x03\x05\x91\x06",
            "the 'messagepack' message is not one framed hub message",
        );
    }
}
