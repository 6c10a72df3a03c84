//! The gate of fan-out: counts that a noisy machine cannot change, each beside what it may be.
//!
//! What a delivered message costs follows from few numbers: how many sends it takes (`sends.rs`), how often a publish asks the
//! allocator (`allocations.rs`), how many bytes wait with a client that does nothing (`memory.rs`). Time shows when one of them
//! is lost only on a quiet machine and much later; a count shows it in the test run of whoever lost it. So a shard is driven by
//! hand here, on the thread of the test, with real sockets: what is counted depends on neither clock nor scheduler.
//!
//! The bounds are named constants. Whoever has a reason to move one says in its comment what the additional send, allocation or
//! byte buys; whoever makes something cheaper lowers it, so that nobody loses the gain again unseen.

mod allocations;
mod memory;
mod sends;

use super::*;
use crate::GroupName;

const JSON: &str = "json";
const MESSAGE_PACK: &str = "messagepack";

impl World {
    /// Clients that did their handshake and were answered.
    fn crowd(&mut self, count: usize, protocol: impl Fn(usize) -> &'static str) -> Vec<Client> {
        (0..count).map(|number| self.join_with(admission(None), protocol(number), 1)).collect()
    }

    /// One client that did its handshake and was answered.
    fn join_with(&mut self, admission: Admission, protocol: &str, version: u32) -> Client {
        let mut client = self.admit(admission);
        client.send(&format!("{{\"protocol\":\"{protocol}\",\"version\":{version}}}\u{1e}"));
        let before = self.shard.index.count();
        self.turn_until(|shard| shard.index.count() == before + 1);
        assert_eq!(client.messages(1), [b"{}\x1e"]);
        client
    }

    fn put_into(&mut self, client: &Client, group: &GroupName) {
        let (changed, _) = oneshot::channel();
        let (group, membership) = (group.clone(), Membership::Join);
        self.command(ShardCommand::ChangeConnection {
            hub: hub(),
            connection: client.id,
            group,
            membership,
            changed,
        });
    }

    /// As many turns as the shard asks for.
    fn settle(&mut self) {
        while self.turn() == TurnResult::MoreWork {}
    }
}

impl Client {
    /// The next messages, whatever they are.
    fn messages(&mut self, count: usize) -> Vec<Vec<u8>> {
        let (mut messages, mut buffer) = (Vec::new(), [0; 4096]);
        while messages.len() < count {
            let length = self.stream.read(&mut buffer).unwrap();
            assert!(length > 0, "the shard ended a client of the gate");
            let mut input = &mut buffer[..length];
            loop {
                let Decoded { consumed, event } = self.decoder.decode(input).unwrap();
                match event {
                    None => break,
                    Some(Event::Message(_, payload)) => messages.push(payload.to_vec()),
                    Some(other) => panic!("unexpected {other:?}"),
                }
                input = &mut input[consumed..];
            }
        }
        messages
    }
}

fn group(name: &str) -> GroupName {
    GroupName::new(name)
}
