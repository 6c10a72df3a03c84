//! [`Decoder`]: bytes in, messages out. It keeps memory only while a frame or a message is incomplete.

mod part;

use crate::mask::apply_mask;
use crate::{Close, CloseCode, Opcode};

use part::Utf8;
pub use part::{DecodedPart, Part};

/// Which side of the connection we are; it decides who masks (section 5.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// What comes in must be masked.
    Server,
    /// What comes in must not be masked.
    Client,
}

/// Cuts a byte stream, in whatever pieces it comes, into messages. 16 bytes while nothing is incomplete.
#[derive(Debug)]
pub struct Decoder {
    partial: Option<Box<Partial>>,
    message_bytes_max: u32,
    role: Role,
}

/// The result of one step.
#[derive(Debug, PartialEq, Eq)]
pub struct Decoded<'a> {
    /// How many bytes of the input were used; pass the rest in again.
    pub consumed: usize,
    /// What they completed. `None` means that all input was used and more is needed.
    pub event: Option<Event<'a>>,
}

/// Something that arrived whole.
#[derive(Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// A message; a text message is valid UTF-8.
    Message(MessageKind, &'a [u8]),
    /// A ping, to be answered by a pong with the same payload.
    Ping(&'a [u8]),
    /// A pong.
    Pong(&'a [u8]),
    /// The peer's goodbye; nothing that follows may be read.
    Close(Close<'a>),
}

/// What a message holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MessageKind {
    /// UTF-8.
    Text,
    /// Any bytes.
    Binary,
}

/// A broken rule. The connection is to be closed with [`Violation::close_code`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// Section 5.2: a reserved bit without an extension.
    #[error("a reserved bit is set, but no extension was agreed on")]
    ReservedBit,
    /// Section 5.2: an unknown opcode.
    #[error("the opcode is reserved")]
    Opcode,
    /// Section 5.1: a client must mask.
    #[error("a client's frame is not masked")]
    Unmasked,
    /// Section 5.1: a server must not mask.
    #[error("a server's frame is masked")]
    Masked,
    /// Section 5.2: the length has a shorter form, or its highest bit is set.
    #[error("the length of a frame is not in its shortest form")]
    Length,
    /// Section 5.5: control frames have at most 125 bytes and are not fragmented.
    #[error("a control frame is longer than 125 bytes or fragmented")]
    Control,
    /// Section 5.4: a continuation of nothing, or a new message within a fragmented one.
    #[error("a fragment does not belong to a message")]
    Fragment,
    /// Section 5.5.1: a close body of one byte, or with a code that may not be sent.
    #[error("a close frame has an invalid body")]
    CloseBody,
    /// Section 8.1.
    #[error("text is not valid UTF-8")]
    Utf8,
    /// The message is larger than this side allows.
    #[error("a message is larger than the allowed {bytes_max} bytes")]
    TooBig {
        /// The bound.
        bytes_max: u32,
    },
}

/// What is kept between two pieces of input.
#[derive(Debug, Default)]
struct Partial {
    /// Bytes of a head that is not complete.
    head: [u8; HEAD_BYTES_MAX],
    head_bytes: usize,
    /// The frame whose payload is arriving, and how much of it has.
    frame: Option<(Header, u64)>,
    /// Payload of the control frame that is arriving.
    control: Vec<u8>,
    /// The fragments so far of the message that is arriving, where it is collected.
    message: Vec<u8>,
    /// Bytes of it that were given out as parts.
    given_out: u64,
    /// The character that the last part ended in.
    utf8: Utf8,
    /// Set from the first to the last fragment.
    fragmented: Option<MessageKind>,
    /// Which buffer the caller was lent by the last step, and has done with by now.
    lent: Lent,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Lent {
    #[default]
    Nothing,
    Message,
    Control,
}

#[derive(Clone, Copy, Debug)]
struct Header {
    opcode: Opcode,
    fin: bool,
    key: Option<[u8; 4]>,
    length: u64,
}

/// Where a completed payload lies.
enum Found {
    Input(Opcode, std::ops::Range<usize>),
    Message(MessageKind),
    Control(Opcode),
}

const HEAD_BYTES_MAX: usize = 14;

impl Violation {
    /// The code to close the connection with.
    pub fn close_code(self) -> CloseCode {
        match self {
            Self::Utf8 => CloseCode::INVALID_PAYLOAD,
            Self::TooBig { .. } => CloseCode::TOO_BIG,
            Self::ReservedBit
            | Self::Opcode
            | Self::Unmasked
            | Self::Masked
            | Self::Length
            | Self::Control
            | Self::Fragment
            | Self::CloseBody => CloseCode::PROTOCOL_ERROR,
        }
    }
}

impl Decoder {
    /// A decoder for what the peer of `role` sends, in messages of at most `message_bytes_max` bytes.
    pub fn new(role: Role, message_bytes_max: u32) -> Self {
        Self { partial: None, message_bytes_max, role }
    }

    /// Takes input until something is complete. Call it again with what was not consumed until no event comes; call it with
    /// every byte only once, for it unmasks in place. After an error or a close the connection has no further messages.
    pub fn decode<'a>(&'a mut self, input: &'a mut [u8]) -> Result<Decoded<'a>, Violation> {
        self.take_back();
        let (consumed, found) = self.step(input)?;
        let event = match found {
            None => None,
            Some(Found::Input(opcode, range)) => Some(event(opcode, &input[range])?),
            Some(Found::Message(kind)) => {
                let opcode = if kind == MessageKind::Text { Opcode::Text } else { Opcode::Binary };
                Some(event(opcode, self.partial.as_ref().map_or(&[], |partial| &partial.message))?)
            }
            Some(Found::Control(opcode)) => {
                Some(event(opcode, self.partial.as_ref().map_or(&[], |partial| &partial.control))?)
            }
        };
        Ok(Decoded { consumed, event })
    }

    /// Whether no frame or message is under way.
    pub fn is_idle(&self) -> bool {
        self.partial.as_ref().is_none_or(|partial| partial.is_idle())
    }

    /// Bytes of memory held for what is incomplete.
    pub fn partial_bytes(&self) -> usize {
        let held = |partial: &Partial| {
            size_of::<Partial>() + partial.message.capacity() + partial.control.capacity()
        };
        self.partial.as_deref().map_or(0, held)
    }

    /// Frees what the last event borrowed.
    fn take_back(&mut self) {
        let Some(partial) = &mut self.partial else { return };
        match std::mem::take(&mut partial.lent) {
            Lent::Nothing => {}
            Lent::Message => partial.message = Vec::new(),
            Lent::Control => partial.control.clear(),
        }
        if partial.is_idle() {
            self.partial = None;
        }
    }

    fn step(&mut self, input: &mut [u8]) -> Result<(usize, Option<Found>), Violation> {
        let mut at = 0;
        loop {
            let frame = self.partial.as_ref().and_then(|partial| partial.frame);
            let (header, received) = match frame {
                Some(frame) => frame,
                None => {
                    let Some(header) = self.take_head(input, &mut at)? else { return Ok((at, None)) };
                    self.check(&header)?;
                    if let Some(found) = self.take_whole(&header, input, &mut at) {
                        return Ok((at, Some(found)));
                    }
                    (header, 0)
                }
            };
            if let Some(found) = self.take_payload(header, received, input, &mut at) {
                return Ok((at, Some(found)));
            }
            if at == input.len() {
                return Ok((at, None));
            }
        }
    }

    /// The next head, from the input or from what was kept of it before. `None` when it is not complete.
    fn take_head(&mut self, input: &[u8], at: &mut usize) -> Result<Option<Header>, Violation> {
        if self.partial.as_ref().is_none_or(|partial| partial.head_bytes == 0) {
            if let Some((header, length)) = Header::parse(&input[*at..], self.role)? {
                *at += length;
                return Ok(Some(header));
            }
            if *at == input.len() {
                return Ok(None);
            }
        }
        let role = self.role;
        let partial = self.partial.get_or_insert_default();
        while *at < input.len() {
            partial.head[partial.head_bytes] = input[*at];
            partial.head_bytes += 1;
            *at += 1;
            if let Some((header, _)) = Header::parse(&partial.head[..partial.head_bytes], role)? {
                partial.head_bytes = 0;
                return Ok(Some(header));
            }
        }
        Ok(None)
    }

    /// The rules that need to know the message under way.
    fn check(&self, header: &Header) -> Result<(), Violation> {
        if header.opcode.is_control() {
            return Ok(());
        }
        let partial = self.partial.as_ref();
        let fragmented = partial.is_some_and(|partial| partial.fragmented.is_some());
        if fragmented != (header.opcode == Opcode::Continuation) {
            return Err(Violation::Fragment);
        }
        let before = partial.map_or(0, |partial| partial.given_out + partial.message.len() as u64);
        if before.saturating_add(header.length) > u64::from(self.message_bytes_max) {
            return Err(Violation::TooBig { bytes_max: self.message_bytes_max });
        }
        Ok(())
    }

    /// The usual case: the whole frame lies in the input and stands for itself. Nothing is copied.
    fn take_whole(&self, header: &Header, input: &mut [u8], at: &mut usize) -> Option<Found> {
        let alone = header.fin && header.opcode != Opcode::Continuation;
        let length = usize::try_from(header.length).ok()?;
        if !alone || input.len() - *at < length {
            return None;
        }
        let range = *at..*at + length;
        *at += length;
        if let Some(key) = header.key {
            apply_mask(&mut input[range.clone()], key, 0);
        }
        Some(Found::Input(header.opcode, range))
    }

    /// Moves payload from the input to the buffers.
    fn take_payload(
        &mut self,
        header: Header,
        received: u64,
        input: &mut [u8],
        at: &mut usize,
    ) -> Option<Found> {
        let partial = self.partial.get_or_insert_default();
        if let (None, Some(kind)) = (partial.fragmented, header.opcode.message_kind()) {
            partial.fragmented = Some(kind);
        }
        let missing = usize::try_from(header.length - received).unwrap_or(usize::MAX);
        let length = missing.min(input.len() - *at);
        let payload = &mut input[*at..*at + length];
        *at += length;
        if let Some(key) = header.key {
            apply_mask(payload, key, received);
        }
        let buffer = if header.opcode.is_control() { &mut partial.control } else { &mut partial.message };
        buffer.extend_from_slice(payload);
        if length < missing {
            partial.frame = Some((header, received + length as u64));
            return None;
        }
        partial.frame = None;
        if header.opcode.is_control() {
            partial.lent = Lent::Control;
            return Some(Found::Control(header.opcode));
        }
        if !header.fin {
            return None;
        }
        partial.lent = Lent::Message;
        partial.fragmented.take().map(Found::Message)
    }
}

impl Partial {
    fn is_idle(&self) -> bool {
        self.head_bytes == 0 && self.frame.is_none() && self.fragmented.is_none()
    }
}

impl Opcode {
    fn message_kind(self) -> Option<MessageKind> {
        match self {
            Self::Text => Some(MessageKind::Text),
            Self::Binary => Some(MessageKind::Binary),
            Self::Continuation | Self::Close | Self::Ping | Self::Pong => None,
        }
    }
}

impl Header {
    /// Reads a head, and the rules that it must keep by itself; says how many bytes it has. Violations are found as soon as the
    /// bytes that show them are there.
    fn parse(bytes: &[u8], role: Role) -> Result<Option<(Self, usize)>, Violation> {
        let [first, second, rest @ ..] = bytes else { return Ok(None) };
        if first & 0x70 != 0 {
            return Err(Violation::ReservedBit);
        }
        let opcode = Opcode::from_number(first & 0x0f).ok_or(Violation::Opcode)?;
        let fin = first & 0x80 != 0;
        let masked = second & 0x80 != 0;
        match (role, masked) {
            (Role::Server, false) => return Err(Violation::Unmasked),
            (Role::Client, true) => return Err(Violation::Masked),
            (Role::Server, true) | (Role::Client, false) => {}
        }
        let short = second & 0x7f;
        if opcode.is_control() && (short > 125 || !fin) {
            return Err(Violation::Control);
        }
        let (length, rest) = match short {
            126 => {
                let Some((length, rest)) = rest.split_first_chunk() else { return Ok(None) };
                (u64::from(u16::from_be_bytes(*length)), rest)
            }
            127 => {
                let Some((length, rest)) = rest.split_first_chunk() else { return Ok(None) };
                (u64::from_be_bytes(*length), rest)
            }
            short => (u64::from(short), rest),
        };
        let shortest = match short {
            126 => length > 125,
            127 => length > 0xffff && length >> 63 == 0,
            _ => true,
        };
        if !shortest {
            return Err(Violation::Length);
        }
        let (key, rest) = if masked {
            let Some((key, rest)) = rest.split_first_chunk() else { return Ok(None) };
            (Some(*key), rest)
        } else {
            (None, rest)
        };
        Ok(Some((Self { opcode, fin, key, length }, bytes.len() - rest.len())))
    }
}

fn event(opcode: Opcode, payload: &[u8]) -> Result<Event<'_>, Violation> {
    Ok(match opcode {
        Opcode::Text => {
            // Only a whole message is checked: a character may be split between fragments (section 5.6).
            simdutf8::basic::from_utf8(payload).map_err(|_| Violation::Utf8)?;
            Event::Message(MessageKind::Text, payload)
        }
        Opcode::Binary | Opcode::Continuation => Event::Message(MessageKind::Binary, payload),
        Opcode::Ping => Event::Ping(payload),
        Opcode::Pong => Event::Pong(payload),
        Opcode::Close => Event::Close(Close::parse(payload)?),
    })
}

#[cfg(test)]
mod tests;
