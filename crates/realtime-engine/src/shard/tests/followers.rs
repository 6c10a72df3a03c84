//! A follower of a history receives each message once, whatever the order is in which the log and the shards progress.

use super::*;
use crate::{CatchUpResult, FollowResponse, FollowResult, GroupName, StreamPosition};

/// Sends the position as an invocation of the client method `response`.
#[derive(Debug)]
struct Response;

impl FollowResponse for Response {
    fn encode(self: Box<Self>, position: StreamPosition) -> Option<OutgoingMessage> {
        OutgoingMessage::invocation("response", &format!("[\"{position}\"]")).ok()
    }
}

impl World {
    fn publish_recorded(&mut self, offset: u64) {
        self.publish_kept_in(10, offset);
    }

    fn publish_kept_in(&mut self, epoch: u64, offset: u64) {
        let message = OutgoingMessage::invocation("m", &format!("[{offset}]")).unwrap();
        let recorded_position = Some(StreamPosition { epoch, offset });
        let work = PublishJob { recorded_position, ..work(Target::Group(GroupName::new("g")), message) };
        self.command(ShardCommand::Publish(Arc::new(work)));
    }

    fn follow(&mut self, client: &Client) -> FollowResult {
        self.follow_in(10, client)
    }

    fn follow_in(&mut self, epoch: u64, client: &Client) -> FollowResult {
        let (result, mut answer) = oneshot::channel();
        let group = Some(GroupName::new("g"));
        self.command(ShardCommand::Follow { connection: client.id, group, may_join: true, epoch, result });
        answer.try_recv().unwrap()
    }

    fn catch_up(&mut self, client: &Client, next: u64) -> CatchUpResult {
        let (result, mut answer) = oneshot::channel();
        let group = Some(GroupName::new("g"));
        let response = Box::new(Response);
        self.command(ShardCommand::CatchUp { connection: client.id, group, next, response, result });
        answer.try_recv().unwrap()
    }
}

/// The invocations up to the end mark, shortened: `m[1]` and `chappe.position["g","a-2"]`.
fn received_by(world: &mut World, client: &mut Client) -> Vec<String> {
    let mark = OutgoingMessage::invocation("mark", "[]").unwrap();
    world.command(ShardCommand::Publish(Arc::new(work(Target::Connection(client.id), mark))));
    let mut all = Vec::new();
    loop {
        let message = client.receive();
        let call: serde_json::Value = serde_json::from_str(message.trim_end_matches('\u{1e}')).unwrap();
        if call["target"] == "mark" {
            return all;
        }
        all.push(format!("{}{}", call["target"].as_str().unwrap(), call["arguments"]));
    }
}

fn with_position(next: u64) -> String {
    format!("chappe.position[\"g\",\"a-{next}\"]")
}

fn responded(next: u64) -> String {
    format!("response[\"a-{next}\"]")
}

#[test]
fn the_response_comes_before_the_first_live_message_with_a_position() {
    let mut world = World::new(Options::default());
    let (mut late, mut member) = (world.join_hub(), world.join_hub());
    assert_eq!(world.follow(&member), FollowResult::Withheld);
    assert_eq!(world.catch_up(&member, 0), CatchUpResult::Live);
    world.publish_recorded(0);
    world.publish_recorded(1);
    // It has received both messages: new ones are sent, and the response has their position.
    assert_eq!(world.follow(&member), FollowResult::Since(0));
    world.publish_recorded(2);
    assert_eq!(world.follow(&late), FollowResult::Withheld);
    world.publish_recorded(3);
    assert_eq!(world.catch_up(&late, 3), CatchUpResult::Behind(3));
    assert_eq!(world.catch_up(&late, 4), CatchUpResult::Live);
    assert_eq!(world.catch_up(&member, 0), CatchUpResult::Live);
    world.publish_recorded(4);
    let first = [responded(0), "m[0]".to_owned(), with_position(1), "m[1]".to_owned(), with_position(2)];
    let second = ["m[2]".to_owned(), "m[3]".to_owned(), responded(4), "m[4]".to_owned(), with_position(5)];
    assert_eq!(received_by(&mut world, &mut member), [first, second].concat());
    assert_eq!(received_by(&mut world, &mut late), [responded(4), "m[4]".to_owned(), with_position(5)]);
}

#[test]
fn a_message_that_was_replayed_first_is_not_sent_again() {
    let mut world = World::new(Options::default());
    let mut client = world.join_hub();
    assert_eq!(world.follow(&client), FollowResult::Withheld);
    // It read 0 to 2 from the log; none of them has reached the shard yet.
    assert_eq!(world.catch_up(&client, 3), CatchUpResult::Live);
    for offset in 0..=4 {
        world.publish_recorded(offset);
    }
    assert_eq!(
        received_by(&mut world, &mut client),
        [responded(3), "m[3]".to_owned(), with_position(4), "m[4]".to_owned(), with_position(5)]
    );
}

#[test]
fn messages_during_a_replay_are_replayed_and_not_sent_twice() {
    let mut world = World::new(Options::default());
    let (mut client, mut member) = (world.join_hub(), world.join_hub());
    assert_eq!(world.follow(&member), FollowResult::Withheld);
    assert_eq!(world.catch_up(&member, 0), CatchUpResult::Live);
    world.publish_recorded(0);
    assert_eq!(world.follow(&client), FollowResult::Withheld);
    world.publish_recorded(1);
    assert_eq!(world.catch_up(&client, 1), CatchUpResult::Behind(1));
    assert_eq!(world.catch_up(&client, 2), CatchUpResult::Live);
    world.publish_recorded(2);
    assert_eq!(received_by(&mut world, &mut client), [responded(2), "m[2]".to_owned(), with_position(3)]);
    assert_eq!(received_by(&mut world, &mut member).len(), 7);
    // It has received a message since, so it lacks only earlier ones.
    assert_eq!(world.follow(&client), FollowResult::Since(2));
}

#[test]
fn offsets_of_a_removed_log_are_ignored_in_the_next_epoch() {
    let mut world = World::new(Options::default());
    let (mut client, mut member) = (world.join_hub(), world.join_hub());
    for follower in [&client, &member] {
        assert_eq!(world.follow(follower), FollowResult::Withheld);
        assert_eq!(world.catch_up(follower, 0), CatchUpResult::Live);
    }
    for offset in 0..=9 {
        world.publish_recorded(offset);
    }
    assert_eq!(received_by(&mut world, &mut client).len(), 21);
    assert_eq!(received_by(&mut world, &mut member).len(), 21);
    // The log was removed and created again; it has two messages, one of which has not reached the shard yet.
    world.publish_kept_in(11, 0);
    assert_eq!(
        world.follow_in(11, &client),
        FollowResult::Since(0),
        "it has received everything of this log"
    );
    assert_eq!(world.catch_up(&client, 0), CatchUpResult::Live);
    let late = world.join_hub();
    assert_eq!(world.follow_in(11, &late), FollowResult::Withheld);
    assert_eq!(world.catch_up(&late, 2), CatchUpResult::Live);
    world.publish_kept_in(11, 1);
    world.publish_kept_in(11, 2);
    let with_position = |next: u64| format!("chappe.position[\"g\",\"b-{next}\"]");
    let all = [0, 1, 2].map(|offset| [format!("m[{offset}]"), with_position(offset + 1)]).concat();
    assert_eq!(received_by(&mut world, &mut member), all);
    let mut with_response = all.clone();
    with_response.insert(2, "response[\"b-1\"]".to_owned());
    assert_eq!(received_by(&mut world, &mut client), with_response);
    let mut late = late;
    assert_eq!(
        received_by(&mut world, &mut late),
        ["response[\"b-2\"]".to_owned(), "m[2]".to_owned(), with_position(3)]
    );
    // A client that follows before a message of the next epoch has reached the shard: what was replayed is not sent again.
    assert_eq!(world.follow_in(12, &client), FollowResult::Withheld);
    assert_eq!(world.catch_up(&client, 1), CatchUpResult::Live);
    world.publish_kept_in(12, 0);
    world.publish_kept_in(12, 1);
    assert_eq!(
        received_by(&mut world, &mut client),
        ["response[\"c-1\"]", "m[1]", "chappe.position[\"g\",\"c-2\"]"]
    );
}
