//! Delivery to a stateful client: wraps the delivery by its current transport. Each frame is buffered until the client has acknowledged it,
//! and some are withheld until the client's first message.

use super::room::Appended;
use crate::SlowConsumer;
use crate::shard::index::HubPolicy;
use crate::shard::pending::Step;
use crate::shard::stateful::{Bounds, Stateful};

/// Appends a frame, and buffers it. `append` appends it for the current transport; `has_transport` if there is one.
pub(super) fn append(
    stateful: &mut Stateful,
    step: &mut Step,
    bounds: Bounds,
    has_transport: bool,
    append: impl FnOnce(&mut Step) -> Appended,
) -> Appended {
    let frame = step.frame();
    let is_held = stateful.is_held() && (frame.counted() > 0 || frame.keeps_order());
    let appended = if is_held { Appended::Waits } else { append(step) };
    if appended != Appended::Waits {
        return appended;
    }
    stateful.buffer(step.frame(), bounds);
    // A frame that can neither be sent nor buffered ends the connection.
    let is_lost = (is_held || !has_transport) && !stateful.can_resume();
    if is_lost { Appended::NoRoom } else { Appended::Waits }
}

/// The hub's policy for such a client: nothing is dropped, because its messages are counted.
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
        has_spoken: bool,
        has_transport: bool,
        /// How many counted messages the frame contains.
        counted: u32,
        keeps_order: bool,
        /// The limit of buffered bytes; the frame has 4.
        bytes_max: usize,
        /// The result of the transport, if it is used.
        transport_says: Option<Appended>,
        appended: Appended,
        /// Whether a new socket would be sent the frame.
        is_kept: bool,
    }

    const BASE: Case = Case {
        name: "",
        has_spoken: true,
        has_transport: true,
        counted: 1,
        keeps_order: false,
        bytes_max: 100,
        transport_says: Some(Appended::Waits),
        appended: Appended::Waits,
        is_kept: true,
    };

    #[rustfmt::skip]
    const CASES: &[Case] = &[
        Case { name: "a message is sent and kept", ..BASE },
        Case { name: "a ping is sent and not kept", counted: 0, is_kept: false, ..BASE },
        Case { name: "a message that finds no room is not kept", transport_says: Some(Appended::NoRoom), appended: Appended::NoRoom, is_kept: false, ..BASE },
        Case { name: "nor one that must wait for a flush", transport_says: Some(Appended::FlushFirst), appended: Appended::FlushFirst, is_kept: false, ..BASE },
        Case { name: "a message that cannot be kept is sent all the same", bytes_max: 3, is_kept: false, ..BASE },
        Case { name: "without a socket a message is kept", has_transport: false, ..BASE },
        Case { name: "without a socket a message that cannot be kept ends the client", has_transport: false, bytes_max: 3, appended: Appended::NoRoom, is_kept: false, ..BASE },
        Case { name: "before the first word a message is held", has_spoken: false, transport_says: None, ..BASE },
        Case { name: "before the first word a ping is sent", has_spoken: false, counted: 0, is_kept: false, ..BASE },
        Case { name: "before the first word a frame that must not overtake is held", has_spoken: false, counted: 0, keeps_order: true, transport_says: None, ..BASE },
        Case { name: "a message that is held and cannot be kept ends the client", has_spoken: false, bytes_max: 3, transport_says: None, appended: Appended::NoRoom, is_kept: false, ..BASE },
    ];

    #[test]
    fn a_frame_for_a_stateful_client_is_handled_as_the_table_says() {
        for case in CASES {
            let name = case.name;
            let mut stateful = Stateful::new();
            if case.has_spoken {
                stateful.release();
            }
            let frame = Frame::new(Bytes::from_static(b"abcd"), Class::Required, case.counted);
            let frame = if case.keeps_order { frame.in_order() } else { frame };
            let bounds = Bounds { bytes_max: case.bytes_max, own_bytes_max: case.bytes_max };
            let mut asked = None;
            let appended = append(&mut stateful, &mut Step::new(frame), bounds, case.has_transport, |_| {
                asked = case.transport_says;
                case.transport_says.expect("the transport is not asked")
            });
            assert_eq!(appended, case.appended, "{name}");
            assert_eq!(asked, case.transport_says, "{name}");
            let (_, kept) = stateful.resume(Tick(0));
            assert_eq!(!kept.is_empty(), case.is_kept, "{name}");
        }
    }
}
