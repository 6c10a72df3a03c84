//! Allocations of a publish: on the publishing thread, and on the shard's.
//!
//! A message is queued, encoded and joined once, for any number of receivers. So the counts do not depend on the number of receivers, and
//! messages that are pending together cost two more, however many there are. The counts are exact, for the pinned compiler and a debug build,
//! so that a small regression shows.
//!
//! A list that grows counts as an allocation. So the test publishes before it counts, until queues and lists have their size.

use std::sync::OnceLock;

use ::trace::Tracer;

use super::*;
use crate::handle::{ShardSender, Shared};
use crate::{EngineHandle, Publish};

/// To create a message from a method and arguments: a copy of each.
const MESSAGE: u64 = 2;

/// To queue a message: the shared publish, and the list of the queues' permits.
const QUEUE: u64 = 2;

/// To append a message for its receivers in one protocol: the frame, its shared owner, and the frame list.
const JSON_FRAME: u64 = 3;

/// The additional cost of a second protocol.
const MESSAGE_PACK_FRAME: u64 = 3;

/// To join a frame list into one buffer, for each protocol: the list of frames, and the buffer.
const JOIN: u64 = 2;

/// If the receivers of one message have different frame lists: each further list, and the first time the map of lists.
const OTHER_RUN: u64 = 2;

const CLIENTS: usize = 1000;

/// Numbers of messages that are pending together.
const BURSTS: [u64; 3] = [1, 4, 16];

/// Frames of about 130 bytes, as in the benchmark.
const FILLER_BYTES: usize = 85;

/// The shard and its clients.
struct ConnectionState {
    world: World,
    handle: EngineHandle,
    clients: Vec<Client>,
    targets: Vec<Target>,
}

fn allocations(work: impl FnOnce()) -> u64 {
    allocation_counter::measure(work).count_total
}

/// The allocations of a publish to all these targets: on the publishing thread, and on the shard until it is written.
fn count(world: &mut World, handle: &EngineHandle, targets: &[&Target]) -> (u64, u64) {
    // The publisher has these already.
    let (hub, arguments) = (hub(), arguments());
    let publish = |target: &Target| {
        let message = OutgoingMessage::invocation("m", &arguments).unwrap();
        let (hub, target) = (hub.clone(), target.clone());
        Publish { hub, target, excluded: Vec::new(), excluded_users: Vec::new(), message, trace: None }
    };
    let published = allocations(|| {
        for target in targets {
            handle.try_publish(publish(target)).unwrap();
        }
    });
    (published, allocations(|| world.settle()))
}

fn arguments() -> String {
    format!("[\"{}\"]", "x".repeat(FILLER_BYTES))
}

/// A handle of the shard that the test drives.
fn handle(world: &World) -> EngineHandle {
    let settings = &world.shard.settings;
    let waker = Arc::clone(&world.inbox.waker);
    EngineHandle::new(Shared {
        node: NodeId(0),
        connections_max: settings.options.connections_max.into(),
        connections: Arc::clone(&settings.connections),
        hub_counts: Arc::clone(&settings.hub_counts),
        http_pending_bytes: world.metrics.http_pending_bytes.clone(),
        next_shard: 0.into(),
        shards: vec![ShardSender::new(world.commands.clone(), waker)],
        tracer: Tracer::new(1),
        history_log: OnceLock::new(),
    })
}

/// A world, its handle, and groups of its first clients, one of each size.
fn world(sizes: &[usize], protocol: impl Fn(usize) -> &'static str) -> ConnectionState {
    edge::raise_open_files().expect("the limit of open files can be raised to its maximum");
    let mut world = World::new(Options::default());
    let clients = world.crowd(CLIENTS, protocol);
    let groups = sizes.iter().map(|size| {
        let group = group(&size.to_string());
        for client in &clients[..*size] {
            world.put_into(client, &group);
        }
        Target::Group(group)
    });
    let targets = groups.collect();
    let handle = handle(&world);
    // The queue is a chain of blocks for 32 commands each, which are reused.
    for _ in 0..8 {
        count(&mut world, &handle, &[&Target::All; 16]);
    }
    ConnectionState { world, handle, clients, targets }
}

#[test]
fn a_publish_allocates_the_same_for_any_number_of_receivers() {
    let ConnectionState { mut world, handle, clients, mut targets } = world(&[1, 100, CLIENTS], |_| JSON);
    targets.extend([Target::All, Target::Connection(clients[0].id)]);
    for target in &targets {
        for burst in BURSTS {
            let counted = count(&mut world, &handle, &vec![target; burst as usize]);
            let join = if burst > 1 { JOIN } else { 0 };
            let expected = (burst * (MESSAGE + QUEUE), burst * JSON_FRAME + join);
            assert_eq!(counted, expected, "{burst} at once to {target:?}");
        }
    }
}

#[test]
fn a_second_protocol_allocates_one_frame_and_nothing_for_each_receiver() {
    let protocol = |number: usize| if number.is_multiple_of(2) { JSON } else { MESSAGE_PACK };
    let ConnectionState { mut world, handle, clients: _clients, targets } =
        world(&[2, 100, CLIENTS], protocol);
    for target in &targets {
        for burst in BURSTS {
            let counted = count(&mut world, &handle, &vec![target; burst as usize]);
            let join = if burst > 1 { 2 * JOIN } else { 0 };
            let expected = (burst * (MESSAGE + QUEUE), burst * (JSON_FRAME + MESSAGE_PACK_FRAME) + join);
            assert_eq!(counted, expected, "{burst} at once to {target:?}");
        }
    }
}

/// Receivers of only the second message have another frame list than receivers of both, and each list is joined once.
#[test]
fn receivers_with_different_frame_lists_allocate_one_list_each() {
    let ConnectionState { mut world, handle, clients: _clients, targets } =
        world(&[1, 2, 100, CLIENTS], |_| JSON);
    for pair in targets.windows(2) {
        let (_, shard) = count(&mut world, &handle, &[&pair[0], &pair[1]]);
        assert_eq!(shard, 2 * JSON_FRAME + JOIN + OTHER_RUN, "to {pair:?}");
    }
}
