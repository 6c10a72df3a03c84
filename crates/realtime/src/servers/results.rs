//! [`AwaitedResults`]: results of a client for its own app server that come too early. Pure: the time comes in.
//!
//! The SDK (Microsoft.Azure.SignalR 1.34.0) writes the call of a client's method to the service before it notes that it waits for the
//! result: one that comes within a few milliseconds is dropped, and `InvokeAsync` never ends. The cloud's latency hides that. So a result
//! is passed on no sooner than a little while after its call.

use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

use signalr_protocol::{HubMessageType, HubProtocol, next_message, peek};

/// Calls of one client that are remembered; the results of further ones are passed on at once.
const CALLS_MAX: usize = 1024;

/// Calls of one client by its own server whose results would come too early now.
#[derive(Debug, Default)]
pub(super) struct AwaitedResults {
    calls: Vec<(Arc<str>, Instant)>,
    /// The time before which the server must not get the last of the results that came too early.
    until: Option<Instant>,
}

/// A part of what a client sent, and the time before which its server must not get it.
pub(super) type Part = (Range<usize>, Option<Instant>);

impl AwaitedResults {
    /// The client's server has called a method of the client.
    pub(super) fn expect(&mut self, invocation: Arc<str>, not_before: Instant, now: Instant) {
        self.calls.retain(|(_, at)| *at > now);
        if not_before > now && self.calls.len() < CALLS_MAX {
            self.calls.push((invocation, not_before));
        }
    }

    /// Until when a result may be under way that was set apart.
    pub(super) fn until(&self) -> Option<Instant> {
        self.until
    }

    /// Whether any result would be too early. Otherwise there is no need to look for one.
    pub(super) fn has_early(&mut self) -> bool {
        if self.calls.is_empty() {
            return false;
        }
        let now = Instant::now();
        self.calls.retain(|(_, at)| *at > now);
        !self.calls.is_empty()
    }

    /// Divides whole messages of the client, in order, into those that may be passed on now and results that come too early. What is not
    /// whole may be passed on: a result that long takes its time.
    pub(super) fn divide(&mut self, protocol: HubProtocol, bytes: &[u8]) -> Vec<Part> {
        let (mut parts, mut begin, mut at) = (Vec::new(), 0, 0);
        while let Ok(Some((message, used))) = next_message(protocol, &bytes[at..], bytes.len()) {
            if let Some(not_before) = self.take(protocol, message) {
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

    fn take(&mut self, protocol: HubProtocol, message: &[u8]) -> Option<Instant> {
        let peek = peek(protocol, message).ok().filter(|peek| peek.kind == HubMessageType::Completion)?;
        let id = peek.invocation_id?;
        let index = self.calls.iter().position(|(invocation, _)| **invocation == *id)?;
        let not_before = self.calls.swap_remove(index).1;
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
    fn only_results_of_young_calls_are_set_apart() {
        let now = Instant::now();
        let later = now + Duration::from_secs(60);
        let mut awaited = AwaitedResults::default();
        assert!(!awaited.has_early());
        awaited.expect("a".into(), later, now);
        awaited.expect("past".into(), now, now);
        assert!(awaited.has_early());
        let other = "{\"type\":1,\"target\":\"a\",\"arguments\":[]}\u{1e}";
        let sent = [other, &result("past"), &result("a"), other, "{\"type\":3,"].concat();
        let begin = other.len() + result("past").len();
        let end = begin + result("a").len();
        let expected = [(0..begin, None), (begin..end, Some(later)), (end..sent.len(), None)];
        assert_eq!(awaited.divide(HubProtocol::Json, sent.as_bytes()), expected);
        assert!(!awaited.has_early(), "each result comes once");
        let again = result("a");
        assert_eq!(awaited.divide(HubProtocol::Json, again.as_bytes()), [(0..again.len(), None)]);
    }

    #[test]
    fn results_in_messagepack_are_set_apart() {
        let (now, mut awaited) = (Instant::now(), AwaitedResults::default());
        let later = now + Duration::from_secs(60);
        awaited.expect("a".into(), later, now);
        let sent = b"\x02\x91\x06\x07\x95\x03\x80\xa1a\x03\x01";
        let expected = [(0..3, None), (3..11, Some(later))];
        assert_eq!(awaited.divide(HubProtocol::MessagePack, sent), expected);
    }

    #[test]
    fn calls_of_long_ago_are_forgotten() {
        let (start, mut awaited) = (Instant::now(), AwaitedResults::default());
        for second in 0..5000 {
            let now = start + Duration::from_secs(second);
            awaited.expect(second.to_string().into(), now + Duration::from_millis(20), now);
        }
        assert_eq!(awaited.calls.len(), 1);
    }
}
