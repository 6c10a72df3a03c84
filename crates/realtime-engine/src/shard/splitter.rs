//! [`MessageSplitter`]: splits the bytes of a stateful client into hub messages for an app server, and returns long ones in parts
//! as they arrive. Pure.

use signalr_protocol::{
    FramingError, HubProtocol, RECORD_SEPARATOR, length_prefix, next_message, prefix_is_sequenced,
};

/// A message up to this size, in bytes with its framing, is collected before it is returned: its type must be known, which may be
/// at its end, and all messages that are not counted are shorter.
const COLLECTED_BYTES_MAX: usize = 4096;

/// Splits a stream that arrives in arbitrary parts.
#[derive(Debug)]
pub(crate) struct MessageSplitter {
    protocol: HubProtocol,
    bytes_max: usize,
    /// The start of a message that is collected.
    collected: Vec<u8>,
    long: Option<LongMessage>,
}

/// A long message of which parts were returned.
#[derive(Debug)]
struct LongMessage {
    /// The number of missing bytes, if the framing has the length.
    left: Option<usize>,
    bytes: usize,
}

/// The next part of the stream.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum SplitPart<'a> {
    /// A complete message.
    Message {
        framed: &'a [u8],
        payload: &'a [u8],
    },
    /// The start of a long message, and whether it is counted.
    LongStart {
        bytes: &'a [u8],
        is_sequenced: bool,
    },
    LongMiddle(&'a [u8]),
    /// Its end, and its size in bytes.
    LongEnd {
        bytes: &'a [u8],
        all: usize,
    },
}

impl MessageSplitter {
    /// For messages of at most `bytes_max` bytes, framing included.
    pub(crate) fn new(protocol: HubProtocol, bytes_max: usize) -> Self {
        Self { protocol, bytes_max, collected: Vec::new(), long: None }
    }

    /// Whether the start of a long message was returned, and its end was not.
    pub(crate) fn is_within_long(&self) -> bool {
        self.long.is_some()
    }

    /// Reads the next bytes of the stream and calls `each` with everything that they contain, in order.
    ///
    /// # Errors
    ///
    /// If the framing is invalid, or `each` fails; the connection must be closed then.
    pub(crate) fn feed<E: From<FramingError>>(
        &mut self,
        mut input: &[u8],
        mut each: impl FnMut(SplitPart<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        while !input.is_empty() {
            let used = if self.long.is_some() {
                self.continue_long_message(input, &mut each)?
            } else if self.collected.is_empty() {
                self.begin(input, &mut each)?
            } else {
                self.collect(input, &mut each)?
            };
            input = &input[used..];
        }
        Ok(())
    }

    /// At the start of a message. Returns how many bytes were used.
    fn begin<E: From<FramingError>>(
        &mut self,
        input: &[u8],
        each: &mut impl FnMut(SplitPart<'_>) -> Result<(), E>,
    ) -> Result<usize, E> {
        if let Some((payload, used)) = next_message(self.protocol, input, self.bytes_max)? {
            each(SplitPart::Message { framed: &input[..used], payload })?;
            return Ok(used);
        }
        if input.len() > COLLECTED_BYTES_MAX {
            self.start_long_message(input, each)?;
        } else {
            self.collected.extend_from_slice(input);
        }
        Ok(input.len())
    }

    /// Collects bytes, up to the end of the message or the limit.
    fn collect<E: From<FramingError>>(
        &mut self,
        input: &[u8],
        each: &mut impl FnMut(SplitPart<'_>) -> Result<(), E>,
    ) -> Result<usize, E> {
        let room = COLLECTED_BYTES_MAX + 1 - self.collected.len();
        let (missing, ends) = match self.protocol {
            HubProtocol::Json => match input.iter().position(|byte| *byte == RECORD_SEPARATOR) {
                Some(at) => (at + 1, true),
                None => (input.len(), false),
            },
            HubProtocol::MessagePack | HubProtocol::BlazorPack => match length_prefix(&self.collected)? {
                Some((length, _)) if length > self.bytes_max => {
                    return Err(FramingError::TooLarge { bytes_max: self.bytes_max }.into());
                }
                Some((length, prefix)) => (prefix + length - self.collected.len(), true),
                None => (1, false),
            },
        };
        let used = missing.min(input.len()).min(room);
        self.collected.extend_from_slice(&input[..used]);
        // A complete prefix may be that of an empty message.
        if (ends && used == missing) || matches!(length_of(self.protocol, &self.collected)?, Some(0)) {
            let framed = std::mem::take(&mut self.collected);
            if let Some((payload, _)) = next_message(self.protocol, &framed, self.bytes_max)? {
                each(SplitPart::Message { framed: &framed, payload })?;
            }
        } else if self.collected.len() > COLLECTED_BYTES_MAX {
            let beginning = std::mem::take(&mut self.collected);
            self.start_long_message(&beginning, each)?;
        }
        Ok(used)
    }

    fn start_long_message<E: From<FramingError>>(
        &mut self,
        bytes: &[u8],
        each: &mut impl FnMut(SplitPart<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let (left, prefix) = match self.protocol {
            HubProtocol::Json => (None, 0),
            HubProtocol::MessagePack | HubProtocol::BlazorPack => match length_prefix(bytes)? {
                Some((length, prefix)) => (Some(prefix + length - bytes.len()), prefix),
                None => (None, 0),
            },
        };
        let is_sequenced = prefix_is_sequenced(self.protocol, &bytes[prefix..]);
        self.long = Some(LongMessage { left, bytes: bytes.len() });
        each(SplitPart::LongStart { bytes, is_sequenced })
    }

    /// In the middle of a long message.
    fn continue_long_message<E: From<FramingError>>(
        &mut self,
        input: &[u8],
        each: &mut impl FnMut(SplitPart<'_>) -> Result<(), E>,
    ) -> Result<usize, E> {
        let Some(long) = &mut self.long else { return Ok(0) };
        let (used, is_end) = match &mut long.left {
            Some(left) => {
                let used = (*left).min(input.len());
                *left -= used;
                (used, *left == 0)
            }
            None => match input.iter().position(|byte| *byte == RECORD_SEPARATOR) {
                Some(at) => (at + 1, true),
                None => (input.len(), false),
            },
        };
        long.bytes += used;
        let (bytes, all) = (&input[..used], long.bytes);
        if all > self.bytes_max {
            return Err(FramingError::TooLarge { bytes_max: self.bytes_max }.into());
        }
        if is_end {
            self.long = None;
            each(SplitPart::LongEnd { bytes, all })?;
        } else {
            each(SplitPart::LongMiddle(bytes))?;
        }
        Ok(used)
    }
}

/// The length in a prefix; `None` if there is no prefix, or it is not complete.
fn length_of(protocol: HubProtocol, framed: &[u8]) -> Result<Option<usize>, FramingError> {
    match protocol {
        HubProtocol::Json => Ok(None),
        HubProtocol::MessagePack | HubProtocol::BlazorPack => {
            Ok(length_prefix(framed)?.map(|(length, _)| length))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The messages of a stream that arrives in parts of one size, with the number of parts in which each was returned.
    fn split_in_parts(
        protocol: HubProtocol,
        stream: &[u8],
        piece_bytes: usize,
    ) -> Result<Vec<(Vec<u8>, usize, bool)>, FramingError> {
        let mut splitter = MessageSplitter::new(protocol, 100_000);
        let (mut all, mut long) = (Vec::new(), (Vec::new(), 0, false));
        for pending_frame in stream.chunks(piece_bytes) {
            splitter.feed::<FramingError>(pending_frame, |cut| {
                match cut {
                    SplitPart::Message { framed, .. } => all.push((framed.to_vec(), 1, false)),
                    SplitPart::LongStart { bytes, is_sequenced } => long = (bytes.to_vec(), 1, is_sequenced),
                    SplitPart::LongMiddle(bytes) => {
                        long.0.extend_from_slice(bytes);
                        long.1 += 1;
                    }
                    SplitPart::LongEnd { bytes, all: length } => {
                        long.0.extend_from_slice(bytes);
                        long.1 += 1;
                        assert_eq!(long.0.len(), length);
                        all.push(std::mem::take(&mut long));
                    }
                }
                Ok(())
            })?;
            assert!(splitter.collected.len() <= COLLECTED_BYTES_MAX);
        }
        assert!(!splitter.is_within_long() && splitter.collected.is_empty());
        Ok(all)
    }

    fn framed(protocol: HubProtocol, payload: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        let start = signalr_protocol::write_frame_start(protocol, &mut out);
        out.extend_from_slice(payload);
        signalr_protocol::finish_frame(&start, &mut out);
        out
    }

    #[test]
    fn a_stream_is_split_into_the_same_messages_for_any_size_of_parts() {
        for protocol in [HubProtocol::Json, HubProtocol::MessagePack, HubProtocol::BlazorPack] {
            let messages: Vec<Vec<u8>> = [0, 1, 100, 127, 128, 4090, 4094, 4095, 4096, 4097, 5000, 70_000]
                .map(|bytes| framed(protocol, &vec![b'x'; bytes]))
                .to_vec();
            for piece_bytes in [1, 2, 3, 1000, 4096, 4097, 65_536, 1 << 20] {
                let got = split_in_parts(protocol, &messages.concat(), piece_bytes).unwrap();
                let got: Vec<_> = got.into_iter().map(|(bytes, ..)| bytes).collect();
                assert_eq!(got, messages, "{protocol:?} {piece_bytes}");
            }
        }
    }

    #[test]
    fn a_long_message_is_returned_in_parts_and_a_short_one_complete() {
        let text =
            [&b"{\"type\":1,\"arguments\":[\""[..], &[b'x'; 50_000], b"\"]}\x1e{\"type\":6}\x1e"].concat();
        let got = split_in_parts(HubProtocol::Json, &text, 10_000).unwrap();
        assert_eq!(got.iter().map(|(_, parts, _)| *parts).collect::<Vec<_>>(), [6, 1]);
        assert!(got[0].2, "it is numbered");
        let close =
            framed(HubProtocol::MessagePack, &[&[0x92, 7, 0xda, 0x20, 0][..], &[b'x'; 8192]].concat());
        let got = split_in_parts(HubProtocol::MessagePack, &close, 5000).unwrap();
        assert_eq!((got[0].1, got[0].2), (2, false), "a Close is not numbered, however long");
    }

    #[test]
    fn a_message_over_the_limit_is_refused_when_its_length_is_known() {
        let refused = Err(FramingError::TooLarge { bytes_max: 100_000 });
        assert_eq!(split_in_parts(HubProtocol::Json, &[b'x'; 100_001], 10_000), refused);
        let mut prefix = framed(HubProtocol::MessagePack, &[0; 100_001]);
        prefix.truncate(10);
        for piece_bytes in [1, 10] {
            assert_eq!(split_in_parts(HubProtocol::MessagePack, &prefix, piece_bytes), refused);
        }
    }
}
