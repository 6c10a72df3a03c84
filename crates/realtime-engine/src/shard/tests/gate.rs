//! The regression gate of fan-out: counts that do not depend on the machine, each with its limit.
//!
//! The cost of a delivered message follows from a few numbers: system calls (`sends.rs`), allocations of a publish (`allocations.rs`), and
//! memory of an idle client (`memory.rs`). A benchmark shows a regression only on a quiet machine and later; a count shows it in the test run
//! of the change. So these tests drive a shard on their own thread, with real sockets: the counts depend on neither clock nor scheduler.
//!
//! The limits are named constants. A change that raises one says in its comment what the additional send, allocation or byte is for; a change
//! that makes something cheaper lowers it, so that the gain is not lost again unnoticed.

mod allocations;
mod memory;
mod sends;

use super::*;
use crate::GroupName;

const JSON: &str = "json";
const MESSAGE_PACK: &str = "messagepack";

impl World {
    /// Clients that have completed their handshake.
    fn crowd(&mut self, count: usize, protocol: impl Fn(usize) -> &'static str) -> Vec<Client> {
        (0..count).map(|number| self.join_with(admission(None), protocol(number), 1)).collect()
    }

    /// One client that has completed its handshake.
    fn join_with(&mut self, admission: ClientAdmission, protocol: &str, version: u32) -> Client {
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

    /// Runs turns until the shard has no more work.
    fn settle(&mut self) {
        while self.turn() == TurnResult::MoreWork {}
    }
}

impl Client {
    /// The next `count` messages.
    fn messages(&mut self, count: usize) -> Vec<Vec<u8>> {
        let (mut messages, mut buffer) = (Vec::new(), [0; 4096]);
        while messages.len() < count {
            let length = self.stream.read(&mut buffer).unwrap();
            assert!(length > 0, "the shard closed a client of the test");
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
