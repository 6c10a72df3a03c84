//! [`Link`]: one server connection, from its handshake to its end. Two tasks belong to it: one reads and carries out what it reads, one
//! after the other, so that what a server sends takes effect in its order; the other writes what waits in the [`Outbox`].

use std::collections::HashSet;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use signalr_protocol::service::{Extensions, Message};
use tokio::io::{AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, timeout};
use websocket::{CloseCode, close_frame};

use super::Servers;
use super::from_protocol::order;
use super::hello::{Hello, NO_HANDSHAKE, hello};
use super::options::Options;
use super::order::Order;
use super::outbox::{Batch, Outbox};
use super::registry::LinkId;
use super::wire::{Ended, Wire, write_messages, write_within};
use crate::engine::{ConnectionId, Hub, Stopped};

/// A server is told at most this often that it sends too fast, or asked for another connection.
const HINT_INTERVAL: Duration = Duration::from_secs(5);

/// Calls on one server connection whose results wait longer: the code of a process that has just started is slow.
const FIRST_CALLS: u32 = 32;

/// While a client is slow, its server may send one message this often. The SDK waits for the end of a pause for 500 ms at least; then it
/// looks at what it holds only when the hub writes to the client again, so that the end of a stream would stay there.
const LET_THROUGH_INTERVAL: Duration = Duration::from_millis(400);

/// A server connection.
#[derive(Debug)]
pub(crate) struct Link {
    pub(super) id: LinkId,
    pub(super) hub: Hub,
    /// The process at its other end.
    pub(super) server: Arc<str>,
    /// The name that its server gave it.
    pub(super) connection: Box<str>,
    /// Its SDK steps over what it does not know.
    pub(super) modern: bool,
    /// Its clients move to another server when it is lost without a word.
    pub(super) moves_on_loss: bool,
    pub(super) outbox: Outbox,
    /// Clients for which its server sends only a message now and then.
    slowed: Mutex<HashSet<ConnectionId>>,
    /// Calls of clients that came on it.
    calls: AtomicU32,
    farewell: Mutex<Farewell>,
    hinted: Mutex<Option<Instant>>,
}

/// What stands in the last frame.
#[derive(Debug)]
struct Farewell {
    code: CloseCode,
    reason: String,
}

/// Who is at the door.
#[derive(Debug)]
pub(crate) struct Visitor {
    pub(crate) hub: Hub,
    pub(crate) server: Arc<str>,
    pub(crate) connection: Box<str>,
}

type Stream = edge::Duplex;

impl Link {
    pub(super) fn new(id: LinkId, visitor: Visitor, hello: &Hello, pending_bytes_max: usize) -> Self {
        let Visitor { hub, server, connection } = visitor;
        Self {
            id,
            hub,
            server,
            connection,
            modern: hello.modern,
            moves_on_loss: hello.moves_on_loss,
            outbox: Outbox::new(pending_bytes_max),
            slowed: Mutex::default(),
            calls: AtomicU32::new(0),
            farewell: Mutex::new(Farewell { code: CloseCode::NORMAL, reason: String::new() }),
            hinted: Mutex::new(None),
        }
    }

    /// Ends the connection once what waits is written.
    pub(super) fn end(&self, code: CloseCode, reason: &str) {
        let farewell = Farewell { code, reason: reason.to_owned() };
        *self.farewell.lock().unwrap_or_else(PoisonError::into_inner) = farewell;
        self.outbox.close();
    }

    /// Its server is to send only a message now and then for a client, or no longer.
    pub(super) fn slow_down(&self, client: ConnectionId, slows: bool) {
        let mut slowed = self.slowed.lock().unwrap_or_else(PoisonError::into_inner);
        if slows {
            slowed.insert(client);
        } else {
            slowed.remove(&client);
        }
    }

    /// Its server calls a method of a client: the time before which it must not get the result.
    pub(super) fn result_not_before(&self, options: &Options, now: Instant) -> Instant {
        let is_first = self.calls.load(Ordering::Relaxed) < FIRST_CALLS;
        if is_first {
            self.calls.fetch_add(1, Ordering::Relaxed);
        }
        now + options.result_delay(is_first)
    }

    fn slowed(&self) -> Vec<ConnectionId> {
        self.slowed.lock().unwrap_or_else(PoisonError::into_inner).iter().copied().collect()
    }

    fn has_slowed(&self) -> bool {
        !self.slowed.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    /// Whether a hint may be given now: they are kept rare.
    pub(super) fn may_hint(&self, now: Instant) -> bool {
        let mut hinted = self.hinted.lock().unwrap_or_else(PoisonError::into_inner);
        let may = hinted.is_none_or(|last| now.duration_since(last) >= HINT_INTERVAL);
        if may {
            *hinted = Some(now);
        }
        may
    }
}

/// Lives the life of one server connection.
pub(crate) async fn run(servers: Servers, stream: Stream, visitor: Visitor) {
    let (read, mut write) = tokio::io::split(stream);
    let mut wire = Wire::new(read, servers.options().message_bytes_max);
    let mut orders = Vec::new();
    let greeting = greet(&servers, &mut wire, &mut orders).await;
    let hello = match greeting {
        Ok(hello) => hello,
        Err(why) => return refuse(&servers, &mut write, visitor, &why).await,
    };
    let connection = visitor.connection.clone();
    let Some(link) = servers.join(visitor, &hello) else {
        return refuse_late(&servers, &mut write).await;
    };
    link.outbox.push(&Message::HandshakeResponse {
        error_message: Some(""),
        extensions: Extensions::default(),
        connection_id: Some(&connection),
    });
    tracing::info!(hub = %link.hub, server = %link.server, %connection, kind = ?hello.connection_type, "an app server has connected");
    // Whatever happens to it, nobody is sent to a link that is gone.
    let why = supervision::catch(live(&servers, &link, wire, write, orders)).await.unwrap_or_else(|panic| {
        tracing::error!(hub = %link.hub, server = %link.server, panic, "an app server's connection panicked; this is a defect");
        "a defect of the service".to_owned()
    });
    tracing::info!(hub = %link.hub, server = %link.server, %connection, why, "an app server's connection has ended");
    servers.part(&link).await;
}

/// Waits for the first message. What follows it at once is kept.
async fn greet(
    servers: &Servers,
    wire: &mut Wire<ReadHalf<Stream>>,
    orders: &mut Vec<Order>,
) -> Result<Hello, String> {
    // Nothing is written before the handshake is answered: a pong for a ping that comes earlier is not owed for long.
    let outbox = Outbox::new(usize::MAX);
    let patience = servers.options().handshake_timeout();
    let first = async {
        let mut greeting = None;
        while greeting.is_none() {
            // The time for all of it is bounded below.
            let read = wire.read(Duration::MAX, &outbox, |message| match (&greeting, message) {
                (None, Ok(message)) => {
                    greeting = Some(hello(&message, servers.instance(), servers.carries_clients()));
                }
                (None, Err(_)) => greeting = Some(Err(NO_HANDSHAKE.to_owned())),
                (Some(_), message) => orders.push(message.map_or_else(Order::TooLong, order)),
            });
            read.await.map_err(|ended| ended.to_string())?;
        }
        greeting.expect("the loop ends when it is there")
    };
    match timeout(patience, first).await {
        Ok(greeting) => greeting,
        Err(_) => Err(format!("no handshake came within {} ms", patience.as_millis())),
    }
}

/// Says why the connection is not taken.
async fn refuse(servers: &Servers, write: &mut WriteHalf<Stream>, visitor: Visitor, why: &str) {
    tracing::warn!(hub = %visitor.hub, server = %visitor.server, why, "an app server was refused");
    let mut answer = Vec::new();
    Message::HandshakeResponse {
        error_message: Some(why),
        extensions: Extensions::default(),
        connection_id: None,
    }
    .encode(&mut answer);
    let patience = servers.options().handshake_timeout();
    if write_messages(write, &answer, patience).await.is_ok() {
        say_goodbye(write, CloseCode::POLICY_VIOLATION, why, patience).await;
    }
}

async fn refuse_late(servers: &Servers, write: &mut WriteHalf<Stream>) {
    let patience = servers.options().handshake_timeout();
    say_goodbye(write, CloseCode::GOING_AWAY, "the service is shutting down", patience).await;
}

/// Reads and writes until either ends; then lets the other come to its end.
async fn live(
    servers: &Servers,
    link: &Arc<Link>,
    wire: Wire<ReadHalf<Stream>>,
    write: WriteHalf<Stream>,
    orders: Vec<Order>,
) -> String {
    let mut writing = JoinSet::new();
    writing.spawn(write_all(servers.clone(), Arc::clone(link), write));
    let reading = read_all(servers, link, wire, orders);
    tokio::pin!(reading);
    let ended = tokio::select! {
        ended = &mut reading => ended,
        // What the server had sent before is still carried out, within bounds.
        _ = writing.join_next() => match timeout(servers.options().close_timeout(), &mut reading).await {
            Ok(ended) => ended,
            Err(_) => Ended::Closed,
        },
    };
    if ended.is_violation() {
        let text = ended.to_string();
        link.outbox.push(&Message::ServiceError { error_message: Some(&text) });
    }
    if !link.outbox.is_closed() {
        let reason = if ended.is_violation() { ended.to_string() } else { String::new() };
        link.end(ended.close_code(), &reason);
    }
    // A server that takes nothing keeps its task no longer.
    let _ = timeout(servers.options().close_timeout(), writing.join_next()).await;
    writing.shutdown().await;
    ended.to_string()
}

async fn read_all(
    servers: &Servers,
    link: &Arc<Link>,
    mut wire: Wire<ReadHalf<Stream>>,
    mut orders: Vec<Order>,
) -> Ended {
    let silence = servers.options().timeout();
    loop {
        servers.fault_point();
        for order in orders.drain(..) {
            if let Err(Stopped) = servers.execute(link, order).await {
                return Ended::Closed;
            }
        }
        // A server that does not take its answers is not read on.
        link.outbox.room().await;
        let mut count = 0;
        let read = wire.read(silence, &link.outbox, |message| {
            count += 1;
            orders.push(message.map_or_else(Order::TooLong, order));
        });
        if let Err(ended) = read.await {
            // What came in front of the end counts.
            for order in orders.drain(..) {
                if servers.execute(link, order).await.is_err() {
                    break;
                }
            }
            return ended;
        }
        servers.metrics().received(count);
    }
}

async fn write_all(servers: Servers, link: Arc<Link>, mut write: WriteHalf<Stream>) {
    let options = servers.options();
    let (patience, keep_alive) = (options.timeout(), options.keep_alive());
    let mut pings = interval(keep_alive);
    pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // The first tick comes at once, and the answer to the handshake is on its way.
    pings.tick().await;
    let mut turns = interval(LET_THROUGH_INTERVAL);
    turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let result = loop {
        let batch = tokio::select! {
            batch = link.outbox.next() => batch,
            _ = pings.tick() => {
                link.outbox.push(&Message::Ping { messages: Vec::new() });
                continue;
            }
            _ = turns.tick(), if link.has_slowed() => {
                for id in link.slowed() {
                    if let Some(client) = servers.client(&link.hub, id) {
                        client.let_one_through(&link);
                    }
                }
                continue;
            }
        };
        let Some(Batch { pong, messages }) = batch else { break Ok(()) };
        if let Some(pong) = pong
            && let Err(error) = write_within(&mut write, &pong, patience).await
        {
            break Err(error);
        }
        if let Err(error) = write_messages(&mut write, &messages, patience).await {
            break Err(error);
        }
        servers.metrics().sent(messages.len());
        for client in link.outbox.written() {
            servers.engine().resume(client).await;
        }
    };
    match result {
        Ok(()) => {
            let (code, reason) = {
                let farewell = link.farewell.lock().unwrap_or_else(PoisonError::into_inner);
                (farewell.code, farewell.reason.clone())
            };
            say_goodbye(&mut write, code, &reason, options.close_timeout()).await;
        }
        Err(error) => {
            tracing::debug!(server = %link.server, %error, "an app server's connection cannot be written to");
            link.outbox.close();
        }
    }
}

async fn say_goodbye<W: AsyncWrite + Unpin>(
    write: &mut W,
    code: CloseCode,
    reason: &str,
    patience: Duration,
) {
    // The connection ends either way.
    let _ = write_within(write, &close_frame(code, reason), patience).await;
    let _ = timeout(patience, write.shutdown()).await;
}
