//! HTTP transports, handshakes that wait for a decision, and app servers.

use std::sync::Mutex;

use bytes::Bytes;

use super::*;
use crate::{
    AppServer, Capacity, ClientConnection, ClientContext, ClientInvocation, HandshakeDecision, HttpTransport,
    HttpTransportKind, InvocationRejection, PollResult, ReceiveResult, SendRate, ServerClose,
};

impl World {
    fn http_transport(&mut self, transport: HttpTransportKind) -> (ConnectionId, Arc<HttpTransport>) {
        let (admission, http) =
            (admission(Some("ada")), HttpTransport::new(transport, self.now, Default::default()));
        let id = admission.connection;
        self.shard.settings.connections.fetch_add(1, Ordering::AcqRel);
        self.command(ShardCommand::Attach(Box::new(Transport::Http(Arc::clone(&http))), Box::new(admission)));
        (id, http)
    }

    fn receive(&mut self, connection: ConnectionId, text: &str) -> Option<ReceiveResult> {
        let (done, mut answer) = oneshot::channel();
        let payload = Bytes::copy_from_slice(text.as_bytes());
        self.command(ShardCommand::Receive { connection, payload, is_end: true, done });
        answer.try_recv().ok()
    }
}

fn texts(taken: Option<PollResult>) -> Vec<String> {
    match taken {
        Some(PollResult::Messages(messages)) => {
            messages.iter().map(|message| String::from_utf8_lossy(message).into_owned()).collect()
        }
        other => vec![format!("{other:?}")],
    }
}

#[test]
fn a_long_polling_client_gets_payloads_without_frames_and_is_not_pinged() {
    let mut world = World::new(Options::default());
    let (id, http) = world.http_transport(HttpTransportKind::LongPolling);
    let turn = http.begin_poll();
    assert_eq!(world.receive(id, "{\"protocol\":\"js"), Some(ReceiveResult::Accepted));
    assert_eq!(http.try_next_messages(turn), None);
    assert_eq!(world.receive(id, "on\",\"version\":1}\u{1e}"), Some(ReceiveResult::Accepted));
    world.publish(Target::All, "[1]");
    let expected = ["{}\u{1e}", "{\"type\":1,\"target\":\"m\",\"arguments\":[1]}\u{1e}"];
    assert_eq!(texts(http.try_next_messages(turn)), expected);
    assert_eq!(
        world.receive(id, "{\"type\":1,\"invocationId\":\"7\",\"target\":\"t\",\"arguments\":[]}\u{1e}"),
        Some(ReceiveResult::Accepted)
    );
    assert!(texts(http.try_next_messages(turn))[0].contains("no upstream"));
    // The polls show that the client is alive: no pings and no timeout while it polls.
    for _ in 0..10 {
        world.pass(Duration::from_secs(10));
    }
    assert_eq!((http.try_next_messages(turn), world.shard.index.count()), (None, 1));
    http.end_poll(world.now);
    world.pass(Duration::from_secs(14));
    assert_eq!(world.shard.index.count(), 1);
    for _ in 0..9 {
        world.pass(Duration::from_secs(2));
    }
    assert_eq!((world.shard.index.count(), world.ends(EndReason::ConnectionLost)), (0, 1));
    assert_eq!(world.receive(id, "x"), Some(ReceiveResult::Gone));
    assert_eq!(texts(http.try_next_messages(turn)), ["Some(Ended)"]);
}

#[test]
fn a_server_sent_events_client_is_pinged_and_gets_the_close_message() {
    let mut world = World::new(Options::default());
    let (id, http) = world.http_transport(HttpTransportKind::ServerSentEvents);
    let turn = http.begin_poll();
    world.receive(id, "{\"protocol\":\"json\",\"version\":1}\u{1e}");
    assert_eq!(texts(http.try_next_messages(turn)), ["{}\u{1e}"]);
    for _ in 0..4 {
        world.pass(Duration::from_secs(5));
    }
    assert_eq!(texts(http.try_next_messages(turn)), ["{\"type\":6}\u{1e}"]);
    let slot = world.shard.index.slot(id).unwrap();
    world.shard.close(slot, EndReason::Closed, Some("enough"), false);
    world.turn();
    assert_eq!(texts(http.try_next_messages(turn)), ["{\"type\":7,\"error\":\"enough\"}\u{1e}"]);
    assert_eq!(texts(http.try_next_messages(turn)), ["Some(Ended)"]);
    for _ in 0..4 {
        world.pass(Duration::from_secs(2));
    }
    assert!(world.shard.connections.is_empty());
}

#[test]
fn a_binary_protocol_over_server_sent_events_is_refused() {
    let mut world = World::new(Options::default());
    let (id, http) = world.http_transport(HttpTransportKind::ServerSentEvents);
    let turn = http.begin_poll();
    world.receive(id, "{\"protocol\":\"messagepack\",\"version\":1}\u{1e}");
    assert!(
        texts(http.try_next_messages(turn))[0]
            .starts_with("{\"error\":\"the hub protocol 'messagepack' is binary")
    );
    assert_eq!(world.ends(EndReason::HandshakeRefused), 1);
}

#[test]
fn a_long_polling_client_that_reads_nothing_is_closed() {
    let mut world = World::new(Options { pending_bytes_max: 100_000, ..Options::default() });
    let (id, http) = world.http_transport(HttpTransportKind::LongPolling);
    world.receive(id, "{\"protocol\":\"json\",\"version\":1}\u{1e}");
    let arguments = format!("[\"{}\"]", "x".repeat(40_000));
    for expected in [0, 0, 1] {
        world.publish(Target::All, &arguments);
        assert_eq!(world.ends(EndReason::SlowConsumer), expected);
    }
    assert!(http.has_ended());
}

/// Postpones every handshake until the test decides.
#[derive(Debug, Default)]
struct Waiting {
    heard: Mutex<Vec<String>>,
}

impl Upstream for Waiting {
    fn invoke(&self, invocation: ClientInvocation) -> Result<Capacity, InvocationRejection> {
        self.heard.lock().unwrap().push(format!("invoke {}", invocation.target.unwrap()));
        Ok(Capacity::Available)
    }

    fn connecting(&self, _: &ClientConnection) -> HandshakeDecision {
        self.heard.lock().unwrap().push("opening".to_owned());
        HandshakeDecision::Wait
    }

    fn connected(&self, _: &ClientConnection) {
        self.heard.lock().unwrap().push("connected".to_owned());
    }

    fn disconnected(&self, _: &ClientConnection, reason: EndReason, _: Option<&str>) {
        self.heard.lock().unwrap().push(format!("disconnected {}", reason.name()));
    }
}

impl Waiting {
    fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.heard.lock().unwrap())
    }
}

#[test]
fn a_handshake_and_the_messages_behind_it_wait_for_the_upstream() {
    let upstream = Arc::new(Waiting::default());
    let mut world = World::with(Options::default(), Arc::clone(&upstream) as Arc<dyn Upstream>);
    let mut hasty = world.attach(Some("ada"), None);
    hasty.send(
        "{\"protocol\":\"json\",\"version\":1}\u{1e}{\"type\":1,\"target\":\"early\",\"arguments\":[]}\u{1e}",
    );
    let mut refused = world.attach(None, None);
    refused.send("{\"protocol\":\"json\",\"version\":1}\u{1e}");
    let mut gone = world.attach(None, None);
    gone.send("{\"protocol\":\"json\",\"version\":1}\u{1e}");
    world.turn_until(|shard| {
        shard.connections.iter().all(|(_, one)| matches!(one.state, connection::ConnectionState::Opening(_)))
    });
    hasty.send("{\"type\":1,\"target\":\"late\",\"arguments\":[]}\u{1e}");
    world.publish(Target::All, "[\"not for a waiting client\"]");
    assert_eq!(upstream.take(), ["opening"; 3]);
    world.command(ShardCommand::Opened { connection: hasty.id, result: Ok(()) });
    assert_eq!(hasty.receive(), "{}\u{1e}");
    world.turn_until(|_| upstream.heard.lock().unwrap().len() == 3);
    assert_eq!(upstream.take(), ["connected", "invoke early", "invoke late"]);
    world.command(ShardCommand::Opened { connection: refused.id, result: Err("not now".into()) });
    assert_eq!(refused.receive(), "{\"error\":\"not now\"}\u{1e}");
    assert_eq!(upstream.take(), ["disconnected HandshakeRefused"]);
    for _ in 0..9 {
        world.pass(Duration::from_secs(2));
    }
    assert_eq!(gone.receive(), "close 1008");
    assert_eq!(upstream.take(), ["disconnected HandshakeTimeout"]);
}

/// Records its calls; the test sets its capacity.
#[derive(Debug, Default)]
struct Scribe {
    heard: Mutex<Vec<String>>,
    full: std::sync::atomic::AtomicBool,
}

impl Scribe {
    fn record(&self, what: String) {
        self.heard.lock().unwrap().push(what);
    }

    fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.heard.lock().unwrap())
    }
}

impl AppServer for Scribe {
    fn open(&self, client: &ClientConnection) {
        self.record(format!("open {}", client.protocol.name()));
    }

    fn accepts_parts(&self) -> bool {
        false
    }

    fn capacity(&self, _: ConnectionId) -> Capacity {
        Capacity::Available
    }

    fn data(&self, _: ConnectionId, payload: Bytes, _: bool) -> Capacity {
        self.record(String::from_utf8_lossy(&payload).into_owned());
        if self.full.load(Ordering::Acquire) { Capacity::Exhausted } else { Capacity::Available }
    }

    fn closed(&self, _: ConnectionId, error: Option<&str>) {
        self.record(format!("closed {error:?}"));
    }

    fn send_rate(&self, _: ConnectionId, send_rate: SendRate) {
        self.record(format!("pace {send_rate:?}"));
    }

    fn overflowed(&self, _: ConnectionId, why: &str) {
        self.record(format!("overflowed {why}"));
    }

    fn reconnected(&self, _: ConnectionId) {
        self.record("reconnected".to_owned());
    }

    fn refreshed(&self, _: ConnectionId, client_context: &Arc<ClientContext>, claims_changed: bool) {
        self.record(format!("refreshed {} {claims_changed}", client_context.claims));
    }
}

fn from_server(world: &mut World, connection: ConnectionId, text: &str) -> bool {
    let (found, mut answer) = oneshot::channel();
    let payload = Bytes::copy_from_slice(text.as_bytes());
    world.command(ShardCommand::FromServer { connection, payload, found });
    answer.try_recv().unwrap()
}

#[test]
fn an_app_server_gets_every_message_of_its_clients_and_sends_theirs() {
    let mut world = World::new(Options::default());
    let (server, next) = (Arc::new(Scribe::default()), Arc::new(Scribe::default()));
    let with_server =
        || ClientAdmission { server: Some(Arc::clone(&server) as Arc<dyn AppServer>), ..admission(None) };
    let mut client = world.admit(with_server());
    client.send("{\"protocol\":\"blazorpack\",\"version\":1}\u{1e}");
    world.turn_until(|_| server.heard.lock().unwrap().len() == 2);
    assert_eq!(server.take(), ["open blazorpack", "{\"protocol\":\"blazorpack\",\"version\":1}\u{1e}"]);
    assert_eq!(world.shard.index.count(), 0);
    assert!(from_server(&mut world, client.id, "{}\u{1e}"));
    assert_eq!((client.receive(), world.shard.index.count()), ("{}\u{1e}".to_owned(), 1));
    server.full.store(true, Ordering::Release);
    client.send("any");
    world.turn_until(|_| server.heard.lock().unwrap().len() == 1);
    client.send("thing");
    world.turn();
    assert_eq!(server.take(), ["any"], "its capacity is exhausted");
    let (found, mut answer) = oneshot::channel();
    let other: Arc<dyn AppServer> = Arc::clone(&next) as Arc<dyn AppServer>;
    world.command(ShardCommand::Rebind { connection: client.id, server: other, found });
    assert!(answer.try_recv().unwrap());
    world.command(ShardCommand::Resume { connection: client.id });
    world.turn_until(|_| next.heard.lock().unwrap().len() == 1);
    assert!(from_server(&mut world, client.id, "back"));
    assert_eq!((client.receive(), next.take()), ("back".to_owned(), vec!["thing".to_owned()]));
    let (found, _answer) = oneshot::channel();
    let close = ServerClose { error: None, allow_reconnect: true, send_close: true };
    world.command(ShardCommand::EndClient { connection: client.id, close: Box::new(close), found });
    assert_eq!(world.ends(EndReason::ServerOffline), 1);
    assert!(next.take().is_empty(), "the app server closed it itself");

    let mut refused = world.admit(with_server());
    refused.send("{\"protocol\":\"json\",\"version\":1}\u{1e}");
    world.turn_until(|_| server.heard.lock().unwrap().len() == 2);
    assert!(from_server(&mut world, refused.id, "{\"error\":\"no\"}\u{1e}"));
    assert_eq!(refused.receive(), "{\"error\":\"no\"}\u{1e}");
    assert_eq!(
        (world.ends(EndReason::HandshakeRefused), server.take().pop()),
        (1, Some("closed None".to_owned()))
    );
}
