use super::*;
use crate::events::{Options, Retry};

type TestLanes = ConnectionQueues<&'static str, &'static str>;

/// A machine with a clock of its own. Everything that it does is written down.
struct Script {
    lanes: TestLanes,
    start: Instant,
    seconds: u64,
}

fn key(name: u8) -> QueueKey {
    let text = [b'A' + name].repeat(26).into_iter().chain(*b"A").collect::<Vec<_>>();
    let connection = ConnectionId::parse(&String::from_utf8(text).unwrap()).unwrap();
    QueueKey { connection, listener: 0 }
}

fn failed(retry: Retry) -> Result<(), DeliveryError> {
    Err(DeliveryError { cause: "down".to_owned(), retry })
}

impl Script {
    fn new(in_flight_max: usize) -> Self {
        let limits = QueueLimits {
            in_flight_max,
            wait_max: Duration::from_secs(10),
            connected_wait_max: Duration::from_secs(5),
        };
        let options = Options {
            attempts_max: 3.try_into().unwrap(),
            backoff_first_ms: 4000.try_into().unwrap(),
            backoff_max_ms: 8000.try_into().unwrap(),
            ..Options::default()
        };
        let start = Instant::now();
        Self { lanes: ConnectionQueues::new(limits, Retries::new(&options)), start, seconds: 0 }
    }

    fn now(&self) -> Instant {
        self.start + Duration::from_secs(self.seconds)
    }

    fn call(&mut self, lane: u8, call: &'static str) {
        let now = self.now();
        self.lanes.call(key(lane), QueuedInvocation { call, is_local: call.starts_with("local") }, now);
    }

    fn event(&mut self, lane: u8, kind: EventKind, event: &'static str) {
        let now = self.now();
        self.lanes.event(key(lane), kind, event, now);
    }

    /// All that can be done now.
    fn steps(&mut self) -> String {
        let now = self.now();
        let mut all = Vec::new();
        while let Some(step) = self.lanes.step(now) {
            all.push(match step {
                Step::Start(_, Job::Deliver(event)) => format!("deliver {event}"),
                Step::Start(_, Job::WriteDeadLetter { event, attempts, cause }) => {
                    format!("write_dead_letter {event} after {attempts}: {cause}")
                }
                Step::Start(_, Job::Call(call)) => call.to_owned(),
                Step::Expired(call) => format!("expired {call}"),
            });
        }
        all.join(", ")
    }

    fn finish(&mut self, lane: u8, track: Track, result: Result<(), DeliveryError>) -> String {
        let now = self.now();
        let key = TrackKey { lane: key(lane), track };
        let settled = self.lanes.finished(key, result, now, 0);
        settled.map(|settled| format!("{} {:?}", settled.event, settled.how)).unwrap_or_default()
    }

    /// An attempt to deliver `connected` has ended.
    fn connected(&mut self, lane: u8, result: Result<(), DeliveryError>) -> String {
        self.finish(lane, Track::Connected, result)
    }

    /// A call, or an attempt to deliver `disconnected`, has ended.
    fn done(&mut self, lane: u8) -> String {
        self.finish(lane, Track::Calls, Ok(()))
    }

    fn failed(&mut self, lane: u8, retry: Retry) -> String {
        self.finish(lane, Track::Calls, failed(retry))
    }
}

#[test]
fn a_connection_is_served_one_by_one_and_in_order() {
    let mut script = Script::new(10);
    script.event(0, EventKind::Connected, "in");
    script.call(0, "a");
    script.call(0, "b");
    script.event(0, EventKind::Disconnected, "out");
    assert_eq!(script.steps(), "deliver in");
    assert_eq!(script.connected(0, Ok(())), "in Delivered");
    for expected in ["a", "b"] {
        assert_eq!(script.steps(), expected);
        assert_eq!(script.steps(), "");
        assert_eq!(script.done(0), "");
    }
    assert_eq!(script.steps(), "deliver out");
    assert_eq!(script.done(0), "out Delivered");
    assert_eq!(script.steps(), "");
    assert_eq!((script.lanes.lanes.len(), script.lanes.events(), script.lanes.in_flight()), (0, 0, 0));
}

#[test]
fn connections_take_turns_and_no_more_run_than_may() {
    let mut script = Script::new(2);
    for call in ["a1", "a2"] {
        script.call(0, call);
    }
    script.call(1, "b1");
    script.call(2, "c1");
    assert_eq!(script.steps(), "a1, b1");
    script.done(0);
    assert_eq!(script.steps(), "c1");
    script.done(1);
    assert_eq!(script.steps(), "a2");
}

#[test]
fn after_the_first_failed_attempt_calls_pass_and_the_later_ones_run_beside_them() {
    let mut script = Script::new(10);
    script.event(0, EventKind::Connected, "in");
    for call in ["a", "b", "c"] {
        script.call(0, call);
    }
    assert_eq!(script.steps(), "deliver in");
    assert_eq!(script.connected(0, failed(Retry::Later)), "");
    assert_eq!(script.steps(), "a");
    assert_eq!(script.lanes.next_time(), Some(script.start + Duration::from_secs(2)));
    script.seconds = 2;
    // While a call is under way, and neither waits for the other.
    assert_eq!(script.steps(), "deliver in");
    script.done(0);
    assert_eq!(script.steps(), "b");
    assert_eq!(script.connected(0, Ok(())), "in Delivered");
    script.done(0);
    assert_eq!(script.steps(), "c");
    script.done(0);
    assert_eq!(script.lanes.lanes.len(), 0);
}

#[test]
fn an_attempt_that_takes_too_long_does_not_hold_calls_either() {
    let mut script = Script::new(1);
    script.event(1, EventKind::Connected, "other in");
    script.event(0, EventKind::Connected, "in");
    script.call(0, "a");
    assert_eq!(script.steps(), "deliver other in");
    script.seconds = 4;
    script.connected(1, Ok(()));
    // The time counts from here.
    assert_eq!(script.steps(), "deliver in");
    script.lanes.limits.in_flight_max = 2;
    script.seconds = 8;
    assert_eq!(script.steps(), "");
    assert_eq!(script.lanes.next_time(), Some(script.start + Duration::from_secs(9)));
    script.seconds = 9;
    assert_eq!(script.steps(), "a");
    script.done(0);
    assert_eq!(script.connected(0, Ok(())), "in Delivered");
}

#[test]
fn a_disconnected_waits_until_the_connected_is_settled() {
    let mut script = Script::new(10);
    script.event(0, EventKind::Connected, "in");
    script.call(0, "a");
    script.event(0, EventKind::Disconnected, "out");
    assert_eq!(script.steps(), "deliver in");
    script.connected(0, failed(Retry::Later));
    assert_eq!(script.steps(), "a");
    script.done(0);
    assert_eq!(script.steps(), "");
    script.seconds = 2;
    assert_eq!(script.steps(), "deliver in");
    assert_eq!(script.connected(0, Ok(())), "in Delivered");
    assert_eq!(script.steps(), "deliver out");
    assert_eq!(script.done(0), "out Delivered");
    assert_eq!(script.lanes.lanes.len(), 0);
}

#[test]
fn an_event_is_given_up_after_its_attempts_and_buried() {
    let mut script = Script::new(10);
    script.event(0, EventKind::Connected, "in");
    script.event(0, EventKind::Disconnected, "out");
    for seconds in [0, 2, 6] {
        script.seconds = seconds;
        assert_eq!(script.steps(), "deliver in");
        assert_eq!(script.connected(0, failed(Retry::Later)), "");
    }
    assert_eq!(script.steps(), "write_dead_letter in after 3: down");
    assert_eq!(script.connected(0, Ok(())), "in DeadLettered");
    assert_eq!(script.steps(), "deliver out");
}

#[test]
fn a_refused_event_is_buried_at_once() {
    let mut script = Script::new(10);
    script.event(0, EventKind::Disconnected, "out");
    assert_eq!(script.steps(), "deliver out");
    assert_eq!(script.failed(0, Retry::Never), "");
    assert_eq!(script.steps(), "write_dead_letter out after 1: down");
    assert_eq!(script.done(0), "out DeadLettered");
}

#[test]
fn a_disconnected_is_never_lost_and_a_connected_never_blocks_it_for_ever() {
    let mut script = Script::new(10);
    script.event(0, EventKind::Disconnected, "out");
    script.event(1, EventKind::Connected, "in");
    script.event(1, EventKind::Disconnected, "out 1");
    assert_eq!(script.steps(), "deliver out, deliver in");
    script.failed(0, Retry::Never);
    script.connected(1, failed(Retry::Never));
    assert_eq!(script.steps(), "write_dead_letter out after 1: down, write_dead_letter in after 1: down");
    // The disk is full.
    assert_eq!(script.connected(1, failed(Retry::Later)), "in Lost");
    assert_eq!(script.steps(), "deliver out 1");
    for _ in 0..10 {
        assert_eq!(script.failed(0, Retry::Later), "");
        assert_eq!(script.steps(), "");
        script.seconds += 4;
        assert_eq!(script.steps(), "write_dead_letter out after 1: down");
    }
    assert_eq!(script.done(0), "out DeadLettered");
}

#[test]
fn what_this_process_answers_does_not_wait_for_connected() {
    let mut script = Script::new(10);
    script.event(0, EventKind::Connected, "in");
    for call in ["local 1", "a", "local 2"] {
        script.call(0, call);
    }
    assert_eq!(script.steps(), "deliver in, local 1");
    script.done(0);
    // Behind a call that waits it waits as well: the calls of one connection keep their order.
    assert_eq!(script.steps(), "");
    script.connected(0, Ok(()));
    assert_eq!(script.steps(), "a");
    script.done(0);
    assert_eq!(script.steps(), "local 2");
}

#[test]
fn a_call_waits_only_so_long() {
    let mut script = Script::new(1);
    script.call(0, "a");
    assert_eq!(script.steps(), "a");
    script.seconds = 1;
    script.call(0, "b");
    script.seconds = 2;
    script.event(1, EventKind::Connected, "in");
    script.call(1, "c");
    // Nothing can be started, so that nothing is looked at.
    script.seconds = 12;
    assert_eq!(script.steps(), "");
    script.done(0);
    assert_eq!(script.steps(), "deliver in");
    script.connected(1, Ok(()));
    assert_eq!(script.steps(), "expired c, expired b");
}

#[test]
fn an_event_that_finds_no_room_is_buried_untried() {
    let mut script = Script::new(1);
    let now = script.now();
    script.lanes.give_up(key(0), EventKind::Connected, "in", "full".to_owned(), now);
    assert_eq!(script.steps(), "write_dead_letter in after 0: full");
    assert_eq!(script.connected(0, Ok(())), "in DeadLettered");
}

#[test]
fn listeners_of_one_connection_do_not_wait_for_each_other() {
    let mut script = Script::new(10);
    let (now, other) = (script.now(), QueueKey { listener: 1, ..key(0) });
    script.event(0, EventKind::Connected, "in");
    script.lanes.event(other, EventKind::Connected, "in", now);
    assert_eq!(script.steps(), "deliver in, deliver in");
}
