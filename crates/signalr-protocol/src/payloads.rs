//! Binary bodies of the service's REST interface: the multi-protocol payload (`application/octet-stream`), a MessagePack map from
//! protocol name to one framed hub message; and a message in MessagePack (`application/x-msgpack`).

use std::borrow::Cow;

use crate::framing::next_message;
use crate::hub_protocol::HubProtocol;
use crate::message::Invocation;
use crate::msgpack::reader::{MsgpackReader, MsgpackToken};
use crate::parse_error::ParseError;

/// Why a multi-protocol payload is invalid.
#[derive(Debug, thiserror::Error)]
pub enum PayloadsError {
    /// It is not a map from string to binary.
    #[error("the body is not a MessagePack map of protocol name to message")]
    Map(#[source] ParseError),
    /// The message of a protocol is not exactly one framed hub message.
    #[error("the '{0}' message is not one framed hub message")]
    Message(&'static str),
    /// It has no message for a supported protocol.
    #[error("the body has no message for 'json' or 'messagepack'")]
    Empty,
}

/// Why a body is not a message in MessagePack.
#[derive(Debug, thiserror::Error)]
pub enum MessageError {
    /// It is neither a map nor an array of target and arguments.
    #[error("the body is not a MessagePack map or array of target and arguments")]
    Shape(#[source] ParseError),
    /// Its arguments are not an array.
    #[error("the arguments of a message must be an array")]
    Arguments,
}

/// A body must be one value.
const TRAILING: ParseError = ParseError::MessagePack("bytes follow the value");

/// Parses the map; returns the framed message of each supported protocol, in the order of the map. Other entries are skipped.
///
/// # Errors
///
/// If it is not such a map, has no supported protocol, or the value for one of them is not exactly one framed message.
pub fn parse_payloads(body: &[u8]) -> Result<Vec<(HubProtocol, &[u8])>, PayloadsError> {
    let payloads = parse_framed(body)?;
    for (protocol, message) in &payloads {
        match next_message(*protocol, message, message.len()) {
            Ok(Some((_, used))) if used == message.len() => {}
            _ => return Err(PayloadsError::Message(protocol.name())),
        }
    }
    Ok(payloads)
}

/// Like [`parse_payloads`], but each protocol may have several framed messages; the caller splits them.
///
/// # Errors
///
/// If it is not such a map, or has no supported protocol.
pub fn parse_framed(body: &[u8]) -> Result<Vec<(HubProtocol, &[u8])>, PayloadsError> {
    let mut reader = MsgpackReader::new(body);
    let MsgpackToken::Map(count) = reader.token().map_err(PayloadsError::Map)? else {
        return Err(PayloadsError::Map(ParseError::MessagePack("a map is expected")));
    };
    let mut payloads = Vec::new();
    for _ in 0..count {
        let name = reader.string().map_err(PayloadsError::Map)?;
        let MsgpackToken::Binary(message) = reader.token().map_err(PayloadsError::Map)? else {
            return Err(PayloadsError::Map(ParseError::MessagePack("binary is expected")));
        };
        if let Some(protocol) = HubProtocol::from_name(&name) {
            payloads.push((protocol, message));
        }
    }
    if !reader.is_empty() {
        return Err(PayloadsError::Map(TRAILING));
    }
    if payloads.is_empty() { Err(PayloadsError::Empty) } else { Ok(payloads) }
}

/// Parses a message: a map with `target` and `arguments` (case-insensitive, in any order), or an array of the two. Other entries are
/// skipped.
///
/// # Errors
///
/// If it is neither, or the arguments are not an array.
pub fn parse_message(body: &[u8]) -> Result<Invocation<'_>, MessageError> {
    let mut reader = MsgpackReader::new(body);
    let (mut target, mut arguments) = (Cow::Borrowed(""), [0x90].as_slice());
    match reader.token().map_err(MessageError::Shape)? {
        MsgpackToken::Map(count) => {
            for _ in 0..count {
                let name = reader.string().map_err(MessageError::Shape)?;
                if name.eq_ignore_ascii_case("target") {
                    target = reader.string().map_err(MessageError::Shape)?;
                } else {
                    let value = reader.raw().map_err(MessageError::Shape)?;
                    if name.eq_ignore_ascii_case("arguments") {
                        arguments = value;
                    }
                }
            }
        }
        MsgpackToken::Array(count @ 1..) => {
            target = reader.string().map_err(MessageError::Shape)?;
            for index in 1..count {
                let value = reader.raw().map_err(MessageError::Shape)?;
                if index == 1 {
                    arguments = value;
                }
            }
        }
        _ => return Err(MessageError::Shape(ParseError::MessagePack("a map or an array is expected"))),
    }
    if !reader.is_empty() {
        return Err(MessageError::Shape(TRAILING));
    }
    match MsgpackReader::new(arguments).token() {
        Ok(MsgpackToken::Array(_)) => {}
        Ok(MsgpackToken::Nil) => arguments = &[0x90],
        _ => return Err(MessageError::Arguments),
    }
    Ok(Invocation { target, arguments: Cow::Borrowed(arguments), ..Invocation::default() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_of_unknown_protocols_are_skipped() {
        let body = b"\x83\xa4json\xc4\x0b{\"type\":6}\x1e\xabmessagepack\xc4\x03\x02\x91\x06\xa3xml\xc4\x01x";
        let payloads = parse_payloads(body).unwrap();
        let expected: [(HubProtocol, &[u8]); 2] =
            [(HubProtocol::Json, b"{\"type\":6}\x1e"), (HubProtocol::MessagePack, b"\x02\x91\x06")];
        assert_eq!(payloads, expected);
    }

    #[test]
    fn a_message_is_parsed_from_a_map_or_an_array() {
        let check = |body: &[u8], target: &str, arguments: &[u8]| {
            let message = parse_message(body).unwrap();
            assert_eq!((message.target.as_ref(), message.arguments.as_ref()), (target, arguments));
        };
        check(b"\x82\xa6target\xa1t\xa9arguments\x91\x01", "t", b"\x91\x01");
        check(b"\x83\xa9Arguments\x92\x01\xc3\xa1x\x81\xa1y\x02\xa6Target\xa1t", "t", b"\x92\x01\xc3");
        check(b"\x82\xa6target\xa1t\xa9arguments\xc0", "t", b"\x90");
        check(b"\x81\xa6target\xa1t", "t", b"\x90");
        check(b"\x93\xa1t\x91\x05\xc0", "t", b"\x91\x05");
        let error = |body: &[u8]| parse_message(body).unwrap_err().to_string();
        let shape = "the body is not a MessagePack map or array of target and arguments";
        for body in [b"".as_slice(), b"\x90", b"\x05", b"\x81\xa6target\x05", b"\x92\xa1t", b"\x81\x05\x05"] {
            assert_eq!(error(body), shape, "{body:?}");
        }
        assert_eq!(error(b"\x92\xa1t\x05"), "the arguments of a message must be an array");
    }

    #[test]
    fn invalid_bodies_are_rejected_with_the_cause() {
        let check = |body: &[u8], expected: &str| {
            assert_eq!(parse_payloads(body).unwrap_err().to_string(), expected);
        };
        check(b"{}", "the body is not a MessagePack map of protocol name to message");
        check(b"\x81\xa4json\xc4\x02{}", "the 'json' message is not one framed hub message");
        check(b"\x80", "the body has no message for 'json' or 'messagepack'");
        check(
            b"\x81\xabmessagepack\xc4\x03\x05\x91\x06",
            "the 'messagepack' message is not one framed hub message",
        );
    }
}
