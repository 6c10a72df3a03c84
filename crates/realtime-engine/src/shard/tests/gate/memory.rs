//! Bytes that wait with a client that does nothing: what the heap holds for it, as it was asked for. The sockets' own memory
//! is the kernel's.
//!
//! Tables grow by doubling, so that the count is that of one number of clients: with a thousand, lists by number (capacity
//! 1024) are full, and tables by name (1792) little more than half. Where the lists have just doubled, a client takes up to 160 bytes
//! more for its connection and 72 for its user, until others fill the room.

use super::*;
use crate::shard::connection::{Connection, ConnectionState};
use crate::{
    Capacity, ClientConnection, ClientContext, ClientInvocation, HandshakeDecision, InvocationRejection,
};

const CLIENTS: usize = 1000;

/// A client without a name, in no group, that nobody hears of. Measured: 230. They are its place among the connections (164), its
/// id in the table of them (51), the list of its hub's members and its next deadline (15).
const BARE_BYTES_MAX: usize = 235;

/// A client with a name and a token of 300 characters, in one group, of whose coming and going an upstream was told. Measured: 687.
/// Besides what a bare one has, they are its claims and how it came (236), its groups (60) and its user (169).
const HEARD_BYTES_MAX: usize = 700;

/// A connection itself: less would be good, and more is paid by all.
const CONNECTION_BYTES_MAX: usize = 160;

/// A token of 300 characters carries so much JSON: 219 characters of base64 between head and signature.
const CLAIMS_BYTES: usize = 164;

/// Records comings and goings before a client is let in, as webhooks do.
#[derive(Debug)]
struct Recording;

impl Upstream for Recording {
    fn invoke(&self, _: ClientInvocation) -> Result<Capacity, InvocationRejection> {
        unreachable!("clients of the gate call nothing")
    }

    fn keeps_client_context(&self, _: &Hub) -> bool {
        true
    }

    fn connecting(&self, _: &ClientConnection) -> HandshakeDecision {
        HandshakeDecision::Wait
    }
}

/// Bytes of the heap that a client takes, on average.
fn bytes(world: &mut World, attach: impl Fn(&mut World, usize) -> Client) -> usize {
    edge::raise_open_files().expect("the system lets us have as many files as it allows");
    // Room for the clients' own ends, which are not counted; and the first one, with whom its hub begins.
    let mut clients = Vec::with_capacity(CLIENTS + 1);
    clients.push(attach(world, CLIENTS));
    let counted = allocation_counter::measure(|| {
        for number in 0..CLIENTS {
            clients.push(attach(world, number));
        }
    });
    usize::try_from(counted.bytes_current).unwrap().div_ceil(CLIENTS)
}

/// Ends a client's handshake; keeps nothing of it in the client.
fn shake_hands(world: &mut World, client: &mut Client) {
    client.send("{\"protocol\":\"json\",\"version\":1}\u{1e}");
    let slot = world.slot(client) as usize;
    world.turn_until(|shard| !matches!(shard.connections[slot].state, ConnectionState::Handshaking(_)));
    world.command(ShardCommand::Opened { connection: client.id, result: Ok(()) });
    client.stream.read_exact(&mut [0; 5]).unwrap();
}

#[test]
fn a_connection_is_small() {
    assert!(size_of::<Connection>() <= CONNECTION_BYTES_MAX, "{}", size_of::<Connection>());
}

#[test]
fn a_client_that_nobody_hears_of_takes_few_bytes() {
    let mut world = World::new(Options::default());
    let bytes = bytes(&mut world, |world, _| {
        let mut client = world.attach(None, None);
        shake_hands(world, &mut client);
        client
    });
    assert!(bytes <= BARE_BYTES_MAX, "{bytes} bytes for each client");
}

#[test]
fn a_client_with_name_claims_and_group_takes_few_bytes_more() {
    let mut world = World::with(Options::default(), Arc::new(Recording));
    let everybody = group("everybody");
    let bytes = bytes(&mut world, |world, number| {
        let claims = "x".repeat(CLAIMS_BYTES).into();
        let client_context = Some(Arc::new(ClientContext { claims, query: Box::default(), remote: None }));
        let mut client =
            world.admit(Admission { client_context, ..admission(Some(&format!("user-{number:03}"))) });
        shake_hands(world, &mut client);
        world.put_into(&client, &everybody);
        client
    });
    assert!(bytes <= HEARD_BYTES_MAX, "{bytes} bytes for each client");
}
