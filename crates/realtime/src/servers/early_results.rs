//! [`EarlyResults`]: delays results of a client that would reach its app server too early. Pure: the time is an argument.
//!
//! The SDK (Microsoft.Azure.SignalR 1.34.0) sends a client invocation to the service before it registers that it waits for the result: a result
//! that arrives within a few milliseconds is dropped, and `InvokeAsync` never returns. The latency of the cloud hides this. So a result is
//! forwarded no sooner than a short time after its invocation.

use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

use signalr_protocol::{HubMessageType, HubProtocol, next_message, peek};

/// Invocations of one client that are tracked; results of further ones are forwarded at once.
const INVOCATIONS_MAX: usize = 1024;

/// Recent invocations of one client by its own app server.
#[derive(Debug, Default)]
pub(super) struct EarlyResults {
    invocations: Vec<(Arc<str>, Instant)>,
    /// The time at which the last of the delayed results is due.
    until: Option<Instant>,
}

/// A range of the client's bytes, and the time before which its app server must not get it.
pub(super) type TimedRange = (Range<usize>, Option<Instant>);

impl EarlyResults {
    /// The app server has invoked a method of the client.
    pub(super) fn expect(&mut self, invocation: Arc<str>, not_before: Instant, now: Instant) {
        self.invocations.retain(|(_, at)| *at > now);
        if not_before > now && self.invocations.len() < INVOCATIONS_MAX {
            self.invocations.push((invocation, not_before));
        }
    }

    /// When the last of the delayed results is due.
    pub(super) fn until(&self) -> Option<Instant> {
        self.until
    }

    /// Whether a result could be too early now. Otherwise the messages need not be parsed.
    pub(super) fn may_be_early(&mut self) -> bool {
        if self.invocations.is_empty() {
            return false;
        }
        let now = Instant::now();
        self.invocations.retain(|(_, at)| *at > now);
        !self.invocations.is_empty()
    }

    /// Divides messages of the client, in order, into those that may be forwarded now and results that are too early. An incomplete message may
    /// be forwarded, because a long result arrives late enough.
    pub(super) fn divide(&mut self, protocol: HubProtocol, bytes: &[u8]) -> Vec<TimedRange> {
        let (mut parts, mut begin, mut at) = (Vec::new(), 0, 0);
        while let Ok(Some((message, used))) = next_message(protocol, &bytes[at..], bytes.len()) {
            if let Some(not_before) = self.claim(protocol, message) {
                if begin < at {
                    parts.push((begin..at, None));
                }
                parts.push((at..at + used, Some(not_before)));
                begin = at + used;
            }
            at += used;
        }
        if begin < bytes.len() {
            parts.push((begin..bytes.len(), None));
        }
        parts
    }

    fn claim(&mut self, protocol: HubProtocol, message: &[u8]) -> Option<Instant> {
        let peek = peek(protocol, message).ok().filter(|peek| peek.kind == HubMessageType::Completion)?;
        let id = peek.invocation_id?;
        let index = self.invocations.iter().position(|(invocation, _)| **invocation == *id)?;
        let not_before = self.invocations.swap_remove(index).1;
        self.until = self.until.max(Some(not_before));
        Some(not_before)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn result(id: &str) -> String {
        format!("{{\"type\":3,\"invocationId\":\"{id}\",\"result\":1}}\u{1e}")
    }

    #[test]
    fn only_results_of_recent_invocations_are_delayed() {
        let now = Instant::now();
        let later = now + Duration::from_secs(60);
        let mut awaited = EarlyResults::default();
        assert!(!awaited.may_be_early());
        awaited.expect("a".into(), later, now);
        awaited.expect("past".into(), now, now);
        assert!(awaited.may_be_early());
        let other = "{\"type\":1,\"target\":\"a\",\"arguments\":[]}\u{1e}";
        let sent = [other, &result("past"), &result("a"), other, "{\"type\":3,"].concat();
        let begin = other.len() + result("past").len();
        let end = begin + result("a").len();
        let expected = [(0..begin, None), (begin..end, Some(later)), (end..sent.len(), None)];
        assert_eq!(awaited.divide(HubProtocol::Json, sent.as_bytes()), expected);
        assert!(!awaited.may_be_early(), "each result is expected once");
        let again = result("a");
        assert_eq!(awaited.divide(HubProtocol::Json, again.as_bytes()), [(0..again.len(), None)]);
    }

    #[test]
    fn results_in_messagepack_are_delayed() {
        let (now, mut awaited) = (Instant::now(), EarlyResults::default());
        let later = now + Duration::from_secs(60);
        awaited.expect("a".into(), later, now);
        let sent = b"\x02\x91\x06\x07\x95\x03\x80\xa1a\x03\x01";
        let expected = [(0..3, None), (3..11, Some(later))];
        assert_eq!(awaited.divide(HubProtocol::MessagePack, sent), expected);
    }

    #[test]
    fn old_invocations_are_removed() {
        let (start, mut awaited) = (Instant::now(), EarlyResults::default());
        for second in 0..5000 {
            let now = start + Duration::from_secs(second);
            awaited.expect(second.to_string().into(), now + Duration::from_millis(20), now);
        }
        assert_eq!(awaited.invocations.len(), 1);
    }
}
