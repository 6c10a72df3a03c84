//! [`Streams`]: which method the streams of one connection belong to, so that an item, an end or a cancel finds the upstream
//! that was called. Pure.
//!
//! Only what passes here is known: a stream that the app ends over REST is forgotten when the table is full, or with its
//! connection.

use std::collections::VecDeque;

use signalr_protocol::{HubMessage, HubProtocol, parse};

/// The streams of one connection, oldest first. They are few, so that searching beats hashing.
#[derive(Debug, Default)]
pub(crate) struct Streams(VecDeque<Stream>);

#[derive(Debug)]
struct Stream {
    id: Box<str>,
    target: Box<str>,
}

/// The streams that an invocation opens: its own answer where it is of type 4, and those that it uploads. What cannot be read
/// opens none; the upstream will say what it thinks of it.
pub(crate) fn opened_by(protocol: HubProtocol, payload: &[u8]) -> Vec<Box<str>> {
    let owned = |ids: Vec<std::borrow::Cow<'_, str>>| ids.into_iter().map(|id| id.as_ref().into()).collect();
    match parse(protocol, payload) {
        Ok(HubMessage::Invocation(invocation)) => owned(invocation.stream_ids),
        Ok(HubMessage::StreamInvocation(invocation)) => {
            let mut ids: Vec<Box<str>> = owned(invocation.stream_ids);
            ids.extend(invocation.invocation_id.map(|id| id.as_ref().into()));
            ids
        }
        _ => Vec::new(),
    }
}

impl Streams {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Remembers a stream, and forgets the oldest one where there would be more than `streams_max`.
    pub(crate) fn open(&mut self, id: Box<str>, target: &str, streams_max: usize) {
        self.close(&id);
        if self.0.len() >= streams_max {
            self.0.pop_front();
        }
        self.0.push_back(Stream { id, target: target.into() });
    }

    /// The method that a stream belongs to.
    pub(crate) fn target(&self, id: &str) -> Option<&str> {
        self.0.iter().find(|stream| stream.id.as_ref() == id).map(|stream| stream.target.as_ref())
    }

    /// Forgets a stream that has ended.
    pub(crate) fn close(&mut self, id: &str) {
        self.0.retain(|stream| stream.id.as_ref() != id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn invocations_open_their_uploads_and_stream_invocations_themselves_too() {
        let check = |protocol, payload: &[u8], expected: &[&str]| {
            let ids = opened_by(protocol, payload);
            assert_eq!(ids.iter().map(AsRef::as_ref).collect::<Vec<&str>>(), expected);
        };
        let json = HubProtocol::Json;
        check(json, br#"{"type":1,"target":"t","arguments":[]}"#, &[]);
        check(
            json,
            br#"{"type":1,"invocationId":"1","target":"t","arguments":[],"streamIds":["2","3"]}"#,
            &["2", "3"],
        );
        check(
            json,
            br#"{"type":4,"invocationId":"4","target":"t","arguments":[],"streamIds":["5"]}"#,
            &["5", "4"],
        );
        check(json, br#"{"type":5,"invocationId":"4"}"#, &[]);
        check(json, b"nonsense", &[]);
        // [4, {}, "4", "t", [], ["5"]]
        check(HubProtocol::MessagePack, b"\x96\x04\x80\xa14\xa1t\x90\x91\xa15", &["5", "4"]);
    }

    #[test]
    fn the_oldest_stream_is_forgotten_when_there_are_too_many() {
        let mut streams = Streams::default();
        for id in ["1", "2", "1", "3"] {
            streams.open(id.into(), &format!("method {id}"), 2);
        }
        assert_eq!(
            [streams.target("1"), streams.target("2"), streams.target("3")],
            [Some("method 1"), None, Some("method 3")]
        );
        streams.close("1");
        assert_eq!(streams.target("1"), None);
        streams.close("3");
        assert!(streams.is_empty());
    }
}
