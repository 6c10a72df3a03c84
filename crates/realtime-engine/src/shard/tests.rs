//! A shard that the test drives: time is an argument, sockets are real ones on loopback.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::Ordering;

use prometheus_client::registry::Registry;
use websocket::{CloseCode, Decoded, Decoder, Event, Opcode, Role, masked_frame};

use super::*;
use crate::command::PresenceQuery;
use crate::handle::ShardWaker;
use crate::id::ShardId;
use crate::metrics::EndLabels;
use crate::{
    ClientAdmission, ConnectionId, EndReason, Hub, Lifetime, Membership, NoUpstream, NodeId, OutgoingMessage,
    Target, Transport, UserId,
};

mod followers;
mod gate;
mod limits;
mod stateful;
mod transports;

struct World {
    shard: Shard,
    inbox: ShardInbox,
    commands: mpsc::Sender<ShardCommand>,
    events: Events,
    now: Instant,
    metrics: EngineMetrics,
}

struct Client {
    stream: TcpStream,
    decoder: Decoder,
    received: VecDeque<String>,
    id: ConnectionId,
}

impl World {
    fn new(options: Options) -> Self {
        Self::with(options, Arc::new(NoUpstream))
    }

    fn with(options: Options, upstream: Arc<dyn Upstream>) -> Self {
        let poll = Poll::new().unwrap();
        let waker = mio::Waker::new(poll.registry(), WAKER_TOKEN).unwrap();
        let (commands, queue) = mpsc::channel(options.commands_max as usize);
        let metrics = EngineMetrics::register(&mut Registry::default());
        let connections = Arc::new(AtomicU32::new(0));
        let hub_counts = Arc::new(HubCounts::new(&options));
        let settings = ShardSettings::new(&options, metrics.clone(), upstream, connections, hub_counts);
        let now = Instant::now();
        let waker = ShardWaker::new(waker);
        Self {
            shard: Shard::new(0, poll, settings, now),
            inbox: ShardInbox { commands: queue, waker },
            commands,
            events: Events::with_capacity(64),
            now,
            metrics,
        }
    }

    /// One turn with all events until now.
    fn turn(&mut self) -> TurnResult {
        self.shard.poll.poll(&mut self.events, Some(Duration::ZERO)).unwrap();
        self.shard.turn(self.events.iter().map(Ready::of), &mut self.inbox, self.now)
    }

    /// Runs turns until a condition is true. The wait is for the loopback interface, not for a clock.
    fn turn_until(&mut self, done: impl Fn(&Shard) -> bool) {
        let patience = Instant::now() + Duration::from_secs(10);
        while !done(&self.shard) {
            assert!(Instant::now() < patience, "the shard never came to the expected state");
            self.turn();
            std::thread::yield_now();
        }
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
        self.turn();
    }

    fn command(&mut self, command: ShardCommand) {
        self.commands.try_send(command).unwrap();
        self.turn();
    }

    fn attach(&mut self, user: Option<&str>, expires_at: Option<std::time::SystemTime>) -> Client {
        self.admit(ClientAdmission { expires_at, ..admission(user) })
    }

    fn admit(&mut self, admission: ClientAdmission) -> Client {
        let (stream, socket) = sockets();
        let id = admission.connection;
        self.shard.settings.connections.fetch_add(1, Ordering::AcqRel);
        self.command(ShardCommand::Attach(Box::new(Transport::Socket(socket)), Box::new(admission)));
        Client { stream, decoder: Decoder::new(Role::Client, 1 << 24), received: VecDeque::new(), id }
    }

    fn slot(&self, client: &Client) -> Slot {
        self.shard.index.slot(client.id).unwrap()
    }

    fn join_hub(&mut self) -> Client {
        let mut client = self.attach(None, None);
        client.send("{\"protocol\":\"json\",\"version\":1}\u{1e}");
        let before = self.shard.index.count();
        self.turn_until(|shard| shard.index.count() == before + 1);
        assert_eq!(client.receive(), "{}\u{1e}");
        client
    }

    fn publish(&mut self, target: Target, arguments: &str) {
        let message = OutgoingMessage::invocation("m", arguments).unwrap();
        let work = work(target, message);
        self.command(ShardCommand::Publish(Arc::new(work)));
    }

    fn ends(&self, reason: EndReason) -> u64 {
        self.metrics.ends.get_or_create(&EndLabels { reason }).get()
    }
}

impl Client {
    fn send(&mut self, text: &str) {
        self.stream.write_all(&masked_frame(Opcode::Text, text.as_bytes(), [7, 7, 7, 7])).unwrap();
    }

    /// The next output of the shard: a message, `close <code>`, or `end`.
    fn receive(&mut self) -> String {
        let mut buffer = vec![0; 64 * 1024];
        while self.received.is_empty() {
            let length = self.stream.read(&mut buffer).unwrap();
            if length == 0 {
                return "end".to_owned();
            }
            let mut input = &mut buffer[..length];
            loop {
                let Decoded { consumed, event } = self.decoder.decode(input).unwrap();
                self.received.extend(match event {
                    None => break,
                    Some(Event::Message(_, payload)) => Some(String::from_utf8(payload.to_vec()).unwrap()),
                    Some(Event::Close(close)) => {
                        Some(format!("close {}", close.code.map_or(0, CloseCode::number)))
                    }
                    Some(Event::Pong(_)) => Some("pong".to_owned()),
                    Some(other) => panic!("unexpected {other:?}"),
                });
                input = &mut input[consumed..];
            }
        }
        self.received.pop_front().unwrap()
    }
}

fn sockets() -> (TcpStream, edge::Socket) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    (stream, edge::Socket::from_std(listener.accept().unwrap().0).unwrap())
}

fn admission(user: Option<&str>) -> ClientAdmission {
    ClientAdmission::new(hub(), ConnectionId::draw(NodeId(0), ShardId(0)), user.map(UserId::new))
}

fn work(target: Target, message: OutgoingMessage) -> PublishJob {
    PublishJob {
        hub: hub(),
        target,
        excluded: Vec::new(),
        excluded_users: Vec::new(),
        message,
        recorded_position: None,
        span: None,
    }
}

fn hub() -> Hub {
    Hub::new(state::Instance::new("test").unwrap(), "chat")
}

#[test]
fn a_connection_without_a_handshake_ends_at_the_timeout() {
    let mut world = World::new(Options::default());
    let mut client = world.attach(None, None);
    world.pass(Duration::from_secs(15));
    assert_eq!(world.ends(EndReason::HandshakeTimeout), 0, "the time is not over yet");
    world.pass(Duration::from_secs(2));
    assert_eq!((client.receive(), client.receive()), ("close 1008".into(), "end".into()));
    assert_eq!(world.ends(EndReason::HandshakeTimeout), 1);
    // A client that does not respond to the close is dropped.
    world.pass(Duration::from_secs(7));
    assert!(world.shard.connections.is_empty());
}

#[test]
fn an_idle_connection_is_pinged_and_a_busy_one_is_not() {
    let mut world = World::new(Options::default());
    let (mut quiet, mut busy) = (world.join_hub(), world.join_hub());
    for second in 0..16 {
        world.pass(Duration::from_secs(1));
        world.publish(Target::Connection(busy.id), &format!("[{second}]"));
    }
    assert_eq!(quiet.receive(), "{\"type\":6}\u{1e}");
    for second in 0..16 {
        let expected = format!("{{\"type\":1,\"target\":\"m\",\"arguments\":[{second}]}}\u{1e}");
        assert_eq!(busy.receive(), expected);
    }
}

#[test]
fn a_keep_alive_shorter_than_the_handshake_timeout_is_kept_from_the_start() {
    let options = Options { keep_alive_ms: 4_000, client_timeout_ms: 8_000, ..Options::default() };
    let mut world = World::new(options);
    let (mut quiet, mut silent) = (world.join_hub(), world.join_hub());
    silent.send("{\"type\":6}\u{1e}");
    let slot = world.slot(&silent);
    world.turn_until(|shard| shard.connections[slot as usize].has_pinged);
    for _ in 0..10 {
        world.pass(Duration::from_millis(500));
    }
    assert_eq!(quiet.receive(), "{\"type\":6}\u{1e}");
    for _ in 0..8 {
        world.pass(Duration::from_millis(500));
    }
    assert_eq!(world.ends(EndReason::ClientTimeout), 1);
}

#[test]
fn a_websocket_pong_does_not_postpone_the_ping() {
    let mut world = World::new(Options::default());
    let mut client = world.join_hub();
    let slot = world.slot(&client);
    for _ in 0..4 {
        world.pass(Duration::from_secs(5));
        client.stream.write_all(&masked_frame(Opcode::Ping, b"", [7, 7, 7, 7])).unwrap();
        let now = world.shard.now;
        world.turn_until(|shard| shard.connections[slot as usize].last_received_at == now);
    }
    let last_received_at: Vec<String> = (0..5).map(|_| client.receive()).collect();
    assert_eq!(last_received_at, ["pong", "pong", "pong", "{\"type\":6}\u{1e}", "pong"]);
}

#[test]
fn a_silent_client_is_closed_at_the_client_timeout_and_one_that_pings_is_not() {
    let mut world = World::new(Options::default());
    let (mut silent, mut pinging, mut old) = (world.join_hub(), world.join_hub(), world.join_hub());
    // The timeout does not apply to a client that has never pinged, as old ones do not.
    silent.send("{\"type\":6}\u{1e}");
    let slot = world.slot(&silent);
    world.turn_until(|shard| shard.connections[slot as usize].has_pinged);
    for _ in 0..5 {
        world.pass(Duration::from_secs(8));
        pinging.send("{\"type\":6}\u{1e}");
        let slot = world.shard.index.find(&world.shard.connections, &hub(), pinging.id).unwrap();
        let now = world.shard.now;
        world.turn_until(|shard| shard.connections[slot as usize].last_received_at == now);
    }
    assert_eq!(world.ends(EndReason::ClientTimeout), 1);
    assert_eq!(world.shard.index.count(), 2);
    while silent.receive() != "end" {}
    assert_eq!(old.receive(), "{\"type\":6}\u{1e}");
}

/// The token expires before the handshake timeout, at which the connection would be checked next.
#[test]
fn a_token_that_expires_before_the_next_check_closes_in_time() {
    let mut world = World::new(Options::default());
    // So that the connection begins at the end of a tick.
    world.pass(Duration::from_millis(600));
    let expires_at = std::time::SystemTime::now() + Duration::from_secs(3);
    let mut client = world.attach(None, Some(expires_at));
    client.send("{\"protocol\":\"json\",\"version\":1}\u{1e}");
    world.turn_until(|shard| shard.index.count() == 1);
    assert_eq!(client.receive(), "{}\u{1e}");
    world.pass(Duration::from_millis(2_900));
    assert_eq!(world.ends(EndReason::TokenExpired), 0, "not before it expires");
    world.pass(Duration::from_millis(1_100));
    assert_eq!(world.ends(EndReason::TokenExpired), 1);
}

#[test]
fn an_expired_token_closes_with_allow_reconnect() {
    let mut world = World::new(Options::default());
    let expires_at = std::time::SystemTime::now() + Duration::from_secs(100);
    let mut client = world.attach(None, Some(expires_at));
    client.send("{\"protocol\":\"json\",\"version\":1}\u{1e}{\"type\":6}\u{1e}");
    world.turn_until(|shard| shard.index.count() == 1);
    assert_eq!(client.receive(), "{}\u{1e}");
    for _ in 0..11 {
        world.pass(Duration::from_secs(10));
        if world.shard.index.count() == 1 {
            client.send("{\"type\":6}\u{1e}");
            let now = world.shard.now;
            world.turn_until(|shard| shard.connections.iter().all(|(_, one)| one.last_received_at == now));
        }
    }
    let mut last = client.receive();
    while last == "{\"type\":6}\u{1e}" {
        last = client.receive();
    }
    let expected = "{\"type\":7,\"error\":\"the access token has expired\",\"allowReconnect\":true}\u{1e}";
    assert_eq!(last, expected);
    assert_eq!(world.ends(EndReason::TokenExpired), 1);
}

#[test]
fn messages_of_one_turn_are_one_write_for_each_receiver() {
    let mut world = World::new(Options::default());
    let mut clients: Vec<Client> = (0..3).map(|_| world.join_hub()).collect();
    let before = world.shard.metrics.turn;
    for number in 0..16 {
        let message = OutgoingMessage::invocation("m", &format!("[{number}]")).unwrap();
        let work = work(Target::All, message);
        world.commands.try_send(ShardCommand::Publish(Arc::new(work))).unwrap();
    }
    world.turn();
    let turn = world.shard.metrics.turn;
    assert_eq!((turn.writes - before.writes, turn.frames - before.frames), (3, 48));
    for client in &mut clients {
        for number in 0..16 {
            let expected = format!("{{\"type\":1,\"target\":\"m\",\"arguments\":[{number}]}}\u{1e}");
            assert_eq!(client.receive(), expected);
        }
    }
}

#[test]
fn reads_are_handled_between_the_chunks_of_a_broadcast() {
    let mut world = World::new(Options { flush_chunk: 2, ..Options::default() });
    let clients: Vec<Client> = (0..5).map(|_| world.join_hub()).collect();
    world.publish(Target::All, "[1]");
    assert_eq!(world.shard.dirty.len(), 3);
    assert_eq!((world.turn(), world.shard.dirty.len()), (TurnResult::MoreWork, 1));
    assert_eq!((world.turn(), world.shard.dirty.len()), (TurnResult::Idle, 0));
    drop(clients);
}

#[test]
fn a_slow_consumer_is_closed_and_other_clients_get_every_message() {
    let pending_bytes_max = 100_000;
    let mut world = World::new(Options { pending_bytes_max, ..Options::default() });
    let (mut slow, mut quick) = (world.join_hub(), world.join_hub());
    let arguments = format!("[\"{}\"]", "x".repeat(50_000));
    let mut published = 0;
    while world.ends(EndReason::SlowConsumer) == 0 {
        assert!(published < 10_000, "the socket accepts everything");
        world.publish(Target::All, &arguments);
        published += 1;
        // The fast client reads; the slow one does not.
        assert!(quick.receive().len() > 50_000);
        assert!(world.shard.pending_bytes <= u64::from(pending_bytes_max));
    }
    assert_eq!((world.shard.index.count(), world.shard.pending_bytes), (1, 0));
    world.publish(Target::All, "[\"after\"]");
    assert!(quick.receive().contains("after"));
    // The slow client has received complete messages in order, and at most a part of one more.
    let mut rest = Vec::new();
    let _ = slow.stream.read_to_end(&mut rest);
    assert!(rest.len() < published * 51_000);
}

#[test]
fn a_client_that_sends_without_reading_ends_only_itself() {
    let mut world = World::new(Options { pending_bytes_max: 100_000, ..Options::default() });
    let (mut flooding, mut other) = (world.attach(None, None), world.join_hub());
    flooding.send("{\"protocol\":\"messagepack\",\"version\":1}\u{1e}");
    world.turn_until(|shard| shard.index.count() == 2);
    let arguments = format!("[\"{}\"]", "x".repeat(50_000));
    while world.shard.pending_bytes == 0 {
        world.publish(Target::Connection(flooding.id), &arguments);
    }
    // Each invocation is rejected until the limit of pending bytes is reached; the bytes after that are not a valid length, but
    // the connection has ended.
    let call = b"\x08\x95\x01\x80\xa11\xa1t\x90";
    let flood = [&call.repeat(1000)[..], &[0xff; 5]].concat();
    flooding.stream.write_all(&masked_frame(Opcode::Binary, &flood, [1, 2, 3, 4])).unwrap();
    world.turn_until(|shard| shard.index.count() == 1);
    assert_eq!(world.ends(EndReason::SlowConsumer), 1);
    world.publish(Target::All, "[1]");
    assert!(other.receive().contains("[1]"));
}

#[test]
fn bytes_that_a_socket_does_not_accept_are_written_later_in_order() {
    let mut world = World::new(Options { pending_bytes_max: 64 << 20, ..Options::default() });
    let mut client = world.join_hub();
    let filler = "x".repeat(100_000);
    let count = 200;
    for number in 0..count {
        world.publish(Target::All, &format!("[{number},\"{filler}\"]"));
    }
    assert!(world.shard.pending_bytes > 0, "the socket accepts 20 MB at once");
    let reader = std::thread::spawn(move || {
        (0..count).all(|number| client.receive().contains(&format!("\"arguments\":[{number},")))
    });
    world.turn_until(|shard| shard.pending_bytes == 0);
    assert!(reader.join().unwrap());
}

#[test]
fn a_users_membership_expires_after_its_lifetime() {
    let mut world = World::new(Options::default());
    let mut client = world.attach(Some("ada"), None);
    client.send("{\"protocol\":\"json\",\"version\":1}\u{1e}");
    world.turn_until(|shard| shard.index.count() == 1);
    let (user, group) = (UserId::new("ada"), crate::GroupName::new("g"));
    let (taken, _answer) = oneshot::channel();
    let lifetime = Lifetime::For(Duration::from_secs(5));
    let membership = Membership::Join;
    let join = ShardCommand::ChangeUser {
        hub: hub(),
        user: user.clone(),
        group: group.clone(),
        membership,
        lifetime,
        taken,
    };
    world.command(join);
    let in_group =
        |world: &World| world.shard.exists(&hub(), &PresenceQuery::UserInGroup(user.clone(), group.clone()));
    world.pass(Duration::from_secs(4));
    assert!(in_group(&world));
    world.pass(Duration::from_secs(2));
    assert!(!in_group(&world) && !world.shard.exists(&hub(), &PresenceQuery::Group(group.clone())));
}
