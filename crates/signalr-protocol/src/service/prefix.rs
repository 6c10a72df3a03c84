//! [`MessagePrefix`]: the first fields of a message that is too long to be read completely.

use crate::msgpack::reader::{MsgpackReader, MsgpackToken};

/// The first fields of an incomplete message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MessagePrefix<'a> {
    /// The number of its type.
    pub kind: u64,
    /// The strings at the start, in order: the receiver or subject of the message.
    pub texts: Vec<&'a str>,
    /// The number after them; the ack id, in messages that request an ack.
    pub number: Option<u64>,
    /// The available bytes after them: in [`super::Message::ConnectionData`] the start of the payload.
    pub bytes: &'a [u8],
}

/// Parses the available bytes; `None` if they are not the start of a service message.
pub fn parse_prefix(bytes: &[u8]) -> Option<MessagePrefix<'_>> {
    let mut reader = MsgpackReader::new(bytes);
    reader.array().ok()?;
    let kind = reader.unsigned().ok()?;
    let mut texts = Vec::new();
    loop {
        let mut next = reader.clone();
        match next.token() {
            Ok(MsgpackToken::Text(text)) => texts.push(std::str::from_utf8(text).ok()?),
            Ok(MsgpackToken::Nil) => {}
            Ok(MsgpackToken::Unsigned(number)) => {
                return Some(MessagePrefix { kind, texts, number: Some(number), bytes: &[] });
            }
            _ => break,
        }
        reader = next;
    }
    let bytes = match reader.rest() {
        [0xc4, _, rest @ ..] | [0xc5, _, _, rest @ ..] | [0xc6, _, _, _, _, rest @ ..] => rest,
        _ => &[],
    };
    Some(MessagePrefix { kind, texts, number: None, bytes })
}

#[cfg(test)]
mod tests {
    use super::super::{Extensions, Message};
    use super::*;

    fn prefix_of(message: &Message<'_>, bytes: usize) -> Vec<u8> {
        let mut out = Vec::new();
        message.encode(&mut out);
        let (_, prefix) = crate::length_prefix(&out).unwrap().unwrap();
        out.drain(..prefix);
        out.truncate(bytes);
        out
    }

    #[test]
    fn the_first_fields_of_an_incomplete_message_are_parsed() {
        let payload = vec![b'x'; 100_000];
        let extensions = Extensions::default();
        let data = Message::ConnectionData { connection_id: "c", payload: &payload, extensions };
        let bytes = prefix_of(&data, 100);
        let read = parse_prefix(&bytes).unwrap();
        assert_eq!((read.kind, read.texts, read.number), (6, vec!["c"], None));
        assert_eq!(read.bytes, &payload[..91]);
        let close = Message::CloseUserConnectionsWithAck {
            user_id: "u",
            reason: None,
            ack_id: 7,
            excluded: vec!["a"; 1000],
            extensions,
        };
        let bytes = prefix_of(&close, 20);
        let expected = MessagePrefix { kind: 32, texts: vec!["u"], number: Some(7), bytes: &[] };
        assert_eq!(parse_prefix(&bytes), Some(expected));
        assert_eq!(parse_prefix(b"\x91"), None);
        assert_eq!(parse_prefix(b""), None);
    }
}
