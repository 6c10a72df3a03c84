//! Delivery to a stateful client: wraps the delivery by its current transport. Each frame is buffered until the client has acknowledged it,
//! and some are withheld until the client's first message.

use super::room::Appended;
use crate::SlowConsumer;
use crate::shard::index::HubPolicy;
use crate::shard::pending::FrameAppender;
use crate::shard::stateful::{Bounds, Stateful};

/// Appends a frame, and buffers it. `append` appends it for the current transport; `has_transport` if there is one.
pub(super) fn append(
    stateful: &mut Stateful,
    appender: &mut FrameAppender,
    bounds: Bounds,
    has_transport: bool,
    append: impl FnOnce(&mut FrameAppender) -> Appended,
) -> Appended {
    let frame = appender.frame();
    let withholds = stateful.withholds() && (frame.counted() > 0 || frame.keeps_order());
    let appended = if withholds { Appended::Waits } else { append(appender) };
    if appended != Appended::Waits {
        return appended;
    }
    stateful.buffer(appender.frame(), bounds);
    // A frame that can neither be sent nor buffered ends the connection.
    let is_lost = (withholds || !has_transport) && !stateful.can_resume();
    if is_lost { Appended::NoRoom } else { Appended::Waits }
}

/// The policy for such a client: no message is dropped, because its messages are counted.
pub(super) fn policy(policy: HubPolicy) -> HubPolicy {
    HubPolicy { slow_consumer: SlowConsumer::Disconnect, ..policy }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::shard::deadlines::Tick;
    use crate::shard::pending::{Class, Frame};

    /// The state of the client, and the frame that is sent.
    #[derive(Clone, Copy, Debug)]
    struct Case {
        name: &'static str,
        /// Whether the client has sent its first message.
        has_sent_first: bool,
        has_transport: bool,
        /// How many counted messages the frame contains.
        counted: u32,
        keeps_order: bool,
        /// The limit of buffered bytes; the frame has 4.
        bytes_max: usize,
        /// The result of the transport, if it is called.
        transport_result: Option<Appended>,
        appended: Appended,
        /// Whether the frame would be sent again on a new socket.
        is_buffered: bool,
    }

    const BASE: Case = Case {
        name: "",
        has_sent_first: true,
        has_transport: true,
        counted: 1,
        keeps_order: false,
        bytes_max: 100,
        transport_result: Some(Appended::Waits),
        appended: Appended::Waits,
        is_buffered: true,
    };

    #[rustfmt::skip]
    const CASES: &[Case] = &[
        Case { name: "a message is sent and buffered", ..BASE },
        Case { name: "a ping is sent and not buffered", counted: 0, is_buffered: false, ..BASE },
        Case { name: "a message that does not fit is not buffered", transport_result: Some(Appended::NoRoom), appended: Appended::NoRoom, is_buffered: false, ..BASE },
        Case { name: "nor one that must wait for a flush", transport_result: Some(Appended::FlushFirst), appended: Appended::FlushFirst, is_buffered: false, ..BASE },
        Case { name: "a message that cannot be buffered is sent anyway", bytes_max: 3, is_buffered: false, ..BASE },
        Case { name: "without a socket a message is buffered", has_transport: false, ..BASE },
        Case { name: "without a socket a message that cannot be buffered ends the connection", has_transport: false, bytes_max: 3, appended: Appended::NoRoom, is_buffered: false, ..BASE },
        Case { name: "before the client's first message a message is withheld", has_sent_first: false, transport_result: None, ..BASE },
        Case { name: "before the client's first message a ping is sent", has_sent_first: false, counted: 0, is_buffered: false, ..BASE },
        Case { name: "before the client's first message a frame that must not overtake is withheld", has_sent_first: false, counted: 0, keeps_order: true, transport_result: None, ..BASE },
        Case { name: "a withheld message that cannot be buffered ends the connection", has_sent_first: false, bytes_max: 3, transport_result: None, appended: Appended::NoRoom, is_buffered: false, ..BASE },
    ];

    #[test]
    fn a_frame_for_a_stateful_client_is_handled_as_in_the_table() {
        for case in CASES {
            let name = case.name;
            let mut stateful = Stateful::new();
            if case.has_sent_first {
                stateful.release();
            }
            let frame = Frame::new(Bytes::from_static(b"abcd"), Class::Required, case.counted);
            let frame = if case.keeps_order { frame.in_order() } else { frame };
            let bounds = Bounds { bytes_max: case.bytes_max, own_bytes_max: case.bytes_max };
            let mut asked = None;
            let appended =
                append(&mut stateful, &mut FrameAppender::new(frame), bounds, case.has_transport, |_| {
                    asked = case.transport_result;
                    case.transport_result.expect("the transport is not called")
                });
            assert_eq!(appended, case.appended, "{name}");
            assert_eq!(asked, case.transport_result, "{name}");
            let (_, buffered) = stateful.resume(Tick(0));
            assert_eq!(!buffered.is_empty(), case.is_buffered, "{name}");
        }
    }
}
