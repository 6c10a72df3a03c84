//! [`Decoder::decode_part`]: returns messages in parts as they arrive, for a receiver that forwards them without buffering.

use super::message::Decoded;
use super::{Decoder, Lent, Payload};
use crate::close::CloseBody;
use crate::event::{Event, MessageKind};
use crate::frame::Opcode;
use crate::header::ReceivedHeader;
use crate::mask::apply_mask;
use crate::violation::Violation;

/// The result of [`Decoder::decode_part`].
#[derive(Debug, PartialEq, Eq)]
pub struct DecodedPart<'a> {
    /// Number of bytes of the input that were used; pass the rest again.
    pub consumed: usize,
    /// The part that arrived. `None`: all input was used, and more is needed.
    pub part: Option<Part<'a>>,
}

/// A part of a message, or a complete control frame.
#[derive(Debug, PartialEq, Eq)]
pub enum Part<'a> {
    /// The next bytes of a message.
    Data {
        /// The type of the message. The parts of a text are valid UTF-8 together; two parts may split a character.
        kind: MessageKind,
        /// The bytes; may be empty.
        payload: &'a [u8],
        /// Whether this is the last part of the message.
        is_end: bool,
    },
    /// A ping: send a pong with the same payload.
    Ping(&'a [u8]),
    /// A pong.
    Pong(&'a [u8]),
    /// A close frame; ignore everything that follows.
    Close(CloseBody<'a>),
}

/// Where the payload of a part is.
enum Source {
    Input(std::ops::Range<usize>),
    Message,
}

impl Decoder {
    /// Changes the limit for messages, including an incomplete one.
    pub fn set_message_bytes_max(&mut self, message_bytes_max: u32) {
        self.message_bytes_max = message_bytes_max;
    }

    /// Like [`Decoder::decode`], but returns what has arrived of a message at once: only headers and control frames are buffered.
    /// The limit still applies to the complete message. The two functions may be mixed; what [`Decoder::decode`] has buffered of a
    /// message is returned as its first part.
    ///
    /// # Errors
    ///
    /// If the peer violates the protocol. Parts of the same message may have been returned before.
    pub fn decode_part<'a>(&'a mut self, input: &'a mut [u8]) -> Result<DecodedPart<'a>, Violation> {
        self.release_lent();
        if let Some(kind) = self.buffered_kind() {
            return self.deliver(input, 0, kind, Source::Message, false);
        }
        let mut at = 0;
        loop {
            let frame = self.partial.as_ref().and_then(|partial| partial.frame);
            let (header, received) = match frame {
                Some(frame) => frame,
                None => {
                    let Some(header) = self.read_header(input, &mut at)? else {
                        return Ok(DecodedPart { consumed: at, part: None });
                    };
                    self.check(&header)?;
                    if let Some(Payload::Input(opcode, range)) =
                        self.read_frame_in_place(&header, input, &mut at)
                    {
                        let part = Some(Part::from(Event::of_frame(opcode, &input[range])?));
                        return Ok(DecodedPart { consumed: at, part });
                    }
                    (header, 0)
                }
            };
            if header.opcode.is_control() {
                if self.buffer_payload(header, received, input, &mut at).is_some() {
                    return self.control(header.opcode, at);
                }
            } else if let Some((kind, range, is_end)) = self.read_part(header, received, input, &mut at) {
                return self.deliver(input, at, kind, Source::Input(range), is_end);
            }
            if at == input.len() {
                return Ok(DecodedPart { consumed: at, part: None });
            }
        }
    }

    /// The type of the message of which a part is buffered.
    fn buffered_kind(&self) -> Option<MessageKind> {
        let partial = self.partial.as_ref()?;
        partial.fragmented.filter(|_| !partial.message.is_empty())
    }

    /// The part of a frame that the input contains; `None` if it contains none and the message continues.
    fn read_part(
        &mut self,
        header: ReceivedHeader,
        received: u64,
        input: &mut [u8],
        at: &mut usize,
    ) -> Option<(MessageKind, std::ops::Range<usize>, bool)> {
        let partial = self.partial.get_or_insert_default();
        let kind = partial.fragmented.or_else(|| MessageKind::of(header.opcode))?;
        let missing = usize::try_from(header.length - received).unwrap_or(usize::MAX);
        let length = missing.min(input.len() - *at);
        let range = *at..*at + length;
        *at += length;
        if let Some(key) = header.key {
            apply_mask(&mut input[range.clone()], key, received);
        }
        let is_end = length == missing && header.fin;
        partial.frame = (length < missing).then_some((header, received + length as u64));
        partial.fragmented = (!is_end).then_some(kind);
        partial.delivered = if is_end { 0 } else { partial.delivered + length as u64 };
        (is_end || length > 0).then_some((kind, range, is_end))
    }

    fn deliver<'a>(
        &'a mut self,
        input: &'a [u8],
        consumed: usize,
        kind: MessageKind,
        source: Source,
        is_end: bool,
    ) -> Result<DecodedPart<'a>, Violation> {
        let partial = self.partial.get_or_insert_default();
        if matches!(source, Source::Message) {
            partial.lent = Lent::Message;
            partial.delivered += partial.message.len() as u64;
        }
        let payload = match source {
            Source::Input(range) => &input[range],
            Source::Message => &partial.message,
        };
        if kind == MessageKind::Text {
            partial.utf8.validate(payload, is_end)?;
        }
        Ok(DecodedPart { consumed, part: Some(Part::Data { kind, payload, is_end }) })
    }

    fn control(&self, opcode: Opcode, consumed: usize) -> Result<DecodedPart<'_>, Violation> {
        let payload = self.partial.as_ref().map_or(&[][..], |partial| &partial.control);
        let part = match opcode {
            Opcode::Ping => Part::Ping(payload),
            Opcode::Pong => Part::Pong(payload),
            _ => Part::Close(CloseBody::parse(payload)?),
        };
        Ok(DecodedPart { consumed, part: Some(part) })
    }
}

impl<'a> From<Decoded<'a>> for DecodedPart<'a> {
    fn from(decoded: Decoded<'a>) -> Self {
        Self { consumed: decoded.consumed, part: decoded.event.map(Part::from) }
    }
}

impl<'a> From<Event<'a>> for Part<'a> {
    /// A complete message is a single part.
    fn from(event: Event<'a>) -> Self {
        match event {
            Event::Message(kind, payload) => Self::Data { kind, payload, is_end: true },
            Event::Ping(payload) => Self::Ping(payload),
            Event::Pong(payload) => Self::Pong(payload),
            Event::Close(close) => Self::Close(close),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Role, masked_frame};

    fn fragment(opcode: Opcode, fin: bool, payload: &[u8]) -> Vec<u8> {
        let mut bytes = masked_frame(opcode, payload, [1, 2, 3, 4]);
        if !fin {
            bytes[0] &= 0x7f;
        }
        bytes
    }

    /// Decodes the bytes in chunks of one size; returns each message as a whole, and each control frame.
    fn run(bytes: &[u8], chunk_bytes: usize, bytes_max: u32) -> Result<Vec<String>, Violation> {
        let (mut decoder, mut log) = (Decoder::new(Role::Server, bytes_max), Vec::new());
        let mut message = Vec::new();
        for chunk in bytes.chunks(chunk_bytes) {
            let (mut chunk, mut at) = (chunk.to_vec(), 0);
            loop {
                let DecodedPart { consumed, part } = decoder.decode_part(&mut chunk[at..])?;
                at += consumed;
                match part {
                    None => break,
                    Some(Part::Data { payload, is_end, .. }) => {
                        message.extend_from_slice(payload);
                        if is_end {
                            log.push(String::from_utf8_lossy(&std::mem::take(&mut message)).into_owned());
                        }
                    }
                    Some(other) => log.push(format!("{other:?}")),
                }
                assert!(decoder.partial_bytes() < 512, "no part of a message is buffered");
            }
        }
        Ok(log)
    }

    #[test]
    fn chunks_of_any_size_are_decoded_to_the_same_messages() {
        let long = "\u{e9}\u{1f600}".repeat(300);
        let bytes = [
            fragment(Opcode::Text, true, b"one"),
            fragment(Opcode::Text, false, "t\u{e9}".as_bytes().split_at(2).0),
            fragment(Opcode::Ping, true, b"p"),
            fragment(Opcode::Continuation, false, b""),
            fragment(Opcode::Continuation, true, "t\u{e9}".as_bytes().split_at(2).1),
            fragment(Opcode::Text, true, b""),
            fragment(Opcode::Binary, true, b"bin"),
            fragment(Opcode::Text, true, long.as_bytes()),
            fragment(Opcode::Close, true, b""),
        ]
        .concat();
        for chunk_bytes in [1, 2, 3, 7, 100, bytes.len()] {
            let log = run(&bytes, chunk_bytes, 10_000).unwrap();
            assert_eq!(log[0], "one", "{chunk_bytes}");
            assert!(log[1].starts_with("Ping"), "{chunk_bytes}");
            assert_eq!(log[2..6], ["t\u{e9}", "", "bin", &long], "{chunk_bytes}");
            assert!(log[6].starts_with("Close"), "{chunk_bytes}");
        }
    }

    #[test]
    fn a_part_is_returned_as_soon_as_it_arrives() {
        let bytes = fragment(Opcode::Binary, true, &[7; 1000]);
        let mut decoder = Decoder::new(Role::Server, 1000);
        let mut first = bytes[..108].to_vec();
        let DecodedPart { consumed, part } = decoder.decode_part(&mut first).unwrap();
        let Some(Part::Data { payload, is_end: false, .. }) = part else { panic!("{part:?}") };
        assert_eq!((consumed, payload.len()), (108, 100));
    }

    #[test]
    fn a_fragmented_message_above_the_limit_is_too_big() {
        let halves = |bytes| {
            [fragment(Opcode::Binary, false, &[7; 60]), fragment(Opcode::Continuation, true, &vec![7; bytes])]
                .concat()
        };
        assert_eq!(run(&halves(40), 10, 100).map(|log| log.len()), Ok(1));
        assert_eq!(run(&halves(41), 10, 100), Err(Violation::TooBig { bytes_max: 100 }));
        // The limit applies to each message.
        assert_eq!(run(&[halves(40), halves(40)].concat(), 10, 100).map(|log| log.len()), Ok(2));
    }

    #[test]
    fn invalid_utf_8_in_any_part_is_a_violation() {
        for bytes in [&b"a\xff"[..], b"\xc3", b"\xc3a", b"\xed\xa0\xbd"] {
            for chunk_bytes in [1, 100] {
                let sent = fragment(Opcode::Text, true, bytes);
                assert_eq!(run(&sent, chunk_bytes, 100), Err(Violation::Utf8), "{bytes:?}");
            }
        }
    }

    #[test]
    fn decode_part_after_decode_returns_the_buffered_part_first() {
        let mut decoder = Decoder::new(Role::Server, 1000);
        let mut first = fragment(Opcode::Text, false, b"be");
        assert_eq!(decoder.decode(&mut first).unwrap().event, None);
        let mut rest = fragment(Opcode::Continuation, true, b"gun");
        let part = |payload, is_end| Some(Part::Data { kind: MessageKind::Text, payload, is_end });
        assert_eq!(decoder.decode_part(&mut rest), Ok(DecodedPart { consumed: 0, part: part(b"be", false) }));
        let length = rest.len();
        let expected = DecodedPart { consumed: length, part: part(b"gun", true) };
        assert_eq!(decoder.decode_part(&mut rest), Ok(expected));
    }
}
