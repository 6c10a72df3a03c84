//! [`Client`]: a client whose calls an app server answers. It stands between a shard and the server connection that the client belongs
//! to at the moment.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Instant;

use bytes::Bytes;
use signalr_protocol::service::FlowOperation;
use signalr_protocol::{
    FramingError, HubMessageType, HubProtocol, RECORD_SEPARATOR, is_sequenced, next_message, peek,
};
use tokio::sync::oneshot;

use super::forwarding::Forwarding;
use super::invocations::Pending;
use super::link::Link;
use super::order::{EVENT_BUFFER_FULL, EVENT_CONNECTION, Order};
use super::outbox::Fill;
use super::passed_on::PassedOn;
use super::registry::Sticky;
use super::results::AwaitedResults;
use super::{Servers, to_protocol};
use crate::engine::{
    AppServer, Capacity, ClientConnection, ClientContext, ConnectionId, Hub, SendRate, ServerClose,
    message_calls_reserved_method,
};

/// Orders about a client that may wait until its handshake is answered.
const DEFERRED_MAX: usize = 64;

/// A Close message is short; longer messages are not looked at.
const CLOSE_BYTES_MAX: usize = 4096;

/// A client in Default mode.
#[derive(Debug)]
pub(crate) struct Client {
    me: Weak<Client>,
    servers: Servers,
    pub(super) hub: Hub,
    /// The server that its token asks for.
    pub(super) sticky: Option<Sticky>,
    /// Headers of its request that its server is told.
    headers: PassedOn,
    /// Its server takes messages in pieces. Beside the state, for it is asked for at each read.
    takes_pieces: AtomicBool,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Known once its handshake was read.
    known: Option<ClientConnection>,
    owner: Option<Arc<Link>>,
    /// Its handshake was passed on.
    introduced: bool,
    /// Its server has answered the handshake.
    answered: bool,
    /// The answer has reached it, so that it is a member of its hub.
    joined: bool,
    /// Its server has sent it a Close message.
    said_close: bool,
    /// The beginning of a message from its server whose end is not there yet.
    partial: Vec<u8>,
    /// The way of what it sends to its server.
    forwarding: Forwarding,
    /// Told when its server has answered all its calls, while new ones are held back.
    drained: Option<oneshot::Sender<()>>,
    /// What servers want of it before it is a member of its hub.
    deferred: Vec<(Arc<Link>, Order)>,
    /// Told when its server holds back what it has for the client.
    pause_acknowledged: Option<oneshot::Sender<()>>,
    /// Its results that its server must not get yet.
    results: AwaitedResults,
    /// How fast its server may send to it.
    pace: SendRate,
    /// Pauses that its server has not acknowledged.
    pauses: u32,
}

/// What a server's bytes are for its client.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Whole {
    /// The answer to the handshake.
    pub(crate) answer: Option<Bytes>,
    /// Whole messages, and how many of them stateful reconnect numbers.
    pub(crate) messages: Option<(Bytes, u32)>,
    /// How many messages were left out, because they call methods that only the service calls.
    pub(crate) left_out: u32,
}

/// Whether an order about a client can be carried out.
#[derive(Debug)]
pub(crate) enum Deferral {
    Now(Order),
    /// It will be when the handshake is answered.
    Later,
    /// Too many wait already.
    TooMany(Order),
}

/// What is left of a client that is gone.
#[derive(Debug, Default)]
pub(crate) struct Remains {
    pub(crate) owner: Option<Arc<Link>>,
    pub(crate) deferred: Vec<(Arc<Link>, Order)>,
}

impl Client {
    pub(super) fn new(servers: Servers, hub: Hub, sticky: Option<Sticky>, headers: PassedOn) -> Arc<Self> {
        let state = Mutex::new(State::default());
        Arc::new_cyclic(|me| Self {
            me: Weak::clone(me),
            servers,
            hub,
            sticky,
            headers,
            takes_pieces: AtomicBool::new(false),
            state,
        })
    }

    /// Whether no other server will do: what it has there, such as a circuit of Blazor, is nowhere else.
    pub(super) fn requires_its_server(&self) -> bool {
        self.sticky.as_ref().is_some_and(|sticky| sticky.required)
    }

    /// The server connection that it belongs to.
    pub(super) fn owner(&self) -> Option<Arc<Link>> {
        self.state().owner.clone()
    }

    /// The hub protocol that it speaks; `None` before its handshake and after its end.
    pub(super) fn protocol(&self) -> Option<HubProtocol> {
        self.state().known.as_ref().map(|known| known.protocol)
    }

    /// Whether its server has said Close to it already.
    pub(super) fn said_close(&self) -> bool {
        self.state().said_close
    }

    /// Takes in bytes of its server, and gives those that are whole messages: a client reads each WebSocket message by itself. Nothing
    /// of a server that it does not belong to.
    pub(super) fn take_in(
        &self,
        link: &Link,
        payload: &[u8],
        bytes_max: usize,
    ) -> Result<Whole, FramingError> {
        let mut state = self.state();
        let Some(protocol) = state.known.as_ref().map(|known| known.protocol) else {
            return Ok(Whole::default());
        };
        // The other connections of its server's process count as that one.
        if state.owner.as_ref().is_none_or(|owner| owner.server != link.server) {
            return Ok(Whole::default());
        }
        let whole = state.whole(protocol, payload, bytes_max);
        state.tell_if_drained();
        whole
    }

    /// Its protocol, and whether what its server sent so far ends with a message. `None` for a server that it does not belong to.
    pub(super) fn position(&self, link: &Link) -> Option<(HubProtocol, bool)> {
        let state = self.state();
        let is_own = state.owner.as_ref().is_some_and(|owner| owner.server == link.server);
        let protocol = state.known.as_ref().filter(|_| is_own)?.protocol;
        Some((protocol, state.answered && state.partial.is_empty()))
    }

    /// Keeps an order until the handshake is answered: a server may send it over another way, which overtakes the answer.
    pub(super) fn defer(&self, link: &Arc<Link>, order: Order) -> Deferral {
        let mut state = self.state();
        if state.joined || state.known.is_none() {
            return Deferral::Now(order);
        }
        if state.deferred.len() >= DEFERRED_MAX {
            return Deferral::TooMany(order);
        }
        state.deferred.push((Arc::clone(link), order));
        Deferral::Later
    }

    /// The client is a member of its hub now. Gives what waited for that.
    pub(super) fn join(&self) -> Vec<(Arc<Link>, Order)> {
        let mut state = self.state();
        state.joined = true;
        std::mem::take(&mut state.deferred)
    }

    /// One of its calls gets its answer from the service.
    pub(super) fn answered(&self, invocation: &str) {
        let mut state = self.state();
        state.forwarding.answered(invocation);
        state.tell_if_drained();
    }

    /// Its server has called one of its methods.
    pub(super) fn expect_result(&self, pending: &Pending, now: Instant) {
        self.state().results.expect(Arc::clone(&pending.invocation), pending.not_before, now);
    }

    /// Holds new calls of the client back, and tells when its server has answered the others, and its handshake. `None` if the client does
    /// not belong to the server connection, or is being moved already.
    pub(super) fn hold_calls(&self, from: &Link) -> Option<oneshot::Receiver<()>> {
        let mut state = self.state();
        if !state.belongs_to(from) || !state.forwarding.is_open() {
            return None;
        }
        let (sender, receiver) = oneshot::channel();
        state.forwarding.drain_calls();
        state.drained = Some(sender);
        state.tell_if_drained();
        Some(receiver)
    }

    /// Holds back everything that the client sends, and has its server hold back what it has for the client: tells when it does, at once
    /// where it cannot. `None` if the client cannot move.
    pub(super) fn pause(&self, from: &Link) -> Option<oneshot::Receiver<()>> {
        let mut state = self.state();
        let id = state.known.as_ref()?.id;
        if !state.belongs_to(from) || !state.forwarding.can_move() {
            return None;
        }
        // Nothing is forwarded behind the order to pause: the server would execute it and never answer.
        state.forwarding.shut();
        let (sender, receiver) = oneshot::channel();
        if from.modern {
            state.pause_acknowledged = Some(sender);
            if state.pace != SendRate::Full {
                // A pause during a pause is not acknowledged.
                state.flow(id, from, FlowOperation::Resume);
            }
            state.flow(id, from, FlowOperation::Pause);
        }
        Some(receiver)
    }

    /// The client stays with its server, which gets what was held back.
    pub(super) fn stay(&self, with: &Link, was_paused: bool) {
        let mut state = self.state();
        if !state.belongs_to(with) {
            return;
        }
        let State { known: Some(known), forwarding, .. } = &mut *state else { return };
        let id = known.id;
        let (bytes, is_partial) = forwarding.stay(known.protocol);
        if !bytes.is_empty() {
            let what = to_protocol::Data { is_handshake: false, is_partial, modern: with.modern };
            with.outbox.push_from(id, |out| to_protocol::data(id, &bytes, what, out));
        }
        if was_paused && with.modern && state.pace == SendRate::Full {
            state.flow(id, with, FlowOperation::Resume);
        }
    }

    /// Lets its server send one message, and holds it back again.
    pub(super) fn let_one_through(&self, from: &Link) {
        let mut state = self.state();
        let Some(id) = state.known.as_ref().map(|known| known.id) else { return };
        if state.belongs_to(from) && state.pace == SendRate::Reduced && !state.forwarding.is_shut() {
            state.flow(id, from, FlowOperation::Resume);
            state.flow(id, from, FlowOperation::Pause);
        }
    }

    /// The server holds back what it has for the client.
    pub(super) fn pause_acknowledged(&self, by: &Link) {
        let mut state = self.state();
        if state.owner.as_ref().is_none_or(|owner| owner.server != by.server) {
            return;
        }
        state.pauses = state.pauses.saturating_sub(1);
        if state.pauses > 0 {
            // That was an earlier pause.
            return;
        }
        if let Some(sender) = state.pause_acknowledged.take() {
            // Whoever waited may have waited for long enough.
            let _ = sender.send(());
        }
    }

    /// Gives the client to another server. What it sends from now on goes there, behind what was held back. Gives the invocation ids of
    /// calls that the old server will not answer. `None` if the client was not moved: it has ended, or belongs to another one by now.
    pub(super) fn move_to(&self, from: &Link, to: &Arc<Link>, instance: &str) -> Option<Vec<Box<str>>> {
        let mut state = self.state();
        if !state.belongs_to(from) || !state.forwarding.can_move() {
            return None;
        }
        let State { known: Some(known), owner: Some(owner), answered, forwarding, .. } = &mut *state else {
            return None;
        };
        self.takes_pieces.store(to.modern, Ordering::Release);
        let (id, protocol) = (known.id, known.protocol);
        let client_context = known.client_context.clone().unwrap_or_default();
        *owner = Arc::clone(to);
        // The old server must not get anything behind this, nor the new one anything before it: both happens while nobody else can
        // put anything of this client anywhere.
        from.outbox.push_from(id, |out| to_protocol::close(id, None, Some(&to.server), out));
        let record = to_protocol::handshake_record(protocol);
        let held = forwarding.move_on(protocol);
        // Where the old server has not answered the handshake, the new one does, as for a client that has just come.
        let from_name = answered.then_some(&*from.server);
        to.outbox.push_from(id, |out| {
            to_protocol::open(id, protocol, &client_context, &self.headers, instance, from_name, out);
            let what = to_protocol::Data { is_handshake: true, is_partial: false, modern: to.modern };
            to_protocol::data(id, &record, what, out);
            if !held.bytes.is_empty() {
                let what =
                    to_protocol::Data { is_handshake: false, is_partial: held.is_partial, modern: to.modern };
                to_protocol::data(id, &held.bytes, what, out);
            }
        });
        state.partial = Vec::new();
        state.pauses = 0;
        // Where the old server was lost in the middle of another move, that one has nothing to wait for any more.
        state.drained = None;
        state.pause_acknowledged = None;
        from.slow_down(id, false);
        if state.pace != SendRate::Full && to.modern {
            // First, for the pause wakes whoever looks at the slow ones.
            to.slow_down(id, state.pace == SendRate::Reduced);
            state.flow(id, to, FlowOperation::Pause);
        }
        Some(held.unanswered)
    }

    /// Takes it from a server connection that is lost: from now on it cannot be given to another one. Says whether it belonged to that.
    pub(super) fn leave(&self, lost: &Link) -> bool {
        let mut state = self.state();
        let belonged = state.belongs_to(lost);
        if belonged {
            state.owner = None;
        }
        belonged
    }

    /// The client is no longer there.
    pub(super) fn end(&self) -> Remains {
        let mut state = self.state();
        state.known = None;
        state.pause_acknowledged = None;
        state.drained = None;
        state.forwarding = Forwarding::default();
        Remains { owner: state.owner.take(), deferred: std::mem::take(&mut state.deferred) }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn belongs_to(&self, link: &Link) -> bool {
        self.owner.as_ref().is_some_and(|owner| owner.id == link.id)
    }

    /// Has a server hold back what it has for the client, or go on.
    fn flow(&mut self, id: ConnectionId, server: &Link, operation: FlowOperation) {
        if operation == FlowOperation::Pause {
            self.pauses += 1;
        }
        server.outbox.push_from(id, |out| to_protocol::flow(id, operation, out));
    }

    fn tell_if_drained(&mut self) {
        if self.drained.is_some() && self.answered && self.forwarding.is_drained() {
            let sender = self.drained.take().expect("it was just looked at");
            // Whoever waited may have waited for long enough.
            let _ = sender.send(());
        }
    }

    fn whole(
        &mut self,
        protocol: HubProtocol,
        payload: &[u8],
        bytes_max: usize,
    ) -> Result<Whole, FramingError> {
        let ends_record = memchr(payload).is_some();
        self.partial.extend_from_slice(payload);
        let is_text = !self.answered || protocol == HubProtocol::Json;
        if is_text && !ends_record {
            // Not looked at again from the beginning with each piece that comes.
            let too_large = self.partial.len() > bytes_max;
            return if too_large { Err(FramingError::TooLarge { bytes_max }) } else { Ok(Whole::default()) };
        }
        let mut end = 0;
        let answer = if self.answered {
            None
        } else {
            // The answer is always JSON, whatever the protocol that follows.
            let Some((_, used)) = next_message(HubProtocol::Json, &self.partial, bytes_max)? else {
                return Ok(Whole::default());
            };
            self.answered = true;
            end = used;
            Some(used)
        };
        let (begin, mut numbered, mut has_messages, mut left_out) = (end, 0, false, Vec::new());
        while let Some((message, used)) = next_message(protocol, &self.partial[end..], bytes_max)? {
            self.said_close |= is_close(protocol, message);
            self.forwarding.sent_by_server(protocol, message);
            if message_calls_reserved_method(protocol, message) {
                left_out.push(end..end + used);
            } else {
                has_messages = true;
                numbered += u32::from(is_sequenced(protocol, message));
            }
            end += used;
        }
        if end == 0 {
            return Ok(Whole::default());
        }
        let rest = self.partial.split_off(end);
        let taken = Bytes::from(std::mem::replace(&mut self.partial, rest));
        let messages = || {
            if left_out.is_empty() {
                taken.slice(begin..)
            } else {
                without(&taken[begin..], begin, &left_out)
            }
        };
        Ok(Whole {
            answer: answer.map(|used| taken.slice(..used)),
            messages: has_messages.then(|| (messages(), numbered)),
            left_out: u32::try_from(left_out.len()).unwrap_or(u32::MAX),
        })
    }
}

/// The bytes without the ranges, which count from `begin` before them and are in order.
fn without(bytes: &[u8], begin: usize, left_out: &[Range<usize>]) -> Bytes {
    let (mut kept, mut at) = (Vec::with_capacity(bytes.len()), 0);
    for range in left_out {
        kept.extend_from_slice(&bytes[at..range.start - begin]);
        at = range.end - begin;
    }
    kept.extend_from_slice(&bytes[at..]);
    kept.into()
}

fn memchr(payload: &[u8]) -> Option<usize> {
    payload.iter().position(|byte| *byte == RECORD_SEPARATOR)
}

/// Whether a message is a Close. Only what may be one is read.
fn is_close(protocol: HubProtocol, message: &[u8]) -> bool {
    let may_be = match protocol {
        HubProtocol::Json => message.len() <= CLOSE_BYTES_MAX && message.contains(&b'7'),
        HubProtocol::MessagePack | HubProtocol::BlazorPack => message.get(1) == Some(&7),
    };
    may_be && peek(protocol, message).is_ok_and(|peek| peek.kind == HubMessageType::Close)
}

impl AppServer for Client {
    fn open(&self, connection: &ClientConnection) {
        let Some(me) = self.me.upgrade() else { return };
        let id = connection.id;
        let client_context = connection.client_context.clone().unwrap_or_default();
        let is_admitted = self.servers.admit(&me, id, |link| {
            let mut state = self.state();
            state.known = Some(connection.clone());
            state.owner = Some(Arc::clone(link));
            self.takes_pieces.store(link.modern, Ordering::Release);
            let instance = self.servers.instance();
            link.outbox.push_from(id, |out| {
                to_protocol::open(
                    id,
                    connection.protocol,
                    &client_context,
                    &self.headers,
                    instance,
                    None,
                    out,
                );
            });
        });
        if !is_admitted {
            let close = ServerClose {
                error: Some("No server available".into()),
                allow_reconnect: true,
                say_close: true,
            };
            self.servers.end_soon(id, close);
        }
    }

    fn takes_pieces(&self) -> bool {
        self.takes_pieces.load(Ordering::Acquire)
    }

    fn capacity(&self, connection: ConnectionId) -> Capacity {
        let state = self.state();
        let Some(owner) = state.owner.as_ref().filter(|owner| owner.outbox.hold_back(connection)) else {
            return Capacity::Available;
        };
        self.servers.ask_for_another(owner);
        Capacity::Exhausted
    }

    fn data(&self, connection: ConnectionId, payload: Bytes, is_partial: bool) -> Capacity {
        let mut state = self.state();
        let is_handshake = !std::mem::replace(&mut state.introduced, true);
        let State { owner: Some(owner), known, forwarding, results, .. } = &mut *state else {
            return Capacity::Available;
        };
        let protocol = known.as_ref().map_or(HubProtocol::Json, |known| known.protocol);
        let mut fill = Fill::Free;
        let mut forward = |bytes: &[u8], is_partial| {
            let what = to_protocol::Data { is_handshake, is_partial, modern: owner.modern };
            fill = owner.outbox.push_from(connection, |out| to_protocol::data(connection, bytes, what, out));
        };
        let is_read_on = if is_handshake {
            forward(&payload, is_partial);
            forwarding.take_handshake(protocol, &payload);
            true
        } else if results.has_early() && forwarding.can_divide() {
            let mut is_read_on = true;
            for (range, not_before) in results.divide(protocol, &payload) {
                let (is_last, part) = (range.end == payload.len(), &payload[range]);
                match not_before {
                    Some(not_before) => owner.outbox.push_later(not_before, |out| {
                        let what =
                            to_protocol::Data { is_handshake, is_partial: false, modern: owner.modern };
                        to_protocol::data(connection, part, what, out);
                    }),
                    None => {
                        is_read_on = forwarding.take(protocol, part, is_partial && is_last, &mut forward);
                    }
                }
            }
            is_read_on
        } else {
            forwarding.take(protocol, &payload, is_partial, forward)
        };
        self.servers.metrics().client_bytes(payload.len());
        if fill == Fill::Full {
            self.servers.ask_for_another(owner);
        }
        state.tell_if_drained();
        if fill == Fill::Full || !is_read_on { Capacity::Exhausted } else { Capacity::Available }
    }

    fn closed(&self, connection: ConnectionId, error: Option<&str>) {
        let results_until = self.state().results.until();
        let Some(owner) = self.servers.forget(self, connection) else { return };
        let close = |out: &mut Vec<u8>| to_protocol::close(connection, error, None, out);
        match results_until {
            // Behind its last results: its server takes nothing from a client that has ended.
            Some(until) => owner.outbox.push_later(until, close),
            None => drop(owner.outbox.push_from(connection, close)),
        }
    }

    fn refreshed(&self, connection: ConnectionId, client_context: &Arc<ClientContext>, claims_changed: bool) {
        let mut state = self.state();
        let State { known: Some(known), owner: Some(owner), .. } = &mut *state else { return };
        known.client_context = Some(Arc::clone(client_context));
        // Its own server, which need not be the one that refreshed it. Servers of old SDKs know no such message.
        if claims_changed && owner.modern {
            owner
                .outbox
                .push_from(connection, |out| to_protocol::claims_changed(connection, client_context, out));
        }
    }

    fn send_rate(&self, connection: ConnectionId, pace: SendRate) {
        let mut state = self.state();
        let before = std::mem::replace(&mut state.pace, pace);
        let Some(owner) = state.owner.clone().filter(|owner| owner.modern) else { return };
        owner.slow_down(connection, pace == SendRate::Reduced);
        if state.forwarding.is_shut() {
            // It is paused already, to be moved.
            return;
        }
        match (before, pace) {
            (SendRate::Full, SendRate::Reduced | SendRate::Paused) => {
                state.flow(connection, &owner, FlowOperation::Pause);
            }
            (SendRate::Reduced | SendRate::Paused, SendRate::Full) => {
                state.flow(connection, &owner, FlowOperation::Resume);
            }
            _ => {}
        }
    }

    fn overflowed(&self, connection: ConnectionId, why: &str) {
        let Some(owner) = self.owner() else { return };
        tracing::warn!(%connection, hub = %self.hub, server = %owner.server, why, "a client does not read what its app server sends");
        let id = connection.to_string();
        owner.outbox.push(&to_protocol::event(EVENT_CONNECTION, &id, EVENT_BUFFER_FULL, why));
    }

    fn reconnected(&self, connection: ConnectionId) {
        let mut state = self.state();
        state.forwarding.restart();
        state.tell_if_drained();
        // Servers of old SDKs know no such message, and get no pieces that they would have to discard.
        if let Some(owner) = state.owner.as_ref().filter(|owner| owner.modern) {
            owner.outbox.push_from(connection, |out| to_protocol::reconnected(connection, out));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The answer to the handshake, and whole messages with the number of those that are numbered, that one piece completes.
    type Completed<'a> = (Option<&'a [u8]>, Option<(&'a [u8], u32)>);

    fn check(protocol: HubProtocol, pieces: &[&[u8]], expected: &[Completed<'_>]) {
        let mut state = State::default();
        for (piece, (answer, messages)) in pieces.iter().zip(expected) {
            let whole = state.whole(protocol, piece, 100).unwrap();
            assert_eq!(whole.answer.as_deref(), *answer, "{piece:?}");
            let shown = whole.messages.as_ref().map(|(bytes, count)| (&**bytes, *count));
            assert_eq!(shown, *messages, "{piece:?}");
        }
        assert_eq!(pieces.len(), expected.len());
    }

    #[test]
    fn a_client_gets_whole_messages_however_its_server_cuts_them() {
        check(
            HubProtocol::Json,
            &[b"{", b"}\x1e", b"{\"a\":1}\x1e{\"type\":2", b",\"invocationId\":\"1\",\"item\":1", b"}\x1e"],
            &[
                (None, None),
                (Some(b"{}\x1e"), None),
                (None, Some((b"{\"a\":1}\x1e", 0))),
                (None, None),
                (None, Some((b"{\"type\":2,\"invocationId\":\"1\",\"item\":1}\x1e", 1))),
            ],
        );
        check(
            HubProtocol::MessagePack,
            &[b"{}\x1e\x02\x91\x06\x02", b"\x91", b"\x05\x02\x91\x06"],
            &[
                (Some(b"{}\x1e"), Some((b"\x02\x91\x06", 0))),
                (None, None),
                (None, Some((b"\x02\x91\x05\x02\x91\x06", 1))),
            ],
        );
    }

    #[test]
    fn a_server_cannot_call_methods_that_only_the_service_calls() {
        let mut state = State { answered: true, ..State::default() };
        let [one, two, forged] = ["one", "two", "Chappe.position"]
            .map(|target| format!("{{\"type\":1,\"target\":\"{target}\",\"arguments\":[]}}\u{1e}"));
        let sent = [&forged, &one, &forged, &two, &forged].map(String::as_str).concat();
        let whole = state.whole(HubProtocol::Json, sent.as_bytes(), 1000).unwrap();
        assert_eq!(whole.messages, Some(((one + &two).into(), 2)));
        assert_eq!(whole.left_out, 3);
        let whole = state.whole(HubProtocol::Json, forged.as_bytes(), 1000).unwrap();
        assert_eq!((whole.messages, whole.left_out), (None, 1));
    }

    #[test]
    fn a_message_without_end_is_refused() {
        let mut state = State { answered: true, ..State::default() };
        assert!(state.whole(HubProtocol::Json, &[b'x'; 100], 100).is_ok());
        assert_eq!(state.whole(HubProtocol::Json, b"x", 100), Err(FramingError::TooLarge { bytes_max: 100 }));
        let mut state = State { answered: true, ..State::default() };
        assert!(state.whole(HubProtocol::MessagePack, b"\xff\xff\xff\xff\xff", 100).is_err());
    }

    #[test]
    fn a_close_message_is_noticed_in_any_protocol() {
        let check = |protocol, message: &[u8], expected| {
            let mut state = State { answered: true, ..State::default() };
            state.whole(protocol, message, 1000).unwrap();
            assert_eq!(state.said_close, expected, "{message:?}");
        };
        check(HubProtocol::Json, b"{\"error\":\"x\",\"type\": 7}\x1e", true);
        check(HubProtocol::Json, b"{\"type\":1,\"target\":\"7\",\"arguments\":[]}\x1e", false);
        check(HubProtocol::Json, b"{\"type\":1,\"target\":\"x\",\"arguments\":[]}\x1e{\"type\":7}\x1e", true);
        check(HubProtocol::MessagePack, b"\x04\x93\x07\xc0\xc3", true);
        check(HubProtocol::BlazorPack, b"\x03\x92\x07\xc0", true);
        check(HubProtocol::BlazorPack, b"\x02\x91\x06", false);
    }
}
