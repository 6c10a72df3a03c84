//! How messages are told apart in a byte stream: a JSON message ends with 0x1E, a MessagePack (or BlazorPack) message begins with its length
//! as a VarInt. Know [`next_message`] (stateless) and [`Splitter`] (keeps the bytes of a message that is not complete yet).

use crate::HubProtocol;

/// Ends each JSON message and each handshake record.
pub const RECORD_SEPARATOR: u8 = 0x1e;

/// Longest VarInt of a length: 7 bits a byte, at most 0x7fffffff ("Message framing", MessagePack encoding).
const PREFIX_BYTES_MAX: usize = 5;

/// Why a byte stream cannot be cut into messages. The connection cannot go on after it.
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

/// Takes the first complete message from `input`: its payload without framing, and how many bytes of `input` it used.
/// `None` when `input` holds no complete message yet. `bytes_max` limits the payload.
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

/// Cuts a byte stream that arrives in arbitrary pieces into messages. Owns memory only while a message is incomplete.
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

    /// Bytes kept of an incomplete message.
    pub fn partial_bytes(&self) -> usize {
        self.partial.len()
    }

    /// Takes the next piece of the stream and calls `each` with the payload of every message that it completes, in order.
    /// After an error, of framing or of `each`, the rest of the piece is dropped: the connection is to be closed.
    pub fn feed<E: From<FramingError>>(
        &mut self,
        mut input: &[u8],
        mut each: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        if !self.partial.is_empty() {
            let Some(used) = self.complete(input)? else { return Ok(()) };
            input = &input[used..];
            let whole = std::mem::take(&mut self.partial);
            if let Some((payload, _)) = next_message(self.protocol, &whole, self.bytes_max)? {
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

    /// Moves bytes of `input` to the incomplete message until that is complete, and says how many; `None` when all of them
    /// were taken and it still is not. Never looks twice at a byte, so that a message sent byte by byte costs no more.
    fn complete(&mut self, input: &[u8]) -> Result<Option<usize>, FramingError> {
        let bytes_max = self.bytes_max;
        match self.protocol {
            HubProtocol::Json => {
                let end = memchr::memchr(RECORD_SEPARATOR, input);
                let taken = end.map_or(input.len(), |end| end + 1);
                if self.partial.len() + end.unwrap_or(input.len()) > bytes_max {
                    return Err(FramingError::TooLarge { bytes_max });
                }
                self.partial.extend_from_slice(&input[..taken]);
                Ok(end.map(|_| taken))
            }
            HubProtocol::MessagePack | HubProtocol::BlazorPack => {
                let mut taken = 0;
                let (length, prefix) = loop {
                    if let Some(found) = length_prefix(&self.partial)? {
                        break found;
                    }
                    let Some(byte) = input.get(taken) else { return Ok(None) };
                    self.partial.push(*byte);
                    taken += 1;
                };
                if length > bytes_max {
                    return Err(FramingError::TooLarge { bytes_max });
                }
                let missing = prefix + length - self.partial.len();
                let available = missing.min(input.len() - taken);
                self.partial.extend_from_slice(&input[taken..taken + available]);
                Ok((available == missing).then_some(taken + available))
            }
        }
    }
}

/// Where a frame that is being written began; see [`write_frame_start`].
#[derive(Debug)]
#[must_use = "a frame that is begun is to be finished"]
pub struct FrameStart {
    protocol: HubProtocol,
    at: usize,
}

/// Begins a frame at the end of `out`: the caller appends the payload and calls [`finish_frame`].
pub fn write_frame_start(protocol: HubProtocol, out: &mut Vec<u8>) -> FrameStart {
    let at = out.len();
    if protocol != HubProtocol::Json {
        // The length is known only afterwards; room for the longest prefix is closed up by then.
        out.extend_from_slice(&[0; PREFIX_BYTES_MAX]);
    }
    FrameStart { protocol, at }
}

/// Ends the frame that `start` began: appends the separator, or puts the length in front of the payload.
///
/// # Panics
/// When the payload is longer than 0x7fffffff bytes, which no limit of ours allows.
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
                // The mask leaves seven bits, so that the cast cannot cut anything off.
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

/// Reads the length in front of a MessagePack message: the length, and how many bytes the prefix takes. `None` when it is not complete.
///
/// # Errors
///
/// If it is no VarInt of at most 0x7fffffff.
pub fn length_prefix(input: &[u8]) -> Result<Option<(usize, usize)>, FramingError> {
    let mut length = 0usize;
    for (index, byte) in input.iter().take(PREFIX_BYTES_MAX).enumerate() {
        // The fifth byte holds the three highest bits of 0x7fffffff and ends the prefix.
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
