//! [`Stateful`]: what is needed to go on after the loss of a socket as if nothing had been. Pure.
//!
//! Both sides number the messages of types 1 to 5, from 1. Each keeps what it sent until the other acknowledges it (type 8). When a
//! new socket has come, each says with type 9 which number it begins again with, and repeats what was not acknowledged; the
//! receiver skips what it had. The prose of the specification has the number of the message after the last one sent; what ships
//! sends that of the first one that is repeated, which the receivers of both kinds understand (reference, 1.7).

use std::collections::VecDeque;

use bytes::Bytes;

use super::deadlines::Tick;
use super::forwarding::Forwarding;
use super::pending::Frame;

/// The state of one connection.
#[derive(Debug)]
pub(crate) struct Stateful {
    /// Frames that the client has not acknowledged.
    kept: VecDeque<Kept>,
    kept_bytes: usize,
    /// Those among them that are from the client's own hub.
    own_bytes: usize,
    /// The number that the next message to the client gets.
    next: u64,
    /// More was to be kept than may be: the connection cannot be resumed.
    overflowed: bool,
    /// The number that the client's next message has.
    expected: u64,
    /// The highest number that came.
    received: u64,
    acknowledged: u64,
    /// An acknowledgement is due, and on the shard's list.
    pub(crate) is_ack_due: bool,
    /// After a change of sockets nothing counts before the client has said where it begins; since when it has not.
    waits_since: Option<Tick>,
    /// Whether counted messages stay here until the client has said its first word. A client in JavaScript counts only what it
    /// reads after it has dealt with the answer to its handshake, and says so with a ping.
    is_held: bool,
    /// Bytes that came since the last acknowledgement.
    unacknowledged_bytes: usize,
    /// Where the client has an app server: what it is in the middle of.
    pub(crate) forwarding: Option<Box<Forwarding>>,
}

/// A frame that may have to be sent again.
#[derive(Debug)]
struct Kept {
    /// The number of the first message in it.
    number: u64,
    bytes: Bytes,
    is_own: bool,
}

/// How much may be kept for one client.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// Of what is sent to many.
    pub(crate) bytes_max: usize,
    /// Of what its own hub sends to it alone, which is slowed down before.
    pub(crate) own_bytes_max: usize,
}

/// So many bytes are acknowledged without waiting for more: a client may keep only few, and stops sending when it has no room.
const ACK_BYTES: usize = 16 * 1024;

/// What becomes of a message that came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MessageStatus {
    /// It is new.
    New,
    /// It came before, or belongs to a socket that is gone.
    Duplicate,
}

/// The client says that it begins with a message that is missing before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the client goes on with message {from}, but only those up to {received} came")]
pub(crate) struct SequenceGap {
    from: u64,
    received: u64,
}

impl Stateful {
    pub(crate) fn new() -> Self {
        Self {
            kept: VecDeque::new(),
            kept_bytes: 0,
            own_bytes: 0,
            next: 1,
            overflowed: false,
            expected: 1,
            received: 0,
            acknowledged: 0,
            is_ack_due: false,
            waits_since: None,
            is_held: true,
            unacknowledged_bytes: 0,
            forwarding: None,
        }
    }

    /// Numbers what is being sent, and keeps it.
    pub(crate) fn keep(&mut self, frame: &Frame, bounds: Bounds) {
        // What is not counted is kept only for as long as it must not overtake what is held.
        if frame.counted() == 0 && !(self.is_held && frame.keeps_order()) {
            return;
        }
        let number = self.next;
        self.next += u64::from(frame.counted());
        if self.overflowed {
            return;
        }
        self.kept_bytes += frame.len();
        self.own_bytes += if frame.is_own() { frame.len() } else { 0 };
        self.kept.push_back(Kept { number, bytes: frame.bytes().clone(), is_own: frame.is_own() });
        if self.kept_bytes - self.own_bytes > bounds.bytes_max || self.own_bytes > bounds.own_bytes_max {
            self.overflowed = true;
            self.kept = VecDeque::new();
            self.kept_bytes = 0;
            self.own_bytes = 0;
        }
    }

    /// Bytes that are kept of what the client's own hub sent to it alone.
    pub(crate) fn own_bytes(&self) -> usize {
        self.own_bytes
    }

    /// The client has everything up to this number.
    pub(crate) fn acknowledge(&mut self, up_to: u64) {
        if self.overflowed && up_to.checked_add(1) == Some(self.next) {
            // Nothing is missing that was not kept.
            self.overflowed = false;
        }
        // A frame goes when its last message is known to have arrived: when the next frame begins beyond it.
        while let Some(kept) = self.kept.front() {
            let last = self.kept.get(1).map_or(self.next, |kept| kept.number) - 1;
            if last > up_to {
                break;
            }
            self.kept_bytes -= kept.bytes.len();
            self.own_bytes -= if kept.is_own { kept.bytes.len() } else { 0 };
            self.kept.pop_front();
        }
    }

    /// Counts a message of types 1 to 5.
    pub(crate) fn receive(&mut self, bytes: usize) -> MessageStatus {
        if self.waits_since.is_some() {
            return MessageStatus::Duplicate;
        }
        let number = self.expected;
        self.expected += 1;
        self.unacknowledged_bytes += bytes;
        if number <= self.received {
            // The acknowledgement was lost with the socket.
            self.acknowledged = self.acknowledged.min(number - 1);
            return MessageStatus::Duplicate;
        }
        self.received = number;
        MessageStatus::New
    }

    /// Whether the next message of types 1 to 5 is one that has not come before.
    pub(crate) fn is_next_new(&self) -> bool {
        self.waits_since.is_none() && self.expected > self.received
    }

    /// Whether messages that are not counted may be listened to: not between two sockets.
    pub(crate) fn is_listening(&self) -> bool {
        self.waits_since.is_none()
    }

    /// Since when a new socket's client has not said where it goes on.
    pub(crate) fn waits_since(&self) -> Option<Tick> {
        self.waits_since
    }

    /// Whether counted messages stay here for now.
    pub(crate) fn is_held(&self) -> bool {
        self.is_held
    }

    /// Lets go of what stayed here.
    pub(crate) fn release(&mut self) -> Vec<Bytes> {
        if !std::mem::take(&mut self.is_held) {
            return Vec::new();
        }
        self.kept.iter().map(|kept| kept.bytes.clone()).collect()
    }

    /// Whether so much came that it is to be acknowledged at once.
    pub(crate) fn is_ack_urgent(&self) -> bool {
        self.unacknowledged_bytes >= ACK_BYTES
    }

    /// The client says which number its next message has.
    pub(crate) fn sequence(&mut self, from: u64) -> Result<(), SequenceGap> {
        if from > self.received + 1 || from == 0 {
            return Err(SequenceGap { from, received: self.received });
        }
        self.waits_since = None;
        self.expected = from;
        Ok(())
    }

    /// The number to acknowledge, if the client does not know it yet.
    pub(crate) fn take_ack(&mut self) -> Option<u64> {
        self.is_ack_due = false;
        self.unacknowledged_bytes = 0;
        (self.received > self.acknowledged).then(|| {
            self.acknowledged = self.received;
            self.received
        })
    }

    /// Whether a new socket could go on where the old one ended.
    pub(crate) fn can_resume(&self) -> bool {
        !self.overflowed
    }

    /// A new socket is there: the number that it begins with, and what is to be sent again.
    pub(crate) fn resume(&mut self, now: Tick) -> (u64, Vec<Bytes>) {
        self.waits_since = Some(now);
        self.is_held = false;
        let from = self.kept.front().map_or(self.next, |kept| kept.number);
        (from, self.kept.iter().map(|kept| kept.bytes.clone()).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::super::pending::Class;
    use super::*;

    /// Room for so many bytes of either kind.
    fn room(bytes: usize) -> Bounds {
        Bounds { bytes_max: bytes, own_bytes_max: bytes }
    }

    fn frame(text: &'static str, counted: u32) -> Frame {
        Frame::new(websocket::frame(websocket::Opcode::Text, text.as_bytes()), Class::Required, counted)
    }

    fn again(stateful: &mut Stateful) -> (u64, String) {
        let (from, frames) = stateful.resume(Tick(0));
        (from, frames.iter().map(|bytes| String::from_utf8_lossy(&bytes[2..]).into_owned()).collect())
    }

    #[test]
    fn what_is_not_acknowledged_is_sent_again() {
        let mut stateful = Stateful::new();
        assert_eq!(again(&mut stateful), (1, String::new()));
        for (text, counted) in [("a", 1), ("p", 0), ("bc", 2), ("d", 1)] {
            stateful.keep(&frame(text, counted), room(1000));
        }
        assert_eq!(again(&mut stateful), (1, "abcd".to_owned()));
        stateful.acknowledge(2);
        // The frame with messages 2 and 3 stays whole until both have arrived.
        assert_eq!(again(&mut stateful), (2, "bcd".to_owned()));
        stateful.acknowledge(3);
        assert_eq!(again(&mut stateful), (4, "d".to_owned()));
        stateful.acknowledge(9);
        assert_eq!(again(&mut stateful), (5, String::new()));
    }

    #[test]
    fn what_comes_before_the_clients_first_word_is_held() {
        let mut stateful = Stateful::new();
        stateful.keep(&frame("a", 1), room(1000));
        assert!(stateful.is_held());
        assert_eq!((stateful.release().len(), stateful.is_held(), stateful.release().len()), (1, false, 0));
    }

    #[test]
    fn what_must_not_overtake_held_messages_is_held_with_them() {
        let mut stateful = Stateful::new();
        stateful.keep(&frame("a", 1), room(1000));
        stateful.keep(&frame("p", 0), room(1000));
        stateful.keep(&frame("close", 0).in_order(), room(1000));
        assert_eq!(stateful.release().len(), 2);
        stateful.keep(&frame("close", 0).in_order(), room(1000));
        assert_eq!(again(&mut stateful), (1, "aclose".to_owned()));
        stateful.acknowledge(1);
        assert_eq!(again(&mut stateful), (2, String::new()));
    }

    #[test]
    fn repeated_messages_are_skipped_and_gaps_are_noticed() {
        let mut stateful = Stateful::new();
        assert_eq!([stateful.receive(1), stateful.receive(1)], [MessageStatus::New; 2]);
        assert_eq!((stateful.take_ack(), stateful.take_ack()), (Some(2), None));
        stateful.resume(Tick(0));
        assert_eq!((stateful.receive(1), stateful.is_listening()), (MessageStatus::Duplicate, false));
        assert_eq!(stateful.sequence(4), Err(SequenceGap { from: 4, received: 2 }));
        assert_eq!(stateful.sequence(0), Err(SequenceGap { from: 0, received: 2 }));
        assert_eq!(stateful.sequence(2), Ok(()));
        assert_eq!(
            [stateful.receive(1), stateful.receive(1)],
            [MessageStatus::Duplicate, MessageStatus::New]
        );
        assert_eq!(stateful.take_ack(), Some(3));
        assert_eq!(stateful.receive(ACK_BYTES), MessageStatus::New);
        assert!(stateful.is_ack_urgent());
        assert_eq!((stateful.take_ack(), stateful.is_ack_urgent()), (Some(4), false));
    }

    #[test]
    fn what_its_own_hub_sends_to_a_client_has_a_bound_of_its_own() {
        let bounds = Bounds { bytes_max: 10, own_bytes_max: 100 };
        let mut stateful = Stateful::new();
        for _ in 0..5 {
            stateful.keep(&frame("12345678", 1).own(), bounds);
        }
        stateful.keep(&frame("12345678", 1), bounds);
        assert_eq!((stateful.own_bytes(), stateful.can_resume()), (50, true));
        stateful.acknowledge(3);
        assert_eq!(stateful.own_bytes(), 20);
        stateful.acknowledge(6);
        assert_eq!((stateful.own_bytes(), stateful.kept_bytes), (0, 0));
        for _ in 0..11 {
            stateful.keep(&frame("12345678", 1).own(), bounds);
        }
        assert_eq!((stateful.own_bytes(), stateful.can_resume()), (0, false));
    }

    #[test]
    fn a_client_that_acknowledges_nothing_cannot_be_resumed() {
        let mut stateful = Stateful::new();
        for _ in 0..10 {
            stateful.keep(&frame("12345678", 1), room(100));
        }
        assert!(stateful.can_resume());
        stateful.keep(&frame("x", 1), room(100));
        assert!(!stateful.can_resume() && stateful.kept.is_empty());
        stateful.acknowledge(u64::MAX);
        stateful.acknowledge(10);
        assert!(!stateful.can_resume());
        stateful.acknowledge(11);
        assert!(stateful.can_resume(), "all of it has arrived in the end");
    }
}
