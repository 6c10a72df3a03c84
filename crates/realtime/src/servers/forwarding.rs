//! [`Forwarding`]: forwards the bytes of one client to its app server, and tracks its pending invocations. Pure.
//!
//! An app server from which a client migrates executes the invocations that it has received, but completions that it has not sent before the pause
//! never arrive. So a client migrates in three steps, the [`ForwardingState`]: first new invocations are held back while the app server completes
//! the others; then everything is held back and the app server is paused; then the held bytes go to the new app server.

mod hub_splitter;

use std::collections::HashSet;

use signalr_protocol::{HubMessage, HubMessageType, HubProtocol, RECORD_SEPARATOR, parse, peek};

use hub_splitter::{HubMessageSplitter, Segment};

/// Pending invocations of one client that are tracked; a migration does not wait for further ones.
const INVOCATIONS_MAX: usize = 4096;

/// Bytes of one client that are held back before reading pauses. One read may add more.
const HELD_BYTES_MAX: usize = 256 * 1024;

/// What happens to the bytes of a client.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum ForwardingState {
    /// They are forwarded as they arrive.
    #[default]
    Open,
    /// New invocations and their stream items are held back. Everything else is forwarded, because pending invocations may need it to
    /// complete: items of an upload, and results of client invocations.
    Draining,
    /// Everything is held back.
    Paused,
}

/// Forwards the bytes of one client.
#[derive(Debug, Default)]
pub(super) struct Forwarding {
    state: ForwardingState,
    splitter: HubMessageSplitter,
    /// Ids of invocations that the app server has received and not completed.
    pending: HashSet<Box<str>>,
    /// Messages that are held back, in order.
    held: Vec<u8>,
    /// Invocation ids and stream ids of the invocations among them.
    held_ids: HashSet<Box<str>>,
    /// Bytes of the incomplete message that were forwarded already.
    forwarded: usize,
    /// Whether the transport marked the last bytes as an incomplete message.
    is_partial: bool,
}

/// The bytes that were held back when a client migrates.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct BufferedBytes {
    /// The bytes for the new app server.
    pub(super) bytes: Vec<u8>,
    /// Whether the last message is incomplete.
    pub(super) is_partial: bool,
    /// Ids of invocations that the old app server will not complete, sorted.
    pub(super) unanswered: Vec<Box<str>>,
}

impl Forwarding {
    /// Calls `send` with those of the client's next bytes that are forwarded now, and with whether their last message is incomplete.
    /// `is_partial` is the mark of the transport. Returns whether to continue reading from the client.
    pub(super) fn forward(
        &mut self,
        protocol: HubProtocol,
        payload: &[u8],
        is_partial: bool,
        mut send: impl FnMut(&[u8], bool),
    ) -> bool {
        self.is_partial = is_partial;
        if payload.is_empty() && !self.is_within_message() {
            // The end of a frame whose last message is complete.
            return true;
        }
        match self.state {
            ForwardingState::Open => {
                self.track(protocol, payload);
                send(payload, self.is_incomplete());
                true
            }
            ForwardingState::Draining => {
                self.drain(protocol, payload, send);
                self.waiting_bytes() <= HELD_BYTES_MAX
            }
            ForwardingState::Paused => {
                self.hold(protocol, payload);
                self.waiting_bytes() <= HELD_BYTES_MAX
            }
        }
    }

    /// The client has a new socket, on which it sends its incomplete message again from the start.
    pub(super) fn restart(&mut self) {
        self.splitter = HubMessageSplitter::default();
        self.forwarded = 0;
        self.is_partial = false;
    }

    /// Tracks the handshake and the messages after it, which are forwarded.
    pub(super) fn forward_handshake(&mut self, protocol: HubProtocol, payload: &[u8]) {
        let end =
            payload.iter().position(|byte| *byte == RECORD_SEPARATOR).map_or(payload.len(), |at| at + 1);
        self.track(protocol, &payload[end..]);
    }

    /// Holds new invocations back from now on.
    pub(super) fn hold_invocations(&mut self) {
        self.state = ForwardingState::Draining;
    }

    /// Whether the app server has completed every invocation, and no message is forwarded only in part.
    pub(super) fn is_drained(&self) -> bool {
        self.pending.is_empty() && !self.is_within_message()
    }

    /// Holds everything back from now on.
    pub(super) fn pause(&mut self) {
        self.state = ForwardingState::Paused;
    }

    /// Whether nothing is held back.
    pub(super) fn is_open(&self) -> bool {
        self.state == ForwardingState::Open
    }

    /// Whether single messages may be delayed now: not within an incomplete message, and not where they may go to another app server.
    pub(super) fn can_delay_messages(&self) -> bool {
        self.state != ForwardingState::Paused
            && self.splitter.partial().is_empty()
            && !self.splitter.is_skipping()
    }

    /// Whether everything is held back.
    pub(super) fn is_paused(&self) -> bool {
        self.state == ForwardingState::Paused
    }

    /// Whether the client can migrate: not within a message whose beginning is not buffered.
    pub(super) fn can_move(&self) -> bool {
        !self.splitter.is_skipping()
    }

    /// The client has another app server: returns the bytes for it, and opens again.
    pub(super) fn move_on(&mut self, protocol: HubProtocol) -> BufferedBytes {
        let mut unanswered: Vec<_> = self.pending.drain().collect();
        unanswered.sort_unstable();
        self.forwarded = 0;
        let bytes = self.reopen(protocol);
        BufferedBytes { bytes, is_partial: self.is_incomplete(), unanswered }
    }

    /// The client stays with its app server: returns the bytes that were not forwarded, and whether the last message is incomplete. Opens again.
    pub(super) fn stay(&mut self, protocol: HubProtocol) -> (Vec<u8>, bool) {
        let started = std::mem::take(&mut self.forwarded);
        let mut bytes = self.reopen(protocol);
        bytes.drain(..started.min(bytes.len()));
        (bytes, self.is_incomplete())
    }

    /// Tracks a message of the app server to the client: a completion ends an invocation.
    pub(super) fn sent_by_server(&mut self, protocol: HubProtocol, message: &[u8]) {
        if !self.pending.is_empty()
            && may_be_completion(protocol, message)
            && let Ok(peek) = peek(protocol, message)
            && peek.kind == HubMessageType::Completion
            && let Some(id) = peek.invocation_id.as_deref()
        {
            self.pending.remove(id);
        }
    }

    /// The service has completed an invocation.
    pub(super) fn invocation_completed(&mut self, invocation: &str) {
        self.pending.remove(invocation);
    }

    /// Whether a message is forwarded only in part.
    fn is_within_message(&self) -> bool {
        self.forwarded > 0 || self.splitter.is_skipping()
    }

    fn is_incomplete(&self) -> bool {
        self.is_partial && self.is_within_message()
    }

    fn waiting_bytes(&self) -> usize {
        self.held.len() + self.splitter.partial().len()
    }

    /// Opens and returns the bytes that were held back.
    fn reopen(&mut self, protocol: HubProtocol) -> Vec<u8> {
        self.state = ForwardingState::Open;
        self.held_ids = HashSet::new();
        let mut bytes = std::mem::take(&mut self.held);
        bytes.extend(self.splitter.take_partial());
        self.track(protocol, &bytes);
        bytes
    }

    /// Tracks bytes that were forwarded.
    fn track(&mut self, protocol: HubProtocol, mut input: &[u8]) {
        let pending = &mut self.pending;
        while let Some((segment, used)) = self.splitter.next(protocol, input, false) {
            if let Segment::Message { payload, .. } = segment {
                note_invocation(pending, protocol, payload);
            }
            input = &input[used..];
        }
        self.forwarded = self.splitter.partial().len();
    }

    fn drain(&mut self, protocol: HubProtocol, mut input: &[u8], mut send: impl FnMut(&[u8], bool)) {
        if input.is_empty() {
            send(input, self.is_partial);
        }
        loop {
            let is_within = self.is_within_message();
            // Held messages are buffered whole; a message that is forwarded in part is not.
            let Some((segment, used)) = self.splitter.next(protocol, input, !is_within) else { return };
            match segment {
                Segment::Message { payload, .. } if is_within => {
                    note_invocation(&mut self.pending, protocol, payload);
                    self.forwarded = 0;
                    send(&input[..used], false);
                }
                Segment::Message { payload, framed } => {
                    if is_held(&mut self.held_ids, protocol, payload) {
                        self.held.extend_from_slice(framed);
                    } else {
                        send(framed, false);
                    }
                }
                Segment::Skipped => {
                    self.forwarded = 0;
                    send(&input[..used], false);
                }
                Segment::Partial if is_within => {
                    self.forwarded = self.splitter.partial().len();
                    send(&input[..used], self.is_partial);
                }
                Segment::Partial => {}
            }
            input = &input[used..];
        }
    }

    fn hold(&mut self, protocol: HubProtocol, mut input: &[u8]) {
        while let Some((segment, used)) = self.splitter.next(protocol, input, true) {
            if let Segment::Message { framed, .. } = segment {
                self.held.extend_from_slice(framed);
            }
            input = &input[used..];
        }
    }
}

fn note_invocation(pending: &mut HashSet<Box<str>>, protocol: HubProtocol, payload: &[u8]) {
    // The app server closes the connection if the message is invalid.
    let Ok(peek) = peek(protocol, payload) else { return };
    let is_call = matches!(peek.kind, HubMessageType::Invocation | HubMessageType::StreamInvocation);
    if let Some(id) = peek.invocation_id.filter(|_| is_call && pending.len() < INVOCATIONS_MAX) {
        pending.insert(id.into());
    }
}

/// Whether a message is an invocation, or belongs to one that is held back.
fn is_held(held: &mut HashSet<Box<str>>, protocol: HubProtocol, payload: &[u8]) -> bool {
    match parse(protocol, payload) {
        Ok(HubMessage::Invocation(call) | HubMessage::StreamInvocation(call)) => {
            let ids = call.invocation_id.into_iter().chain(call.stream_ids);
            held.extend(ids.map(Box::from));
            true
        }
        Ok(HubMessage::StreamItem(item)) => held.contains(&*item.invocation_id),
        Ok(HubMessage::Completion(completion)) => held.contains(&*completion.invocation_id),
        Ok(HubMessage::CancelInvocation(cancel)) => held.contains(&*cancel.invocation_id),
        Ok(HubMessage::Close(_)) => true,
        Ok(HubMessage::Ping | HubMessage::Ack(_) | HubMessage::Sequence(_) | HubMessage::Unknown(_))
        | Err(_) => false,
    }
}

/// Whether a message may be a completion. Most others are recognized by their first bytes, as app servers write them.
fn may_be_completion(protocol: HubProtocol, message: &[u8]) -> bool {
    match protocol {
        HubProtocol::Json => match message.strip_prefix(b"{\"type\":") {
            Some(rest) => rest.first() == Some(&b'3'),
            None => true,
        },
        // The type follows the head of an array of at most 15 items.
        HubProtocol::MessagePack | HubProtocol::BlazorPack => {
            message.first().is_none_or(|head| head & 0xf0 != 0x90) || message.get(1) == Some(&3)
        }
    }
}

#[cfg(test)]
mod tests;
