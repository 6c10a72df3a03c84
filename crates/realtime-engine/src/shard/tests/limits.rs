//! Limits of clients, and what happens to clients that do not read.

use super::*;
use crate::command::{GroupChangeResult, Invoke};
use crate::{ClientInvokeError, ClientResult, GroupName, HubOptions, Predicate, SlowConsumer};

const PING: &str = "{\"type\":6}\u{1e}";
const CALL: &str = "{\"type\":1,\"target\":\"t\",\"arguments\":[]}\u{1e}";

#[test]
fn a_connection_over_its_rate_limit_is_closed_with_an_error() {
    let mut world = World::new(Options { connection_messages_per_second: Some(3), ..Options::default() });
    let (mut busy, mut calm) = (world.join_hub(), world.join_hub());
    calm.send(&[CALL; 3].concat());
    busy.send(&[PING, CALL, PING, CALL].concat());
    world.turn_until(|shard| shard.index.count() == 1);
    assert_eq!(
        busy.receive(),
        "{\"type\":7,\"error\":\"more than 3 messages a second are not allowed\"}\u{1e}"
    );
    assert_eq!(world.ends(EndReason::RateLimited), 1);
    world.publish(Target::All, "[1]");
    assert!(calm.receive().contains("[1]"));
}

#[test]
fn connections_of_a_user_share_a_rate_limit() {
    let mut world = World::new(Options { user_bytes_per_second: Some(100), ..Options::default() });
    let mut join = |user| {
        let mut client = world.admit(admission(Some(user)));
        client.send("{\"protocol\":\"json\",\"version\":1}\u{1e}");
        let before = world.shard.index.count();
        world.turn_until(|shard| shard.index.count() == before + 1);
        assert_eq!(client.receive(), "{}\u{1e}");
        client
    };
    let (mut first, mut second, mut other) = (join("ada"), join("ada"), join("ben"));
    first.send(CALL);
    other.send(&CALL.repeat(2));
    world.turn();
    second.send(&CALL.repeat(2));
    world.turn_until(|shard| shard.index.count() == 2);
    assert_eq!(
        second.receive(),
        "{\"type\":7,\"error\":\"more than 100 bytes a second are not allowed\"}\u{1e}"
    );
}

#[test]
fn a_client_that_only_pings_is_closed_at_the_idle_timeout_of_its_hub() {
    let hubs = [(
        "chat".to_owned(),
        HubOptions { idle_timeout_ms: Some(60_000.try_into().unwrap()), ..HubOptions::default() },
    )];
    let mut world = World::new(Options { hubs: hubs.into(), ..Options::default() });
    let (mut idle, mut talking) = (world.join_hub(), world.join_hub());
    for _ in 0..7 {
        world.pass(Duration::from_secs(10));
        for (client, text) in [(&mut idle, PING), (&mut talking, CALL)] {
            if world.shard.index.slot(client.id).is_some() {
                client.send(text);
                let (slot, now) = (world.slot(client), world.shard.now);
                world.turn_until(|shard| {
                    shard.connections.get(slot as usize).is_none_or(|one| one.last_received_at == now)
                });
            }
        }
    }
    world.pass(Duration::from_secs(1));
    assert_eq!((world.ends(EndReason::IdleTimeout), world.shard.index.count()), (1, 1));
    let mut last = idle.receive();
    while last == PING {
        last = idle.receive();
    }
    assert_eq!(
        last,
        "{\"type\":7,\"error\":\"the client sent no message for longer than this hub allows\"}\u{1e}"
    );
}

#[test]
fn joining_a_group_beyond_the_limit_is_refused() {
    let mut world =
        World::new(Options { connection_groups_max: 2.try_into().unwrap(), ..Options::default() });
    let client = world.join_hub();
    let mut change = |group: &str, membership| {
        let (changed, mut answer) = oneshot::channel();
        let group = GroupName::new(group);
        world.command(ShardCommand::ChangeConnection {
            hub: hub(),
            connection: client.id,
            group,
            membership,
            changed,
        });
        answer.try_recv().unwrap()
    };
    assert_eq!([change("a", Membership::Join), change("b", Membership::Join)], [GroupChangeResult::Done; 2]);
    assert_eq!(change("c", Membership::Join), GroupChangeResult::TooMany);
    assert_eq!(change("a", Membership::Join), GroupChangeResult::Done, "it is a member already");
    assert_eq!(change("b", Membership::Leave), GroupChangeResult::Done);
    assert_eq!(change("c", Membership::Join), GroupChangeResult::Done);
}

/// Publishes numbered invocations of `keys` methods until the socket accepts no more, then `more` others, then lets the client
/// read.
fn what_a_slow_client_gets(slow_consumer: SlowConsumer, keys: usize, more: usize) -> (usize, Vec<usize>) {
    let hubs = HubOptions {
        slow_consumer: Some(slow_consumer),
        pending_bytes_max: Some(500_000),
        ..HubOptions::default()
    };
    let mut world = World::new(Options { hubs: [("chat".to_owned(), hubs)].into(), ..Options::default() });
    let mut slow = world.join_hub();
    let filler = "x".repeat(50_000);
    let mut published = 0;
    let mut publish = |world: &mut World| {
        let arguments = format!("[{},{published},\"{filler}\"]", published % keys);
        world.publish(Target::All, &arguments);
        published += 1;
    };
    while world.shard.pending_bytes == 0 {
        publish(&mut world);
    }
    for _ in 0..more {
        publish(&mut world);
        assert!(world.shard.pending_bytes <= 500_000);
    }
    assert_eq!(world.ends(EndReason::SlowConsumer), 0);
    let message = OutgoingMessage::invocation("end", "[]").unwrap();
    world.command(ShardCommand::Publish(Arc::new(work(Target::All, message))));
    let reader = std::thread::spawn(move || {
        let mut got = Vec::new();
        loop {
            let message = slow.receive();
            let Some(rest) = message.strip_prefix("{\"type\":1,\"target\":\"m\",\"arguments\":[") else {
                return got;
            };
            got.push(rest.split(',').nth(1).unwrap().parse().unwrap());
        }
    });
    world.turn_until(|shard| shard.pending_bytes == 0);
    (published, reader.join().unwrap())
}

#[test]
fn drop_oldest_drops_the_oldest_invocations_of_a_slow_client() {
    let (published, got) = what_a_slow_client_gets(SlowConsumer::DropOldest, 1, 40);
    assert!(got.len() < published && got.is_sorted(), "{got:?} of {published}");
    let newest: Vec<usize> = (published - 8..published).collect();
    assert!(got.ends_with(&newest), "{got:?} of {published}");
}

#[test]
fn latest_by_key_keeps_the_latest_invocation_of_each_key_for_a_slow_client() {
    let (published, got) = what_a_slow_client_gets(SlowConsumer::LatestByKey, 3, 40);
    assert!(got.len() < published && got.is_sorted(), "{got:?} of {published}");
    // One of each key was pending after the frame that was being written.
    let newest: Vec<usize> = (published - 3..published).collect();
    assert!(got.ends_with(&newest), "{got:?} of {published}");
    assert!(!got.contains(&(published - 4)), "{got:?} of {published}");
}

#[test]
fn an_invocation_of_a_client_ends_with_its_result_or_its_disconnect() {
    let mut world = World::new(Options { client_results_max: 2, ..Options::default() });
    let mut client = world.join_hub();
    let call = |world: &mut World, id: &str, connection| {
        let (answer, result) = oneshot::channel();
        let message = OutgoingMessage::call(Some(id), "ask", "[]").unwrap();
        let invoke = Invoke { hub: hub(), connection, invocation_id: id.into(), message, answer };
        world.command(ShardCommand::Invoke(Box::new(invoke)));
        result
    };
    let (mut value, mut error) = (call(&mut world, "1", client.id), call(&mut world, "2", client.id));
    assert_eq!(call(&mut world, "3", client.id).try_recv().unwrap(), Err(ClientInvokeError::TooMany));
    let other = ConnectionId::draw(NodeId(0), ShardId(0));
    assert_eq!(call(&mut world, "4", other).try_recv().unwrap(), Err(ClientInvokeError::NotFound));
    assert_eq!(
        client.receive(),
        "{\"type\":1,\"invocationId\":\"1\",\"target\":\"ask\",\"arguments\":[]}\u{1e}"
    );
    client.send("{\"type\":3,\"invocationId\":\"2\",\"error\":\"no\"}\u{1e}{\"type\":3,\"invocationId\":\"1\",\"result\":[7]}\u{1e}");
    let slot = world.slot(&client);
    world.turn_until(|shard| shard.connections[slot as usize].rare().unwrap().pending_results.is_empty());
    let result = |outcome| Ok(ClientResult { protocol: signalr_protocol::HubProtocol::Json, outcome });
    assert_eq!(value.try_recv().unwrap(), result(Ok(Some("[7]".into()))));
    assert_eq!(error.try_recv().unwrap(), result(Err("no".to_owned())));
    let mut never = call(&mut world, "5", client.id);
    drop(client);
    world.turn_until(|shard| shard.index.count() == 0);
    assert!(never.try_recv().is_err(), "there will be no result");
}

#[test]
fn lists_are_sorted_and_paged() {
    let mut world = World::new(Options::default());
    let mut ids = Vec::new();
    for user in ["b", "a", "c", "a"] {
        let mut client = world.admit(admission(Some(user)));
        client.send("{\"protocol\":\"json\",\"version\":1}\u{1e}");
        let count = ids.len() + 1;
        world.turn_until(|shard| shard.index.count() == count);
        ids.push((client.id, client));
    }
    ids.sort_by_key(|(id, _)| *id);
    let page = |after, max| -> Vec<ConnectionId> {
        let members = world.shard.members(&hub(), &crate::ListScope::Hub, after, max);
        members.into_iter().map(|member| member.connection).collect()
    };
    let all: Vec<ConnectionId> = ids.iter().map(|(id, _)| *id).collect();
    assert_eq!(page(None, 3), all[..3]);
    assert_eq!(page(Some(all[2]), 3), all[3..]);
    let names = |after, max| -> Vec<(String, u64)> {
        let named = world.shard.named(&hub(), crate::NameKind::Users, after, max);
        named.into_iter().map(|named| (named.name, named.connections)).collect()
    };
    assert_eq!(names(None, 2), [("a".to_owned(), 2), ("b".to_owned(), 1)]);
    assert_eq!(names(Some("b"), 2), [("c".to_owned(), 1)]);
    let counts = world.shard.counts(&hub());
    assert_eq!((counts.connections, counts.users(), counts.groups()), (4, 3, 0));
    let which = Predicate::new(|candidate| candidate.user == Some("a"));
    let join = crate::Action::Join(GroupName::new("g"));
    assert_eq!(world.shard.execute(&hub(), &which, &[join]), 2);
    let in_group = Predicate::new(|candidate| candidate.groups.contains(&"g"));
    let close =
        crate::Action::Close(crate::CloseRequest { reason: Some("enough".into()), allow_reconnect: false });
    assert_eq!(world.shard.execute(&hub(), &in_group, &[close]), 2);
    assert_eq!(world.shard.index.count(), 2);
}

#[test]
fn an_idle_timeout_set_at_run_time_closes_a_client_that_was_connected_before_and_only_pings() {
    let mut world = World::new(Options::default());
    let mut client = world.join_hub();
    world.pass(Duration::from_secs(500));
    client.send(PING);
    let (slot, now) = (world.slot(&client), world.shard.now);
    world.turn_until(|shard| shard.connections[slot as usize].last_received_at == now);
    let own = HubOptions { idle_timeout_ms: Some(20_000.try_into().unwrap()), ..HubOptions::default() };
    let changed = Options { hubs: [("chat".to_owned(), own)].into(), ..Options::default() };
    world.command(ShardCommand::SetOptions(Arc::new(changed)));
    world.pass(Duration::from_secs(15));
    assert_eq!(world.ends(EndReason::IdleTimeout), 0, "the time before the change does not count");
    world.pass(Duration::from_secs(10));
    assert_eq!(world.ends(EndReason::IdleTimeout), 1);
}

#[test]
fn a_client_timeout_lowered_at_run_time_applies_to_open_connections() {
    let mut world = World::new(Options::default());
    let mut client = world.join_hub();
    client.send(PING);
    let (slot, now) = (world.slot(&client), world.shard.now);
    world.turn_until(|shard| {
        let connection = &shard.connections[slot as usize];
        connection.has_pinged && connection.last_received_at == now
    });
    let changed = Options { client_timeout_ms: 5_000, keep_alive_ms: 2_000, ..Options::default() };
    world.command(ShardCommand::SetOptions(Arc::new(changed)));
    world.pass(Duration::from_secs(16));
    assert_eq!(world.ends(EndReason::ClientTimeout), 1, "30 seconds before the change");
}
