//! [`Utf8Validator`]: validates a text that arrives in parts.

use simdutf8::compat::from_utf8;

use crate::violation::Violation;

/// Validates a text that arrives in parts. Stores the start of a character that the next part continues.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Utf8Validator {
    bytes: [u8; 4],
    length: usize,
}

impl Utf8Validator {
    /// Validates the next part.
    pub(crate) fn validate(&mut self, mut payload: &[u8], is_end: bool) -> Result<(), Violation> {
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
            let incomplete = &payload[error.valid_up_to()..];
            self.bytes[..incomplete.len()].copy_from_slice(incomplete);
            self.length = incomplete.len();
        }
        if is_end && self.length > 0 { Err(Violation::Utf8) } else { Ok(()) }
    }
}
