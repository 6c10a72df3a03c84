//! The realtime service under load and faults: clients with WebSockets, stateful reconnect and long polling; groups, users, history;
//! lost sockets, slow readers, kills, power failures, full disks, panics of shards, orderly ends.
//!
//! Everything but the clients is the product's: service, shards, history, journal. `model.rs` says what each client must have
//! received.

mod client;
mod model;
mod process;

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use http_body_util::BodyExt;
use realtime::{SendMessage, SendMessageError};
use realtime_engine::{ConnectionId, GroupName, Membership, PublishError, Target, UserId};
use serde_json::{Value, json};
use supervision::simulation;
use tokio::task::JoinHandle;

use self::client::{ClientKind, Following, Link, SimulatedClient, decoder};
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
/// The group that keeps its messages, and others.
const KEPT: &str = "kept";
const GROUPS: [&str; 3] = [KEPT, "one", "two"];
/// Bytes that a socket holds which its client has not read.
const ROOM: usize = 1 << 20;
/// Rounds in which everything comes to rest.
const QUIET_ROUNDS: usize = 24;
/// A stateful client that is away for so long may be given up.
const AWAY_MAX: Duration = Duration::from_secs(10);

/// A message whose sender waits.
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
    /// What each follower knew when its last connection ended.
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

const STEP_WEIGHTS: [(usize, Step); 17] = [
    (10, Step::Connect),
    (40, Step::Send),
    (6, Step::Join),
    (2, Step::Leave),
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
                ]);
                self.connect(number, kind, true)
            }
            Step::Send => self.send(),
            Step::Join => self.change_group(number, Membership::Join),
            Step::Leave => self.change_group(number, Membership::Leave),
            Step::Follow => self.follow(number),
            Step::Cut => {
                self.cut(number);
                Ok(())
            }
            Step::Reconnect => self.reconnect(number),
            Step::Pause => {
                self.pause(number);
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
            Step::Drain => self.end_by(Process::drain, false),
        }
    }

    /// Lets a client stop reading, or read again.
    fn pause(&mut self, number: usize) {
        if let Some(client) = &mut self.clients[number] {
            client.is_paused = !client.is_paused;
            client.was_slow = true;
            self.events.add(format_args!("client {number} is paused: {}", client.is_paused));
        }
    }

    /// Ends the process, and starts another one on what is left.
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

    /// A connection is no more; its client keeps the position that it knows.
    fn forget(&mut self, number: usize) {
        if let Some(client) = self.clients[number].take() {
            self.model.ended(client.number);
            if client.position.is_some() {
                self.positions[number] = client.position;
            }
        }
    }

    fn connect(&mut self, number: usize, kind: ClientKind, may_be_slow: bool) -> Result<()> {
        let is_small = may_be_slow && self.process()?.waits_little && self.chance.once_in(3);
        let user = self.chance.below(USERS);
        let token = token(user)?;
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
            ClientKind::WebSocket | ClientKind::Stateful => self.open_socket(&token, &secret, is_small)?,
        };
        self.next += 1;
        let mut client = SimulatedClient::new(self.next, user, kind, token, secret, id, link);
        self.events.add(format_args!("client {number} connects as {} by {kind:?}", client.number));
        // Where little may wait for a client, one that cannot take it all at once may be given up.
        client.was_slow = self.process()?.waits_little && (is_small || kind != ClientKind::WebSocket);
        client.shake_hands();
        self.clients[number] = Some(client);
        Ok(())
    }

    /// A new socket of a client, maybe with little room for what the client has not read.
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

    fn send(&mut self) -> Result<()> {
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

    fn change_group(&mut self, number: usize, membership: Membership) -> Result<()> {
        let group = *self.chance.one_of(&GROUPS[1..]);
        let Some(client) = self.clients[number].as_ref().filter(|client| client.is_open) else {
            return Ok(());
        };
        let (connection, id) = (client.number, client.id);
        self.events.add(format_args!("client {number}: {membership:?} {group}"));
        if membership == Membership::Join {
            self.model.joining(connection, group);
        } else {
            self.model.leaving(connection, group);
        }
        let process = self.process()?;
        let (hub, engine) = (process.handle.hub("chat")?, process.handle.engine().clone());
        let group_name = GroupName::new(group);
        let changed = process
            .finish(async { engine.change_connection(&hub, id, &group_name, membership).await }, || Ok(()))?;
        if changed.is_ok_and(|found| found) && membership == Membership::Join {
            self.model.joined(connection, group);
        }
        Ok(())
    }

    fn follow(&mut self, number: usize) -> Result<()> {
        let known = self.positions[number].clone();
        let Some(client) = self.clients[number].as_mut().filter(|client| client.is_open) else {
            return Ok(());
        };
        if client.following.is_some() || client.position.is_some() {
            return Ok(());
        }
        self.events.add(format_args!("client {number} follows from {known:?}"));
        self.model.joining(client.number, KEPT);
        client.following = Some(Following::default());
        client.position = known;
        let arguments = match &client.position {
            Some((epoch, offset)) => json!([KEPT, format!("{epoch}-{offset}")]),
            None => json!([KEPT]),
        };
        client.invoke("follow", "chappe.follow", &arguments);
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
            Link::Polls(poll) => {
                if let Some(poll) = poll {
                    poll.abort();
                }
            }
            Link::Lost(_) => return,
        }
        self.forget(number);
    }

    fn reconnect(&mut self, number: usize) -> Result<()> {
        let Some(client) = self.clients[number].as_ref() else { return Ok(()) };
        let Link::Lost(since) = client.link else { return Ok(()) };
        if since.elapsed() > AWAY_MAX {
            self.events.add(format_args!("client {number} was away for too long"));
            self.forget(number);
            return Ok(());
        }
        self.events.add(format_args!("client {number} reconnects"));
        let (token, secret) = (client.token.clone(), client.secret.clone());
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

    /// A part that holds what would be lost and has ended is a failure of the process, which ends itself.
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
            Link::Lost(_) => return Ok(()),
        };
        for message in messages {
            self.hear(number, &message).with_context(|| format!("{message}"))?;
        }
        let Some(client) = &mut self.clients[number] else { return Ok(()) };
        if has_ended {
            let may_end = client.was_slow || !self.process()?.supervisor.not_ready().is_empty();
            self.events.add(format_args!("client {number} was ended by the service"));
            ensure!(may_end, "the service ended the connection without a reason");
            self.forget(number);
        } else if client.is_open {
            client.ping_if_due(false);
        }
        Ok(())
    }

    /// Long polling: one poll is always under way, and what is to be posted is posted one by one.
    fn serve_polls(&mut self, number: usize) -> Result<(Vec<Value>, bool)> {
        let process = self.process.as_ref().context("a process runs")?;
        let Some(client) = &mut self.clients[number] else { return Ok((Vec::new(), false)) };
        let path = format!("/client/?hub=chat&id={}", client.secret);
        while let Some(bytes) = client.posts.pop_front() {
            let post = request("POST", &path, &client.token).body(body(bytes))?;
            let status = process.finish(process.respond(post), || Ok(()))?.status();
            let may_fail = client.was_slow || !process.supervisor.not_ready().is_empty();
            ensure!(status.is_success() || may_fail, "a POST was answered with {status}");
        }
        let Link::Polls(poll) = &mut client.link else { return Ok((Vec::new(), false)) };
        if let Some(ended) = poll.take_if(|poll| poll.is_finished()) {
            let polled = process.runtime.block_on(ended).context("a poll was dropped")?;
            let Some(bytes) = polled else { return Ok((Vec::new(), true)) };
            return Ok((client.polled(&bytes)?, false));
        }
        if poll.is_none() && !client.is_paused {
            let response = process.respond(request("GET", &path, &client.token).body(body(""))?);
            *poll = Some(process.runtime.spawn(async move {
                let response = response.await;
                let is_alive = response.status() == http::StatusCode::OK;
                let bytes = response.into_body().collect().await.ok()?.to_bytes().to_vec();
                is_alive.then_some(bytes)
            }));
        }
        Ok((Vec::new(), false))
    }

    /// A message that came to a client.
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
                // Others may come between a message of the kept group and its position.
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

    /// The position behind a message of the kept group.
    fn placed(&mut self, number: usize, message: &Value) -> Result<()> {
        let Some(client) = &mut self.clients[number] else { return Ok(()) };
        let position = message["arguments"][1].as_str().context("a position")?;
        let (epoch, next) = position.split_once('-').context("an epoch and a number")?;
        let next: u64 = next.parse()?;
        let id = client.unplaced.take().context("a position without a message")?;
        self.model.placed(id, epoch, next - 1)?;
        let is_next =
            client.position.as_ref().is_none_or(|(known, offset)| known == epoch && offset + 1 == next);
        match &mut client.following {
            Some(following) => {
                following.replayed += 1;
                following.has_jumped |= !is_next;
            }
            None => ensure!(is_next, "position {position} does not follow {:?}", client.position),
        }
        client.position = Some((epoch.to_owned(), next));
        Ok(())
    }

    /// The answer to `chappe.follow`.
    fn followed(&mut self, number: usize, message: &Value) -> Result<()> {
        let Some(client) = &mut self.clients[number] else { return Ok(()) };
        let Following { replayed, has_jumped } = client.following.take().context("nothing was asked")?;
        self.events.add(format_args!("client {number} follows: {message}"));
        if !message["error"].is_null() {
            ensure!(system::disk(|disk| disk.was_full()), "it cannot follow, and the disk has room");
            client.position = None;
            return Ok(());
        }
        let result = &message["result"];
        ensure!(!has_jumped || result["gap"] == true, "positions jumped, and it says that there is no gap");
        let position = result["position"].as_str().context("a position")?;
        let (epoch, next) = position.split_once('-').context("an epoch and a number")?;
        let answered: (String, u64) = (epoch.to_owned(), next.parse()?);
        // What was missed comes before the response, and what is new after it.
        ensure!(
            result["messages"] == replayed,
            "{replayed} messages with positions came before the response, which says {}",
            result["messages"]
        );
        let is_known = client.position.as_ref().is_none_or(|known| *known == answered);
        ensure!(
            is_known || result["gap"] == true,
            "it is at {answered:?}, and heard up to {:?}",
            client.position
        );
        client.position = Some(answered);
        let connection = client.number;
        self.model.joined(connection, KEPT);
        Ok(())
    }

    /// Lets everything that is under way end, and compares.
    fn come_to_rest(&mut self) -> Result<()> {
        for number in 0..CLIENTS {
            if let Some(client) = &mut self.clients[number] {
                client.is_paused = false;
            }
            self.reconnect(number)?;
        }
        for _ in 0..QUIET_ROUNDS {
            system::pass(Duration::from_millis(100));
            self.round()?;
            self.look()?;
        }
        let is_waiting = self.sending.iter().flatten().next().map(|sending| sending.id);
        ensure!(is_waiting.is_none(), "the sender of message {is_waiting:?} hears nothing");
        self.events.add(format_args!("everything is quiet"));
        self.model.check_received()
    }

    /// Reads the whole log of the kept group as a new client.
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
