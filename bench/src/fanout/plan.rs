//! The tables: which servers are measured, at which levels, and the goals.

use super::generator::Transport;
use super::measured::Measured;
use super::pair::{Server, Setup};
use super::peers::Peer;
use super::table::{Contender, GoalSet, Table};
use super::task::{PublishPath, Sample, Shape, Task};
use crate::report::{Better, Goal};

/// Messages of one burst.
const BURSTS: [u32; 3] = [1, 4, 16];

/// Frame size of a small message, head included, in bytes; the goals are for this size.
const FRAME_BYTES: usize = 130;

const PEERS: [Peer; 5] = [Peer::Ws, Peer::SocketIo, Peer::Centrifugo, Peer::Gws, Peer::Bun];

/// All tables, for this number of connections and this sample length.
pub(super) fn tables(connections: u32, sample_ms: u64) -> Vec<Table> {
    let task = |burst, frame_bytes| Task {
        burst,
        frame_bytes,
        shape: Shape::One,
        publish_path: PublishPath::Direct,
        in_flight: 1,
        reads_after: false,
        sample_ms,
    };
    let bursts = |frame_bytes| BURSTS.map(|burst| task(burst, frame_bytes)).to_vec();
    let small = bursts(FRAME_BYTES);
    let (few, many) = (connections / 5, connections * 9 / 5);
    let plain = |key, title, connections, frame_bytes| {
        table(key, title, "One publish reaches every client.", pair(connections), bursts(frame_bytes))
    };
    let mut tables = vec![
        Table {
            contenders: with_peers(connections),
            goals: GoalSet::Broadcast,
            tasks: with_saturated(&small),
            ..plain("broadcast", format!("Broadcast to one group of {connections}"), connections, FRAME_BYTES)
        },
        plain("fewer", format!("Broadcast to one group of {few}"), few, FRAME_BYTES),
        plain("more", format!("Broadcast to one group of {many}"), many, FRAME_BYTES),
        plain("1k", format!("Frames of 1 KiB to {connections}"), connections, 1024),
        plain("16k", format!("Frames of 16 KiB to {few}"), few, 16 * 1024),
        shapes(connections, &small),
        publish_paths(connections, &small),
    ];
    tables.extend(variants(connections, few, &small));
    tables.push(shards(connections, task(1, FRAME_BYTES)));
    tables.push(Table {
        goals: GoalSet::SlowReader,
        ..table(
            "slow-reader",
            format!("One client that never reads, beside {connections} others"),
            "Its socket is full from the start, and its oldest messages are dropped; the messages of the other clients are measured.",
            beside(connections, "with the one", |setup| setup.slow_reader = true),
            vec![task(1, FRAME_BYTES)],
        )
    });
    tables
}

fn shapes(connections: u32, bursts: &[Task]) -> Table {
    let tasks = Shape::ALL.iter().flat_map(|shape| bursts.iter().map(|task| Task { shape: *shape, ..*task }));
    let title = format!("Many groups, and single connections, {connections} in all");
    let note = "Each client gets each burst, by one publish or by many.";
    Table { goals: GoalSet::Shapes, ..table("shapes", title, note, pair(connections), tasks.collect()) }
}

fn publish_paths(connections: u32, bursts: &[Task]) -> Table {
    let paths = [PublishPath::Direct, PublishPath::Rest, PublishPath::Upstream];
    let tasks = paths.iter().flat_map(|path| bursts.iter().map(|task| Task { publish_path: *path, ..*task }));
    let setup = Setup { app: true, ..Setup::new(Server::Chappe, connections) };
    table(
        "paths",
        format!("Publish paths to one group of {connections}"),
        "In process; by REST, each request of a burst on a keep-alive connection of its own; by a hub message of a client that \
         goes to an upstream, which sends by REST. The bare loop is called in process.",
        vec![raw(connections), chappe("Chappe", setup)],
        tasks.collect(),
    )
}

/// One shard on one processor, and two shards on two.
fn shards(connections: u32, task: Task) -> Table {
    let mut two = Setup::new(Server::Chappe, connections);
    two.shards = 2;
    let contenders = vec![
        chappe("Chappe, one shard", Setup::new(Server::Chappe, connections)),
        chappe("Chappe, two shards", two),
    ];
    Table {
        goals: GoalSet::Shards,
        ..table(
            "shards",
            format!("Two shards on two processors, {connections} clients"),
            "The generator is on the second processor, beside a shard. It reads nothing while a sample runs but from the probes, one \
             client in 80, and waits for those by a poll; all else is read and counted after the sample. Compare messages a second; \
             processor time is the first processor's.",
            contenders,
            vec![Task { reads_after: true, ..task }],
        )
    }
}

fn shard_goals(measured: &Measured) -> Vec<Goal> {
    let name = ("Chappe, two shards", "Chappe, one shard");
    let ratio = measured.ratio(name.0, name.1, |_| true, Sample::messages_per_second);
    vec![more("two shards on two processors, messages/s of one", ratio, 1.85, None)]
}

/// Bursts that are pending at the same time when a processor is to be saturated.
const SATURATING: u32 = 4;

/// The same levels with one pending burst, and the lowest and the highest level with so many that the server never waits.
fn with_saturated(bursts: &[Task]) -> Vec<Task> {
    let ends = [bursts.first(), bursts.last()];
    let saturated = ends.into_iter().flatten().map(|task| Task { in_flight: SATURATING, ..*task });
    bursts.iter().copied().chain(saturated).collect()
}

/// Other protocols, transports and TLS.
fn variants(connections: u32, few: u32, bursts: &[Task]) -> [Table; 4] {
    [
        table(
            "protocols",
            format!("JSON and MessagePack half and half, {connections} clients"),
            "The bare loop sends one buffer to all. A frame of MessagePack is a little smaller.",
            beside(connections, "JSON and MessagePack", |setup| setup.mixed = true),
            bursts.to_vec(),
        ),
        table(
            "events",
            format!("Server-Sent Events, {connections} clients"),
            "A WebSocket's frame has 130 bytes; a stream of events has the same message with its own framing.",
            beside(connections, "Server-Sent Events", |setup| setup.transport = Transport::ServerSentEvents),
            bursts.to_vec(),
        ),
        table(
            "polls",
            format!("Long polling, {few} clients"),
            "Each client sends the next poll as soon as it has a response, and each request is authenticated.",
            beside(few, "long polling", |setup| setup.transport = Transport::LongPolling),
            bursts.to_vec(),
        ),
        table(
            "tls",
            format!("TLS 1.3, {connections} clients"),
            "The bare loop has no TLS.",
            beside(connections, "TLS", |setup| setup.tls = true),
            bursts.to_vec(),
        ),
    ]
}

/// The goals of a table.
pub(super) fn goals(set: GoalSet, measured: &Measured) -> Vec<Goal> {
    match set {
        GoalSet::None => Vec::new(),
        GoalSet::Broadcast => broadcast_goals(measured),
        GoalSet::Shapes => shape_goals(measured),
        GoalSet::Shards => shard_goals(measured),
        GoalSet::SlowReader => slow_reader_goals(measured),
    }
}

fn table(
    key: &'static str,
    title: String,
    note: &'static str,
    contenders: Vec<Contender>,
    tasks: Vec<Task>,
) -> Table {
    Table { key, title, note, contenders, tasks, goals: GoalSet::None }
}

fn raw(connections: u32) -> Contender {
    Contender { name: "raw".to_owned(), setup: Setup::new(Server::Raw, connections) }
}

fn chappe(name: &str, setup: Setup) -> Contender {
    Contender { name: name.to_owned(), setup }
}

fn pair(connections: u32) -> Vec<Contender> {
    vec![raw(connections), chappe("Chappe", Setup::new(Server::Chappe, connections))]
}

/// Our server as it is, and with one change.
fn beside(connections: u32, name: &str, change: impl FnOnce(&mut Setup)) -> Vec<Contender> {
    let mut changed = Setup::new(Server::Chappe, connections);
    change(&mut changed);
    let mut contenders = pair(connections);
    contenders.push(chappe(&format!("Chappe, {name}"), changed));
    contenders
}

fn with_peers(connections: u32) -> Vec<Contender> {
    let mut contenders = pair(connections);
    let setup = |peer| Setup::new(Server::Peer(peer), connections);
    contenders.extend(PEERS.map(|peer| Contender { name: peer.name().to_owned(), setup: setup(peer) }));
    contenders
}

fn broadcast_goals(measured: &Measured) -> Vec<Goal> {
    let at = |burst| move |task: &Task| task.burst == burst && task.in_flight == 1;
    let saturated = |burst| move |task: &Task| task.burst == burst && task.in_flight > 1;
    let cost = |name, other, burst| measured.ratio(name, other, at(burst), Sample::cost_us);
    let mut goals = vec![
        less("broadcast, one at a time, to raw", cost("Chappe", "raw", 1), 1.10, Some(0.90)),
        less(
            "broadcast, 16 at once, to raw with 16 frames a write",
            cost("Chappe", "raw", 16),
            1.25,
            Some(0.80),
        ),
        less(
            "broadcasts of one, saturated, to raw",
            measured.ratio("Chappe", "raw", saturated(1), Sample::cost_us),
            0.90,
            None,
        ),
        less(
            "broadcasts of 16, saturated, to raw",
            measured.ratio("Chappe", "raw", saturated(16), Sample::cost_us),
            0.80,
            None,
        ),
        less(
            "time to the last receiver, to raw",
            measured.ratio("Chappe", "raw", at(1), |sample| sample.last_p50_ns as f64),
            1.15,
            Some(1.05),
        ),
    ];
    for (peer, burst, must, aim) in [
        (Peer::Ws, 1, 1.4, 1.6),
        (Peer::Ws, 16, 10.0, 18.0),
        (Peer::Centrifugo, 1, 1.0, 2.0),
        (Peer::Centrifugo, 16, 1.0, 4.0),
    ] {
        // A server that is not installed cannot be compared.
        if measured.has(peer.name()) {
            let what = format!("{}, {burst} at once, of Chappe's cost", peer.name());
            goals.push(more(&what, cost(peer.name(), "Chappe", burst), must, Some(aim)));
        }
    }
    goals
}

fn shape_goals(measured: &Measured) -> Vec<Goal> {
    let own = |shape| move |task: &Task| task.burst == 1 && task.shape == shape;
    let ratio = measured.ratio_of_tasks("Chappe", own(Shape::Tens), own(Shape::One), Sample::cost_us);
    vec![less("groups of 10, to one group, for each message", ratio, 1.3, Some(1.1))]
}

fn slow_reader_goals(measured: &Measured) -> Vec<Goal> {
    let p99 = |sample: &Sample| sample.probe_p99_ns as f64;
    let ratio = measured.ratio("Chappe, with the one", "Chappe", |_| true, p99);
    vec![less("p99 of the others, to without", ratio, 1.1, None)]
}

pub(super) fn less(what: &str, measured: f64, must: f64, aim: Option<f64>) -> Goal {
    Goal { what: what.to_owned(), measured, must, aim, better: Better::Less }
}

pub(super) fn more(what: &str, measured: f64, must: f64, aim: Option<f64>) -> Goal {
    Goal { what: what.to_owned(), measured, must, aim, better: Better::More }
}
