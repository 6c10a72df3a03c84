//! The engine behind its handle: real threads, real sockets on loopback, clients with raw WebSocket frames.

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use prometheus_client::registry::Registry;
use realtime_engine::{
    AttachError, ClientAdmission, CloseRequest, ConnectionId, EngineHandle, EngineJoin, GroupName, Hub,
    Lifetime, Membership, NoUpstream, NodeId, Options, OutgoingMessage, Publish, Target, Transport, UserId,
};
use signalr_protocol::{HubMessage, HubProtocol, next_message, parse};
use supervision::Supervisor;
use trace::{TraceContext, Tracer};
use websocket::{Decoded, Decoder, Event, MessageKind, Opcode, Role, masked_frame};

struct World {
    engine: EngineHandle,
    join: EngineJoin,
    tracer: Tracer,
    registry: Registry,
}

struct Client {
    stream: TcpStream,
    decoder: Decoder,
    received: VecDeque<String>,
    id: ConnectionId,
}

impl World {
    fn new() -> Self {
        Self::with(&Options { shards: std::num::NonZeroU16::new(2), ..Options::default() })
    }

    fn with(options: &Options) -> Self {
        let (tracer, mut registry) = (Tracer::new(100), Registry::default());
        let upstream = Arc::new(NoUpstream);
        let (engine, join) = realtime_engine::start(
            options,
            NodeId(3),
            tracer.clone(),
            &Supervisor::default(),
            &mut registry,
            upstream,
        )
        .unwrap();
        Self { engine, join, tracer, registry }
    }

    async fn attach(&self, hub: &Hub, user: Option<&str>) -> Result<Client, AttachError> {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let socket = edge::Socket::from_std(listener.accept().unwrap().0).unwrap();
        let connection = self.engine.issue().connection;
        let user = user.map(UserId::new);
        let admission = ClientAdmission::new(hub.clone(), connection, user);
        self.engine.attach(Transport::Socket(socket), admission).await?;
        let decoder = Decoder::new(Role::Client, 1 << 24);
        Ok(Client { stream, decoder, received: VecDeque::new(), id: connection })
    }

    /// A client that has completed its handshake.
    async fn client(&self, user: Option<&str>, protocol: &str) -> Client {
        let mut client = self.attach(&hub("chat"), user).await.unwrap();
        client.send(&format!("{{\"protocol\":\"{protocol}\",\"version\":1}}\u{1e}"));
        assert_eq!(client.receive(), "{}\u{1e}");
        client
    }

    async fn publish(&self, target: Target, excluded: &[&Client], text: &str) {
        let message = OutgoingMessage::invocation("m", &format!("[\"{text}\"]")).unwrap();
        self.publish_message(target, excluded, message).await;
    }

    async fn publish_message(&self, target: Target, excluded: &[&Client], message: OutgoingMessage) {
        let excluded = excluded.iter().map(|client| client.id).collect();
        let publish =
            Publish { hub: hub("chat"), target, excluded, excluded_users: Vec::new(), message, trace: None };
        self.engine.publish(publish).await.unwrap();
    }

    /// The messages that each client has received so far: an end mark is published to all, and the messages before it are
    /// returned.
    async fn check(&self, clients: &mut [&mut Client], expected: &[&str]) {
        self.publish(Target::All, &[], "|").await;
        let received: Vec<String> = clients.iter_mut().map(|client| client.until_mark()).collect();
        assert_eq!(received, expected);
    }

    fn metrics(&self) -> String {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry).unwrap();
        text
    }
}

impl Client {
    fn send(&mut self, text: &str) {
        self.send_bytes(Opcode::Text, text.as_bytes());
    }

    fn send_bytes(&mut self, opcode: Opcode, bytes: &[u8]) {
        self.stream.write_all(&masked_frame(opcode, bytes, [9, 8, 7, 6])).unwrap();
    }

    /// The next message, `pong ...`, `close <code>`, or `end`.
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
                self.received.push_back(match event {
                    None => break,
                    Some(Event::Message(MessageKind::Text, text)) => {
                        String::from_utf8(text.to_vec()).unwrap()
                    }
                    Some(Event::Message(MessageKind::Binary, payload)) => as_json(payload),
                    Some(Event::Pong(payload)) => format!("pong {}", String::from_utf8_lossy(payload)),
                    Some(Event::Ping(_)) => "ping".to_owned(),
                    Some(Event::Close(close)) => {
                        format!(
                            "close {} {}",
                            close.code.map_or(0, websocket::CloseCode::number),
                            close.reason
                        )
                    }
                });
                input = &mut input[consumed..];
            }
        }
        self.received.pop_front().unwrap()
    }

    /// The arguments of all invocations up to the end mark, which are texts of one character.
    fn until_mark(&mut self) -> String {
        let mut all = String::new();
        loop {
            let message = self.receive();
            let text = message
                .strip_prefix("{\"type\":1,\"target\":\"m\",\"arguments\":[\"")
                .and_then(|rest| rest.strip_suffix("\"]}\u{1e}"))
                .unwrap_or_else(|| panic!("{message:?}"));
            if text == "|" {
                return all;
            }
            all += text;
        }
    }
}

/// A message of a MessagePack client, as a JSON client would receive it.
fn as_json(payload: &[u8]) -> String {
    if payload == b"{}\x1e" {
        return "{}\u{1e}".to_owned();
    }
    let (message, used) =
        next_message(HubProtocol::MessagePack, payload, payload.len()).unwrap().expect("a whole message");
    assert_eq!(used, payload.len(), "one message in each frame");
    let mut json = Vec::new();
    match parse(HubProtocol::MessagePack, message).unwrap() {
        HubMessage::Invocation(invocation) => invocation.encode_json_from_msgpack(&mut json).unwrap(),
        other => other.encode(HubProtocol::Json, &mut json),
    }
    String::from_utf8(json).unwrap()
}

fn hub(name: &str) -> Hub {
    Hub::new(state::Instance::new("test").unwrap(), name)
}

#[tokio::test]
async fn each_target_reaches_its_connections_in_both_protocols() {
    let world = World::new();
    let (mut ada, mut bob) =
        (world.client(Some("ada"), "json").await, world.client(Some("bob"), "messagepack").await);
    let mut other = world.client(None, "json").await;
    let group = GroupName::new("g");
    for id in [bob.id, other.id] {
        assert!(world.engine.change_connection(&hub("chat"), id, &group, Membership::Join).await.unwrap());
    }
    world.publish(Target::All, &[], "a").await;
    world.publish(Target::Group(group.clone()), &[], "g").await;
    world.publish(Target::User(UserId::new("ada")), &[], "u").await;
    world.publish(Target::Connection(bob.id), &[], "c").await;
    world.publish(Target::All, &[&ada, &other], "x").await;
    world.publish(Target::Group(group.clone()), &[&bob], "y").await;
    world.check(&mut [&mut ada, &mut bob, &mut other], &["au", "agcx", "agy"]).await;

    world.engine.change_connection(&hub("chat"), bob.id, &group, Membership::Leave).await.unwrap();
    world.engine.leave_all_groups(&hub("chat"), other.id).await.unwrap();
    world.publish(Target::Group(group), &[], "z").await;
    world.check(&mut [&mut ada, &mut bob, &mut other], &["", "", ""]).await;
}

#[tokio::test]
async fn a_user_in_a_group_brings_its_current_and_later_connections() {
    let world = World::new();
    let (chat, user, group) = (hub("chat"), UserId::new("ada"), GroupName::new("g"));
    let mut before = world.client(Some("ada"), "json").await;
    world.engine.change_user(&chat, &user, &group, Membership::Join, Lifetime::Always).await.unwrap();
    // Two shards, so that one of these is on a shard without a connection of the user.
    let (mut later, mut last) =
        (world.client(Some("ada"), "json").await, world.client(Some("ada"), "json").await);
    assert!(world.engine.user_in_group(&chat, &user, &group).await.unwrap());
    world.publish(Target::Group(group.clone()), &[], "1").await;
    world.check(&mut [&mut before, &mut later, &mut last], &["1", "1", "1"]).await;

    world.engine.change_user(&chat, &user, &group, Membership::Leave, Lifetime::Always).await.unwrap();
    let mut after = world.client(Some("ada"), "json").await;
    world.publish(Target::Group(group.clone()), &[], "2").await;
    world.check(&mut [&mut before, &mut after], &["", ""]).await;

    world.engine.change_user(&chat, &user, &group, Membership::Join, Lifetime::Always).await.unwrap();
    world.engine.user_leaves_all_groups(&chat, &user).await.unwrap();
    assert!(!world.engine.group_exists(&chat, &group).await.unwrap());
}

#[tokio::test]
async fn one_senders_messages_arrive_in_order() {
    let world = World::new();
    let mut clients = [world.client(None, "json").await, world.client(None, "json").await];
    let group = GroupName::new("g");
    for client in &clients {
        world.engine.change_connection(&hub("chat"), client.id, &group, Membership::Join).await.unwrap();
    }
    let mut expected = String::new();
    for round in 0..500 {
        let text = char::from(b'a' + (round % 26) as u8).to_string();
        let target = if round % 3 == 0 { Target::All } else { Target::Group(group.clone()) };
        world.publish(target, &[], &text).await;
        expected += &text;
    }
    let [first, second] = &mut clients;
    world.check(&mut [first, second], &[&expected, &expected]).await;
}

#[tokio::test]
async fn a_message_of_one_protocol_is_translated_for_the_other() {
    let world = World::new();
    let (mut json, mut binary) = (world.client(None, "json").await, world.client(None, "messagepack").await);
    let text = b"{\"arguments\":[\"j\"],\"type\":1,\"target\":\"m\"}\x1e";
    world.publish_message(Target::All, &[], OutgoingMessage::ready(Some(text[..].into()), None, None)).await;
    let packed = b"\x0a\x96\x01\x80\xc0\xa1m\x91\xa1p\x90";
    let ready = OutgoingMessage::ready(None, Some(packed[..].into()), None);
    world.publish_message(Target::Connection(json.id), &[], ready.clone()).await;
    world.publish_message(Target::Connection(binary.id), &[], ready).await;
    // JSON clients receive the sender's own bytes.
    assert_eq!(json.receive().as_bytes(), text);
    world.check(&mut [&mut json, &mut binary], &["p", "jp"]).await;
}

#[tokio::test]
async fn handshakes_may_arrive_in_parts_and_bad_ones_get_an_error() {
    let world = World::new();
    let mut pieces = world.attach(&hub("chat"), None).await.unwrap();
    pieces.send("{\"protocol\":\"js");
    pieces.send("on\",\"version\":1}");
    // The rest of the handshake, a complete invocation, and the start of another.
    pieces.send(
        "\u{1e}{\"type\":1,\"target\":\"t\",\"arguments\":[],\"invocationId\":\"1\"}\u{1e}{\"type\":1,",
    );
    assert_eq!(pieces.receive(), "{}\u{1e}");
    let why =
        "no upstream is configured for hub chat: its clients can receive messages, but cannot invoke methods";
    assert_eq!(pieces.receive(), format!("{{\"type\":3,\"invocationId\":\"1\",\"error\":\"{why}\"}}\u{1e}"));
    pieces.send("\"target\":\"t\",\"arguments\":[],\"invocationId\":\"2\"}\u{1e}");
    assert!(pieces.receive().contains("\"invocationId\":\"2\""));

    let mut wrong = world.attach(&hub("chat"), None).await.unwrap();
    wrong.send("{\"protocol\":\"morse\",\"version\":1}\u{1e}");
    assert!(wrong.receive().starts_with("{\"error\":\"the hub protocol 'morse' is not supported"));
    assert_eq!((wrong.receive(), wrong.receive()), ("close 1000 ".into(), "end".into()));
    let mut none = world.attach(&hub("chat"), None).await.unwrap();
    none.send("{\"type\":6}\u{1e}");
    assert!(none.receive().starts_with("{\"error\":\"the first message must be a handshake"));
}

#[tokio::test]
async fn a_protocol_violation_closes_the_connection_with_the_reason() {
    let world = World::new();
    let mut unmasked = world.client(None, "json").await;
    unmasked.stream.write_all(&[0x81, 0x01, b'x']).unwrap();
    assert_eq!(unmasked.receive(), "close 1002 a client's frame is not masked");
    let mut malformed = world.client(None, "json").await;
    malformed.send("{]\u{1e}");
    let close = "{\"type\":7,\"error\":\"Error reading JSON.\",\"allowReconnect\":true}\u{1e}";
    assert_eq!(malformed.receive(), close);
    assert_eq!(malformed.receive(), "close 1000 ");
    let mut polite = world.client(None, "json").await;
    polite.send_bytes(Opcode::Ping, b"there?");
    assert_eq!(polite.receive(), "pong there?");
    polite.send_bytes(Opcode::Close, &[&4321u16.to_be_bytes()[..], b"bye"].concat());
    assert_eq!((polite.receive(), polite.receive()), ("close 4321 ".into(), "end".into()));
    assert!(!world.engine.connection_exists(&hub("chat"), polite.id).await.unwrap());
    let metrics = world.metrics();
    for reason in ["WebSocketViolation", "MalformedMessage", "ClientClosed"] {
        let line = format!("realtime_connection_ends_total{{reason=\"{reason}\"}} 1");
        assert!(metrics.contains(&line), "{line} in\n{metrics}");
    }
}

#[tokio::test]
async fn connections_users_and_groups_are_found_counted_and_closed() {
    let world = World::new();
    let chat = hub("chat");
    let (mut ada, mut bob) =
        (world.client(Some("ada"), "json").await, world.client(Some("bob"), "json").await);
    let engine = &world.engine;
    assert_eq!(engine.connection_count(Some(&chat)).await.unwrap(), 2);
    assert_eq!(engine.connection_count(Some(&hub("other"))).await.unwrap(), 0);
    assert!(engine.user_exists(&chat, &UserId::new("ada")).await.unwrap());
    assert!(!engine.user_exists(&hub("other"), &UserId::new("ada")).await.unwrap());
    assert!(engine.connection_exists(&chat, ada.id).await.unwrap());
    // A connection of this hub does not exist in another hub, and one of another node does not exist here.
    assert!(!engine.connection_exists(&hub("other"), ada.id).await.unwrap());
    let absent = engine.issue().connection;
    let group = GroupName::new("g");
    assert!(!engine.change_connection(&chat, absent, &group, Membership::Join).await.unwrap());
    assert!(!engine.group_exists(&chat, &group).await.unwrap());

    let enough = CloseRequest { reason: Some("enough".into()), allow_reconnect: true };
    let closed = engine.close(&chat, &Target::All, &[bob.id], &enough).await.unwrap();
    assert_eq!(closed, 1);
    assert_eq!(ada.receive(), "{\"type\":7,\"error\":\"enough\",\"allowReconnect\":true}\u{1e}");
    assert_eq!(engine.connection_count(None).await.unwrap(), 1);
    world.check(&mut [&mut bob], &[""]).await;
    assert!(world.metrics().contains("realtime_connections{instance=\"test\",hub=\"chat\"} 1"));
}

#[tokio::test]
async fn the_limit_of_connections_is_exact_and_counts_ended_ones_no_more() {
    let world = World::with(&Options {
        shards: std::num::NonZeroU16::new(1),
        connections_max: 1,
        ..Options::default()
    });
    let mut first = world.client(None, "json").await;
    let refused = world.attach(&hub("chat"), None).await.err().unwrap();
    assert_eq!(refused.to_string(), "too many connections; the limit is 1 (realtime.engine.connections_max)");
    first.send_bytes(Opcode::Close, b"");
    assert_eq!((first.receive(), first.receive()), ("close 1000 ".into(), "end".into()));
    drop(first);
    // The connection is counted until the shard has read the end of the socket, for which a query does not wait.
    let again = loop {
        match world.attach(&hub("chat"), None).await {
            Ok(client) => break client,
            Err(AttachError::Full { .. }) => tokio::task::yield_now().await,
            Err(error) => panic!("{error}"),
        }
    };
    drop(again);
}

#[tokio::test]
async fn a_publish_has_one_span_with_its_receivers() {
    let world = World::new();
    let mut clients = [world.client(None, "json").await, world.client(None, "json").await];
    let parent = TraceContext::root();
    let message = OutgoingMessage::invocation("m", "[\"t\"]").unwrap();
    let publish = Publish {
        hub: hub("chat"),
        target: Target::All,
        excluded: Vec::new(),
        excluded_users: Vec::new(),
        message,
        trace: Some(parent),
    };
    world.engine.publish(publish).await.unwrap();
    let [first, second] = &mut clients;
    world.check(&mut [first, second], &["t", "t"]).await;
    // Commands are handled in order, so the shards have handled the publish when they respond.
    world.engine.connection_count(None).await.unwrap();
    let spans = world.tracer.trace(parent.trace_id);
    assert_eq!(spans.len(), 1);
    assert_eq!((spans[0].name, spans[0].parent), ("send", Some(parent.span_id)));
    assert_eq!(spans[0].attributes, [("receivers", "2".to_owned())]);
}

#[tokio::test]
async fn draining_tells_clients_to_reconnect_and_ends_the_threads() {
    let world = World::new();
    let (mut json, mut binary) = (world.client(None, "json").await, world.client(None, "messagepack").await);
    let handshaking = world.attach(&hub("chat"), None).await.unwrap();
    let engine = world.engine.clone();
    let drained = tokio::spawn(world.join.drain(Duration::from_secs(10)));
    let clients = tokio::task::spawn_blocking(move || {
        assert_eq!(json.receive(), "{\"type\":7,\"allowReconnect\":true}\u{1e}");
        assert_eq!((json.receive(), json.receive()), ("close 1000 ".into(), "end".into()));
        assert_eq!(binary.receive(), "{\"type\":7,\"allowReconnect\":true}\u{1e}");
        let mut handshaking = handshaking;
        assert_eq!(handshaking.receive(), "close 1001 ");
    });
    clients.await.unwrap();
    drained.await.unwrap();
    assert!(engine.connection_count(None).await.is_err());
}
