//! System calls of delivery: one for each client with pending messages, whatever the number of messages.
//!
//! A send costs about the same from 130 bytes to 16 KiB, and nothing in user space saves as much as fewer sends do
//! (docs/performance.md). So the counts are exact: one more send is a regression.

use super::*;

/// Clients of each test; an even number, so that halves are equal.
const CLIENTS: usize = 50;

/// Numbers of messages that are pending together: one, and enough that coalescing is visible.
const BURSTS: [usize; 3] = [1, 4, 16];

/// Counts of a shard.
#[derive(Debug, PartialEq, Eq)]
struct Counted {
    /// Writes to sockets.
    sends: usize,
    /// Messages that clients received.
    delivered: usize,
}

/// Publishes the numbers from 0, one to each target, before the shard's next turn. `gets` returns which of them a client must receive:
/// complete, in order, and nothing else.
fn count(
    world: &mut World,
    clients: &mut [Client],
    targets: &[(Target, Vec<ConnectionId>)],
    gets: impl Fn(usize) -> Vec<usize>,
) -> Counted {
    let before = world.shard.metrics.turn;
    for (number, (target, excluded)) in targets.iter().enumerate() {
        let message = OutgoingMessage::invocation("m", &format!("[{number}]")).unwrap();
        let mut work = work(target.clone(), message);
        work.excluded = excluded.clone();
        work.excluded.sort_unstable();
        world.commands.try_send(ShardCommand::Publish(Arc::new(work))).unwrap();
    }
    world.settle();
    let mut delivered = 0;
    for (at, client) in clients.iter_mut().enumerate() {
        let expected = gets(at);
        let slot = world.slot(client);
        let protocol = world.shard.connections[slot as usize].protocol.name();
        let messages = client.messages(expected.len());
        assert_eq!(
            messages,
            expected.iter().map(|number| call(protocol, *number)).collect::<Vec<_>>(),
            "client {at}"
        );
        client.stream.set_nonblocking(true).unwrap();
        assert_eq!(
            client.stream.peek(&mut [0]).unwrap_err().kind(),
            io::ErrorKind::WouldBlock,
            "client {at}"
        );
        client.stream.set_nonblocking(false).unwrap();
        delivered += messages.len();
    }
    let turn = world.shard.metrics.turn;
    assert_eq!(turn.frames - before.frames, delivered as u64, "the metrics are correct");
    Counted { sends: (turn.writes - before.writes) as usize, delivered }
}

/// The invocation `m(number)` as a client of a protocol receives it.
fn call(protocol: &str, number: usize) -> Vec<u8> {
    match protocol {
        JSON => format!("{{\"type\":1,\"target\":\"m\",\"arguments\":[{number}]}}\u{1e}").into_bytes(),
        MESSAGE_PACK => vec![0x09, 0x96, 0x01, 0x80, 0xc0, 0xa1, b'm', 0x91, number as u8, 0x90],
        other => panic!("no client of this test uses {other}"),
    }
}

fn mixed(number: usize) -> &'static str {
    if number.is_multiple_of(2) { JSON } else { MESSAGE_PACK }
}

fn to(target: &Target, burst: usize) -> Vec<(Target, Vec<ConnectionId>)> {
    vec![(target.clone(), Vec::new()); burst]
}

#[test]
fn a_burst_is_one_send_for_each_client_of_either_protocol() {
    let mut world = World::new(Options::default());
    let mut clients = world.crowd(CLIENTS, mixed);
    let all = group("all");
    for client in &clients {
        world.put_into(client, &all);
    }
    for target in [Target::All, Target::Group(all)] {
        for burst in BURSTS {
            let counted = count(&mut world, &mut clients, &to(&target, burst), |_| (0..burst).collect());
            assert_eq!(counted, Counted { sends: CLIENTS, delivered: CLIENTS * burst }, "{burst} at once");
        }
    }
}

/// Reads are handled between chunks; a chunk must not split the pending messages of one client.
#[test]
fn a_burst_that_is_written_in_chunks_is_one_send_for_each_client() {
    let mut world = World::new(Options { flush_chunk: 8, ..Options::default() });
    let mut clients = world.crowd(CLIENTS, mixed);
    for burst in BURSTS {
        let counted = count(&mut world, &mut clients, &to(&Target::All, burst), |_| (0..burst).collect());
        assert_eq!(counted, Counted { sends: CLIENTS, delivered: CLIENTS * burst }, "{burst} at once");
    }
}

#[test]
fn messages_to_many_groups_are_one_send_for_each_member() {
    let mut world = World::new(Options::default());
    let mut clients = world.crowd(CLIENTS, mixed);
    let groups: Vec<GroupName> = (0..10).map(|number| group(&format!("g{number}"))).collect();
    for (at, client) in clients.iter().enumerate() {
        world.put_into(client, &groups[at / 5]);
    }
    let targets: Vec<_> = groups.iter().map(|group| (Target::Group(group.clone()), Vec::new())).collect();
    let counted = count(&mut world, &mut clients, &targets, |at| vec![at / 5]);
    assert_eq!(counted, Counted { sends: CLIENTS, delivered: CLIENTS });
}

#[test]
fn overlapping_groups_and_exclusions_are_one_send_for_each_client() {
    let mut world = World::new(Options::default());
    let mut clients = world.crowd(CLIENTS, mixed);
    let (first, second) = (group("first"), group("second"));
    for (at, client) in clients.iter().enumerate() {
        if at < 30 {
            world.put_into(client, &first);
        }
        if at >= 20 {
            world.put_into(client, &second);
        }
    }
    let odd: Vec<ConnectionId> = clients.iter().skip(1).step_by(2).map(|client| client.id).collect();
    let targets = [
        (Target::Group(first), Vec::new()),
        (Target::Group(second.clone()), Vec::new()),
        (Target::All, odd),
        (Target::Group(second), Vec::new()),
    ];
    let gets = |at: usize| {
        let whether = [at < 30, at >= 20, at.is_multiple_of(2), at >= 20];
        (0..4).filter(|number| whether[*number]).collect()
    };
    let counted = count(&mut world, &mut clients, &targets, gets);
    assert_eq!(counted, Counted { sends: CLIENTS, delivered: 30 + 30 + 25 + 30 });
}

/// Their messages are buffered too, which must not split the write.
#[test]
fn stateful_clients_get_one_send_for_each_burst() {
    let mut world = World::new(Options::default());
    let mut clients: Vec<Client> = (0..CLIENTS)
        .map(|_| {
            let mut client = world.join_with(ClientAdmission { stateful: true, ..admission(None) }, JSON, 2);
            world.first_word(&mut client);
            client
        })
        .collect();
    for burst in BURSTS {
        let counted = count(&mut world, &mut clients, &to(&Target::All, burst), |_| (0..burst).collect());
        assert_eq!(counted, Counted { sends: CLIENTS, delivered: CLIENTS * burst }, "{burst} at once");
    }
}
