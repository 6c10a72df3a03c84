//! [`Forwarding`]: the way of one client's bytes to its app server, and which of its calls wait for their completion. Pure.
//!
//! A server that gives a client up executes the calls that it has got, but the completions of those that it has not answered when it is
//! paused never come. So a client is moved in three steps, the [`Gate`]: first its new calls are held back while the server answers the
//! old ones; then everything is held back and the server is paused; then what was held goes to the new server.

mod cutter;

use std::collections::HashSet;

use signalr_protocol::{HubMessage, HubMessageType, HubProtocol, RECORD_SEPARATOR, parse, peek};

use cutter::{Cutter, Part};

/// Calls of one client that are remembered; further ones are not waited for.
const CALLS_MAX: usize = 4096;

/// Bytes of one client that are held back before it is read no more. One read may bring a little more than that.
const HELD_BYTES_MAX: usize = 256 * 1024;

/// What becomes of a client's bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Gate {
    /// They go to the server as they come.
    #[default]
    Open,
    /// New calls are held back, and what belongs to them. Everything else goes on, because a call that runs may need it to end: the
    /// client's items of an upload, and its results.
    Draining,
    /// Everything is held back.
    Shut,
}

/// The way of one client's bytes to its app server.
#[derive(Debug, Default)]
pub(super) struct Forwarding {
    gate: Gate,
    cutter: Cutter,
    /// Invocation ids of calls that the server has and has not completed.
    calls: HashSet<Box<str>>,
    /// Whole messages that were held back, in order.
    held: Vec<u8>,
    /// Invocation ids and upload streams of calls among them.
    held_ids: HashSet<Box<str>>,
    /// How many bytes at the start of what is held or incomplete the server has got: the beginning of a message whose end is not there.
    begun: usize,
    /// Whether the transport said of the last bytes that their message goes on.
    is_partial: bool,
}

/// What was held back when a client moves.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Taken {
    /// The client's bytes for its new server.
    pub(super) bytes: Vec<u8>,
    /// The message that they end with goes on.
    pub(super) is_partial: bool,
    /// Invocation ids of calls that the old server will not answer any more, in order.
    pub(super) unanswered: Vec<Box<str>>,
}

impl Forwarding {
    /// Takes the next bytes of the client, and gives those that go to the server now to `pass`, with whether the message that they end with
    /// goes on (`is_partial`, as the transport says it). Says whether the client may be read on.
    pub(super) fn take(
        &mut self,
        protocol: HubProtocol,
        payload: &[u8],
        is_partial: bool,
        mut pass: impl FnMut(&[u8], bool),
    ) -> bool {
        self.is_partial = is_partial;
        if payload.is_empty() && !self.is_within_message() {
            // The end of a frame whose last message has ended before.
            return true;
        }
        match self.gate {
            Gate::Open => {
                self.follow(protocol, payload);
                pass(payload, self.goes_on());
                true
            }
            Gate::Draining => {
                self.drain(protocol, payload, pass);
                self.waiting_bytes() <= HELD_BYTES_MAX
            }
            Gate::Shut => {
                self.hold(protocol, payload);
                self.waiting_bytes() <= HELD_BYTES_MAX
            }
        }
    }

    /// The client has a new socket: it sends the message that it was in the middle of anew, from its beginning.
    pub(super) fn restart(&mut self) {
        self.cutter = Cutter::default();
        self.begun = 0;
        self.is_partial = false;
    }

    /// Takes the handshake record and what follows it, which go to the server.
    pub(super) fn take_handshake(&mut self, protocol: HubProtocol, payload: &[u8]) {
        let end =
            payload.iter().position(|byte| *byte == RECORD_SEPARATOR).map_or(payload.len(), |at| at + 1);
        self.follow(protocol, &payload[end..]);
    }

    /// Holds new calls back from now on.
    pub(super) fn drain_calls(&mut self) {
        self.gate = Gate::Draining;
    }

    /// Whether the server has answered every call, and has no message that it got only the beginning of.
    pub(super) fn is_drained(&self) -> bool {
        self.calls.is_empty() && !self.is_within_message()
    }

    /// Holds everything back from now on.
    pub(super) fn shut(&mut self) {
        self.gate = Gate::Shut;
    }

    /// Whether nothing is held back.
    pub(super) fn is_open(&self) -> bool {
        self.gate == Gate::Open
    }

    /// Whether messages that come now may be taken out and reach the server later than those behind them: not within a message, nor where
    /// they may go to another server.
    pub(super) fn can_divide(&self) -> bool {
        self.gate != Gate::Shut && self.cutter.partial().is_empty() && !self.cutter.is_skipping()
    }

    /// Whether everything is held back.
    pub(super) fn is_shut(&self) -> bool {
        self.gate == Gate::Shut
    }

    /// Whether all that the client sends can go to another server: not in the middle of a message whose beginning is kept nowhere.
    pub(super) fn can_move(&self) -> bool {
        !self.cutter.is_skipping()
    }

    /// The client has another server: gives what that one is to get. The gate is open again.
    pub(super) fn move_on(&mut self, protocol: HubProtocol) -> Taken {
        let mut unanswered: Vec<_> = self.calls.drain().collect();
        unanswered.sort_unstable();
        self.begun = 0;
        let bytes = self.reopen(protocol);
        Taken { bytes, is_partial: self.goes_on(), unanswered }
    }

    /// The client stays with its server: gives what that one has not got yet, and whether the message that it ends with goes on. The gate is
    /// open again.
    pub(super) fn stay(&mut self, protocol: HubProtocol) -> (Vec<u8>, bool) {
        let begun = std::mem::take(&mut self.begun);
        let mut bytes = self.reopen(protocol);
        bytes.drain(..begun.min(bytes.len()));
        (bytes, self.goes_on())
    }

    /// Looks at a message of the server to the client: a completion ends a call.
    pub(super) fn sent_by_server(&mut self, protocol: HubProtocol, message: &[u8]) {
        if !self.calls.is_empty()
            && may_be_completion(protocol, message)
            && let Ok(peek) = peek(protocol, message)
            && peek.kind == HubMessageType::Completion
            && let Some(id) = peek.invocation_id.as_deref()
        {
            self.calls.remove(id);
        }
    }

    /// A call has got its answer in another way.
    pub(super) fn answered(&mut self, invocation: &str) {
        self.calls.remove(invocation);
    }

    /// Whether the server has the beginning of a message whose end has not come.
    fn is_within_message(&self) -> bool {
        self.begun > 0 || self.cutter.is_skipping()
    }

    fn goes_on(&self) -> bool {
        self.is_partial && self.is_within_message()
    }

    fn waiting_bytes(&self) -> usize {
        self.held.len() + self.cutter.partial().len()
    }

    /// Everything that waits, which the server gets now.
    fn reopen(&mut self, protocol: HubProtocol) -> Vec<u8> {
        self.gate = Gate::Open;
        self.held_ids = HashSet::new();
        let mut bytes = std::mem::take(&mut self.held);
        bytes.extend(self.cutter.take_partial());
        self.follow(protocol, &bytes);
        bytes
    }

    /// Notes what went to the server.
    fn follow(&mut self, protocol: HubProtocol, mut input: &[u8]) {
        let calls = &mut self.calls;
        while let Some((part, used)) = self.cutter.next(protocol, input, false) {
            if let Part::Whole { payload, .. } = part {
                note_call(calls, protocol, payload);
            }
            input = &input[used..];
        }
        self.begun = self.cutter.partial().len();
    }

    fn drain(&mut self, protocol: HubProtocol, mut input: &[u8], mut pass: impl FnMut(&[u8], bool)) {
        if input.is_empty() {
            pass(input, self.is_partial);
        }
        loop {
            let is_begun = self.is_within_message();
            // What is held must be kept whole; what the server has begun to get is not.
            let Some((part, used)) = self.cutter.next(protocol, input, !is_begun) else { return };
            match part {
                Part::Whole { payload, .. } if is_begun => {
                    note_call(&mut self.calls, protocol, payload);
                    self.begun = 0;
                    pass(&input[..used], false);
                }
                Part::Whole { payload, framed } => {
                    if is_held(&mut self.held_ids, protocol, payload) {
                        self.held.extend_from_slice(framed);
                    } else {
                        pass(framed, false);
                    }
                }
                Part::Skipped => {
                    self.begun = 0;
                    pass(&input[..used], false);
                }
                Part::Incomplete if is_begun => {
                    self.begun = self.cutter.partial().len();
                    pass(&input[..used], self.is_partial);
                }
                Part::Incomplete => {}
            }
            input = &input[used..];
        }
    }

    fn hold(&mut self, protocol: HubProtocol, mut input: &[u8]) {
        while let Some((part, used)) = self.cutter.next(protocol, input, true) {
            if let Part::Whole { framed, .. } = part {
                self.held.extend_from_slice(framed);
            }
            input = &input[used..];
        }
    }
}

fn note_call(calls: &mut HashSet<Box<str>>, protocol: HubProtocol, payload: &[u8]) {
    // What cannot be read is the server's affair: it closes the connection.
    let Ok(peek) = peek(protocol, payload) else { return };
    let is_call = matches!(peek.kind, HubMessageType::Invocation | HubMessageType::StreamInvocation);
    if let Some(id) = peek.invocation_id.filter(|_| is_call && calls.len() < CALLS_MAX) {
        calls.insert(id.into());
    }
}

/// Whether a message is a call, or belongs to one that is held.
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

/// Whether a message may be a completion. Most others are told by their first bytes, as servers write them, without reading them.
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
