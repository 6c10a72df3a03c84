//! [`Beginning`]: what can be said of a message that is too long to be read whole.

use crate::msgpack::reader::{Reader, Token};

/// The first fields of a message of which only the beginning is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Beginning<'a> {
    /// The number of its type.
    pub kind: u64,
    /// The texts in front, in order: who it is about.
    pub texts: Vec<&'a str>,
    /// The number behind them; in the messages that are answered with an ack, its id.
    pub number: Option<u64>,
    /// What there is of the bytes behind them: in [`super::Message::ConnectionData`] the beginning of the payload.
    pub bytes: &'a [u8],
}

/// Reads what there is; `None` where that is no service message.
pub fn beginning(bytes: &[u8]) -> Option<Beginning<'_>> {
    let mut reader = Reader::new(bytes);
    reader.array().ok()?;
    let kind = reader.unsigned().ok()?;
    let mut texts = Vec::new();
    loop {
        let mut next = reader.clone();
        match next.token() {
            Ok(Token::Text(text)) => texts.push(std::str::from_utf8(text).ok()?),
            Ok(Token::Nil) => {}
            Ok(Token::Unsigned(number)) => {
                return Some(Beginning { kind, texts, number: Some(number), bytes: &[] });
            }
            _ => break,
        }
        reader = next;
    }
    let bytes = match reader.rest() {
        [0xc4, _, rest @ ..] | [0xc5, _, _, rest @ ..] | [0xc6, _, _, _, _, rest @ ..] => rest,
        _ => &[],
    };
    Some(Beginning { kind, texts, number: None, bytes })
}

#[cfg(test)]
mod tests {
    use super::super::{Extensions, Message};
    use super::*;

    fn begun(message: &Message<'_>, bytes: usize) -> Vec<u8> {
        let mut out = Vec::new();
        message.encode(&mut out);
        let (_, prefix) = crate::length_prefix(&out).unwrap().unwrap();
        out.drain(..prefix);
        out.truncate(bytes);
        out
    }

    #[test]
    fn the_fields_in_front_are_read_of_a_message_that_is_cut_off() {
        let payload = vec![b'x'; 100_000];
        let extensions = Extensions::default();
        let data = Message::ConnectionData { connection_id: "c", payload: &payload, extensions };
        let bytes = begun(&data, 100);
        let read = beginning(&bytes).unwrap();
        assert_eq!((read.kind, read.texts, read.number), (6, vec!["c"], None));
        assert_eq!(read.bytes, &payload[..91]);
        let close = Message::CloseUserConnectionsWithAck {
            user_id: "u",
            reason: None,
            ack_id: 7,
            excluded: vec!["a"; 1000],
            extensions,
        };
        let bytes = begun(&close, 20);
        let expected = Beginning { kind: 32, texts: vec!["u"], number: Some(7), bytes: &[] };
        assert_eq!(beginning(&bytes), Some(expected));
        assert_eq!(beginning(b"\x91"), None);
        assert_eq!(beginning(b""), None);
    }
}
