//! [`Stateful`]: the state of stateful reconnect: sequence numbers, acknowledgements, buffer. Pure.
//!
//! Both sides number the messages of types 1 to 5, from 1. Each buffers its messages until the other acknowledges them (type 8).
//! On a new socket, each sends with type 9 the number that it continues with, and repeats what was not acknowledged; the receiver
//! skips duplicates. The text of the specification has the number after the last message sent; released clients and servers send
//! the number of the first message that is repeated, which receivers of both kinds accept (reference, 1.7).

use std::collections::VecDeque;

use bytes::Bytes;

use super::deadlines::Tick;
use super::forwarding::Forwarding;
use super::pending::Frame;

/// The state of one connection.
#[derive(Debug)]
pub(crate) struct Stateful {
    /// Frames that the client has not acknowledged.
    buffered: VecDeque<BufferedFrame>,
    buffered_bytes: usize,
    /// Bytes of those frames that are from the client's app server.
    own_bytes: usize,
    /// The number of the next message to the client.
    next: u64,
    /// The buffer has overflowed: the connection cannot be resumed.
    overflowed: bool,
    /// The number of the client's next message.
    expected: u64,
    /// The highest number received.
    received: u64,
    acknowledged: u64,
    /// An acknowledgement is due and scheduled.
    pub(crate) is_ack_due: bool,
    /// Since when a new socket waits for the client's Sequence message; nothing counts before it.
    waits_since: Option<Tick>,
    /// Whether counted messages are withheld until the client's first message. A JavaScript client counts only what it reads after it has
    /// handled the handshake response, and sends a ping then.
    withholds: bool,
    /// Bytes received since the last acknowledgement.
    unacknowledged_bytes: usize,
    /// The state of forwarding, if the client has an app server.
    pub(crate) forwarding: Option<Box<Forwarding>>,
}

/// A buffered frame.
#[derive(Debug)]
struct BufferedFrame {
    /// The number of the first message in it.
    number: u64,
    bytes: Bytes,
    is_own: bool,
}

/// The limits of one client's buffer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// For messages to many clients.
    pub(crate) bytes_max: usize,
    /// For messages of its app server to it alone, which is slowed down before.
    pub(crate) own_bytes_max: usize,
}

/// This many bytes are acknowledged at once: a client's buffer may be small, and it stops sending when the buffer is full.
const ACK_BYTES: usize = 16 * 1024;

/// Whether a received message is new.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MessageStatus {
    /// It is new.
    New,
    /// It was received before, or the client has not sent its Sequence message yet.
    Duplicate,
}

/// The client continues with a higher number than the next one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the client continues with message {from}, but only messages up to {received} were received")]
pub(crate) struct SequenceGap {
    from: u64,
    received: u64,
}

impl Stateful {
    pub(crate) fn new() -> Self {
        Self {
            buffered: VecDeque::new(),
            buffered_bytes: 0,
            own_bytes: 0,
            next: 1,
            overflowed: false,
            expected: 1,
            received: 0,
            acknowledged: 0,
            is_ack_due: false,
            waits_since: None,
            withholds: true,
            unacknowledged_bytes: 0,
            forwarding: None,
        }
    }

    /// Numbers and buffers a frame that is being sent.
    pub(crate) fn buffer(&mut self, frame: &Frame, bounds: Bounds) {
        // An uncounted frame is buffered only while it must not overtake withheld ones.
        if frame.counted() == 0 && !(self.withholds && frame.keeps_order()) {
            return;
        }
        let number = self.next;
        self.next += u64::from(frame.counted());
        if self.overflowed {
            return;
        }
        self.buffered_bytes += frame.len();
        self.own_bytes += if frame.is_own() { frame.len() } else { 0 };
        self.buffered.push_back(BufferedFrame {
            number,
            bytes: frame.bytes().clone(),
            is_own: frame.is_own(),
        });
        if self.buffered_bytes - self.own_bytes > bounds.bytes_max || self.own_bytes > bounds.own_bytes_max {
            self.overflowed = true;
            self.buffered = VecDeque::new();
            self.buffered_bytes = 0;
            self.own_bytes = 0;
        }
    }

    /// Buffered bytes that the client's app server sent to it alone.
    pub(crate) fn own_bytes(&self) -> usize {
        self.own_bytes
    }

    /// The client has received all messages up to this number.
    pub(crate) fn acknowledge(&mut self, up_to: u64) {
        if self.overflowed && up_to.checked_add(1) == Some(self.next) {
            // Everything sent was received, so nothing is missing.
            self.overflowed = false;
        }
        // A frame is removed when its last message was received: when the next frame starts after it.
        while let Some(buffered) = self.buffered.front() {
            let last = self.buffered.get(1).map_or(self.next, |buffered| buffered.number) - 1;
            if last > up_to {
                break;
            }
            self.buffered_bytes -= buffered.bytes.len();
            self.own_bytes -= if buffered.is_own { buffered.bytes.len() } else { 0 };
            self.buffered.pop_front();
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
            // The acknowledgement was lost with the socket, so it is repeated.
            self.acknowledged = self.acknowledged.min(number - 1);
            return MessageStatus::Duplicate;
        }
        self.received = number;
        MessageStatus::New
    }

    /// Whether the next message of types 1 to 5 is new.
    pub(crate) fn is_next_new(&self) -> bool {
        self.waits_since.is_none() && self.expected > self.received
    }

    /// Whether messages are handled: not before the Sequence message on a new socket.
    pub(crate) fn is_listening(&self) -> bool {
        self.waits_since.is_none()
    }

    /// Since when a new socket waits for the client's Sequence message.
    pub(crate) fn waits_since(&self) -> Option<Tick> {
        self.waits_since
    }

    /// Whether counted messages are withheld.
    pub(crate) fn withholds(&self) -> bool {
        self.withholds
    }

    /// Returns the withheld frames.
    pub(crate) fn release(&mut self) -> Vec<Bytes> {
        if !std::mem::take(&mut self.withholds) {
            return Vec::new();
        }
        self.buffered.iter().map(|buffered| buffered.bytes.clone()).collect()
    }

    /// Whether enough bytes were received to acknowledge them at once.
    pub(crate) fn is_ack_urgent(&self) -> bool {
        self.unacknowledged_bytes >= ACK_BYTES
    }

    /// The client's Sequence message: the number of its next message.
    pub(crate) fn sequence(&mut self, from: u64) -> Result<(), SequenceGap> {
        if from > self.received + 1 || from == 0 {
            return Err(SequenceGap { from, received: self.received });
        }
        self.waits_since = None;
        self.expected = from;
        Ok(())
    }

    /// The number to acknowledge, if it was not acknowledged yet.
    pub(crate) fn take_ack(&mut self) -> Option<u64> {
        self.is_ack_due = false;
        self.unacknowledged_bytes = 0;
        (self.received > self.acknowledged).then(|| {
            self.acknowledged = self.received;
            self.received
        })
    }

    /// Whether the connection can be resumed on a new socket.
    pub(crate) fn can_resume(&self) -> bool {
        !self.overflowed
    }

    /// Resumes on a new socket: returns the number that it continues with, and the frames that are sent again.
    pub(crate) fn resume(&mut self, now: Tick) -> (u64, Vec<Bytes>) {
        self.waits_since = Some(now);
        self.withholds = false;
        let from = self.buffered.front().map_or(self.next, |buffered| buffered.number);
        (from, self.buffered.iter().map(|buffered| buffered.bytes.clone()).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::super::pending::Class;
    use super::*;

    /// Limits of `bytes` bytes for both kinds.
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
    fn frames_that_are_not_acknowledged_are_sent_again() {
        let mut stateful = Stateful::new();
        assert_eq!(again(&mut stateful), (1, String::new()));
        for (text, counted) in [("a", 1), ("p", 0), ("bc", 2), ("d", 1)] {
            stateful.buffer(&frame(text, counted), room(1000));
        }
        assert_eq!(again(&mut stateful), (1, "abcd".to_owned()));
        stateful.acknowledge(2);
        // The frame with messages 2 and 3 is buffered until both were received.
        assert_eq!(again(&mut stateful), (2, "bcd".to_owned()));
        stateful.acknowledge(3);
        assert_eq!(again(&mut stateful), (4, "d".to_owned()));
        stateful.acknowledge(9);
        assert_eq!(again(&mut stateful), (5, String::new()));
    }

    #[test]
    fn counted_messages_are_withheld_until_the_clients_first_message() {
        let mut stateful = Stateful::new();
        stateful.buffer(&frame("a", 1), room(1000));
        assert!(stateful.withholds());
        assert_eq!((stateful.release().len(), stateful.withholds(), stateful.release().len()), (1, false, 0));
    }

    #[test]
    fn a_frame_that_must_not_overtake_withheld_messages_is_withheld_too() {
        let mut stateful = Stateful::new();
        stateful.buffer(&frame("a", 1), room(1000));
        stateful.buffer(&frame("p", 0), room(1000));
        stateful.buffer(&frame("close", 0).in_order(), room(1000));
        assert_eq!(stateful.release().len(), 2);
        stateful.buffer(&frame("close", 0).in_order(), room(1000));
        assert_eq!(again(&mut stateful), (1, "aclose".to_owned()));
        stateful.acknowledge(1);
        assert_eq!(again(&mut stateful), (2, String::new()));
    }

    #[test]
    fn duplicates_are_skipped_and_a_gap_is_an_error() {
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
    fn messages_of_the_app_server_have_their_own_limit() {
        let bounds = Bounds { bytes_max: 10, own_bytes_max: 100 };
        let mut stateful = Stateful::new();
        for _ in 0..5 {
            stateful.buffer(&frame("12345678", 1).own(), bounds);
        }
        stateful.buffer(&frame("12345678", 1), bounds);
        assert_eq!((stateful.own_bytes(), stateful.can_resume()), (50, true));
        stateful.acknowledge(3);
        assert_eq!(stateful.own_bytes(), 20);
        stateful.acknowledge(6);
        assert_eq!((stateful.own_bytes(), stateful.buffered_bytes), (0, 0));
        for _ in 0..11 {
            stateful.buffer(&frame("12345678", 1).own(), bounds);
        }
        assert_eq!((stateful.own_bytes(), stateful.can_resume()), (0, false));
    }

    #[test]
    fn a_client_that_exceeds_the_buffer_cannot_be_resumed() {
        let mut stateful = Stateful::new();
        for _ in 0..10 {
            stateful.buffer(&frame("12345678", 1), room(100));
        }
        assert!(stateful.can_resume());
        stateful.buffer(&frame("x", 1), room(100));
        assert!(!stateful.can_resume() && stateful.buffered.is_empty());
        stateful.acknowledge(u64::MAX);
        stateful.acknowledge(10);
        assert!(!stateful.can_resume());
        stateful.acknowledge(11);
        assert!(stateful.can_resume(), "everything was received in the end");
    }
}
