//! Delivery over HTTP: Server-Sent Events and long polling. Frames wait in a run until the end of the turn, and then, as payloads
//! without WebSocket frames, in the HTTP transport, from which the client's requests read them.

use std::rc::Rc;

use super::room::{Account, Appended, make_room};
use crate::HttpTransport;
use crate::shard::index::HubPolicy;
use crate::shard::pending::{Frame, Run, Step};

/// Appends a frame.
#[inline]
pub(super) fn append(
    http: &HttpTransport,
    run: &mut Option<Rc<Run>>,
    step: &mut Step,
    policy: HubPolicy,
    account: &mut Account<'_>,
) -> Appended {
    let bytes = step.frame().len();
    let in_run = run.as_ref().map_or(0, |run| run.bytes());
    let waiting = in_run + http.policed_bytes();
    if waiting > 0 && waiting + bytes > policy.pending_bytes_max {
        let (_, left_out) = http.put(|backlog| make_room(backlog, step.frame(), policy));
        *account.left_out += left_out;
        if in_run + http.policed_bytes() + bytes > policy.pending_bytes_max {
            return Appended::NoRoom;
        }
    }
    *run = Some(step.after(run.as_ref()));
    Appended::Waits
}

/// Moves a run into the HTTP transport.
pub(super) fn flush(http: &HttpTransport, run: &Run) {
    for piece in run.list().iter().filter_map(Frame::payload) {
        http.push(piece);
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

    /// A call whose frame is two bytes longer than its text.
    fn call(text: &str) -> Step {
        Step::new(Frame::new(websocket::frame(Opcode::Text, text.as_bytes()), Class::Droppable(1), 0))
    }

    fn http() -> Arc<HttpTransport> {
        HttpTransport::new(HttpTransportKind::LongPolling, Instant::now(), Default::default())
    }

    /// Name, texts in the transport, texts in the run, limit of pending bytes, the policy, the new text, and the result: the outcome, the
    /// pending texts, and how many invocations were dropped. The transport counts payloads, the run frames.
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
        ("nothing waits: one frame always has room", &[], &[], 3, SlowConsumer::Disconnect, "abcdef", (Appended::Waits, &["abcdef"], 0)),
        ("there is room beside what waits", &["ab"], &["cd"], 10, SlowConsumer::Disconnect, "ef", (Appended::Waits, &["ab", "cd", "ef"], 0)),
        ("pending payloads of the transport count", &["abcd"], &[], 7, SlowConsumer::Disconnect, "ef", (Appended::NoRoom, &["abcd"], 0)),
        ("what waits in the run counts", &[], &["abcd"], 9, SlowConsumer::Disconnect, "ef", (Appended::NoRoom, &["abcd"], 0)),
        ("a policy leaves the oldest calls out", &["ab", "cd"], &[], 7, SlowConsumer::DropOldest, "ef", (Appended::Waits, &["cd", "ef"], 1)),
        ("a policy leaves earlier calls of the same key out", &["ab", "cd"], &[], 7, SlowConsumer::LatestByKey, "ef", (Appended::Waits, &["ef"], 2)),
        ("calls are not left out while there is room", &["ab", "cd"], &[], 8, SlowConsumer::LatestByKey, "ef", (Appended::Waits, &["ab", "cd", "ef"], 0)),
        ("a frame that never fits ends the client all the same", &["ab"], &[], 5, SlowConsumer::DropOldest, "cdef", (Appended::NoRoom, &[], 1)),
    ];

    #[test]
    fn a_frame_is_appended_and_flushed_as_the_table_says() {
        for (name, in_transport, in_run, pending_bytes_max, slow_consumer, new, expected) in CASES {
            let http = http();
            for text in *in_transport {
                flush(&http, &call(text).after(None));
            }
            let mut run =
                in_run.iter().fold(None, |run: Option<Rc<Run>>, text| Some(call(text).after(run.as_ref())));
            let (mut pending_bytes, mut left_out) = (0, 0);
            let mut account = Account { pending_bytes: &mut pending_bytes, left_out: &mut left_out };
            let policy = HubPolicy {
                pending_bytes_max: *pending_bytes_max,
                slow_consumer: *slow_consumer,
                idle_timeout_ms: None,
            };
            let (outcome, waits, pending_results) = *expected;
            assert_eq!(append(&http, &mut run, &mut call(new), policy, &mut account), outcome, "{name}");
            assert_eq!((pending_bytes, left_out), (0, pending_results), "{name}");
            if let Some(run) = &run {
                flush(&http, run);
            }
            let messages: Vec<Bytes> = waits.iter().map(|text| Bytes::from_static(text.as_bytes())).collect();
            let taken = (!messages.is_empty()).then_some(PollResult::Messages(messages));
            assert_eq!(http.try_next_messages(http.begin_poll()), taken, "{name}");
        }
    }

    #[test]
    fn control_frames_of_websockets_do_not_reach_requests() {
        let http = http();
        let close = Frame::control(close_frame(websocket::CloseCode::NORMAL, ""));
        flush(&http, &Step::new(close).after(Some(&call("a").after(None))));
        assert_eq!(
            http.try_next_messages(http.begin_poll()),
            Some(PollResult::Messages(vec![Bytes::from_static(b"a")]))
        );
    }
}
