//! [`Cutter`]: cuts a client's bytes into hub messages while they go on to its app server. It keeps the bytes of one message that is not
//! complete, up to a bound; a longer one is stepped over.

use signalr_protocol::{FramingError, HubProtocol, RECORD_SEPARATOR, next_message};

/// Longest message that is kept while it is incomplete, and read when it is complete.
const KEPT_BYTES_MAX: usize = 1024 * 1024;

/// Longest prefix that says how long a message is.
const PREFIX_BYTES_MAX: usize = 5;

/// Cuts one byte stream.
#[derive(Debug, Default)]
pub(super) struct Cutter {
    partial: Vec<u8>,
    skip: Option<Skip>,
    /// The message in `partial` was handed out.
    is_done: bool,
}

/// A message that is stepped over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Skip {
    /// Up to the next separator.
    Record,
    /// So many bytes more.
    Bytes(usize),
    /// All that comes: the stream cannot be cut. The server will close the connection.
    All,
}

/// What some bytes are.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Part<'a> {
    /// They complete a message.
    Whole { payload: &'a [u8], framed: &'a [u8] },
    /// They are the end of a message that was too long to be kept.
    Skipped,
    /// They belong to a message whose end is not there.
    Incomplete,
}

impl Cutter {
    /// Cuts off the next part of `input`, and says how many bytes of it that takes. `None` when nothing is left. With `keeps_all`, a message
    /// is kept however long it is.
    pub(super) fn next<'a>(
        &'a mut self,
        protocol: HubProtocol,
        input: &'a [u8],
        keeps_all: bool,
    ) -> Option<(Part<'a>, usize)> {
        if std::mem::take(&mut self.is_done) {
            self.partial = Vec::new();
        }
        if input.is_empty() {
            return None;
        }
        if let Some(skip) = self.skip {
            return Some(self.step_over(skip, input));
        }
        let bytes_max = if keeps_all { usize::MAX >> 1 } else { KEPT_BYTES_MAX };
        if self.partial.is_empty() {
            match next_message(protocol, input, bytes_max) {
                Ok(Some((payload, used))) => {
                    return Some((Part::Whole { payload, framed: &input[..used] }, used));
                }
                Ok(None) => {
                    self.partial.extend_from_slice(input);
                    return Some((Part::Incomplete, input.len()));
                }
                Err(error) => {
                    let skip = skip_for(protocol, error, input);
                    self.skip = Some(skip);
                    return Some(self.step_over(skip, input));
                }
            }
        }
        Some(self.complete(protocol, input, bytes_max))
    }

    /// The bytes of the message that is not complete.
    pub(super) fn partial(&self) -> &[u8] {
        if self.is_done { &[] } else { &self.partial }
    }

    /// Takes them out.
    pub(super) fn take_partial(&mut self) -> Vec<u8> {
        let partial = std::mem::take(&mut self.partial);
        if std::mem::take(&mut self.is_done) { Vec::new() } else { partial }
    }

    /// Whether a message is being stepped over.
    pub(super) fn is_skipping(&self) -> bool {
        self.skip.is_some()
    }

    /// Adds to the message that is not complete, never looking twice at its bytes.
    fn complete<'a>(
        &'a mut self,
        protocol: HubProtocol,
        input: &'a [u8],
        bytes_max: usize,
    ) -> (Part<'a>, usize) {
        let is_json = protocol == HubProtocol::Json;
        let missing = if is_json {
            input.iter().position(|byte| *byte == RECORD_SEPARATOR).map(|at| at + 1)
        } else {
            framed_bytes(&self.partial).map(|bytes| bytes.saturating_sub(self.partial.len()))
        };
        let used = match missing {
            // One byte of the prefix after the other.
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
            return self.step_over(skip, input);
        }
        self.partial.extend_from_slice(&input[..used]);
        match next_message_at_end(protocol, &self.partial) {
            Some((from, to)) => {
                self.is_done = true;
                (Part::Whole { payload: &self.partial[from..to], framed: &self.partial }, used)
            }
            None => (Part::Incomplete, used),
        }
    }

    fn step_over(&mut self, skip: Skip, input: &[u8]) -> (Part<'static>, usize) {
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
                (Part::Skipped, used)
            }
            None => (Part::Incomplete, input.len()),
        }
    }
}

/// How a message at the start of `input` is stepped over.
fn skip_for(protocol: HubProtocol, error: FramingError, input: &[u8]) -> Skip {
    match (protocol, error) {
        (HubProtocol::Json, _) => Skip::Record,
        (_, FramingError::TooLarge { .. }) => framed_bytes(input).map_or(Skip::All, Skip::Bytes),
        (_, FramingError::Prefix) => Skip::All,
    }
}

/// How many bytes a message of MessagePack takes with its prefix; `None` while the prefix is not complete, or where it is none.
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

/// Where the payload lies, if the bytes are exactly one whole message.
fn next_message_at_end(protocol: HubProtocol, bytes: &[u8]) -> Option<(usize, usize)> {
    match protocol {
        HubProtocol::Json => (bytes.last() == Some(&RECORD_SEPARATOR)).then(|| (0, bytes.len() - 1)),
        HubProtocol::MessagePack | HubProtocol::BlazorPack => {
            let (payload, used) = next_message(protocol, bytes, usize::MAX >> 1).ok()??;
            Some((used - payload.len(), used))
        }
    }
}
