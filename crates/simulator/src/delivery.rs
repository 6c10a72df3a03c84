//! The realtime service under load and faults: clients with WebSockets, stateful reconnect, Server-Sent Events and long polling; groups,
//! users, history; tokens that expire, silent clients, lost sockets, slow readers, kills, power failures, full disks, panics of shards,
//! orderly shutdowns.
//!
//! Only the clients are simulated: service, shards, history and journal are the product's. `model.rs` defines what each client must
//! receive.

mod client;
mod ends;
mod following;
mod memberships;
mod model;
mod process;
mod requests;

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use http_body_util::BodyExt;
use realtime::{SendMessage, SendMessageError};
use realtime_engine::{ConnectionId, GroupName, Membership, PublishError, Target, UserId};
use serde_json::{Value, json};
use supervision::simulation;
use tokio::task::JoinHandle;

use self::client::{ClientKind, Link, SimulatedClient, decoder};
use self::model::{Deliveries, MessageId, Receivers};
use self::process::{Process, body, request, token};
use crate::chance::Chance;
use crate::events::Events;
use crate::system;

/// Steps of one run.
const STEPS: usize = 90;
const CLIENTS: usize = 4;
const USERS: usize = 2;
const SENDERS: usize = 3;
/// The group with history, and others.
const KEPT: &str = "kept";
const GROUPS: [&str; 3] = [KEPT, "one", "two"];
/// Bytes that a socket buffers when its client does not read.
const ROOM: usize = 1 << 20;
/// Rounds after which no work is left.
const QUIET_ROUNDS: usize = 24;
/// A stateful client without a socket for this long may be disconnected.
const AWAY_MAX: Duration = Duration::from_secs(3);

/// After this many seconds the service has disconnected a silent client: its timeout, the time for a reconnect, and the delays of both.
const GONE_AFTER_S: usize = 16;

/// A message whose sender waits for the response.
struct Sending {
    id: MessageId,
    answer: JoinHandle<Result<(), SendMessageError>>,
}

/// A run with one seed.
pub(crate) struct Delivery<'a> {
    chance: Chance,
    events: &'a mut Events,
    process: Option<Process>,
    clients: Vec<Option<SimulatedClient>>,
    /// The position of each follower when its last connection ended.
    positions: Vec<Option<(String, u64)>>,
    sending: Vec<Option<Sending>>,
    model: Deliveries,
    next: u64,
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Connect,
    Send,
    Join,
    Leave,
    UserJoins,
    UserLeaves,
    Silence,
    Wait,
    Follow,
    Cut,
    Reconnect,
    Pause,
    Rounds,
    Pass,
    Acknowledge,
    Close,
    Full,
    Panic,
    Kill,
    PowerFails,
    Drain,
}

const STEP_WEIGHTS: [(usize, Step); 21] = [
    (10, Step::Connect),
    (40, Step::Send),
    (6, Step::Join),
    (2, Step::Leave),
    (3, Step::UserJoins),
    (1, Step::UserLeaves),
    (1, Step::Silence),
    (1, Step::Wait),
    (6, Step::Follow),
    (4, Step::Cut),
    (6, Step::Reconnect),
    (4, Step::Pause),
    (30, Step::Rounds),
    (3, Step::Pass),
    (5, Step::Acknowledge),
    (1, Step::Close),
    (1, Step::Full),
    (1, Step::Panic),
    (1, Step::Kill),
    (1, Step::PowerFails),
    (1, Step::Drain),
];

impl<'a> Delivery<'a> {
    pub(crate) fn new(seed: u64, events: &'a mut Events) -> Self {
        Self {
            chance: Chance::new(seed),
            events,
            process: None,
            clients: (0..CLIENTS).map(|_| None).collect(),
            positions: vec![None; CLIENTS],
            sending: (0..SENDERS).map(|_| None).collect(),
            model: Deliveries::default(),
            next: 0,
        }
    }

    /// Runs all steps.
    pub(crate) fn run(mut self) -> Result<()> {
        self.process = Some(Process::start(&mut self.chance)?);
        for _ in 0..STEPS {
            let step = self.chance.weighted(&STEP_WEIGHTS);
            self.step(step).with_context(|| format!("{step:?}"))?;
            self.look()?;
        }
        system::disk(|disk| disk.is_full = false);
        self.come_to_rest()?;
        self.read_log()?;
        self.leave_nothing()?;
        // The log survives.
        self.end_by(
            |process| {
                process.kill();
                Ok(())
            },
            true,
        )?;
        self.read_log()?;
        self.end_by(Process::drain, false)?;
        if let Some(process) = self.process.take() {
            process.kill();
        }
        Ok(())
    }

    fn process_mut(&mut self) -> Result<&mut Process> {
        self.process.as_mut().context("a process runs")
    }

    /// Advances the clock by this many half seconds, and runs everything meanwhile.
    fn wait(&mut self, halves: usize) -> Result<()> {
        self.events.add(format_args!("{halves} half seconds pass"));
        for _ in 0..halves {
            system::pass(Duration::from_millis(500));
            self.round()?;
            self.look()?;
        }
        Ok(())
    }

    fn process(&self) -> Result<&Process> {
        self.process.as_ref().context("a process runs")
    }

    fn step(&mut self, step: Step) -> Result<()> {
        let number = self.chance.below(CLIENTS);
        match step {
            Step::Connect if self.clients[number].is_none() => {
                let kind = *self.chance.one_of(&[
                    ClientKind::WebSocket,
                    ClientKind::Stateful,
                    ClientKind::LongPolling,
                    ClientKind::Events,
                ]);
                self.connect(number, kind, true)
            }
            Step::Send => self.send(false),
            Step::Join => self.change_group(number, Membership::Join),
            Step::Leave => self.change_group(number, Membership::Leave),
            Step::UserJoins => self.change_user(Membership::Join),
            Step::UserLeaves => self.change_user(Membership::Leave),
            Step::Silence => {
                self.silence(number);
                Ok(())
            }
            Step::Wait => {
                let halves = self.chance.between(2, 24);
                self.wait(halves)
            }
            Step::Follow => {
                self.follow(number)?;
                // Messages that arrive while the follower receives what it missed.
                for _ in 0..self.chance.below(3) {
                    self.send(true)?;
                }
                Ok(())
            }
            Step::Connect | Step::Rounds => {
                for _ in 0..self.chance.between(1, 4) {
                    self.round()?;
                }
                Ok(())
            }
            Step::Pass => {
                let time = Duration::from_millis(self.chance.between(1, 1_500) as u64);
                self.events.add(format_args!("{time:?} pass"));
                system::pass(time);
                self.round()
            }
            Step::Acknowledge => {
                self.clients.iter_mut().flatten().for_each(SimulatedClient::acknowledge);
                Ok(())
            }
            _ => self.fault(step, number),
        }
    }

    /// A fault, or an end of something by a client or an operator.
    fn fault(&mut self, step: Step, number: usize) -> Result<()> {
        match step {
            Step::Cut => {
                self.cut(number);
                Ok(())
            }
            Step::Reconnect => self.reconnect(number),
            Step::Pause => {
                self.pause(number);
                Ok(())
            }
            Step::Close => self.close(number),
            Step::Full => {
                let is_full = system::disk(|disk| {
                    disk.is_full = !disk.is_full;
                    disk.is_full
                });
                self.events.add(format_args!("the disk is full: {is_full}"));
                Ok(())
            }
            Step::Panic => {
                self.events.add(format_args!("shard 0 panics when it runs next"));
                self.process()?.supervisor.panic_next("shard 0");
                self.round()
            }
            Step::Kill => self.end_by(
                |process| {
                    process.kill();
                    Ok(())
                },
                false,
            ),
            Step::PowerFails => self.end_by(
                |process| {
                    process.kill();
                    Ok(())
                },
                true,
            ),
            _ => self.end_by(Process::drain, false),
        }
    }

    /// A client stops sending pings, or resumes.
    fn silence(&mut self, number: usize) {
        if let Some(client) = &mut self.clients[number] {
            client.is_silent = !client.is_silent;
            self.events.add(format_args!("client {number} is silent: {}", client.is_silent));
        }
    }

    /// A client stops reading, or resumes.
    fn pause(&mut self, number: usize) {
        if let Some(client) = &mut self.clients[number] {
            client.is_paused = !client.is_paused;
            client.was_slow = true;
            self.events.add(format_args!("client {number} is paused: {}", client.is_paused));
        }
    }

    /// Ends the process, and starts another one on the remaining files.
    fn end_by(&mut self, end: impl FnOnce(Process) -> Result<()>, power_fails: bool) -> Result<()> {
        self.events.add(format_args!("the process ends; power fails: {power_fails}"));
        for number in 0..CLIENTS {
            self.forget(number);
        }
        for sending in &mut self.sending {
            if let Some(sending) = sending.take() {
                self.model.unknown(sending.id);
            }
        }
        if let Some(process) = self.process.take() {
            end(process)?;
        }
        edge::simulation::forget();
        system::disk(|disk| {
            disk.restart();
            disk.is_full = false;
            if power_fails { disk.cut_power() } else { Ok(()) }
        })?;
        self.process = Some(Process::start(&mut self.chance)?);
        self.events.add(format_args!("started again"));
        Ok(())
    }

    /// A connection has ended; its client keeps its position.
    fn forget(&mut self, number: usize) {
        if let Some(client) = self.clients[number].take() {
            match &client.link {
                Link::Socket(remote, _) => remote.cut(),
                Link::Polls(Some(poll)) => poll.abort(),
                Link::Polls(None) | Link::Events(_) | Link::Lost(_) => {}
            }
            self.model.ended(client.number);
            if client.position.is_some() {
                self.positions[number] = client.position;
            }
        }
    }

    fn connect(&mut self, number: usize, kind: ClientKind, may_be_slow: bool) -> Result<()> {
        let is_small = may_be_slow && self.process()?.waits_little && self.chance.once_in(3);
        let user = self.chance.below(USERS);
        // Some tokens end their connection when they expire.
        let lifetime = self.chance.once_in(4).then(|| Duration::from_secs(self.chance.between(2, 12) as u64));
        let (token, expires_at) = token(user, lifetime.filter(|_| may_be_slow))?;
        let path = "/client/negotiate?hub=chat&negotiateVersion=1&useStatefulReconnect=true";
        let negotiate = request("POST", path, &token).body(body(""))?;
        let response = self.process()?.respond(negotiate);
        let collected = async { response.await.into_body().collect().await };
        let negotiated =
            self.process()?.finish(collected, || Ok(()))?.map_err(|error| anyhow::anyhow!("{error}"))?;
        let negotiated: Value = serde_json::from_slice(&negotiated.to_bytes())?;
        let secret = negotiated["connectionToken"].as_str().context("a secret")?.to_owned();
        let id = ConnectionId::parse(negotiated["connectionId"].as_str().context("an id")?)?;
        let link = match kind {
            ClientKind::LongPolling => Link::Polls(None),
            ClientKind::Events => self.open_events(&token, &secret)?,
            ClientKind::WebSocket | ClientKind::Stateful => self.open_socket(&token, &secret, is_small)?,
        };
        self.next += 1;
        let mut client = SimulatedClient::new(self.next, user, kind, token, secret, id, link);
        self.events.add(format_args!("client {number} connects as {} by {kind:?}", client.number));
        client.expires_at = expires_at;
        // If the buffer for a client is small, a client that cannot receive everything at once may be disconnected.
        client.was_slow = self.process()?.waits_little && (is_small || kind != ClientKind::WebSocket);
        client.shake_hands();
        self.clients[number] = Some(client);
        Ok(())
    }

    /// A new socket of a client, possibly with a small buffer for what the client has not read.
    fn open_socket(&mut self, token: &str, secret: &str, is_small: bool) -> Result<Link> {
        let room = if is_small { self.chance.weighted(&[(3, ROOM), (1, 4 << 10), (1, 700)]) } else { ROOM };
        let (socket, remote) = edge::simulation::pair(room);
        let mut upgrade = request("GET", &format!("/client/?hub=chat&id={secret}"), token)
            .header("connection", "Upgrade")
            .header("upgrade", "websocket")
            .header("sec-websocket-version", "13")
            .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")
            .body(body(""))?;
        upgrade.extensions_mut().insert(edge::Upgrade::simulated(socket));
        let response = self.process()?.respond(upgrade);
        let status = self.process()?.finish(response, || Ok(()))?.status();
        if status != http::StatusCode::SWITCHING_PROTOCOLS {
            bail!("a WebSocket was answered with {status}");
        }
        Ok(Link::Socket(remote, decoder()))
    }

    /// Sends a message, to the group with history or to other receivers.
    fn send(&mut self, is_kept: bool) -> Result<()> {
        let sender = self.chance.below(SENDERS);
        if self.sending[sender].is_some() {
            return self.round();
        }
        let open: Vec<(u64, ConnectionId)> = self
            .clients
            .iter()
            .flatten()
            .filter(|client| client.is_open)
            .map(|client| (client.number, client.id))
            .collect();
        let (audience, to) = match self.chance.below(8) {
            _ if is_kept => (Receivers::Group(KEPT.to_owned()), Target::Group(GroupName::new(KEPT))),
            0 => (Receivers::All, Target::All),
            1 => {
                let user = self.chance.below(USERS);
                (Receivers::User(user), Target::User(UserId::new(&format!("user{user}"))))
            }
            2 if !open.is_empty() => {
                let (number, id) = *self.chance.one_of(&open);
                (Receivers::Connection(number), Target::Connection(id))
            }
            _ => {
                let group = *self.chance.one_of(&GROUPS);
                (Receivers::Group(group.to_owned()), Target::Group(GroupName::new(group)))
            }
        };
        self.next += 1;
        let id = self.next;
        self.events.add(format_args!("sender {sender} sends {id} to {audience:?}"));
        self.model.sending(id, sender, audience);
        let filler = "x".repeat(self.chance.weighted(&[(6, 1), (2, 300), (1, 3_000)]));
        let process = self.process()?;
        let handle = process.handle.clone();
        let answer = process.runtime.spawn(async move {
            let arguments = json!([id, filler]).to_string();
            let message = SendMessage {
                hub: "chat",
                to,
                excluded: Vec::new(),
                target: "m",
                arguments: &arguments,
                trace: None,
            };
            handle.send(message).await
        });
        self.sending[sender] = Some(Sending { id, answer });
        Ok(())
    }

    fn cut(&mut self, number: usize) {
        let Some(client) = &mut self.clients[number] else { return };
        self.events.add(format_args!("client {number} is cut off"));
        match &mut client.link {
            Link::Socket(remote, _) => {
                remote.cut();
                if client.kind == ClientKind::Stateful && client.is_open {
                    client.link = Link::Lost(Instant::now());
                    return;
                }
            }
            // Pending requests of the client are dropped with it.
            Link::Polls(_) | Link::Events(_) => {}
            Link::Lost(_) => return,
        }
        self.forget(number);
    }

    fn reconnect(&mut self, number: usize) -> Result<()> {
        let Some(client) = self.clients[number].as_ref() else { return Ok(()) };
        let Link::Lost(since) = client.link else { return Ok(()) };
        // The service counts from the moment at which it dropped the socket; a client that does not read notices that later.
        let is_ended = self.process()?.ends.contains_key(&client.id);
        if is_ended || since.elapsed() > AWAY_MAX {
            self.events.add(format_args!("client {number} was away for too long"));
            self.forget(number);
            return Ok(());
        }
        self.events.add(format_args!("client {number} reconnects"));
        let (token, secret) = (client.token.clone(), client.secret.clone());
        if client.is_expired(Duration::ZERO) {
            self.forget(number);
            return Ok(());
        }
        let link = self.open_socket(&token, &secret, true)?;
        if let (Link::Socket(remote, _), Some(client)) = (link, self.clients[number].as_mut()) {
            client.reconnect(remote);
        }
        Ok(())
    }

    fn close(&mut self, number: usize) -> Result<()> {
        let Some(client) = self.clients[number].as_ref().filter(|client| client.is_open) else {
            return Ok(());
        };
        let id = client.id;
        self.events.add(format_args!("client {number} is closed"));
        self.forget(number);
        let process = self.process()?;
        let (hub, engine) = (process.handle.hub("chat")?, process.handle.engine().clone());
        let closing = realtime_engine::CloseRequest { reason: None, allow_reconnect: false };
        let target = Target::Connection(id);
        process
            .finish(async { engine.close(&hub, &target, &[], &closing).await }, || Ok(()))?
            .map(drop)
            .or(Ok(()))
    }

    /// If a part with data that would be lost has ended, the process has failed and ends itself.
    fn look(&mut self) -> Result<()> {
        if !(0..simulation::threads()).any(simulation::has_ended) {
            return Ok(());
        }
        let not_ready = self.process()?.supervisor.not_ready();
        ensure!(!not_ready.is_empty(), "a thread has ended, and the process calls itself ready");
        self.events.add(format_args!("the process ends itself: {}", not_ready[0].component));
        self.end_by(
            |process| {
                process.kill();
                Ok(())
            },
            false,
        )
    }

    fn round(&mut self) -> Result<()> {
        self.process()?.round();
        self.process_mut()?.read_trace();
        self.hear_senders()?;
        for number in 0..CLIENTS {
            self.serve(number).with_context(|| format!("client {number}"))?;
        }
        Ok(())
    }

    fn hear_senders(&mut self) -> Result<()> {
        for sender in 0..SENDERS {
            let Some(sending) = self.sending[sender].take_if(|sending| sending.answer.is_finished()) else {
                continue;
            };
            let answer = self.process()?.runtime.block_on(sending.answer).context("a send was dropped")?;
            self.events.add(format_args!("sender {sender} hears of {}: {answer:?}", sending.id));
            match answer {
                Ok(()) => self.model.acknowledged(sending.id),
                Err(SendMessageError::Publish(PublishError::NotRecorded(_))) => {
                    let is_full = system::disk(|disk| disk.was_full());
                    ensure!(is_full, "message {} was not kept, and the disk has room", sending.id);
                    self.model.refused(sending.id)?;
                }
                Err(_) => {
                    self.model.unknown(sending.id);
                    let not_ready = self.process()?.supervisor.not_ready();
                    ensure!(
                        !not_ready.is_empty(),
                        "message {} is refused by a process that is ready",
                        sending.id
                    );
                }
            }
        }
        Ok(())
    }

    /// Lets a client read and write.
    fn serve(&mut self, number: usize) -> Result<()> {
        let bytes_max = self.chance.weighted(&[(6, 1 << 20), (1, 100), (1, 1_000)]);
        let Some(client) = &mut self.clients[number] else { return Ok(()) };
        let (messages, has_ended) = match &mut client.link {
            Link::Socket(..) if client.is_paused => return Ok(()),
            Link::Socket(..) => client.read(bytes_max)?,
            Link::Polls(_) => self.serve_polls(number)?,
            Link::Events(_) => self.serve_events(number)?,
            Link::Lost(_) => return Ok(()),
        };
        for message in messages {
            self.hear(number, &message).with_context(|| format!("{message}"))?;
        }
        let Some(client) = &mut self.clients[number] else { return Ok(()) };
        if has_ended {
            self.process()?.round();
            self.process_mut()?.read_trace();
            if self.check_end(number)? {
                self.forget(number);
            }
            return Ok(());
        }
        if client.is_open && !client.is_silent {
            client.ping_if_due(false);
        }
        self.check_pings(number)
    }

    /// A message that a client received.
    fn hear(&mut self, number: usize, message: &Value) -> Result<()> {
        let Some(client) = &mut self.clients[number] else { return Ok(()) };
        if !client.is_open {
            ensure!(message.as_object().is_some_and(serde_json::Map::is_empty), "the handshake was refused");
            client.is_open = true;
            client.ping_if_due(true);
            self.events.add(format_args!("client {number} is open"));
            self.model.opened(client.number, client.user);
            return Ok(());
        }
        match message["type"].as_u64() {
            Some(1) if message["target"] == "m" => {
                let id = message["arguments"][0].as_u64().context("a message says its number")?;
                self.events.add(format_args!("client {number} receives {id}"));
                // Other messages may come between a message of the group with history and its position.
                if self.model.is_to_group(id, KEPT) {
                    client.unplaced = Some(id);
                }
                self.model.received(client.number, id)
            }
            Some(1) if message["target"] == "chappe.position" => self.placed(number, message),
            Some(3) => self.followed(number, message),
            _ => Ok(()),
        }
    }

    /// Waits until no work is left, and compares.
    fn come_to_rest(&mut self) -> Result<()> {
        for number in 0..CLIENTS {
            if let Some(client) = &mut self.clients[number] {
                client.is_paused = false;
            }
        }
        for _ in 0..QUIET_ROUNDS {
            // In each round: a client that did not read notices only now that the service has dropped its socket.
            for number in 0..CLIENTS {
                self.reconnect(number)?;
            }
            system::pass(Duration::from_millis(100));
            self.round()?;
            self.look()?;
        }
        let is_waiting = self.sending.iter().flatten().next().map(|sending| sending.id);
        ensure!(is_waiting.is_none(), "the sender of message {is_waiting:?} hears nothing");
        self.events.add(format_args!("everything is quiet"));
        self.check_deadlines()?;
        self.model.check_received()?;
        // By then the service has disconnected the lost clients, and those that do not reconnect.
        self.wait(2 * GONE_AFTER_S)?;
        self.check_deadlines()?;
        for number in 0..CLIENTS {
            if matches!(self.clients[number], Some(SimulatedClient { link: Link::Lost(_), .. })) {
                self.forget(number);
            }
        }
        self.check_members()
    }

    /// Disconnects all clients: the service removes their whole state.
    fn leave_nothing(&mut self) -> Result<()> {
        for number in 0..CLIENTS {
            self.cut(number);
            self.forget(number);
        }
        self.wait(2 * GONE_AFTER_S)?;
        self.check_nothing_is_left()
    }

    /// Reads the whole log of the group with history as a new client.
    fn read_log(&mut self) -> Result<()> {
        self.forget(0);
        self.positions[0] = Some(("0".to_owned(), 0));
        self.connect(0, ClientKind::WebSocket, false)?;
        let mut log = Vec::new();
        for _ in 0..3 * QUIET_ROUNDS {
            self.round()?;
            let is_new =
                self.clients[0].as_ref().is_some_and(|client| client.is_open && client.position.is_none());
            if is_new {
                self.follow(0)?;
            }
        }
        let number = self.clients[0].as_ref().context("the client is there")?.number;
        log.extend(self.model.received_by(number));
        self.model.check_log(KEPT, &log)
    }
}
