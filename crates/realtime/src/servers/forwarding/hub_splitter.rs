//! [`HubMessageSplitter`]: splits the bytes of a client into hub messages while they are forwarded. It buffers one incomplete message, up to a
//! limit; a longer one is skipped.

use signalr_protocol::{FramingError, HubProtocol, RECORD_SEPARATOR, next_message};

/// Longest message that is buffered while it is incomplete, and parsed when it is complete.
const BUFFERED_BYTES_MAX: usize = 1024 * 1024;

/// Longest length prefix of a message.
const PREFIX_BYTES_MAX: usize = 5;

/// Splits one byte stream.
#[derive(Debug, Default)]
pub(super) struct HubMessageSplitter {
    partial: Vec<u8>,
    skip: Option<Skip>,
    /// The message in `partial` was returned.
    is_done: bool,
}

/// A message that is skipped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Skip {
    /// Up to the next separator.
    Record,
    /// This many more bytes.
    Bytes(usize),
    /// All bytes: the stream is invalid, and the app server will close the connection.
    All,
}

/// A segment of the input.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Segment<'a> {
    /// It completes a message.
    Message { payload: &'a [u8], framed: &'a [u8] },
    /// The end of a skipped message.
    Skipped,
    /// A part of an incomplete message.
    Partial,
}

impl HubMessageSplitter {
    /// The next segment of `input`, and its length. `None` at the end of the input. With `buffers_all`, a message of any length is buffered.
    pub(super) fn next<'a>(
        &'a mut self,
        protocol: HubProtocol,
        input: &'a [u8],
        buffers_all: bool,
    ) -> Option<(Segment<'a>, usize)> {
        if std::mem::take(&mut self.is_done) {
            self.partial = Vec::new();
        }
        if input.is_empty() {
            return None;
        }
        if let Some(skip) = self.skip {
            return Some(self.skip_bytes(skip, input));
        }
        let bytes_max = if buffers_all { usize::MAX >> 1 } else { BUFFERED_BYTES_MAX };
        if self.partial.is_empty() {
            match next_message(protocol, input, bytes_max) {
                Ok(Some((payload, used))) => {
                    return Some((Segment::Message { payload, framed: &input[..used] }, used));
                }
                Ok(None) => {
                    self.partial.extend_from_slice(input);
                    return Some((Segment::Partial, input.len()));
                }
                Err(error) => {
                    let skip = skip_for(protocol, error, input);
                    self.skip = Some(skip);
                    return Some(self.skip_bytes(skip, input));
                }
            }
        }
        Some(self.complete(protocol, input, bytes_max))
    }

    /// The buffered bytes of the incomplete message.
    pub(super) fn partial(&self) -> &[u8] {
        if self.is_done { &[] } else { &self.partial }
    }

    /// Removes these bytes from the buffer.
    pub(super) fn take_partial(&mut self) -> Vec<u8> {
        let partial = std::mem::take(&mut self.partial);
        if std::mem::take(&mut self.is_done) { Vec::new() } else { partial }
    }

    /// Whether a message is being skipped.
    pub(super) fn is_skipping(&self) -> bool {
        self.skip.is_some()
    }

    /// Adds bytes to the incomplete message, without scanning its bytes twice.
    fn complete<'a>(
        &'a mut self,
        protocol: HubProtocol,
        input: &'a [u8],
        bytes_max: usize,
    ) -> (Segment<'a>, usize) {
        let is_json = protocol == HubProtocol::Json;
        let missing = if is_json {
            input.iter().position(|byte| *byte == RECORD_SEPARATOR).map(|at| at + 1)
        } else {
            framed_bytes(&self.partial).map(|bytes| bytes.saturating_sub(self.partial.len()))
        };
        let used = match missing {
            // The prefix is read byte by byte.
            None if !is_json => 1,
            None => input.len(),
            Some(missing) => missing.min(input.len()),
        };
        let has_bad_prefix = !is_json && missing.is_none() && self.partial.len() >= PREFIX_BYTES_MAX;
        if has_bad_prefix || self.partial.len() + used > bytes_max {
            let skip = match missing {
                _ if is_json => Skip::Record,
                Some(missing) => Skip::Bytes(missing),
                None => Skip::All,
            };
            self.partial = Vec::new();
            self.skip = Some(skip);
            return self.skip_bytes(skip, input);
        }
        self.partial.extend_from_slice(&input[..used]);
        match next_message_at_end(protocol, &self.partial) {
            Some((from, to)) => {
                self.is_done = true;
                (Segment::Message { payload: &self.partial[from..to], framed: &self.partial }, used)
            }
            None => (Segment::Partial, used),
        }
    }

    fn skip_bytes(&mut self, skip: Skip, input: &[u8]) -> (Segment<'static>, usize) {
        let end = match skip {
            Skip::Record => input.iter().position(|byte| *byte == RECORD_SEPARATOR).map(|at| at + 1),
            Skip::Bytes(missing) if missing <= input.len() => Some(missing),
            Skip::Bytes(missing) => {
                self.skip = Some(Skip::Bytes(missing - input.len()));
                None
            }
            Skip::All => None,
        };
        match end {
            Some(used) => {
                self.skip = None;
                (Segment::Skipped, used)
            }
            None => (Segment::Partial, input.len()),
        }
    }
}

/// How to skip a message at the start of `input`.
fn skip_for(protocol: HubProtocol, error: FramingError, input: &[u8]) -> Skip {
    match (protocol, error) {
        (HubProtocol::Json, _) => Skip::Record,
        (_, FramingError::TooLarge { .. }) => framed_bytes(input).map_or(Skip::All, Skip::Bytes),
        (_, FramingError::Prefix) => Skip::All,
    }
}

/// The length of a MessagePack message with its prefix; `None` while the prefix is not complete, or if it is invalid.
fn framed_bytes(input: &[u8]) -> Option<usize> {
    let mut length = 0;
    for (index, byte) in input.iter().take(PREFIX_BYTES_MAX).enumerate() {
        length |= usize::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            return Some(length + index + 1);
        }
    }
    None
}

/// The range of the payload, if the bytes are exactly one message.
fn next_message_at_end(protocol: HubProtocol, bytes: &[u8]) -> Option<(usize, usize)> {
    match protocol {
        HubProtocol::Json => (bytes.last() == Some(&RECORD_SEPARATOR)).then(|| (0, bytes.len() - 1)),
        HubProtocol::MessagePack | HubProtocol::BlazorPack => {
            let (payload, used) = next_message(protocol, bytes, usize::MAX >> 1).ok()??;
            Some((used - payload.len(), used))
        }
    }
}
