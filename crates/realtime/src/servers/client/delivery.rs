//! Messages from the app server to the client: it sends bytes in parts of any size, and the client gets whole messages.

use std::ops::Range;

use bytes::Bytes;
use signalr_protocol::{
    FramingError, HubMessageType, HubProtocol, RECORD_SEPARATOR, is_sequenced, next_message, peek,
};

use super::{AppServerClient, State};
use crate::servers::server_connection::ServerConnection;
use realtime_engine::message_calls_reserved_method;

/// A Close message is short; longer messages are not parsed.
const CLOSE_BYTES_MAX: usize = 4096;

/// Messages of an app server that are complete.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Delivery {
    /// The response to the handshake.
    pub(crate) handshake_response: Option<Bytes>,
    /// The messages, and how many of them have a sequence number in stateful reconnect.
    pub(crate) messages: Option<(Bytes, u32)>,
    /// Messages that were dropped, because they invoke methods that are reserved for the service.
    pub(crate) dropped: u32,
}

impl AppServerClient {
    /// Adds bytes of its app server and returns the messages that are complete: clients expect whole hub messages in each WebSocket message.
    /// Ignores the bytes of other app servers.
    pub(in crate::servers) fn receive_from_server(
        &self,
        server: &ServerConnection,
        payload: &[u8],
        bytes_max: usize,
    ) -> Result<Delivery, FramingError> {
        let mut state = self.state();
        let Some(protocol) = state.connection.as_ref().map(|connection| connection.protocol) else {
            return Ok(Delivery::default());
        };
        // Any connection of its app server may send to it.
        if state.owner.as_ref().is_none_or(|owner| owner.server_id != server.server_id) {
            return Ok(Delivery::default());
        }
        let delivery = state.complete_messages(protocol, payload, bytes_max);
        state.notify_if_drained();
        delivery
    }

    /// Its protocol, and whether no message from its app server is incomplete. `None` for another app server.
    pub(in crate::servers) fn stream_position(
        &self,
        server: &ServerConnection,
    ) -> Option<(HubProtocol, bool)> {
        let state = self.state();
        let is_own = state.owner.as_ref().is_some_and(|owner| owner.server_id == server.server_id);
        let protocol = state.connection.as_ref().filter(|_| is_own)?.protocol;
        Some((protocol, state.handshake_answered && state.partial.is_empty()))
    }
}

impl State {
    fn complete_messages(
        &mut self,
        protocol: HubProtocol,
        payload: &[u8],
        bytes_max: usize,
    ) -> Result<Delivery, FramingError> {
        let ends_record = record_end(payload).is_some();
        self.partial.extend_from_slice(payload);
        let is_text = !self.handshake_answered || protocol == HubProtocol::Json;
        if is_text && !ends_record {
            // The end is searched only in the new bytes.
            let too_large = self.partial.len() > bytes_max;
            return if too_large {
                Err(FramingError::TooLarge { bytes_max })
            } else {
                Ok(Delivery::default())
            };
        }
        let mut end = 0;
        let response_end = if self.handshake_answered {
            None
        } else {
            // The response is JSON in every protocol.
            let Some((_, used)) = next_message(HubProtocol::Json, &self.partial, bytes_max)? else {
                return Ok(Delivery::default());
            };
            self.handshake_answered = true;
            end = used;
            Some(used)
        };
        let (begin, mut numbered, mut has_messages, mut dropped) = (end, 0, false, Vec::new());
        while let Some((message, used)) = next_message(protocol, &self.partial[end..], bytes_max)? {
            self.close_sent |= is_close(protocol, message);
            self.forwarding.sent_by_server(protocol, message);
            if message_calls_reserved_method(protocol, message) {
                dropped.push(end..end + used);
            } else {
                has_messages = true;
                numbered += u32::from(is_sequenced(protocol, message));
            }
            end += used;
        }
        if end == 0 {
            return Ok(Delivery::default());
        }
        let rest = self.partial.split_off(end);
        let complete = Bytes::from(std::mem::replace(&mut self.partial, rest));
        let messages = || {
            if dropped.is_empty() {
                complete.slice(begin..)
            } else {
                without(&complete[begin..], begin, &dropped)
            }
        };
        Ok(Delivery {
            handshake_response: response_end.map(|used| complete.slice(..used)),
            messages: has_messages.then(|| (messages(), numbered)),
            dropped: u32::try_from(dropped.len()).unwrap_or(u32::MAX),
        })
    }
}

/// The bytes without the ranges, which are in order and relative to `begin` bytes before the first.
fn without(bytes: &[u8], begin: usize, dropped: &[Range<usize>]) -> Bytes {
    let (mut kept, mut at) = (Vec::with_capacity(bytes.len()), 0);
    for range in dropped {
        kept.extend_from_slice(&bytes[at..range.start - begin]);
        at = range.end - begin;
    }
    kept.extend_from_slice(&bytes[at..]);
    kept.into()
}

fn record_end(payload: &[u8]) -> Option<usize> {
    payload.iter().position(|byte| *byte == RECORD_SEPARATOR)
}

/// Whether a message is a Close. Only candidates are parsed.
fn is_close(protocol: HubProtocol, message: &[u8]) -> bool {
    let may_be = match protocol {
        HubProtocol::Json => message.len() <= CLOSE_BYTES_MAX && message.contains(&b'7'),
        HubProtocol::MessagePack | HubProtocol::BlazorPack => message.get(1) == Some(&7),
    };
    may_be && peek(protocol, message).is_ok_and(|peek| peek.kind == HubMessageType::Close)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The handshake response and the messages that one part completes, with the number of those with a sequence number.
    type Completed<'a> = (Option<&'a [u8]>, Option<(&'a [u8], u32)>);

    fn check(protocol: HubProtocol, parts: &[&[u8]], expected: &[Completed<'_>]) {
        let mut state = State::default();
        for (part, (answer, messages)) in parts.iter().zip(expected) {
            let delivery = state.complete_messages(protocol, part, 100).unwrap();
            assert_eq!(delivery.handshake_response.as_deref(), *answer, "{part:?}");
            let shown = delivery.messages.as_ref().map(|(bytes, count)| (&**bytes, *count));
            assert_eq!(shown, *messages, "{part:?}");
        }
        assert_eq!(parts.len(), expected.len());
    }

    #[test]
    fn messages_in_parts_of_any_size_are_delivered_complete() {
        check(
            HubProtocol::Json,
            &[b"{", b"}\x1e", b"{\"a\":1}\x1e{\"type\":2", b",\"invocationId\":\"1\",\"item\":1", b"}\x1e"],
            &[
                (None, None),
                (Some(b"{}\x1e"), None),
                (None, Some((b"{\"a\":1}\x1e", 0))),
                (None, None),
                (None, Some((b"{\"type\":2,\"invocationId\":\"1\",\"item\":1}\x1e", 1))),
            ],
        );
        check(
            HubProtocol::MessagePack,
            &[b"{}\x1e\x02\x91\x06\x02", b"\x91", b"\x05\x02\x91\x06"],
            &[
                (Some(b"{}\x1e"), Some((b"\x02\x91\x06", 0))),
                (None, None),
                (None, Some((b"\x02\x91\x05\x02\x91\x06", 1))),
            ],
        );
    }

    #[test]
    fn invocations_of_reserved_methods_are_dropped() {
        let mut state = State { handshake_answered: true, ..State::default() };
        let [one, two, forged] = ["one", "two", "Chappe.position"]
            .map(|target| format!("{{\"type\":1,\"target\":\"{target}\",\"arguments\":[]}}\u{1e}"));
        let sent = [&forged, &one, &forged, &two, &forged].map(String::as_str).concat();
        let delivery = state.complete_messages(HubProtocol::Json, sent.as_bytes(), 1000).unwrap();
        assert_eq!(delivery.messages, Some(((one + &two).into(), 2)));
        assert_eq!(delivery.dropped, 3);
        let delivery = state.complete_messages(HubProtocol::Json, forged.as_bytes(), 1000).unwrap();
        assert_eq!((delivery.messages, delivery.dropped), (None, 1));
    }

    #[test]
    fn a_message_beyond_the_size_limit_is_an_error() {
        let mut state = State { handshake_answered: true, ..State::default() };
        assert!(state.complete_messages(HubProtocol::Json, &[b'x'; 100], 100).is_ok());
        assert_eq!(
            state.complete_messages(HubProtocol::Json, b"x", 100),
            Err(FramingError::TooLarge { bytes_max: 100 })
        );
        let mut state = State { handshake_answered: true, ..State::default() };
        assert!(state.complete_messages(HubProtocol::MessagePack, b"\xff\xff\xff\xff\xff", 100).is_err());
    }

    #[test]
    fn a_close_message_is_detected_in_every_protocol() {
        let check = |protocol, message: &[u8], expected| {
            let mut state = State { handshake_answered: true, ..State::default() };
            state.complete_messages(protocol, message, 1000).unwrap();
            assert_eq!(state.close_sent, expected, "{message:?}");
        };
        check(HubProtocol::Json, b"{\"error\":\"x\",\"type\": 7}\x1e", true);
        check(HubProtocol::Json, b"{\"type\":1,\"target\":\"7\",\"arguments\":[]}\x1e", false);
        check(HubProtocol::Json, b"{\"type\":1,\"target\":\"x\",\"arguments\":[]}\x1e{\"type\":7}\x1e", true);
        check(HubProtocol::MessagePack, b"\x04\x93\x07\xc0\xc3", true);
        check(HubProtocol::BlazorPack, b"\x03\x92\x07\xc0", true);
        check(HubProtocol::BlazorPack, b"\x02\x91\x06", false);
    }
}
