//! [`Decoder::decode`]: returns complete messages.

use super::{Decoder, Payload};
use crate::event::{Event, MessageKind};
use crate::frame::Opcode;
use crate::violation::Violation;

/// The result of [`Decoder::decode`].
#[derive(Debug, PartialEq, Eq)]
pub struct Decoded<'a> {
    /// Number of bytes of the input that were used; pass the rest again.
    pub consumed: usize,
    /// The event that they completed. `None`: all input was used, and more is needed.
    pub event: Option<Event<'a>>,
}

impl Decoder {
    /// Reads input up to the end of one event. Call it again with the bytes that were not consumed until it returns no event. Pass
    /// each byte only once: it unmasks in place. After an error or a close frame there are no further events.
    ///
    /// # Errors
    ///
    /// If the peer violates the protocol.
    pub fn decode<'a>(&'a mut self, input: &'a mut [u8]) -> Result<Decoded<'a>, Violation> {
        self.release_lent();
        let (consumed, payload) = self.next_payload(input)?;
        let event = match payload {
            None => None,
            Some(Payload::Input(opcode, range)) => Some(Event::of_frame(opcode, &input[range])?),
            Some(Payload::Message(kind)) => {
                let opcode = if kind == MessageKind::Text { Opcode::Text } else { Opcode::Binary };
                Some(Event::of_frame(opcode, self.partial.as_ref().map_or(&[], |partial| &partial.message))?)
            }
            Some(Payload::Control(opcode)) => {
                Some(Event::of_frame(opcode, self.partial.as_ref().map_or(&[], |partial| &partial.control))?)
            }
        };
        Ok(Decoded { consumed, event })
    }

    fn next_payload(&mut self, input: &mut [u8]) -> Result<(usize, Option<Payload>), Violation> {
        let mut at = 0;
        loop {
            let frame = self.partial.as_ref().and_then(|partial| partial.frame);
            let (header, received) = match frame {
                Some(frame) => frame,
                None => {
                    let Some(header) = self.read_header(input, &mut at)? else { return Ok((at, None)) };
                    self.check(&header)?;
                    if let Some(payload) = self.read_frame_in_place(&header, input, &mut at) {
                        return Ok((at, Some(payload)));
                    }
                    (header, 0)
                }
            };
            if let Some(payload) = self.buffer_payload(header, received, input, &mut at) {
                return Ok((at, Some(payload)));
            }
            if at == input.len() {
                return Ok((at, None));
            }
        }
    }
}
