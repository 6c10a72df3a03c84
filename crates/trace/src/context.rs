//! The `traceparent` header: W3C Trace Context, level 1.

use std::cell::Cell;
use std::fmt;

/// Identity of a trace: 16 bytes, never zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TraceId(u128);

/// Identity of a span in its trace: 8 bytes, never zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SpanId(u64);

/// Which trace we are in, and under which span.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TraceContext {
    /// The trace.
    pub trace_id: TraceId,
    /// The span that is the parent of whatever happens next.
    pub span_id: SpanId,
    /// Whether the caller records this trace.
    pub sampled: bool,
}

impl TraceId {
    /// Draws a new identity.
    pub fn random() -> Self {
        Self((u128::from(random_nonzero()) << 64) | u128::from(random_nonzero()))
    }

    /// Reads 32 hexadecimal digits.
    pub fn parse(text: &str) -> Option<Self> {
        parse_hex(text, 32).filter(|id| *id != 0).map(Self)
    }

    /// The identity as OTLP carries it.
    pub fn to_bytes(self) -> [u8; 16] {
        self.0.to_be_bytes()
    }
}

impl SpanId {
    /// Draws a new identity.
    pub fn random() -> Self {
        Self(random_nonzero())
    }

    /// Reads 16 hexadecimal digits.
    pub fn parse(text: &str) -> Option<Self> {
        let id = parse_hex(text, 16)?;
        u64::try_from(id).ok().filter(|id| *id != 0).map(Self)
    }

    /// The identity as OTLP carries it.
    pub fn to_bytes(self) -> [u8; 8] {
        self.0.to_be_bytes()
    }
}

impl TraceContext {
    /// Starts a trace of its own.
    pub fn root() -> Self {
        Self { trace_id: TraceId::random(), span_id: SpanId::random(), sampled: true }
    }

    /// A new span below this one, in the same trace.
    #[must_use]
    pub fn child(self) -> Self {
        Self { span_id: SpanId::random(), ..self }
    }

    /// Reads a `traceparent` value. Anything malformed counts as absent, as the specification asks; versions above 00 are
    /// read by their first four fields (section 4.3, "Versioning of traceparent").
    pub fn parse(traceparent: &str) -> Option<Self> {
        let mut fields = traceparent.trim().split('-');
        let version = fields.next()?;
        if parse_hex(version, 2)? == 0xff {
            return None;
        }
        let trace_id = TraceId::parse(fields.next()?)?;
        let span_id = SpanId::parse(fields.next()?)?;
        let flags = parse_hex(fields.next()?, 2)?;
        if version == "00" && fields.next().is_some() {
            return None;
        }
        Some(Self { trace_id, span_id, sampled: flags & 1 == 1 })
    }

    /// The value of a `traceparent` header.
    pub fn to_traceparent(self) -> String {
        format!("00-{}-{}-{:02x}", self.trace_id, self.span_id, u8::from(self.sampled))
    }
}

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Display for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// Exactly `digits` lower-case hexadecimal digits (section 3.2.2: upper case is invalid).
fn parse_hex(text: &str, digits: usize) -> Option<u128> {
    let valid = text.len() == digits && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    if !valid {
        return None;
    }
    u128::from_str_radix(text, 16).ok()
}

/// SplitMix64 over a seed of the operating system, one for each thread: ids must be unique, not secret, and a system call
/// for each span would cost more than the span.
fn random_nonzero() -> u64 {
    thread_local!(static STATE: Cell<u64> = Cell::new(seed()));
    STATE.with(|state| {
        loop {
            let next = state.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
            state.set(next);
            let mut mixed = next;
            mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            mixed ^= mixed >> 31;
            if mixed != 0 {
                return mixed;
            }
        }
    })
}

fn seed() -> u64 {
    use ring::rand::SecureRandom;
    let mut bytes = [0; 8];
    let filled = ring::rand::SystemRandom::new().fill(&mut bytes);
    filled.expect("the operating system gives random bytes");
    u64::from_ne_bytes(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_formatted_traceparent_is_parsed_back() {
        let text = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        assert_eq!(TraceContext::parse(text).map(TraceContext::to_traceparent).as_deref(), Some(text));
    }

    #[test]
    fn malformed_traceparents_count_as_absent() {
        for text in [
            "",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more",
        ] {
            assert_eq!(TraceContext::parse(text), None, "{text}");
        }
        // A future version may append fields; its first four still count.
        assert!(
            TraceContext::parse("01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more").is_some()
        );
    }
}
