//! [`Decoder`]: reads frames from a byte stream. It uses memory only while a frame or a message is incomplete.
//!
//! `decoder/message.rs` returns complete messages, `decoder/part.rs` parts of messages as they arrive.

pub(crate) mod message;
pub(crate) mod part;

use crate::event::MessageKind;
use crate::frame::Opcode;
use crate::header::{ReceivedHeader, Role};
use crate::mask::apply_mask;
use crate::utf8::Utf8Validator;
use crate::violation::Violation;

/// Reads frames from a byte stream that arrives in chunks of any size. Uses 16 bytes while nothing is incomplete.
#[derive(Debug)]
pub struct Decoder {
    partial: Option<Box<Partial>>,
    message_bytes_max: u32,
    role: Role,
}

/// The state between two chunks of input.
#[derive(Debug, Default)]
struct Partial {
    /// The bytes so far of an incomplete header.
    header: [u8; ReceivedHeader::BYTES_MAX],
    header_bytes: usize,
    /// The frame whose payload is incomplete, and how many bytes of it have arrived.
    frame: Option<(ReceivedHeader, u64)>,
    /// The payload so far of an incomplete control frame.
    control: Vec<u8>,
    /// The payload so far of an incomplete message; [`Self::delivered`] bytes before it were returned as parts.
    message: Vec<u8>,
    /// Bytes of the incomplete message that were returned as parts.
    delivered: u64,
    /// Validates the parts of a text message.
    utf8: Utf8Validator,
    /// The type of the message, from its first to its last fragment.
    fragmented: Option<MessageKind>,
    /// The buffer that the last event borrowed; it is freed at the next call.
    lent: Lent,
}

/// A buffer that an event borrows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Lent {
    #[default]
    Nothing,
    Message,
    Control,
}

/// Where the payload of a complete message or control frame is.
enum Payload {
    Input(Opcode, std::ops::Range<usize>),
    Message(MessageKind),
    Control(Opcode),
}

impl Decoder {
    /// A decoder for the frames that an endpoint in `role` receives, in messages of at most `message_bytes_max` bytes.
    pub fn new(role: Role, message_bytes_max: u32) -> Self {
        Self { partial: None, message_bytes_max, role }
    }

    /// Whether no frame or message is incomplete.
    pub fn is_idle(&self) -> bool {
        self.partial.as_ref().is_none_or(|partial| partial.is_idle())
    }

    /// Memory used for incomplete frames and messages, in bytes.
    pub fn partial_bytes(&self) -> usize {
        let held = |partial: &Partial| {
            size_of::<Partial>() + partial.message.capacity() + partial.control.capacity()
        };
        self.partial.as_deref().map_or(0, held)
    }

    /// Frees the buffer that the last event borrowed.
    fn release_lent(&mut self) {
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

    /// The next header, from the input and the bytes that arrived before. `None` if it is incomplete.
    fn read_header(&mut self, input: &[u8], at: &mut usize) -> Result<Option<ReceivedHeader>, Violation> {
        if self.partial.as_ref().is_none_or(|partial| partial.header_bytes == 0) {
            if let Some((header, length)) = ReceivedHeader::parse(&input[*at..], self.role)? {
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
            partial.header[partial.header_bytes] = input[*at];
            partial.header_bytes += 1;
            *at += 1;
            if let Some((header, _)) = ReceivedHeader::parse(&partial.header[..partial.header_bytes], role)? {
                partial.header_bytes = 0;
                return Ok(Some(header));
            }
        }
        Ok(None)
    }

    /// Checks a header against the message that it belongs to.
    fn check(&self, header: &ReceivedHeader) -> Result<(), Violation> {
        if header.opcode.is_control() {
            return Ok(());
        }
        let partial = self.partial.as_ref();
        let fragmented = partial.is_some_and(|partial| partial.fragmented.is_some());
        if fragmented != (header.opcode == Opcode::Continuation) {
            return Err(Violation::Fragment);
        }
        let before = partial.map_or(0, |partial| partial.delivered + partial.message.len() as u64);
        if before.saturating_add(header.length) > u64::from(self.message_bytes_max) {
            return Err(Violation::TooBig { bytes_max: self.message_bytes_max });
        }
        Ok(())
    }

    /// The usual case: an unfragmented frame that is completely in the input. Its payload is not copied.
    fn read_frame_in_place(
        &self,
        header: &ReceivedHeader,
        input: &mut [u8],
        at: &mut usize,
    ) -> Option<Payload> {
        let is_unfragmented = header.fin && header.opcode != Opcode::Continuation;
        let length = usize::try_from(header.length).ok()?;
        if !is_unfragmented || input.len() - *at < length {
            return None;
        }
        let range = *at..*at + length;
        *at += length;
        if let Some(key) = header.key {
            apply_mask(&mut input[range.clone()], key, 0);
        }
        Some(Payload::Input(header.opcode, range))
    }

    /// Copies payload from the input to a buffer; returns where the payload is once it is complete.
    fn buffer_payload(
        &mut self,
        header: ReceivedHeader,
        received: u64,
        input: &mut [u8],
        at: &mut usize,
    ) -> Option<Payload> {
        let partial = self.partial.get_or_insert_default();
        if let (None, Some(kind)) = (partial.fragmented, MessageKind::of(header.opcode)) {
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
            return Some(Payload::Control(header.opcode));
        }
        if !header.fin {
            return None;
        }
        partial.lent = Lent::Message;
        partial.fragmented.take().map(Payload::Message)
    }
}

impl Partial {
    fn is_idle(&self) -> bool {
        self.header_bytes == 0 && self.frame.is_none() && self.fragmented.is_none()
    }
}

#[cfg(test)]
mod tests;
