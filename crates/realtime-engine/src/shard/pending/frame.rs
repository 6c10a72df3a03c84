//! [`Frame`]: one encoded message; [`PendingFrame`]: the part of it that is pending for one client.

use bytes::Bytes;

/// One encoded hub message or WebSocket control frame, with the rules for its delivery.
#[derive(Clone, Debug)]
pub(crate) struct Frame {
    /// The whole WebSocket frame.
    bytes: Bytes,
    /// The offset of its payload; HTTP transports send only that.
    head_bytes: u8,
    class: Class,
    /// The number of messages in it that stateful reconnect counts.
    counted: u32,
    /// It comes from the client's app server, and must not overtake earlier messages of that server.
    keeps_order: bool,
    /// Whether the client's own app server sent it to this client alone.
    is_own: bool,
}

/// What may happen to a frame while its client does not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    /// It is delivered, or the connection ends.
    Required,
    /// It is an invocation that may be dropped. The coalescing key is the same for invocations of the same method with the same first
    /// argument, of which only the latest matters.
    Droppable(u64),
    /// A control frame of the WebSocket, which transports over HTTP do not have.
    Control,
}

/// A part of a backlog: a frame, or what is left of one.
#[derive(Debug)]
pub(crate) struct PendingFrame {
    pub(super) bytes: Bytes,
    pub(super) frames: u32,
    pub(super) class: Class,
    pub(super) is_own: bool,
}

impl Frame {
    /// A frame whose payload follows its header, as a server writes it.
    pub(crate) fn new(bytes: Bytes, class: Class, counted: u32) -> Self {
        let head_bytes = match bytes.get(1).map_or(0, |length| length & 0x7f) {
            126 => 4,
            127 => 10,
            _ => 2,
        };
        Self { bytes, head_bytes, class, counted, keeps_order: false, is_own: false }
    }

    /// Marks the frame as one that must not overtake messages that are withheld until a stateful client's first message.
    pub(crate) fn in_order(self) -> Self {
        Self { keeps_order: true, ..self }
    }

    /// Marks the frame as one that the client's own app server sent to this client alone.
    pub(crate) fn own(self) -> Self {
        Self { is_own: true, ..self }
    }

    pub(crate) fn is_own(&self) -> bool {
        self.is_own
    }

    /// A control frame of the WebSocket.
    pub(crate) fn control(bytes: Bytes) -> Self {
        Self::new(bytes, Class::Control, 0)
    }

    /// A frame that stateful reconnect does not count and that is never dropped.
    pub(crate) fn required(bytes: Bytes) -> Self {
        Self::new(bytes, Class::Required, 0)
    }

    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    pub(crate) fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    pub(crate) fn counted(&self) -> u32 {
        self.counted
    }

    pub(crate) fn keeps_order(&self) -> bool {
        self.keeps_order
    }

    pub(crate) fn class(&self) -> Class {
        self.class
    }

    /// The frame as it is pending for a socket.
    pub(crate) fn pending_frame(&self) -> PendingFrame {
        PendingFrame { bytes: self.bytes.clone(), frames: 1, class: self.class, is_own: self.is_own }
    }

    /// Its payload as it is pending for a request; `None` for control frames, which only WebSockets have.
    pub(crate) fn payload(&self) -> Option<PendingFrame> {
        let bytes = self.bytes.slice(usize::from(self.head_bytes)..);
        (self.class != Class::Control).then_some(PendingFrame {
            bytes,
            frames: 1,
            class: self.class,
            is_own: self.is_own,
        })
    }
}

impl PendingFrame {
    /// Bytes that are never dropped.
    pub(crate) fn required(bytes: Bytes) -> Self {
        Self { bytes, frames: 1, class: Class::Required, is_own: false }
    }

    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn http_transports_receive_only_payloads() {
        for length in [0, 125, 126, 65_535, 65_536] {
            let payload = vec![7; length];
            let frame = Frame::required(websocket::frame(websocket::Opcode::Binary, &payload));
            assert_eq!(frame.payload().map(|pending_frame| pending_frame.bytes), Some(Bytes::from(payload)));
        }
        assert!(Frame::control(websocket::frame(websocket::Opcode::Pong, b"x")).payload().is_none());
    }
}
