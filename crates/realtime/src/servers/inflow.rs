//! [`Inflow`]: cuts what an app server sends into its messages. One that is too long is thrown away as it arrives, but for its beginning,
//! which says whom it was about; the connection lives on, for many clients share it. Pure.

use signalr_protocol::{FramingError, length_prefix};

/// What is kept of a message that is too long, in bytes: its type, its names and the beginning of its payload.
const BEGINNING_BYTES_MAX: usize = 4096;

/// Cuts a stream of service messages that arrives in arbitrary pieces.
#[derive(Debug)]
pub(crate) struct Inflow {
    bytes_max: usize,
    /// The beginning of a message, with its length in front; of one that is thrown away, without it.
    begun: Vec<u8>,
    thrown_away: Option<ThrownAway>,
}

#[derive(Debug)]
struct ThrownAway {
    left: usize,
    bytes: usize,
}

/// One message.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Incoming<'a> {
    /// All of it, without its length.
    Whole(&'a [u8]),
    /// The beginning of one of so many bytes.
    TooLong { beginning: &'a [u8], bytes: usize },
}

impl Inflow {
    /// For messages of at most `bytes_max` bytes.
    pub(crate) fn new(bytes_max: usize) -> Self {
        Self { bytes_max, begun: Vec::new(), thrown_away: None }
    }

    /// Takes the next bytes of the stream and calls `each` with every message that ends with them.
    ///
    /// # Errors
    ///
    /// If the stream cannot be cut, or `each` fails; nothing more can be read then.
    pub(crate) fn feed<E: From<FramingError>>(
        &mut self,
        mut input: &[u8],
        mut each: impl FnMut(Incoming<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        while !input.is_empty() || self.is_at_end() {
            let used = if self.thrown_away.is_some() {
                self.throw_away(input, &mut each)?
            } else if self.begun.is_empty() {
                self.begin(input, &mut each)?
            } else {
                self.complete(input, &mut each)?
            };
            input = &input[used..];
        }
        Ok(())
    }

    /// Whether a message that was thrown away is still to be told of.
    fn is_at_end(&self) -> bool {
        self.thrown_away.as_ref().is_some_and(|thrown_away| thrown_away.left == 0)
    }

    fn begin<E: From<FramingError>>(
        &mut self,
        input: &[u8],
        each: &mut impl FnMut(Incoming<'_>) -> Result<(), E>,
    ) -> Result<usize, E> {
        match length_prefix(input)? {
            Some((length, prefix)) if length > self.bytes_max => {
                self.thrown_away = Some(ThrownAway { left: length, bytes: length });
                Ok(prefix)
            }
            Some((length, prefix)) if prefix + length <= input.len() => {
                each(Incoming::Whole(&input[prefix..prefix + length]))?;
                Ok(prefix + length)
            }
            Some(_) | None => {
                self.begun.extend_from_slice(input);
                Ok(input.len())
            }
        }
    }

    /// Adds to a message that has begun, up to its end.
    fn complete<E: From<FramingError>>(
        &mut self,
        input: &[u8],
        each: &mut impl FnMut(Incoming<'_>) -> Result<(), E>,
    ) -> Result<usize, E> {
        let missing = match length_prefix(&self.begun)? {
            Some((length, prefix)) => prefix + length - self.begun.len(),
            None => 1,
        };
        let used = missing.min(input.len());
        self.begun.extend_from_slice(&input[..used]);
        match length_prefix(&self.begun)? {
            Some((length, _)) if length > self.bytes_max => {
                // Read byte by byte up to here, so that nothing of the message itself has come.
                self.begun.clear();
                self.thrown_away = Some(ThrownAway { left: length, bytes: length });
            }
            Some((length, prefix)) if prefix + length == self.begun.len() => {
                let whole = std::mem::take(&mut self.begun);
                each(Incoming::Whole(&whole[prefix..]))?;
            }
            Some(_) | None => {}
        }
        Ok(used)
    }

    fn throw_away<E: From<FramingError>>(
        &mut self,
        input: &[u8],
        each: &mut impl FnMut(Incoming<'_>) -> Result<(), E>,
    ) -> Result<usize, E> {
        let Some(thrown_away) = &mut self.thrown_away else { return Ok(0) };
        let used = thrown_away.left.min(input.len());
        let kept = used.min(BEGINNING_BYTES_MAX - self.begun.len());
        self.begun.extend_from_slice(&input[..kept]);
        thrown_away.left -= used;
        if thrown_away.left == 0 {
            let bytes = thrown_away.bytes;
            let beginning = std::mem::take(&mut self.begun);
            self.thrown_away = None;
            each(Incoming::TooLong { beginning: &beginning, bytes })?;
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
    fn messages_are_cut_and_long_ones_thrown_away_in_whatever_pieces_they_come() {
        let lengths = [0, 1, 10_000, 127, 128, 10_001, 3, 50_000, 9_999, 20_000];
        let stream: Vec<u8> = lengths.iter().flat_map(|bytes| framed(*bytes)).collect();
        for piece_bytes in [1, 2, 3, 100, 4096, 10_003, stream.len()] {
            let (mut inflow, mut got) = (Inflow::new(10_000), Vec::new());
            for piece in stream.chunks(piece_bytes) {
                inflow
                    .feed::<FramingError>(piece, |incoming| {
                        got.push(match incoming {
                            Incoming::Whole(payload) => {
                                assert!(payload.iter().enumerate().all(|(at, byte)| *byte == at as u8));
                                payload.len()
                            }
                            Incoming::TooLong { beginning, bytes } => {
                                assert_eq!(beginning.len(), BEGINNING_BYTES_MAX);
                                assert!(beginning.iter().enumerate().all(|(at, byte)| *byte == at as u8));
                                bytes
                            }
                        });
                        Ok(())
                    })
                    .unwrap();
                assert!(inflow.begun.len() <= 10_002, "no more than one message is kept");
            }
            assert_eq!(got, lengths, "{piece_bytes}");
        }
    }

    #[test]
    fn a_prefix_that_is_none_ends_the_stream() {
        for piece_bytes in [1, 5] {
            let mut inflow = Inflow::new(100);
            let result: Result<Vec<()>, FramingError> = b"\xff\xff\xff\xff\xff"
                .chunks(piece_bytes)
                .map(|piece| inflow.feed(piece, |_| Ok(())))
                .collect();
            assert_eq!(result, Err(FramingError::Prefix));
        }
    }
}
