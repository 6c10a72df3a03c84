//! [`Head`]: follows the bytes of the request heads on an HTTP/1.1 connection, and ends one that is too large. Pure.
//!
//! hyper itself responds to a head that exceeds its buffer: without a text, and without the fields by which a browser lets a page
//! of another origin read the response. So hyper never receives such a head completely. The rest is read and dropped in a buffer
//! for the beginning of a line, hyper receives a replacement end, and `connection_service.rs` refuses the resulting request.

use http::HeaderValue;

/// By how many bytes a head may exceed its limit so that the current line ends: a short line is never split. An `Origin` field is
/// shorter, so either hyper receives all of it or [`Head::skip`] does.
pub(crate) const LINE_GRACE_BYTES: usize = 1024;

/// The longest request line. hyper itself responds to a target above 65,534 bytes, as it does to a large head.
const REQUEST_LINE_BYTES_MAX: usize = 60 * 1024;

/// How much of the rest of a head is read and dropped, as a multiple of the limit. What follows is dropped once the response is
/// sent, like the rest of a body.
const SKIPPED_HEADS_MAX: usize = 16;

/// Which limit a head exceeds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HeadLimit {
    /// More bytes than the limit.
    Bytes,
    /// More fields than the limit.
    Fields,
}

/// A head that exceeds a limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HeadTooLarge {
    pub(crate) excess: HeadLimit,
    /// The `Origin` field, if it is in the part that hyper did not receive.
    pub(crate) origin: Option<HeaderValue>,
}

/// The heads of one connection, one after another.
#[derive(Debug)]
pub(crate) struct Head {
    bytes_max: usize,
    fields_max: usize,
    state: State,
}

#[derive(Debug)]
enum State {
    /// No head is arriving.
    Between,
    /// hyper receives the arriving bytes.
    ForwardedHead(ForwardedHead),
    /// A head exceeds a limit: its rest is dropped.
    SkippedHead(SkippedHead),
}

/// The part of a head that was passed to hyper.
#[derive(Debug, Default)]
struct ForwardedHead {
    bytes: usize,
    /// Complete lines, the request line included.
    lines: usize,
    /// Bytes of the current line.
    line_bytes: usize,
    /// Whether the current line has nothing but its end so far.
    is_blank: bool,
    /// Whether the current line has a colon.
    has_colon: bool,
}

#[derive(Debug)]
struct SkippedHead {
    bytes_left: usize,
    /// The beginning of the current line; `None` while hyper has the beginning of that line.
    line: Option<Vec<u8>>,
    ending: &'static [u8],
    found: HeadTooLarge,
}

enum HeadProgress {
    All,
    /// The head has ended.
    Ended,
    /// Pass only this number of bytes, and then this end of the head.
    Cut(usize, HeadLimit, &'static [u8]),
}

impl Head {
    /// `bytes_max` counts the request line and all fields with their line ends.
    pub(crate) fn new(bytes_max: usize, fields_max: usize) -> Self {
        Self { bytes_max, fields_max, state: State::Between }
    }

    /// Arriving bytes belong to no head.
    pub(crate) fn is_over(&mut self) {
        self.state = State::Between;
    }

    /// Records bytes of a head, and returns how many of them hyper may have. If these are not all, pass the others to
    /// [`Head::skip`].
    pub(crate) fn pass(&mut self, bytes: &[u8]) -> usize {
        if let State::Between = self.state {
            self.state = State::ForwardedHead(ForwardedHead { is_blank: true, ..ForwardedHead::default() });
        }
        let State::ForwardedHead(passing) = &mut self.state else { return 0 };
        match passing.pass(bytes, self.bytes_max, self.fields_max) {
            HeadProgress::All => bytes.len(),
            HeadProgress::Ended => {
                self.state = State::Between;
                bytes.len()
            }
            HeadProgress::Cut(length, excess, ending) => {
                let in_line = ending.len() > CLEAN_END.len();
                self.state = State::SkippedHead(SkippedHead {
                    bytes_left: self.bytes_max.saturating_mul(SKIPPED_HEADS_MAX),
                    line: (!in_line).then(Vec::new),
                    ending,
                    found: HeadTooLarge { excess, origin: None },
                });
                length
            }
        }
    }

    /// Whether the rest of a head is being dropped.
    pub(crate) fn is_skipping(&self) -> bool {
        matches!(self.state, State::SkippedHead(_))
    }

    /// Drops bytes of a head that is too large. At its end, or when enough was dropped, returns the exceeded limit, and the end
    /// that hyper receives in place of the rest.
    pub(crate) fn skip(&mut self, bytes: &[u8]) -> Option<(HeadTooLarge, &'static [u8])> {
        let State::SkippedHead(skipping) = &mut self.state else { return None };
        if !skipping.skip(bytes) {
            return None;
        }
        let ended = (skipping.found.clone(), skipping.ending);
        self.state = State::Between;
        Some(ended)
    }
}

/// The end of a head whose last line is complete.
const CLEAN_END: &[u8] = b"\r\n";

impl ForwardedHead {
    fn pass(&mut self, bytes: &[u8], bytes_max: usize, fields_max: usize) -> HeadProgress {
        let mut passed = 0;
        while let Some(first) = bytes.get(passed) {
            let ends_head = matches!(first, b'\r' | b'\n');
            if self.line_bytes == 0 && self.lines > 0 && !ends_head {
                // The request line is not a field.
                if self.lines > fields_max {
                    return HeadProgress::Cut(passed, HeadLimit::Fields, CLEAN_END);
                }
                if self.bytes >= bytes_max {
                    return HeadProgress::Cut(passed, HeadLimit::Bytes, CLEAN_END);
                }
            }
            let rest = &bytes[passed..];
            let end = rest.iter().position(|byte| *byte == b'\n').map(|at| at + 1);
            let line = &rest[..end.unwrap_or(rest.len())];
            let most = if self.lines == 0 { bytes_max.min(REQUEST_LINE_BYTES_MAX) } else { bytes_max };
            let room = (most + LINE_GRACE_BYTES).saturating_sub(self.bytes);
            // A line end is not split either: hyper itself refuses a lone CR.
            if line.len() > room && line != b"\n" {
                let room = room - usize::from(line[..room].ends_with(b"\r"));
                self.has_colon |= line[..room].contains(&b':');
                return HeadProgress::Cut(passed + room, HeadLimit::Bytes, self.line_completion());
            }
            self.bytes += line.len();
            passed += line.len();
            self.is_blank &= line.iter().all(|byte| matches!(byte, b'\r' | b'\n'));
            if end.is_none() {
                self.line_bytes += line.len();
                self.has_colon |= line.contains(&b':');
                break;
            }
            if self.is_blank && self.lines > 0 {
                return HeadProgress::Ended;
            }
            // Blank lines before the request line are ignored (RFC 9112 section 2.2).
            self.lines += usize::from(!self.is_blank);
            (self.line_bytes, self.is_blank, self.has_colon) = (0, true, false);
        }
        HeadProgress::All
    }

    /// The text that completes a head that is cut within a line.
    fn line_completion(&self) -> &'static [u8] {
        match (self.lines, self.has_colon) {
            (0, _) => b" HTTP/1.1\r\n\r\n",
            (_, false) => b":\r\n\r\n",
            (_, true) => b"\r\n\r\n",
        }
    }
}

impl SkippedHead {
    /// Whether this is the end.
    fn skip(&mut self, bytes: &[u8]) -> bool {
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            if let Some(line) = &mut self.line {
                let room = LINE_GRACE_BYTES.saturating_sub(line.len());
                line.extend_from_slice(&piece[..piece.len().min(room)]);
            }
            if piece.ends_with(b"\n") {
                let line = self.line.replace(Vec::new());
                if line.is_some_and(|line| self.is_end(&line)) {
                    return true;
                }
            }
        }
        self.bytes_left = self.bytes_left.saturating_sub(bytes.len());
        self.bytes_left == 0
    }

    /// Reads the beginning of a complete line.
    fn is_end(&mut self, line: &[u8]) -> bool {
        const ORIGIN: &[u8] = b"origin:";
        if matches!(line, b"\r\n" | b"\n") {
            return true;
        }
        if line.len() < LINE_GRACE_BYTES
            && line.get(..ORIGIN.len()).is_some_and(|name| name.eq_ignore_ascii_case(ORIGIN))
        {
            self.found.origin = HeaderValue::from_bytes(line[ORIGIN.len()..].trim_ascii()).ok();
        }
        false
    }
}

#[cfg(test)]
mod tests;
