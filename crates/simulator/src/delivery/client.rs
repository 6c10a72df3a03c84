//! [`SimulatedClient`]: a simulated SignalR client (JSON) with a WebSocket, optionally with stateful reconnect, with Server-Sent Events, or
//! with long polling.

use std::collections::VecDeque;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result, bail};
use edge::simulation::Remote;
use http_messages::Body;
use realtime_engine::ConnectionId;
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use websocket::{Decoder, Event, Opcode, Role, masked_frame};

use super::model::ConnectionNumber;

const SEPARATOR: u8 = 0x1e;
/// A client that has sent nothing for this long sends a ping.
const PING_EVERY: Duration = Duration::from_secs(4);

/// The transport of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ClientKind {
    WebSocket,
    /// With stateful reconnect.
    Stateful,
    LongPolling,
    /// Server-Sent Events.
    Events,
}

/// The open sockets and requests between service and client.
pub(super) enum Link {
    Socket(Remote, Box<Decoder>),
    /// The pending poll, and what is to be posted.
    Polls(Option<JoinHandle<Option<Vec<u8>>>>),
    /// The long response.
    Events(Box<Body>),
    /// The socket of a stateful client is lost.
    Lost(Instant),
}

/// What arrived between a call of `chappe.follow` and its response.
#[derive(Debug, Default)]
pub(super) struct Following {
    /// Messages with a position.
    pub(super) replayed: u64,
    /// Whether a position did not follow the last one.
    pub(super) has_jumped: bool,
    /// Whether its user has left a group.
    pub(super) has_left: bool,
}

/// One connection, from its handshake to its end.
pub(super) struct SimulatedClient {
    pub(super) number: ConnectionNumber,
    pub(super) user: usize,
    pub(super) kind: ClientKind,
    /// The access token, and the connection's secret and public id.
    pub(super) token: String,
    pub(super) secret: String,
    pub(super) id: ConnectionId,
    pub(super) link: Link,
    pub(super) is_open: bool,
    /// It does not read.
    pub(super) is_paused: bool,
    /// It sends no pings.
    pub(super) is_silent: bool,
    /// When its token expires, if that ends the connection.
    pub(super) expires_at: Option<SystemTime>,
    /// When something arrived last.
    pub(super) heard: Instant,
    /// It has stopped reading at least once, so that the service may have disconnected it.
    pub(super) was_slow: bool,
    /// Messages since it asked to follow, until the response arrives.
    pub(super) following: Option<Following>,
    /// Its position in the group with history: epoch and next offset.
    pub(super) position: Option<(String, u64)>,
    /// The last message of the group with history, until its position arrives.
    pub(super) unplaced: Option<u64>,
    /// To be sent over HTTP.
    pub(super) posts: VecDeque<Vec<u8>>,
    spoke: Instant,
    partial: Vec<u8>,
    /// The incomplete last line of the long response.
    lines: Vec<u8>,
    /// Sequence numbers of stateful reconnect: of the next received message, of the last received one, and its own.
    expected: u64,
    received: u64,
    sent: VecDeque<(u64, Vec<u8>)>,
    next: u64,
}

impl SimulatedClient {
    pub(super) fn new(
        number: ConnectionNumber,
        user: usize,
        kind: ClientKind,
        token: String,
        secret: String,
        id: ConnectionId,
        link: Link,
    ) -> Self {
        Self {
            number,
            user,
            kind,
            token,
            secret,
            id,
            link,
            is_open: false,
            is_paused: false,
            was_slow: false,
            is_silent: false,
            expires_at: None,
            heard: Instant::now(),
            following: None,
            position: None,
            unplaced: None,
            posts: VecDeque::new(),
            spoke: Instant::now(),
            partial: Vec::new(),
            lines: Vec::new(),
            expected: 1,
            received: 0,
            sent: VecDeque::new(),
            next: 1,
        }
    }

    fn send_raw(&mut self, bytes: Vec<u8>) {
        self.spoke = Instant::now();
        match &self.link {
            Link::Socket(remote, _) => remote.send(&masked_frame(Opcode::Text, &bytes, [1, 2, 3, 4])),
            Link::Polls(_) | Link::Events(_) => self.posts.push_back(bytes),
            Link::Lost(_) => {}
        }
    }

    fn send_value(&mut self, message: &Value) {
        let mut bytes = message.to_string().into_bytes();
        bytes.push(SEPARATOR);
        self.send_raw(bytes);
    }

    pub(super) fn shake_hands(&mut self) {
        let version = if self.kind == ClientKind::Stateful { 2 } else { 1 };
        self.send_value(&json!({ "protocol": "json", "version": version }));
    }

    /// Invokes a method of the service.
    pub(super) fn invoke(&mut self, id: &str, method: &str, arguments: &Value) {
        let call = json!({ "type": 1, "invocationId": id, "target": method, "arguments": arguments });
        let mut bytes = call.to_string().into_bytes();
        bytes.push(SEPARATOR);
        if self.kind == ClientKind::Stateful {
            self.sent.push_back((self.next, bytes.clone()));
            self.next += 1;
        }
        self.send_raw(bytes);
    }

    /// Sends a ping if it has sent nothing for long; the first ping after the handshake is due at once.
    pub(super) fn ping_if_due(&mut self, is_first: bool) {
        if is_first || self.spoke.elapsed() >= PING_EVERY {
            self.send_value(&json!({ "type": 6 }));
        }
    }

    /// Acknowledges received messages to the service.
    pub(super) fn acknowledge(&mut self) {
        if self.kind == ClientKind::Stateful && self.received > 0 {
            self.send_value(&json!({ "type": 8, "sequenceId": self.received }));
        }
    }

    /// Reconnects with a new socket.
    pub(super) fn reconnect(&mut self, remote: Remote) {
        self.link = Link::Socket(remote, decoder());
        self.heard = Instant::now();
        self.partial.clear();
        let first = self.sent.front().map_or(self.next, |(number, _)| *number);
        self.send_value(&json!({ "type": 9, "sequenceId": first }));
        for (_, bytes) in self.sent.clone() {
            self.send_raw(bytes);
        }
    }

    /// Reads at most `bytes_max` bytes from its socket. The second value says that the service has closed the connection.
    pub(super) fn read(&mut self, bytes_max: usize) -> Result<(Vec<Value>, bool)> {
        let Link::Socket(remote, decoder) = &mut self.link else { return Ok((Vec::new(), false)) };
        let mut bytes = remote.receive(bytes_max);
        let mut is_closed = bytes.is_empty() && remote.has_ended();
        if !bytes.is_empty() {
            self.heard = Instant::now();
        }
        let mut input = &mut bytes[..];
        while !input.is_empty() {
            let decoded = decoder.decode(input).context("a frame cannot be read")?;
            match decoded.event {
                Some(Event::Message(_, payload)) => self.partial.extend_from_slice(payload),
                Some(Event::Close(_)) => is_closed = true,
                Some(Event::Ping(_) | Event::Pong(_)) | None => {}
            }
            let consumed = decoded.consumed;
            input = &mut input[consumed..];
        }
        Ok((self.messages()?, is_closed))
    }

    /// How long it has sent nothing.
    pub(super) fn silence(&self) -> Duration {
        self.spoke.elapsed()
    }

    /// Reads from a long response: events whose data is one message each, and comments.
    pub(super) fn events(&mut self, bytes: &[u8]) -> Result<Vec<Value>> {
        self.heard = Instant::now();
        self.lines.extend_from_slice(bytes);
        while let Some(end) = self.lines.windows(2).position(|two| two == b"\r\n") {
            let line: Vec<u8> = self.lines.drain(..end + 2).collect();
            match line[..end].strip_prefix(b"data: ") {
                Some(data) => self.partial.extend_from_slice(data),
                None if end == 0 || line[0] == b':' => {}
                None => bail!("'{}' is no line of an event", String::from_utf8_lossy(&line)),
            }
        }
        self.messages()
    }

    /// Reads the response of a poll.
    pub(super) fn polled(&mut self, bytes: &[u8]) -> Result<Vec<Value>> {
        self.heard = Instant::now();
        self.partial.extend_from_slice(bytes);
        self.messages()
    }

    /// The complete messages that arrived, without those that arrived before over a lost socket.
    fn messages(&mut self) -> Result<Vec<Value>> {
        let mut messages = Vec::new();
        while let Some(end) = self.partial.iter().position(|byte| *byte == SEPARATOR) {
            let message: Vec<u8> = self.partial.drain(..=end).collect();
            let text = String::from_utf8_lossy(&message[..end]).into_owned();
            let message: Value =
                serde_json::from_str(&text).with_context(|| format!("'{text}' is no message"))?;
            if self.counts(&message)? {
                messages.push(message);
            }
        }
        Ok(messages)
    }

    /// Assigns a message its number. False if the message is to be skipped.
    fn counts(&mut self, message: &Value) -> Result<bool> {
        if self.kind != ClientKind::Stateful {
            return Ok(true);
        }
        match message["type"].as_u64() {
            Some(1..=5) => {
                let number = self.expected;
                self.expected += 1;
                let is_new = number > self.received;
                self.received = self.received.max(number);
                Ok(is_new)
            }
            Some(8) => {
                let up_to = message["sequenceId"].as_u64().unwrap_or(0);
                self.sent.retain(|(number, _)| *number > up_to);
                Ok(false)
            }
            Some(9) => {
                let from = message["sequenceId"].as_u64().unwrap_or(0);
                if from == 0 || from > self.received + 1 {
                    bail!("the service goes on with message {from}, and {} came", self.received);
                }
                self.expected = from;
                Ok(false)
            }
            _ => Ok(true),
        }
    }
}

pub(super) fn decoder() -> Box<Decoder> {
    Box::new(Decoder::new(Role::Client, 1 << 24))
}
