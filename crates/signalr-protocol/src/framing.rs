//! Message framing: a JSON message ends with 0x1E, a MessagePack (or BlazorPack) message begins with its length as a VarInt.
//! [`next_message`] is stateless; [`Splitter`] buffers an incomplete message.

use crate::hub_protocol::HubProtocol;

/// Ends each JSON message and each handshake message.
pub const RECORD_SEPARATOR: u8 = 0x1e;

/// Longest length prefix, in bytes: 7 bits per byte, at most 0x7fffffff ("Message framing", MessagePack encoding).
const PREFIX_BYTES_MAX: usize = 5;

/// Why a byte stream cannot be split into messages. Close the connection then.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FramingError {
    /// The message is longer than the receiver allows.
    #[error("a message of more than {bytes_max} bytes is not allowed")]
    TooLarge {
        /// The limit, in bytes of payload.
        bytes_max: usize,
    },
    /// The length prefix is not a VarInt of at most 0x7fffffff.
    #[error("the length prefix of a MessagePack message is not a number of at most 0x7fffffff")]
    Prefix,
}

/// The first complete message in `input`: its payload without framing, and its length with framing. `None` if `input` has no
/// complete message. `bytes_max` limits the payload.
///
/// # Errors
///
/// If the message is too large, or its length prefix is invalid.
pub fn next_message(
    protocol: HubProtocol,
    input: &[u8],
    bytes_max: usize,
) -> Result<Option<(&[u8], usize)>, FramingError> {
    match protocol {
        HubProtocol::Json => match memchr::memchr(RECORD_SEPARATOR, input) {
            Some(end) if end <= bytes_max => Ok(Some((&input[..end], end + 1))),
            None if input.len() <= bytes_max => Ok(None),
            _ => Err(FramingError::TooLarge { bytes_max }),
        },
        HubProtocol::MessagePack | HubProtocol::BlazorPack => {
            let Some((length, prefix)) = length_prefix(input)? else { return Ok(None) };
            if length > bytes_max {
                return Err(FramingError::TooLarge { bytes_max });
            }
            Ok(input.get(prefix..prefix + length).map(|payload| (payload, prefix + length)))
        }
    }
}

/// Splits a byte stream that arrives in chunks into messages. Uses memory only while a message is incomplete.
#[derive(Debug)]
pub struct Splitter {
    protocol: HubProtocol,
    bytes_max: usize,
    partial: Vec<u8>,
}

impl Splitter {
    /// A splitter for messages of at most `bytes_max` bytes of payload.
    pub fn new(protocol: HubProtocol, bytes_max: usize) -> Self {
        Self { protocol, bytes_max, partial: Vec::new() }
    }

    /// Buffered bytes of an incomplete message.
    pub fn partial_bytes(&self) -> usize {
        self.partial.len()
    }

    /// Reads the next chunk of the stream and calls `each` with the payload of every message that it completes, in order.
    /// After an error, of framing or of `each`, the rest of the chunk is dropped: close the connection.
    pub fn feed<E: From<FramingError>>(
        &mut self,
        mut input: &[u8],
        mut each: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        if !self.partial.is_empty() {
            let Some(used) = self.complete(input)? else { return Ok(()) };
            input = &input[used..];
            let message = std::mem::take(&mut self.partial);
            if let Some((payload, _)) = next_message(self.protocol, &message, self.bytes_max)? {
                each(payload)?;
            }
        }
        while let Some((payload, used)) = next_message(self.protocol, input, self.bytes_max)? {
            each(payload)?;
            input = &input[used..];
        }
        self.partial.extend_from_slice(input);
        Ok(())
    }

    /// Moves bytes of `input` to the incomplete message until it is complete; returns their number, or `None` if it is still
    /// incomplete. Each byte is examined once, so that a message sent byte by byte costs no more.
    fn complete(&mut self, input: &[u8]) -> Result<Option<usize>, FramingError> {
        let bytes_max = self.bytes_max;
        match self.protocol {
            HubProtocol::Json => {
                let end = memchr::memchr(RECORD_SEPARATOR, input);
                let used = end.map_or(input.len(), |end| end + 1);
                if self.partial.len() + end.unwrap_or(input.len()) > bytes_max {
                    return Err(FramingError::TooLarge { bytes_max });
                }
                self.partial.extend_from_slice(&input[..used]);
                Ok(end.map(|_| used))
            }
            HubProtocol::MessagePack | HubProtocol::BlazorPack => {
                let mut used = 0;
                let (length, prefix) = loop {
                    if let Some(found) = length_prefix(&self.partial)? {
                        break found;
                    }
                    let Some(byte) = input.get(used) else { return Ok(None) };
                    self.partial.push(*byte);
                    used += 1;
                };
                if length > bytes_max {
                    return Err(FramingError::TooLarge { bytes_max });
                }
                let missing = prefix + length - self.partial.len();
                let available = missing.min(input.len() - used);
                self.partial.extend_from_slice(&input[used..used + available]);
                Ok((available == missing).then_some(used + available))
            }
        }
    }
}

/// The start of a frame that is being written; see [`write_frame_start`].
#[derive(Debug)]
#[must_use = "a started frame must be finished"]
pub struct FrameStart {
    protocol: HubProtocol,
    at: usize,
}

/// Begins a frame at the end of `out`: the caller appends the payload and calls [`finish_frame`].
pub fn write_frame_start(protocol: HubProtocol, out: &mut Vec<u8>) -> FrameStart {
    let at = out.len();
    if protocol != HubProtocol::Json {
        // The length is not known yet: space for the longest prefix is reserved and later reduced.
        out.extend_from_slice(&[0; PREFIX_BYTES_MAX]);
    }
    FrameStart { protocol, at }
}

/// Completes a frame: appends the separator, or writes the length before the payload.
///
/// # Panics
///
/// If the payload is longer than 0x7fffffff bytes.
pub fn finish_frame(start: &FrameStart, out: &mut Vec<u8>) {
    match start.protocol {
        HubProtocol::Json => out.push(RECORD_SEPARATOR),
        HubProtocol::MessagePack | HubProtocol::BlazorPack => {
            let payload = start.at + PREFIX_BYTES_MAX;
            let mut length = out.len() - payload;
            assert!(length <= 0x7fff_ffff, "a hub message is shorter than 2 GiB");
            let mut prefix = 0;
            loop {
                let more = length > 0x7f;
                // The mask leaves seven bits, so that the cast cannot truncate.
                out[start.at + prefix] = (length & 0x7f) as u8 | if more { 0x80 } else { 0 };
                length >>= 7;
                prefix += 1;
                if !more {
                    break;
                }
            }
            out.copy_within(payload.., start.at + prefix);
            out.truncate(out.len() - (PREFIX_BYTES_MAX - prefix));
        }
    }
}

/// The length prefix of a MessagePack message: the length, and the size of the prefix. `None` if it is incomplete.
///
/// # Errors
///
/// If it is not a VarInt of at most 0x7fffffff.
pub fn length_prefix(input: &[u8]) -> Result<Option<(usize, usize)>, FramingError> {
    let mut length = 0usize;
    for (index, byte) in input.iter().take(PREFIX_BYTES_MAX).enumerate() {
        // The fifth byte has the three highest bits of 0x7fffffff and ends the prefix.
        if index == PREFIX_BYTES_MAX - 1 && *byte > 0x07 {
            return Err(FramingError::Prefix);
        }
        length |= usize::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            return Ok(Some((length, index + 1)));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests;
