//! [`MessageSplitter`]: splits the bytes of an app server into service messages. A message above the size limit is discarded while it arrives,
//! except for its beginning; the connection stays open, because many clients share it. Pure.

use signalr_protocol::{FramingError, length_prefix};

/// Bytes that are buffered of an oversized message: its type, its ids and the beginning of its payload.
const BEGINNING_BYTES_MAX: usize = 4096;

/// Splits a byte stream, which arrives in arbitrary parts, into service messages.
#[derive(Debug)]
pub(crate) struct MessageSplitter {
    bytes_max: usize,
    /// The beginning of an incomplete message, with its length prefix; of an oversized message without it.
    partial: Vec<u8>,
    discarded: Option<Discarded>,
}

#[derive(Debug)]
struct Discarded {
    /// Bytes that have not arrived.
    left: usize,
    bytes: usize,
}

/// One message of the stream.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum SplitMessage<'a> {
    /// The message without its length prefix.
    Complete(&'a [u8]),
    /// The beginning of a message of `bytes` bytes.
    Oversized { beginning: &'a [u8], bytes: usize },
}

impl MessageSplitter {
    /// For messages of at most `bytes_max` bytes.
    pub(crate) fn new(bytes_max: usize) -> Self {
        Self { bytes_max, partial: Vec::new(), discarded: None }
    }

    /// Reads the next bytes of the stream and calls `each` with every message that they complete.
    ///
    /// # Errors
    ///
    /// If a length prefix is invalid, or `each` fails. The splitter cannot be used afterwards.
    pub(crate) fn feed<E: From<FramingError>>(
        &mut self,
        mut input: &[u8],
        mut each: impl FnMut(SplitMessage<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        while !input.is_empty() || self.is_at_end() {
            let used = if self.discarded.is_some() {
                self.discard(input, &mut each)?
            } else if self.partial.is_empty() {
                self.begin(input, &mut each)?
            } else {
                self.complete(input, &mut each)?
            };
            input = &input[used..];
        }
        Ok(())
    }

    /// Whether a discarded message has not been reported yet.
    fn is_at_end(&self) -> bool {
        self.discarded.as_ref().is_some_and(|discarded| discarded.left == 0)
    }

    fn begin<E: From<FramingError>>(
        &mut self,
        input: &[u8],
        each: &mut impl FnMut(SplitMessage<'_>) -> Result<(), E>,
    ) -> Result<usize, E> {
        match length_prefix(input)? {
            Some((length, prefix)) if length > self.bytes_max => {
                self.discarded = Some(Discarded { left: length, bytes: length });
                Ok(prefix)
            }
            Some((length, prefix)) if prefix + length <= input.len() => {
                each(SplitMessage::Complete(&input[prefix..prefix + length]))?;
                Ok(prefix + length)
            }
            Some(_) | None => {
                self.partial.extend_from_slice(input);
                Ok(input.len())
            }
        }
    }

    /// Adds bytes to an incomplete message, up to its end.
    fn complete<E: From<FramingError>>(
        &mut self,
        input: &[u8],
        each: &mut impl FnMut(SplitMessage<'_>) -> Result<(), E>,
    ) -> Result<usize, E> {
        let missing = match length_prefix(&self.partial)? {
            Some((length, prefix)) => prefix + length - self.partial.len(),
            None => 1,
        };
        let used = missing.min(input.len());
        self.partial.extend_from_slice(&input[..used]);
        match length_prefix(&self.partial)? {
            Some((length, _)) if length > self.bytes_max => {
                // The prefix was read byte by byte, so `partial` has no byte of the message itself.
                self.partial.clear();
                self.discarded = Some(Discarded { left: length, bytes: length });
            }
            Some((length, prefix)) if prefix + length == self.partial.len() => {
                let whole = std::mem::take(&mut self.partial);
                each(SplitMessage::Complete(&whole[prefix..]))?;
            }
            Some(_) | None => {}
        }
        Ok(used)
    }

    fn discard<E: From<FramingError>>(
        &mut self,
        input: &[u8],
        each: &mut impl FnMut(SplitMessage<'_>) -> Result<(), E>,
    ) -> Result<usize, E> {
        let Some(discarded) = &mut self.discarded else { return Ok(0) };
        let used = discarded.left.min(input.len());
        let kept = used.min(BEGINNING_BYTES_MAX - self.partial.len());
        self.partial.extend_from_slice(&input[..kept]);
        discarded.left -= used;
        if discarded.left == 0 {
            let bytes = discarded.bytes;
            let beginning = std::mem::take(&mut self.partial);
            self.discarded = None;
            each(SplitMessage::Oversized { beginning: &beginning, bytes })?;
        }
        Ok(used)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn framed(bytes: usize) -> Vec<u8> {
        let mut out = Vec::new();
        let start = signalr_protocol::write_frame_start(signalr_protocol::service::FRAMING, &mut out);
        out.extend((0..bytes).map(|at| at as u8));
        signalr_protocol::finish_frame(&start, &mut out);
        out
    }

    #[test]
    fn messages_are_split_and_oversized_ones_discarded_in_parts_of_any_size() {
        let lengths = [0, 1, 10_000, 127, 128, 10_001, 3, 50_000, 9_999, 20_000];
        let stream: Vec<u8> = lengths.iter().flat_map(|bytes| framed(*bytes)).collect();
        for part_bytes in [1, 2, 3, 100, 4096, 10_003, stream.len()] {
            let (mut splitter, mut got) = (MessageSplitter::new(10_000), Vec::new());
            for part in stream.chunks(part_bytes) {
                splitter
                    .feed::<FramingError>(part, |incoming| {
                        got.push(match incoming {
                            SplitMessage::Complete(payload) => {
                                assert!(payload.iter().enumerate().all(|(at, byte)| *byte == at as u8));
                                payload.len()
                            }
                            SplitMessage::Oversized { beginning, bytes } => {
                                assert_eq!(beginning.len(), BEGINNING_BYTES_MAX);
                                assert!(beginning.iter().enumerate().all(|(at, byte)| *byte == at as u8));
                                bytes
                            }
                        });
                        Ok(())
                    })
                    .unwrap();
                assert!(splitter.partial.len() <= 10_002, "no more than one message is buffered");
            }
            assert_eq!(got, lengths, "{part_bytes}");
        }
    }

    #[test]
    fn an_invalid_length_prefix_is_an_error() {
        for part_bytes in [1, 5] {
            let mut splitter = MessageSplitter::new(100);
            let result: Result<Vec<()>, FramingError> = b"\xff\xff\xff\xff\xff"
                .chunks(part_bytes)
                .map(|part| splitter.feed(part, |_| Ok(())))
                .collect();
            assert_eq!(result, Err(FramingError::Prefix));
        }
    }
}
