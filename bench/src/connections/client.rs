//! One client: it negotiates, opens a WebSocket, completes the handshake, counts messages, sends pings, and reconnects when it is
//! disconnected. It behaves as the SDKs do and keeps only the state that it needs; the loop around it owns the clock and the sockets'
//! readiness.

use std::io::{self, Read, Write};
use std::time::Duration;

use anyhow::{Context, bail};
use identity::{AccessKey, Algorithm, Claims, DEVELOPMENT_SIGNALR_KEY};
use mio::net::TcpStream;
use signalr_protocol::{HubMessage, HubProtocol, msgpack_to_json, next_message, parse};
use websocket::{Decoder, Event, Opcode, Role, masked_frame};

/// The hub that all clients connect to.
pub(super) const HUB: &str = "load";

/// Methods that are invoked: by a message to all clients, and by one to a group.
pub(super) const TARGETS: [&str; 2] = ["all", "group"];

/// Longest head or body of a response.
const ANSWER_BYTES_MAX: usize = 16 * 1024;

/// First delay before a client reconnects; each further attempt doubles it.
const DELAY_FIRST: Duration = Duration::from_millis(200);

const DELAY_MAX: Duration = Duration::from_secs(10);

pub(super) struct Client {
    pub(super) number: u32,
    pub(super) stream: Option<TcpStream>,
    pub(super) stage: Stage,
    /// Incremented whenever the socket is given up, so that old timers are not mistaken for new ones.
    pub(super) generation: u32,
    protocol: HubProtocol,
    attempts: u32,
    random: u64,
    answer: Vec<u8>,
    decoder: Decoder,
    /// The newest received number, by [`TARGETS`]; none since it connected.
    pub(super) newest: [Option<u64>; 2],
    /// Received messages.
    pub(super) received: u64,
    /// Numbers that were missing or duplicated while it was connected.
    pub(super) out_of_order: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    Away,
    Connecting,
    Negotiating,
    Upgrading,
    Handshaking,
    Open,
}

/// The result of handling a ready socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    Goes,
    /// The handshake response has just arrived.
    Opened,
    Lost(Loss),
}

/// Why a client has to reconnect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Loss {
    Refused,
    Reset,
    Ended,
    Closed,
    Status(u16),
    Silent,
}

impl Client {
    pub(super) fn new(number: u32) -> Self {
        // One client in three uses MessagePack.
        let protocol = if number % 3 == 2 { HubProtocol::MessagePack } else { HubProtocol::Json };
        Self {
            number,
            stream: None,
            stage: Stage::Away,
            generation: 0,
            protocol,
            attempts: 0,
            random: (u64::from(number) + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15),
            answer: Vec::new(),
            decoder: decoder(),
            newest: [None; 2],
            received: 0,
            out_of_order: 0,
        }
    }

    /// The socket is connecting.
    pub(super) fn connecting(&mut self, stream: TcpStream) {
        self.stream = Some(stream);
        self.stage = Stage::Connecting;
    }

    /// Drops the socket.
    pub(super) fn gone(&mut self) {
        self.stream = None;
        self.stage = Stage::Away;
        self.generation += 1;
        self.answer = Vec::new();
        self.decoder = decoder();
        self.newest = [None; 2];
    }

    /// The delay before it reconnects: longer each time, with a random part.
    pub(super) fn delay(&mut self) -> Duration {
        let longest = DELAY_FIRST.saturating_mul(1 << self.attempts.min(10)).min(DELAY_MAX);
        self.attempts += 1;
        longest / 2 + longest.mul_f64(self.share() / 2.0)
    }

    /// A number from 0 to 1, by the generator of Marsaglia.
    pub(super) fn share(&mut self) -> f64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        (self.random >> 11) as f64 / (1u64 << 53) as f64
    }

    /// The socket can be written to or read from.
    pub(super) fn ready(&mut self, buffer: &mut [u8]) -> anyhow::Result<Progress> {
        if self.stage == Stage::Connecting && !self.begin()? {
            return Ok(Progress::Goes);
        }
        let mut progress = Progress::Goes;
        loop {
            let Some(stream) = &mut self.stream else { return Ok(progress) };
            let length = match stream.read(buffer) {
                Ok(0) => return Ok(Progress::Lost(Loss::Ended)),
                Ok(length) => length,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(progress),
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                    return Ok(Progress::Lost(Loss::Refused));
                }
                Err(_) => return Ok(Progress::Lost(Loss::Reset)),
            };
            match self.take(&mut buffer[..length])? {
                Progress::Goes => {}
                Progress::Opened => progress = Progress::Opened,
                Progress::Lost(loss) => return Ok(Progress::Lost(loss)),
            }
        }
    }

    /// Sends a ping to the service.
    pub(super) fn ping(&mut self) -> anyhow::Result<()> {
        let mut message = Vec::new();
        HubMessage::Ping.encode(self.protocol, &mut message);
        self.say(&message)
    }

    /// Closes the connection, as a page does when the browser leaves it.
    pub(super) fn leave(&mut self) {
        let close = masked_frame(Opcode::Close, &1000u16.to_be_bytes(), [7; 4]);
        if let Some(stream) = &mut self.stream {
            // If the connection is already lost, there is nothing to close.
            let _ = stream.write(&close);
        }
    }

    /// Sends the negotiate request once the socket is connected. False if it is not connected yet.
    fn begin(&mut self) -> anyhow::Result<bool> {
        let stream = self.stream.as_mut().context("there is a socket")?;
        match stream.peer_addr() {
            Ok(_) => {}
            // If the write failed, the read reports why.
            Err(error) if error.kind() == io::ErrorKind::NotConnected => {
                return Ok(stream.take_error()?.is_some());
            }
            Err(error) => return Err(error.into()),
        }
        stream.set_nodelay(true)?;
        let token = self.token();
        self.stage = Stage::Negotiating;
        self.write(&format!(
            "POST /client/negotiate?hub={HUB}&negotiateVersion=1 HTTP/1.1\r\nhost: localhost\r\n\
             authorization: Bearer {token}\r\ncontent-length: 0\r\n\r\n"
        ))?;
        Ok(true)
    }

    fn token(&self) -> String {
        let key = AccessKey::new(DEVELOPMENT_SIGNALR_KEY).expect("the constant is not empty");
        let mut claims = Claims::new();
        claims.push("asrs.s.uid", format!("u{}", self.number));
        let now = super::clock::unix_now();
        let audience = format!("http://localhost/client/?hub={HUB}");
        identity::sign(&claims, &audience, now, now + 3_600, &key, Algorithm::Hs256)
    }

    fn take(&mut self, input: &mut [u8]) -> anyhow::Result<Progress> {
        match self.stage {
            Stage::Away | Stage::Connecting => Ok(Progress::Goes),
            Stage::Negotiating | Stage::Upgrading => self.take_answer(input),
            Stage::Handshaking | Stage::Open => self.take_frames(input),
        }
    }

    /// An HTTP response, which may arrive in several parts.
    fn take_answer(&mut self, input: &[u8]) -> anyhow::Result<Progress> {
        self.answer.extend_from_slice(input);
        if self.answer.len() > ANSWER_BYTES_MAX {
            bail!("the answer is longer than any answer is");
        }
        let Some(end) = self.answer.windows(4).position(|four| four == b"\r\n\r\n") else {
            return Ok(Progress::Goes);
        };
        let head = String::from_utf8_lossy(&self.answer[..end]).to_ascii_lowercase();
        let status: u16 = head.get(9..12).and_then(|status| status.parse().ok()).context("a status")?;
        if self.stage == Stage::Upgrading {
            if status != 101 {
                return Ok(Progress::Lost(Loss::Status(status)));
            }
            let mut ahead = self.answer.split_off(end + 4);
            self.answer = Vec::new();
            self.stage = Stage::Handshaking;
            let record = format!("{{\"protocol\":\"{}\",\"version\":1}}\u{1e}", self.protocol.name());
            self.say(record.as_bytes())?;
            return self.take_frames(&mut ahead);
        }
        if status != 200 {
            return Ok(Progress::Lost(Loss::Status(status)));
        }
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        let length: usize = length.context("a negotiate answer has a length")?.trim().parse()?;
        if self.answer.len() < end + 4 + length {
            return Ok(Progress::Goes);
        }
        let answer: serde_json::Value = serde_json::from_slice(&self.answer[end + 4..])?;
        let id = answer["connectionToken"].as_str().with_context(|| answer.to_string())?.to_owned();
        self.answer = Vec::new();
        self.stage = Stage::Upgrading;
        let token = self.token();
        self.write(&format!(
            "GET /client/?hub={HUB}&id={id}&access_token={token} HTTP/1.1\r\nhost: localhost\r\n\
             connection: Upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n\
             sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        ))?;
        Ok(Progress::Goes)
    }

    fn take_frames(&mut self, mut input: &mut [u8]) -> anyhow::Result<Progress> {
        let mut progress = Progress::Goes;
        // Moved out while messages borrow from it.
        let mut decoder = std::mem::replace(&mut self.decoder, decoder());
        loop {
            let decoded = decoder.decode(input).context("the service breaks the rules of frames")?;
            let consumed = decoded.consumed;
            match decoded.event {
                None => break,
                Some(Event::Message(_, payload)) if self.stage == Stage::Handshaking => {
                    if payload != b"{}\x1e" {
                        bail!("the handshake was answered {}", String::from_utf8_lossy(payload));
                    }
                    self.stage = Stage::Open;
                    self.attempts = 0;
                    progress = Progress::Opened;
                }
                Some(Event::Message(_, payload)) => {
                    if self.take_messages(payload)? {
                        return Ok(Progress::Lost(Loss::Closed));
                    }
                }
                Some(Event::Close(_)) => return Ok(Progress::Lost(Loss::Closed)),
                Some(Event::Ping(_) | Event::Pong(_)) => {}
            }
            input = &mut input[consumed..];
        }
        self.decoder = decoder;
        Ok(progress)
    }

    /// Counts messages; returns whether one of them is a close.
    fn take_messages(&mut self, mut framed: &[u8]) -> anyhow::Result<bool> {
        while let Some((payload, used)) = next_message(self.protocol, framed, framed.len())? {
            match parse(self.protocol, payload)? {
                HubMessage::Invocation(call) => {
                    let target = TARGETS.iter().position(|target| *target == call.target);
                    let number = number(self.protocol, &call.arguments)?;
                    self.count(target.context("a known method")?, number);
                }
                HubMessage::Close(_) => return Ok(true),
                HubMessage::Ping => {}
                other => bail!("{other:?} came, which nobody sent"),
            }
            framed = &framed[used..];
        }
        if !framed.is_empty() {
            bail!("a message was cut in the middle");
        }
        Ok(false)
    }

    fn count(&mut self, target: usize, number: u64) {
        self.received += 1;
        if self.newest[target].is_some_and(|newest| newest + 1 != number) {
            self.out_of_order += 1;
        }
        self.newest[target] = Some(number);
    }

    fn say(&mut self, message: &[u8]) -> anyhow::Result<()> {
        let opcode = if self.protocol == HubProtocol::Json || self.stage == Stage::Handshaking {
            Opcode::Text
        } else {
            Opcode::Binary
        };
        let key = ((self.share() * f64::from(u32::MAX)) as u32).to_be_bytes();
        self.write_bytes(&masked_frame(opcode, message, key))
    }

    fn write(&mut self, text: &str) -> anyhow::Result<()> {
        self.write_bytes(text.as_bytes())
    }

    /// What a client sends is small: it fits into the socket, or the connection is lost, which the read reports.
    fn write_bytes(&mut self, bytes: &[u8]) -> anyhow::Result<()> {
        let stream = self.stream.as_mut().context("there is a socket")?;
        match stream.write(bytes) {
            Ok(length) if length == bytes.len() => Ok(()),
            Ok(_) => bail!("the service does not read what {} says", self.number),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                bail!("the service does not read what {} says", self.number)
            }
            Err(_gone) => Ok(()),
        }
    }
}

fn decoder() -> Decoder {
    Decoder::new(Role::Client, 1024 * 1024)
}

/// The number that is the first argument.
fn number(protocol: HubProtocol, arguments: &[u8]) -> anyhow::Result<u64> {
    let mut json = Vec::new();
    let arguments = if protocol == HubProtocol::Json {
        arguments
    } else {
        msgpack_to_json(arguments, &mut json)?;
        &json
    };
    let digits = arguments.strip_prefix(b"[").context("arguments are an array")?;
    let end = digits.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(digits.len());
    Ok(std::str::from_utf8(&digits[..end])?.parse()?)
}
