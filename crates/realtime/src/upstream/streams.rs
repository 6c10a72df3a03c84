//! [`UpstreamStreams`]: the method of each stream of a connection. With it an item, an end or a cancel reaches the upstream that
//! was called, and the response reaches the right invocation. Pure.
//!
//! The table sees only messages that pass through this process: a stream that the app ends over REST stays in it until the table
//! is full or the connection ends.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use signalr_protocol::{HubMessage, HubProtocol, parse};

/// The streams of one connection, oldest first. There are few, so a linear search is faster than hashing.
#[derive(Debug, Default)]
pub(crate) struct UpstreamStreams(VecDeque<Stream>);

#[derive(Debug)]
struct Stream {
    id: Box<str>,
    target: Box<str>,
    /// The invocation id of the invocation that opened it, if it has one.
    call: Option<Box<str>>,
    /// For an upload: the invocation that it belongs to, if that waits for a completion.
    upload: Option<Arc<Upload>>,
}

/// An invocation with uploaded streams that waits for its completion. Its messages are sent one at a time.
#[derive(Debug)]
pub(crate) struct Upload {
    pub(crate) invocation_id: Box<str>,
    is_answered: AtomicBool,
}

/// What a message of a stream belongs to.
#[derive(Debug)]
pub(crate) struct StreamPart {
    pub(crate) target: Box<str>,
    /// The invocation id of the invocation that opened the stream, if it has one.
    pub(crate) call: Option<Box<str>>,
    pub(crate) upload: Option<Arc<Upload>>,
    /// Whether no further item of the upload follows.
    pub(crate) is_last: bool,
}

/// The streams that an invocation opens.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Opened {
    /// Streams that the client uploads.
    pub(crate) uploads: Vec<Box<str>>,
    /// The stream of the response, for a stream invocation (type 4).
    pub(crate) answer: Option<Box<str>>,
}

/// Parses which streams an invocation opens. A message that cannot be parsed opens none; the upstream reports the error.
pub(crate) fn opened_by(protocol: HubProtocol, payload: &[u8]) -> Opened {
    let owned = |ids: Vec<std::borrow::Cow<'_, str>>| ids.into_iter().map(|id| id.as_ref().into()).collect();
    match parse(protocol, payload) {
        Ok(HubMessage::Invocation(invocation)) => {
            Opened { uploads: owned(invocation.stream_ids), answer: None }
        }
        Ok(HubMessage::StreamInvocation(invocation)) => Opened {
            uploads: owned(invocation.stream_ids),
            answer: invocation.invocation_id.map(|id| id.as_ref().into()),
        },
        _ => Opened::default(),
    }
}

impl Upload {
    pub(crate) fn new(invocation_id: Box<str>) -> Self {
        Self { invocation_id, is_answered: AtomicBool::new(false) }
    }

    pub(crate) fn is_answered(&self) -> bool {
        self.is_answered.load(Ordering::Acquire)
    }

    /// Records that the client has received its completion.
    pub(crate) fn answered(&self) {
        self.is_answered.store(true, Ordering::Release);
    }
}

impl UpstreamStreams {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds a stream, and removes the oldest one if there are more than `streams_max`.
    pub(crate) fn open(
        &mut self,
        id: Box<str>,
        target: &str,
        call: Option<&str>,
        upload: Option<&Arc<Upload>>,
        streams_max: usize,
    ) {
        self.0.retain(|stream| stream.id != id);
        if self.0.len() >= streams_max {
            self.0.pop_front();
        }
        let call = call.map(Into::into);
        self.0.push_back(Stream { id, target: target.into(), call, upload: upload.cloned() });
    }

    /// What a message of a stream belongs to. If `is_end`, the stream is removed.
    pub(crate) fn part(&mut self, id: &str, is_end: bool) -> Option<StreamPart> {
        let at = self.0.iter().position(|stream| stream.id.as_ref() == id)?;
        let Stream { target, call, upload, .. } = &self.0[at];
        let (target, call, upload) = (target.clone(), call.clone(), upload.clone());
        if is_end {
            self.0.remove(at);
        }
        let goes_on = |one: &Arc<Upload>| {
            self.0.iter().any(|stream| stream.upload.as_ref().is_some_and(|other| Arc::ptr_eq(one, other)))
        };
        let is_last = !upload.as_ref().is_some_and(goes_on);
        Some(StreamPart { target, call, upload, is_last })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_invocation_opens_its_uploads_and_a_stream_invocation_also_its_response() {
        let check = |protocol, payload: &[u8], uploads: &[&str], answer: Option<&str>| {
            let opened = opened_by(protocol, payload);
            let found: Vec<&str> = opened.uploads.iter().map(AsRef::as_ref).collect();
            assert_eq!((found.as_slice(), opened.answer.as_deref()), (uploads, answer));
        };
        let json = HubProtocol::Json;
        let upload = br#"{"type":1,"invocationId":"1","target":"t","arguments":[],"streamIds":["2","3"]}"#;
        check(json, br#"{"type":1,"target":"t","arguments":[]}"#, &[], None);
        check(json, upload, &["2", "3"], None);
        let both = br#"{"type":4,"invocationId":"4","target":"t","arguments":[],"streamIds":["5"]}"#;
        check(json, both, &["5"], Some("4"));
        check(json, br#"{"type":5,"invocationId":"4"}"#, &[], None);
        check(json, b"nonsense", &[], None);
        // [4, {}, "4", "t", [], ["5"]]
        check(HubProtocol::MessagePack, b"\x96\x04\x80\xa14\xa1t\x90\x91\xa15", &["5"], Some("4"));
    }

    fn target(streams: &mut UpstreamStreams, id: &str) -> Option<String> {
        streams.part(id, false).map(|part| part.target.into())
    }

    #[test]
    fn above_the_limit_the_oldest_stream_is_removed() {
        let mut streams = UpstreamStreams::default();
        for id in ["1", "2", "1", "3"] {
            streams.open(id.into(), &format!("method {id}"), Some("7"), None, 2);
        }
        let found = ["1", "2", "3"].map(|id| target(&mut streams, id));
        assert_eq!(found, [Some("method 1".to_owned()), None, Some("method 3".to_owned())]);
        assert!(streams.part("1", true).is_some());
        assert_eq!(target(&mut streams, "1"), None);
        assert!(streams.part("3", true).is_some());
        assert!(streams.is_empty());
    }

    #[test]
    fn the_end_of_the_last_upload_is_marked_as_last() {
        let mut streams = UpstreamStreams::default();
        let [one, other] = ["7", "8"].map(|id| Arc::new(Upload::new(id.into())));
        streams.open("a".into(), "t", Some("7"), Some(&one), 9);
        streams.open("b".into(), "t", Some("7"), Some(&one), 9);
        streams.open("c".into(), "t", Some("8"), Some(&other), 9);
        let mut part = |id: &str, is_end| {
            let part = streams.part(id, is_end).unwrap();
            (part.upload.unwrap().invocation_id.to_string(), part.is_last)
        };
        assert_eq!(part("a", false), ("7".to_owned(), false));
        assert_eq!(part("a", true), ("7".to_owned(), false));
        assert_eq!(part("b", false), ("7".to_owned(), false));
        assert_eq!(part("b", true), ("7".to_owned(), true));
        assert_eq!(part("c", true), ("8".to_owned(), true));
    }
}
