//! [`Replay`]: replays a recording of app servers with the SDK. Their messages are sent again, byte for byte except for
//! connection ids; scripted clients send the messages of the recorded clients; the messages to the app servers are compared by
//! meaning.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;

use signalr_protocol::service::{Extensions, Message, parse};
use signalr_protocol::{HubMessage, HubProtocol};
use testkit::{Http, HubClient, Introduction, PATIENCE, ScriptedAppServer};
use tokio::time::timeout;
use websocket::Opcode;

use super::meaning::{OF_THIS_RUN, check_opened, meaning, shown};
use super::recording::{Step, is_close};
use crate::fixture::{Listening, client_token, token};

/// A recording that is being replayed.
pub(super) struct Replay {
    authority: String,
    hub: &'static str,
    /// The names of the app servers, if the recording has them.
    names: HashMap<u32, &'static str>,
    servers: HashMap<u32, ScriptedAppServer>,
    /// Messages that servers received and no step has expected yet.
    unexpected: HashMap<u32, Vec<Vec<u8>>>,
    /// The clients by their recorded id.
    clients: BTreeMap<String, Client>,
    /// Whether clients negotiate stateful reconnect.
    pub(super) stateful: bool,
    /// The server connection that has sent last.
    last_sender: Option<u32>,
    acks: i32,
}

struct Client {
    /// The number of clients that had connected before it.
    number: usize,
    user: String,
    conn: u32,
    live: String,
    /// The path at which it connects and reconnects.
    path: String,
    protocol: HubProtocol,
    /// `None` when it has disconnected.
    hub: Option<HubClient>,
    was_answered: bool,
    heard: Vec<Vec<u8>>,
}

impl Replay {
    pub(super) fn new(listening: &Listening, hub: &'static str, names: &[(u32, &'static str)]) -> Self {
        Self {
            authority: listening.authority.clone(),
            hub,
            names: names.iter().copied().collect(),
            servers: HashMap::new(),
            unexpected: HashMap::new(),
            clients: BTreeMap::new(),
            stateful: false,
            last_sender: None,
            acks: 1_000_000,
        }
    }

    pub(super) async fn play(&mut self, steps: impl IntoIterator<Item = Step>) {
        for step in steps {
            match step {
                Step::Server { conn, bytes } => self.server_sends(conn, &bytes).await,
                Step::Open { conn, message, handshake } => self.open(conn, &message, &handshake).await,
                Step::Client { id, bytes } => self.client_sends(&id, &bytes).await,
                Step::Leave { id } => {
                    self.settle(&id).await;
                    self.client(&id).leave().await;
                }
                Step::Return { id } => self.come_back(&id).await,
                Step::Expect { conn, message } => self.expect(conn, &message).await,
            }
        }
    }

    /// Aborts a server connection, and waits until its clients are closed.
    pub(super) async fn kill(&mut self, conn: u32) {
        self.servers.remove(&conn).expect("it is connected").die();
        for client in self.clients.values_mut().filter(|client| client.conn == conn) {
            client.receive_to_the_end().await;
        }
    }

    /// Waits until the service has executed all requests of servers, and checks as [`Replay::check_nothing_else`] does.
    pub(super) async fn end(&mut self) {
        for conn in self.servers.keys().copied().collect::<Vec<_>>() {
            self.echo(conn).await;
        }
        self.check_nothing_else();
    }

    /// Checks that servers have received no unexpected messages.
    pub(super) fn check_nothing_else(&self) {
        let unexpected = self.unexpected.iter().flat_map(|(conn, messages)| {
            messages.iter().map(move |message| format!("{conn}: {}", meaning(&parse(message).unwrap())))
        });
        assert_eq!(unexpected.collect::<Vec<_>>(), Vec::<String>::new(), "received and not expected");
    }

    /// What each client received until it disconnected or was closed.
    pub(super) async fn heard(self) -> String {
        let mut clients: Vec<_> = self.clients.into_values().collect();
        clients.sort_by_key(|client| client.number);
        let mut text = String::new();
        for client in &mut clients {
            client.receive_to_the_end().await;
            writeln!(text, "{}:", client.user).unwrap();
            for message in &client.heard {
                writeln!(text, "  {}", shown(message).replace(&client.live, "<id>")).unwrap();
            }
        }
        text
    }

    async fn server_sends(&mut self, conn: u32, bytes: &[u8]) {
        if let Some(other) = self.last_sender.replace(conn)
            && other != conn
            && self.servers.contains_key(&other)
        {
            // Requests of two servers are executed in the recorded order.
            self.echo(other).await;
        }
        let bytes = self.with_live_ids(bytes);
        let server = match self.servers.entry(conn) {
            std::collections::hash_map::Entry::Occupied(known) => known.into_mut(),
            std::collections::hash_map::Entry::Vacant(new) => {
                let name =
                    self.names.get(&conn).copied().map_or_else(|| format!("server-{conn}"), str::to_owned);
                let bearer = token(&format!("http://localhost/server/?hub={}", self.hub), &[]);
                let introduction = Introduction::new(self.hub, &name, bearer);
                new.insert(ScriptedAppServer::upgrade(&self.authority, &introduction).await.unwrap())
            }
        };
        server.send_frame(Opcode::Binary, &bytes).await.unwrap();
    }

    /// Connects as the recorded client did: the claims of its token, its query, its headers.
    async fn open(&mut self, conn: u32, message: &[u8], handshake: &[u8]) {
        let Message::OpenConnection(recorded) = parse(message).unwrap() else { panic!("not an opening") };
        let own = |kind: &str| kind != "aud" && !OF_THIS_RUN.contains(&kind);
        let claims: Vec<_> = recorded.claims.iter().copied().filter(|(kind, _)| own(kind)).collect();
        let query = recorded.query_string.unwrap();
        let bearer = client_token(self.hub, &claims);
        let negotiated = if self.stateful { self.negotiate(query, &bearer).await } else { String::new() };
        let path = format!("/client/{query}&access_token={bearer}{negotiated}");
        let by_client = |name: &str| !name.starts_with("Asrs-") && name != "x-forwarded-for";
        let headers: Vec<_> = recorded.headers.iter().filter(|(name, _)| by_client(name)).collect();
        let headers: Vec<_> = headers.iter().map(|(name, values)| (*name, values[0])).collect();
        let protocol = HubProtocol::from_name(recorded.extensions.protocol.unwrap()).unwrap();
        let upgraded = HubClient::upgrade_with(&self.authority, &path, protocol, &headers);
        let mut hub = upgraded.await.unwrap();
        hub.send_frame(Opcode::Text, handshake).await.unwrap();
        let told =
            self.take(conn, "an opened connection", |message| matches!(message, Message::OpenConnection(_)));
        let told = told.await;
        let Message::OpenConnection(live) = parse(&told).unwrap() else {
            unreachable!("the filter selects only this type")
        };
        check_opened(&recorded, &live);
        let user = claims.iter().find(|(kind, _)| *kind == "nameid").map_or("", |(_, user)| *user);
        let client = Client {
            number: self.clients.len(),
            user: user.to_owned(),
            conn,
            live: live.connection_id.to_owned(),
            path,
            protocol,
            hub: Some(hub),
            was_answered: false,
            heard: Vec::new(),
        };
        self.clients.insert(recorded.connection_id.to_owned(), client);
    }

    /// The parameters that a client that negotiates adds to its query.
    async fn negotiate(&self, query: &str, bearer: &str) -> String {
        let path = format!("/client/negotiate{query}&useStatefulReconnect=true");
        let authorization = format!("Bearer {bearer}");
        let http = Http::new(&self.authority);
        let answer = http.send("POST", &path, &[("authorization", &authorization)], "").await.unwrap();
        let answer = answer.json().unwrap();
        assert_eq!(answer["useStatefulReconnect"], true);
        format!("&id={}", answer["connectionToken"].as_str().unwrap())
    }

    /// Loses its socket, and continues with a new one. The server receives both events and a ping after each, because it never
    /// sees an idle connection.
    async fn come_back(&mut self, id: &str) {
        self.settle(id).await;
        let Client { conn, live, path, protocol, .. } = self.client(id);
        let (conn, live, path, protocol) = (*conn, live.clone(), path.clone(), *protocol);
        let mut ping = Vec::new();
        HubMessage::Ping.encode(protocol, &mut ping);
        let is_ping =
            |told: &Message<'_>| matches!(told, Message::ConnectionData { payload, .. } if *payload == ping);
        let is_lost = |told: &Message<'_>| matches!(told, Message::ConnectionReconnect { connection_id, .. } if *connection_id == live);
        self.client(id).leave().await;
        self.take(conn, "the loss of a socket", is_lost).await;
        self.take(conn, "a ping after the loss", is_ping).await;
        let hub = HubClient::upgrade(&self.authority, &path, protocol).await.unwrap();
        self.client(id).hub = Some(hub);
        self.take(conn, "a ping after the reconnect", is_ping).await;
    }

    async fn client_sends(&mut self, id: &str, bytes: &[u8]) {
        let says_close = is_close(bytes);
        if says_close {
            self.settle(id).await;
        }
        let bytes = self.with_live_ids(bytes);
        let client = self.client(id);
        client.hub.as_mut().expect("the client is connected").send(&bytes).await.unwrap();
        if says_close {
            client.leave().await;
        }
    }

    /// Waits until all messages of servers have reached the client: the shard responds in order.
    async fn settle(&mut self, id: &str) {
        let live = self.client(id).live.clone();
        for conn in self.servers.keys().copied().collect::<Vec<_>>() {
            self.acks += 1;
            let asked = self.acks;
            let question = Message::CheckConnectionExistenceWithAck {
                connection_id: &live,
                ack_id: asked,
                extensions: Extensions::default(),
            };
            self.servers.get_mut(&conn).expect("it is connected").send(&question).await.unwrap();
            let is_answer =
                |message: &Message<'_>| matches!(message, Message::Ack { ack_id, .. } if *ack_id == asked);
            self.take(conn, "the response after all earlier messages", is_answer).await;
        }
    }

    /// Waits until the service has executed all requests of the server.
    async fn echo(&mut self, conn: u32) {
        let server = self.servers.get_mut(&conn).expect("it is connected");
        server.send(&Message::Ping { messages: vec!["echo", "last"] }).await.unwrap();
        let is_echo = |message: &Message<'_>| matches!(message, Message::Ping { messages } if messages.contains(&"last"));
        self.take(conn, "the echo", is_echo).await;
    }

    async fn expect(&mut self, conn: u32, recorded: &[u8]) {
        let mapped = self.with_live_ids(recorded);
        let message = parse(&mapped).unwrap();
        match &message {
            // The recorded service sent an event for an invocation, which then never completed; now the invocation fails.
            Message::ServiceEvent { id: Some(id), kind: 1, .. } => {
                let ends = |told: &Message<'_>| matches!(told, Message::ErrorCompletion { connection_id, .. } if connection_id == id);
                self.take(conn, "the completion of an invocation", ends).await;
            }
            Message::OpenConnection(recorded) => {
                let is_same = |told: &Message<'_>| matches!(told, Message::OpenConnection(open) if open.connection_id == recorded.connection_id);
                let told = self.take(conn, "a client of another server", is_same).await;
                let Message::OpenConnection(live) = parse(&told).unwrap() else {
                    unreachable!("the filter selects only this type")
                };
                check_opened(recorded, &live);
            }
            message => {
                let expected = meaning(message);
                self.take(conn, &expected.clone(), move |told| meaning(told) == expected).await;
            }
        }
    }

    /// The first wanted message among those not expected yet and the next ones.
    async fn take(&mut self, conn: u32, what: &str, wanted: impl Fn(&Message<'_>) -> bool) -> Vec<u8> {
        let unexpected = self.unexpected.entry(conn).or_default();
        if let Some(at) = unexpected.iter().position(|message| wanted(&parse(message).unwrap())) {
            return unexpected.remove(at);
        }
        let server = self.servers.get_mut(&conn).expect("it is connected");
        let coming = async {
            loop {
                let payload = server.next().await.unwrap().expect("the connection is open");
                let message = parse(&payload).unwrap();
                if wanted(&message) {
                    return payload;
                }
                if !matches!(&message, Message::Ping { messages } if messages.is_empty()) {
                    unexpected.push(payload);
                }
            }
        };
        let found = timeout(PATIENCE, coming).await;
        found.unwrap_or_else(|_| {
            let instead: Vec<_> =
                unexpected.iter().map(|message| meaning(&parse(message).unwrap())).collect();
            panic!("server connection {conn} did not receive: {what}; instead: {instead:#?}")
        })
    }

    fn client(&mut self, id: &str) -> &mut Client {
        self.clients.get_mut(id).expect("the client has connected")
    }

    /// Replaces recorded connection ids by those of this run, which have the same length.
    fn with_live_ids(&self, bytes: &[u8]) -> Vec<u8> {
        let mut bytes = bytes.to_vec();
        for (recorded, Client { live, .. }) in &self.clients {
            let (recorded, live) = (recorded.as_bytes(), live.as_bytes());
            assert_eq!(recorded.len(), live.len());
            let mut at = 0;
            while let Some(found) = bytes[at..].windows(recorded.len()).position(|part| part == recorded) {
                at += found;
                bytes[at..at + live.len()].copy_from_slice(live);
            }
        }
        bytes
    }
}

impl Client {
    /// Closes its side of the connection without a close frame.
    async fn leave(&mut self) {
        self.hub.as_mut().expect("the client is connected").end_writing().await.unwrap();
        self.receive_to_the_end().await;
    }

    async fn receive_to_the_end(&mut self) {
        let Some(mut hub) = self.hub.take() else { return };
        if !std::mem::replace(&mut self.was_answered, true) {
            assert_eq!(hub.handshake_answer().await.unwrap(), b"{}\x1e");
        }
        while let Some(message) = hub.next().await.unwrap() {
            // The number of acknowledgements depends on time.
            if !message.starts_with(b"{\"type\":8,") {
                self.heard.push(message);
            }
        }
    }
}
