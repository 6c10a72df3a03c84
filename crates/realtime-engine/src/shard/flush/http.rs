//! Delivery over HTTP: Server-Sent Events and long polling. Frames are in a frame list until the end of the turn, and then, as
//! payloads without WebSocket frames, in the HTTP transport, from which the client's requests read them.

use std::rc::Rc;

use super::room::{Account, Appended, make_room};
use crate::HttpTransport;
use crate::shard::index::HubPolicy;
use crate::shard::pending::{Frame, FrameAppender, FrameList};

/// Appends a frame.
#[inline]
pub(super) fn append(
    http: &HttpTransport,
    frame_list: &mut Option<Rc<FrameList>>,
    appender: &mut FrameAppender,
    policy: HubPolicy,
    account: &mut Account<'_>,
) -> Appended {
    let bytes = appender.frame().len();
    let in_run = frame_list.as_ref().map_or(0, |frame_list| frame_list.bytes());
    let waiting = in_run + http.policed_bytes();
    if waiting > 0 && waiting + bytes > policy.pending_bytes_max {
        let (_, dropped) = http.put(|backlog| make_room(backlog, appender.frame(), policy));
        *account.dropped += dropped;
        if in_run + http.policed_bytes() + bytes > policy.pending_bytes_max {
            return Appended::NoRoom;
        }
    }
    *frame_list = Some(appender.after(frame_list.as_ref()));
    Appended::Waits
}

/// Moves a frame list into the HTTP transport.
pub(super) fn flush(http: &HttpTransport, frame_list: &FrameList) {
    for pending_frame in frame_list.list().iter().filter_map(Frame::payload) {
        http.push(pending_frame);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Instant;

    use bytes::Bytes;
    use websocket::{Opcode, close_frame};

    use super::*;
    use crate::shard::pending::Class;
    use crate::{HttpTransportKind, PollResult, SlowConsumer};

    /// An invocation whose frame is two bytes longer than its text.
    fn call(text: &str) -> FrameAppender {
        FrameAppender::new(Frame::new(
            websocket::frame(Opcode::Text, text.as_bytes()),
            Class::Droppable(1),
            0,
        ))
    }

    fn http() -> Arc<HttpTransport> {
        HttpTransport::new(HttpTransportKind::LongPolling, Instant::now(), Default::default())
    }

    /// Name, texts in the transport, texts in the frame list, limit of pending bytes, the policy, the new text, and the result:
    /// the outcome, the pending texts, and how many invocations were dropped. The transport counts payloads, the frame list
    /// counts frames.
    type Case = (
        &'static str,
        &'static [&'static str],
        &'static [&'static str],
        usize,
        SlowConsumer,
        &'static str,
        (Appended, &'static [&'static str], u64),
    );

    #[rustfmt::skip]
    const CASES: &[Case] = &[
        ("nothing is pending: one frame always fits", &[], &[], 3, SlowConsumer::Disconnect, "abcdef", (Appended::Waits, &["abcdef"], 0)),
        ("the frame fits with what is pending", &["ab"], &["cd"], 10, SlowConsumer::Disconnect, "ef", (Appended::Waits, &["ab", "cd", "ef"], 0)),
        ("pending payloads of the transport count", &["abcd"], &[], 7, SlowConsumer::Disconnect, "ef", (Appended::NoRoom, &["abcd"], 0)),
        ("pending frames of the list count", &[], &["abcd"], 9, SlowConsumer::Disconnect, "ef", (Appended::NoRoom, &["abcd"], 0)),
        ("drop_oldest drops the oldest invocations", &["ab", "cd"], &[], 7, SlowConsumer::DropOldest, "ef", (Appended::Waits, &["cd", "ef"], 1)),
        ("latest_by_key drops earlier invocations of the key", &["ab", "cd"], &[], 7, SlowConsumer::LatestByKey, "ef", (Appended::Waits, &["ef"], 2)),
        ("no invocation is dropped while the frame fits", &["ab", "cd"], &[], 8, SlowConsumer::LatestByKey, "ef", (Appended::Waits, &["ab", "cd", "ef"], 0)),
        ("a frame that never fits ends the connection", &["ab"], &[], 5, SlowConsumer::DropOldest, "cdef", (Appended::NoRoom, &[], 1)),
    ];

    #[test]
    fn a_frame_is_appended_and_flushed_as_in_the_table() {
        for (name, in_transport, in_run, pending_bytes_max, slow_consumer, new, expected) in CASES {
            let http = http();
            for text in *in_transport {
                flush(&http, &call(text).after(None));
            }
            let mut frame_list = in_run.iter().fold(None, |frame_list: Option<Rc<FrameList>>, text| {
                Some(call(text).after(frame_list.as_ref()))
            });
            let (mut pending_bytes, mut dropped) = (0, 0);
            let mut account = Account { pending_bytes: &mut pending_bytes, dropped: &mut dropped };
            let policy = HubPolicy {
                pending_bytes_max: *pending_bytes_max,
                slow_consumer: *slow_consumer,
                idle_timeout_ms: None,
            };
            let (outcome, waits, pending_results) = *expected;
            assert_eq!(
                append(&http, &mut frame_list, &mut call(new), policy, &mut account),
                outcome,
                "{name}"
            );
            assert_eq!((pending_bytes, dropped), (0, pending_results), "{name}");
            if let Some(frame_list) = &frame_list {
                flush(&http, frame_list);
            }
            let messages: Vec<Bytes> = waits.iter().map(|text| Bytes::from_static(text.as_bytes())).collect();
            let taken = (!messages.is_empty()).then_some(PollResult::Messages(messages));
            assert_eq!(http.try_next_messages(http.begin_poll()), taken, "{name}");
        }
    }

    #[test]
    fn websocket_control_frames_are_not_sent_in_requests() {
        let http = http();
        let close = Frame::control(close_frame(websocket::CloseCode::NORMAL, ""));
        flush(&http, &FrameAppender::new(close).after(Some(&call("a").after(None))));
        assert_eq!(
            http.try_next_messages(http.begin_poll()),
            Some(PollResult::Messages(vec![Bytes::from_static(b"a")]))
        );
    }
}
