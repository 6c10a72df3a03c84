//! Stateful reconnect: a new socket continues where the old one ended.

use super::*;
use crate::{ReattachResult, SlowConsumer};

const PING: &str = "{\"type\":6}\u{1e}";

impl World {
    /// A stateful client that has sent its first message.
    fn stateful(&mut self) -> Client {
        let mut client = self.admit(ClientAdmission { stateful: true, ..admission(None) });
        client.send("{\"protocol\":\"json\",\"version\":2}\u{1e}");
        let before = self.shard.index.count();
        self.turn_until(|shard| shard.index.count() == before + 1);
        assert_eq!(client.receive(), "{}\u{1e}");
        client
    }

    pub(super) fn first_word(&mut self, client: &mut Client) {
        client.send(PING);
        let slot = self.slot(client);
        self.turn_until(|shard| shard.connections[slot as usize].has_pinged);
    }

    fn reattach(&mut self, client: &mut Client) -> ReattachResult {
        let (stream, socket) = sockets();
        let (done, mut answer) = oneshot::channel();
        self.command(ShardCommand::Reattach { connection: client.id, socket: Box::new(socket), done });
        client.stream = stream;
        client.decoder = Decoder::new(Role::Client, 1 << 24);
        answer.try_recv().unwrap()
    }

    fn is_detached(&self, client: &Client) -> bool {
        matches!(
            self.shard.connections[self.slot(client) as usize].transport,
            connection::TransportState::Detached { .. }
        )
    }
}

fn call(number: usize) -> String {
    format!("{{\"type\":1,\"target\":\"m\",\"arguments\":[{number}]}}\u{1e}")
}

fn sequence(id: usize) -> String {
    format!("{{\"type\":9,\"sequenceId\":{id}}}\u{1e}")
}

#[test]
fn messages_that_were_not_acknowledged_are_sent_on_the_new_socket() {
    let mut world = World::new(Options::default());
    let mut client = world.stateful();
    // A JavaScript client counts only messages after its own first message.
    world.publish(Target::All, "[1]");
    world.turn();
    world.first_word(&mut client);
    world.publish(Target::All, "[2]");
    assert_eq!([client.receive(), client.receive()], [call(1), call(2)]);
    client.send("{\"type\":8,\"sequenceId\":1}\u{1e}");
    drop(std::mem::replace(&mut client.stream, sockets().0));
    world.turn_until(|shard| {
        shard
            .connections
            .iter()
            .any(|(_, one)| matches!(one.transport, connection::TransportState::Detached { .. }))
    });
    world.publish(Target::All, "[3]");
    assert_eq!(world.shard.index.count(), 1, "it is still a member");
    assert_eq!(world.reattach(&mut client), ReattachResult::Attached);
    world.publish(Target::All, "[4]");
    let got: Vec<String> = (0..4).map(|_| client.receive()).collect();
    assert_eq!(got, [sequence(2), call(2), call(3), call(4)]);
    // Before the client's Sequence message, its messages do not count; after it, repeated messages are skipped.
    client.send(&[call(0), sequence(1), call(1), call(2)].concat());
    let slot = world.slot(&client);
    world.turn_until(|shard| {
        shard.connections[slot as usize].rare().unwrap().stateful.as_ref().unwrap().is_ack_due
    });
    world.pass(Duration::from_secs(2));
    assert_eq!(client.receive(), "{\"type\":8,\"sequenceId\":2}\u{1e}");
}

#[test]
fn a_new_socket_replaces_one_whose_loss_was_not_noticed() {
    let mut world = World::new(Options::default());
    let mut client = world.stateful();
    world.first_word(&mut client);
    let mut old = std::mem::replace(&mut client.stream, sockets().0);
    assert_eq!(world.reattach(&mut client), ReattachResult::Attached);
    assert_eq!(client.receive(), sequence(1));
    assert_eq!(old.read(&mut [0; 16]).unwrap(), 0, "the old one is closed");
}

#[test]
fn a_client_that_does_not_reconnect_or_send_its_sequence_in_time_is_closed() {
    let mut world = World::new(Options::default());
    let (mut lost, mut forgetful) = (world.stateful(), world.stateful());
    for client in [&mut lost, &mut forgetful] {
        world.first_word(client);
        drop(std::mem::replace(&mut client.stream, sockets().0));
    }
    world.turn_until(|shard| {
        shard
            .connections
            .iter()
            .all(|(_, one)| matches!(one.transport, connection::TransportState::Detached { .. }))
    });
    assert_eq!(world.reattach(&mut forgetful), ReattachResult::Attached);
    for _ in 0..9 {
        world.pass(Duration::from_secs(2));
    }
    assert_eq!((world.ends(EndReason::ConnectionLost), world.shard.index.count()), (2, 0));
    assert_eq!(world.reattach(&mut lost), ReattachResult::Gone);
}

#[test]
fn a_closed_connection_cannot_be_resumed() {
    let mut world = World::new(Options::default());
    let mut client = world.stateful();
    world.first_word(&mut client);
    let slot = world.slot(&client);
    world.shard.close(slot, EndReason::Closed, None, false);
    world.turn();
    assert_eq!(world.reattach(&mut client), ReattachResult::Gone);
}

#[test]
fn a_client_that_acknowledges_nothing_is_served_until_it_loses_its_socket() {
    let options =
        Options { stateful_bytes_max: 1000, slow_consumer: SlowConsumer::DropOldest, ..Options::default() };
    let mut world = World::new(options);
    let mut client = world.stateful();
    world.first_word(&mut client);
    for number in 0..100 {
        world.publish(Target::All, &format!("[{number}]"));
        assert_eq!(client.receive(), call(number));
    }
    assert!(!world.is_detached(&client));
    drop(client);
    world.turn_until(|shard| shard.index.count() == 0);
    assert_eq!(world.ends(EndReason::ConnectionLost), 1);
}

#[test]
fn many_received_bytes_are_acknowledged_at_once() {
    let mut world = World::new(Options::default());
    let mut client = world.stateful();
    world.first_word(&mut client);
    let filler = "x".repeat(20_000);
    client.send(&format!("{{\"type\":1,\"target\":\"m\",\"arguments\":[\"{filler}\"]}}\u{1e}"));
    let slot = world.slot(&client);
    let before = world.shard.metrics.turn.received_messages;
    world.turn_until(|shard| shard.metrics.turn.received_messages > before);
    assert!(world.shard.connections.contains(slot as usize));
    world.turn();
    assert_eq!(client.receive(), "{\"type\":8,\"sequenceId\":1}\u{1e}");
}
