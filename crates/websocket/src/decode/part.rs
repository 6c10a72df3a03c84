//! [`Decoder::decode_part`]: messages given out as they arrive, for a receiver that passes them on and need not hold them whole.

use simdutf8::compat::from_utf8;

use super::{Decoded, Decoder, Event, Found, Header, Lent, MessageKind, Violation, event};
use crate::mask::apply_mask;
use crate::{Close, Opcode};

/// The result of one step of [`Decoder::decode_part`].
#[derive(Debug, PartialEq, Eq)]
pub struct DecodedPart<'a> {
    /// How many bytes of the input were used; pass the rest in again.
    pub consumed: usize,
    /// What arrived. `None` means that all input was used and more is needed.
    pub part: Option<Part<'a>>,
}

/// A part of a message, or a whole control frame.
#[derive(Debug, PartialEq, Eq)]
pub enum Part<'a> {
    /// The next bytes of a message.
    Data {
        /// What the message holds. The parts of a text are valid UTF-8 together; a character may be split between two of them.
        kind: MessageKind,
        /// The bytes; there may be none.
        payload: &'a [u8],
        /// Whether the message ends with them.
        is_end: bool,
    },
    /// A ping, to be answered by a pong with the same payload.
    Ping(&'a [u8]),
    /// A pong.
    Pong(&'a [u8]),
    /// The peer's goodbye; nothing that follows may be read.
    Close(Close<'a>),
}

/// The beginning of a character whose end is in the next part.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Utf8 {
    bytes: [u8; 4],
    length: usize,
}

/// Where the payload of a part lies.
enum Place {
    Input(std::ops::Range<usize>),
    Message,
}

impl Decoder {
    /// Sets the bound for messages, the one under way included.
    pub fn set_message_bytes_max(&mut self, message_bytes_max: u32) {
        self.message_bytes_max = message_bytes_max;
    }

    /// As [`Decoder::decode`], but gives out what there is of a message at once: memory is held for heads and control frames only.
    /// The bound is on the whole message all the same. A decoder may change between the two between messages; what
    /// [`Decoder::decode`] has collected of a message comes out as its first part.
    ///
    /// # Errors
    ///
    /// If the peer breaks a rule. Parts of the same message may have been given out before.
    pub fn decode_part<'a>(&'a mut self, input: &'a mut [u8]) -> Result<DecodedPart<'a>, Violation> {
        self.take_back();
        if let Some(kind) = self.collected() {
            return self.give_out(input, 0, kind, Place::Message, false);
        }
        let mut at = 0;
        loop {
            let frame = self.partial.as_ref().and_then(|partial| partial.frame);
            let (header, received) = match frame {
                Some(frame) => frame,
                None => {
                    let Some(header) = self.take_head(input, &mut at)? else {
                        return Ok(DecodedPart { consumed: at, part: None });
                    };
                    self.check(&header)?;
                    if let Some(Found::Input(opcode, range)) = self.take_whole(&header, input, &mut at) {
                        let part = Some(whole(event(opcode, &input[range])?));
                        return Ok(DecodedPart { consumed: at, part });
                    }
                    (header, 0)
                }
            };
            if header.opcode.is_control() {
                if self.take_payload(header, received, input, &mut at).is_some() {
                    return self.control(header.opcode, at);
                }
            } else if let Some((kind, range, is_end)) = self.take_part(header, received, input, &mut at) {
                return self.give_out(input, at, kind, Place::Input(range), is_end);
            }
            if at == input.len() {
                return Ok(DecodedPart { consumed: at, part: None });
            }
        }
    }

    /// The kind of a message of which something was collected.
    fn collected(&self) -> Option<MessageKind> {
        let partial = self.partial.as_ref()?;
        partial.fragmented.filter(|_| !partial.message.is_empty())
    }

    /// What the input has of the frame under way; `None` where that is nothing and the message goes on.
    fn take_part(
        &mut self,
        header: Header,
        received: u64,
        input: &mut [u8],
        at: &mut usize,
    ) -> Option<(MessageKind, std::ops::Range<usize>, bool)> {
        let partial = self.partial.get_or_insert_default();
        let kind = partial.fragmented.or_else(|| header.opcode.message_kind())?;
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
        partial.given_out = if is_end { 0 } else { partial.given_out + length as u64 };
        (is_end || length > 0).then_some((kind, range, is_end))
    }

    fn give_out<'a>(
        &'a mut self,
        input: &'a [u8],
        consumed: usize,
        kind: MessageKind,
        place: Place,
        is_end: bool,
    ) -> Result<DecodedPart<'a>, Violation> {
        let partial = self.partial.get_or_insert_default();
        if matches!(place, Place::Message) {
            partial.lent = Lent::Message;
            partial.given_out += partial.message.len() as u64;
        }
        let payload = match place {
            Place::Input(range) => &input[range],
            Place::Message => &partial.message,
        };
        if kind == MessageKind::Text {
            partial.utf8.check(payload, is_end)?;
        }
        Ok(DecodedPart { consumed, part: Some(Part::Data { kind, payload, is_end }) })
    }

    fn control(&self, opcode: Opcode, consumed: usize) -> Result<DecodedPart<'_>, Violation> {
        let payload = self.partial.as_ref().map_or(&[][..], |partial| &partial.control);
        let part = match opcode {
            Opcode::Ping => Part::Ping(payload),
            Opcode::Pong => Part::Pong(payload),
            _ => Part::Close(Close::parse(payload)?),
        };
        Ok(DecodedPart { consumed, part: Some(part) })
    }
}

impl<'a> From<Decoded<'a>> for DecodedPart<'a> {
    fn from(decoded: Decoded<'a>) -> Self {
        Self { consumed: decoded.consumed, part: decoded.event.map(whole) }
    }
}

/// A message that came in one piece, as a part.
fn whole(event: Event<'_>) -> Part<'_> {
    match event {
        Event::Message(kind, payload) => Part::Data { kind, payload, is_end: true },
        Event::Ping(payload) => Part::Ping(payload),
        Event::Pong(payload) => Part::Pong(payload),
        Event::Close(close) => Part::Close(close),
    }
}

impl Utf8 {
    /// Takes the next part of a text.
    fn check(&mut self, mut payload: &[u8], is_end: bool) -> Result<(), Violation> {
        while self.length > 0
            && let Some((byte, rest)) = payload.split_first()
        {
            self.bytes[self.length] = *byte;
            self.length += 1;
            payload = rest;
            match from_utf8(&self.bytes[..self.length]) {
                Ok(_) => self.length = 0,
                Err(error) if error.error_len().is_none() => {}
                Err(_) => return Err(Violation::Utf8),
            }
        }
        if let Err(error) = from_utf8(payload) {
            if error.error_len().is_some() {
                return Err(Violation::Utf8);
            }
            let begun = &payload[error.valid_up_to()..];
            self.bytes[..begun.len()].copy_from_slice(begun);
            self.length = begun.len();
        }
        if is_end && self.length > 0 { Err(Violation::Utf8) } else { Ok(()) }
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

    /// What comes out when the bytes come in pieces of one size: data joined up to each end, control frames by themselves.
    fn run(bytes: &[u8], piece_bytes: usize, bytes_max: u32) -> Result<Vec<String>, Violation> {
        let (mut decoder, mut log) = (Decoder::new(Role::Server, bytes_max), Vec::new());
        let mut message = Vec::new();
        for piece in bytes.chunks(piece_bytes) {
            let (mut piece, mut at) = (piece.to_vec(), 0);
            loop {
                let DecodedPart { consumed, part } = decoder.decode_part(&mut piece[at..])?;
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
                assert!(decoder.partial_bytes() < 512, "nothing of a message is kept");
            }
        }
        Ok(log)
    }

    #[test]
    fn messages_come_out_in_parts_however_they_are_cut() {
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
        for piece_bytes in [1, 2, 3, 7, 100, bytes.len()] {
            let log = run(&bytes, piece_bytes, 10_000).unwrap();
            assert_eq!(log[0], "one", "{piece_bytes}");
            assert!(log[1].starts_with("Ping"), "{piece_bytes}");
            assert_eq!(log[2..6], ["t\u{e9}", "", "bin", &long], "{piece_bytes}");
            assert!(log[6].starts_with("Close"), "{piece_bytes}");
        }
    }

    #[test]
    fn a_part_leaves_as_soon_as_it_is_there() {
        let bytes = fragment(Opcode::Binary, true, &[7; 1000]);
        let mut decoder = Decoder::new(Role::Server, 1000);
        let mut first = bytes[..108].to_vec();
        let DecodedPart { consumed, part } = decoder.decode_part(&mut first).unwrap();
        let Some(Part::Data { payload, is_end: false, .. }) = part else { panic!("{part:?}") };
        assert_eq!((consumed, payload.len()), (108, 100));
    }

    #[test]
    fn the_bound_is_on_the_whole_message() {
        let halves = |bytes| {
            [fragment(Opcode::Binary, false, &[7; 60]), fragment(Opcode::Continuation, true, &vec![7; bytes])]
                .concat()
        };
        assert_eq!(run(&halves(40), 10, 100).map(|log| log.len()), Ok(1));
        assert_eq!(run(&halves(41), 10, 100), Err(Violation::TooBig { bytes_max: 100 }));
        // It counts anew for each message.
        assert_eq!(run(&[halves(40), halves(40)].concat(), 10, 100).map(|log| log.len()), Ok(2));
    }

    #[test]
    fn text_that_is_no_utf_8_is_refused_in_any_part() {
        for bytes in [&b"a\xff"[..], b"\xc3", b"\xc3a", b"\xed\xa0\xbd"] {
            for piece_bytes in [1, 100] {
                let sent = fragment(Opcode::Text, true, bytes);
                assert_eq!(run(&sent, piece_bytes, 100), Err(Violation::Utf8), "{bytes:?}");
            }
        }
    }

    #[test]
    fn what_was_collected_before_comes_out_first() {
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
