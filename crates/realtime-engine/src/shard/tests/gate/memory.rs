//! Heap memory of an idle client. The memory of sockets belongs to the kernel and is not counted.
//!
//! Tables grow by doubling, so that the figure is valid for one number of clients: with a thousand, lists by number (capacity
//! 1024) are full, and tables by name (1792) little more than half full. After the lists have just doubled, a client uses up to
//! 160 bytes more for its connection and 72 for its user.

use super::*;
use crate::shard::connection::{Connection, ConnectionState};
use crate::{
    Capacity, ClientConnection, ClientContext, ClientInvocation, HandshakeDecision, InvocationRejection,
};

const CLIENTS: usize = 1000;

/// A client without a user, in no group, without events for an upstream. Measured: 230: its connection (164), its id in the table
/// of ids (51), the list of its hub's members and its next deadline (15).
const BARE_BYTES_MAX: usize = 235;

/// A client with a user and a token of 300 characters, in one group, with events for an upstream. Measured: 687: besides the
/// above, its client context (236), its groups (60) and its user (169).
const FULL_BYTES_MAX: usize = 700;

/// Size of the state of a connection.
const CONNECTION_BYTES_MAX: usize = 160;

/// The JSON in a token of 300 characters: 219 characters of base64 between header and signature.
const CLAIMS_BYTES: usize = 164;

/// Postpones handshakes and stores client contexts, as the upstream of webhooks does.
#[derive(Debug)]
struct Recording;

impl Upstream for Recording {
    fn invoke(&self, _: ClientInvocation) -> Result<Capacity, InvocationRejection> {
        unreachable!("clients of this test invoke nothing")
    }

    fn keeps_client_context(&self, _: &Hub) -> bool {
        true
    }

    fn connecting(&self, _: &ClientConnection) -> HandshakeDecision {
        HandshakeDecision::Wait
    }
}

/// Heap bytes of a client, on average.
fn bytes(world: &mut World, attach: impl Fn(&mut World, usize) -> Client) -> usize {
    edge::raise_open_files().expect("the limit of open files can be raised to its maximum");
    // Space for the clients' ends, which are not counted; and a first client, which creates the hub.
    let mut clients = Vec::with_capacity(CLIENTS + 1);
    clients.push(attach(world, CLIENTS));
    let counted = allocation_counter::measure(|| {
        for number in 0..CLIENTS {
            clients.push(attach(world, number));
        }
    });
    usize::try_from(counted.bytes_current).unwrap().div_ceil(CLIENTS)
}

/// Completes a client's handshake, without storing anything in the client.
fn complete_handshake(world: &mut World, client: &mut Client) {
    client.send("{\"protocol\":\"json\",\"version\":1}\u{1e}");
    let slot = world.slot(client) as usize;
    world.turn_until(|shard| !matches!(shard.connections[slot].state, ConnectionState::Handshaking(_)));
    world.command(ShardCommand::Opened { connection: client.id, result: Ok(()) });
    client.stream.read_exact(&mut [0; 5]).unwrap();
}

#[test]
fn the_size_of_a_connection_stays_below_its_limit() {
    assert!(size_of::<Connection>() <= CONNECTION_BYTES_MAX, "{}", size_of::<Connection>());
}

#[test]
fn an_idle_client_without_an_upstream_stays_below_its_limit() {
    let mut world = World::new(Options::default());
    let bytes = bytes(&mut world, |world, _| {
        let mut client = world.attach(None, None);
        complete_handshake(world, &mut client);
        client
    });
    assert!(bytes <= BARE_BYTES_MAX, "{bytes} bytes for each client");
}

#[test]
fn an_idle_client_with_user_claims_and_group_stays_below_its_limit() {
    let mut world = World::with(Options::default(), Arc::new(Recording));
    let everybody = group("everybody");
    let bytes = bytes(&mut world, |world, number| {
        let claims = "x".repeat(CLAIMS_BYTES).into();
        let client_context = Some(Arc::new(ClientContext { claims, query: Box::default(), remote: None }));
        let mut client =
            world.admit(ClientAdmission { client_context, ..admission(Some(&format!("user-{number:03}"))) });
        complete_handshake(world, &mut client);
        world.put_into(&client, &everybody);
        client
    });
    assert!(bytes <= FULL_BYTES_MAX, "{bytes} bytes for each client");
}
