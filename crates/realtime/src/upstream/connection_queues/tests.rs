use super::*;
use crate::events::{Options, Retry};

type TestQueues = ConnectionQueues<&'static str, &'static str>;

/// Queues with a virtual clock; each action becomes a line of text.
struct Script {
    queues: TestQueues,
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
        Self { queues: ConnectionQueues::new(limits, Retries::new(&options)), start, seconds: 0 }
    }

    fn now(&self) -> Instant {
        self.start + Duration::from_secs(self.seconds)
    }

    fn call(&mut self, queue: u8, call: &'static str) {
        let now = self.now();
        self.queues.push_invocation(
            key(queue),
            QueuedInvocation { invocation: call, is_local: call.starts_with("local") },
            now,
        );
    }

    fn event(&mut self, queue: u8, kind: EventKind, event: &'static str) {
        let now = self.now();
        self.queues.push_event(key(queue), kind, event, now);
    }

    /// All actions that are due now.
    fn steps(&mut self) -> String {
        let now = self.now();
        let mut all = Vec::new();
        while let Some(next_action) = self.queues.next_action(now) {
            all.push(match next_action {
                QueueAction::Start(_, QueueJob::Deliver(event)) => format!("deliver {event}"),
                QueueAction::Start(_, QueueJob::WriteDeadLetter { event, attempts, cause }) => {
                    format!("write_dead_letter {event} after {attempts}: {cause}")
                }
                QueueAction::Start(_, QueueJob::Invoke(call)) => call.to_owned(),
                QueueAction::Expired(call) => format!("expired {call}"),
            });
        }
        all.join(", ")
    }

    fn finish(&mut self, queue: u8, serial: SerialQueue, result: Result<(), DeliveryError>) -> String {
        let now = self.now();
        let key = SerialQueueKey { queue: key(queue), serial };
        let settled = self.queues.finished(key, result, now, 0);
        settled.map(|settled| format!("{} {:?}", settled.event, settled.outcome)).unwrap_or_default()
    }

    /// An attempt to deliver `connected` has ended.
    fn connected(&mut self, queue: u8, result: Result<(), DeliveryError>) -> String {
        self.finish(queue, SerialQueue::Connected, result)
    }

    /// An invocation, or an attempt to deliver `disconnected`, has ended.
    fn done(&mut self, queue: u8) -> String {
        self.finish(queue, SerialQueue::Invocations, Ok(()))
    }

    fn failed(&mut self, queue: u8, retry: Retry) -> String {
        self.finish(queue, SerialQueue::Invocations, failed(retry))
    }
}

#[test]
fn jobs_of_a_connection_run_one_at_a_time_and_in_order() {
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
    assert_eq!((script.queues.queues.len(), script.queues.events(), script.queues.in_flight()), (0, 0, 0));
}

#[test]
fn connections_take_turns_up_to_the_limit_of_running_jobs() {
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
fn after_the_first_failed_connected_invocations_run_in_parallel_with_later_attempts() {
    let mut script = Script::new(10);
    script.event(0, EventKind::Connected, "in");
    for call in ["a", "b", "c"] {
        script.call(0, call);
    }
    assert_eq!(script.steps(), "deliver in");
    assert_eq!(script.connected(0, failed(Retry::Later)), "");
    assert_eq!(script.steps(), "a");
    assert_eq!(script.queues.next_time(), Some(script.start + Duration::from_secs(2)));
    script.seconds = 2;
    // While an invocation runs; neither waits for the other.
    assert_eq!(script.steps(), "deliver in");
    script.done(0);
    assert_eq!(script.steps(), "b");
    assert_eq!(script.connected(0, Ok(())), "in Delivered");
    script.done(0);
    assert_eq!(script.steps(), "c");
    script.done(0);
    assert_eq!(script.queues.queues.len(), 0);
}

#[test]
fn invocations_wait_no_longer_than_the_limit_for_a_slow_connected() {
    let mut script = Script::new(1);
    script.event(1, EventKind::Connected, "other in");
    script.event(0, EventKind::Connected, "in");
    script.call(0, "a");
    assert_eq!(script.steps(), "deliver other in");
    script.seconds = 4;
    script.connected(1, Ok(()));
    // The time is measured from here.
    assert_eq!(script.steps(), "deliver in");
    script.queues.limits.in_flight_max = 2;
    script.seconds = 8;
    assert_eq!(script.steps(), "");
    assert_eq!(script.queues.next_time(), Some(script.start + Duration::from_secs(9)));
    script.seconds = 9;
    assert_eq!(script.steps(), "a");
    script.done(0);
    assert_eq!(script.connected(0, Ok(())), "in Delivered");
}

#[test]
fn disconnected_waits_until_connected_is_settled() {
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
    assert_eq!(script.queues.queues.len(), 0);
}

#[test]
fn an_event_becomes_a_dead_letter_after_its_last_attempt() {
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
fn a_refused_event_becomes_a_dead_letter_without_a_retry() {
    let mut script = Script::new(10);
    script.event(0, EventKind::Disconnected, "out");
    assert_eq!(script.steps(), "deliver out");
    assert_eq!(script.failed(0, Retry::Never), "");
    assert_eq!(script.steps(), "write_dead_letter out after 1: down");
    assert_eq!(script.done(0), "out DeadLettered");
}

#[test]
fn with_a_full_disk_disconnected_is_retried_and_connected_is_lost() {
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
fn a_local_invocation_does_not_wait_for_connected() {
    let mut script = Script::new(10);
    script.event(0, EventKind::Connected, "in");
    for call in ["local 1", "a", "local 2"] {
        script.call(0, call);
    }
    assert_eq!(script.steps(), "deliver in, local 1");
    script.done(0);
    // A local invocation waits behind an earlier one: the invocations of a connection stay in order.
    assert_eq!(script.steps(), "");
    script.connected(0, Ok(()));
    assert_eq!(script.steps(), "a");
    script.done(0);
    assert_eq!(script.steps(), "local 2");
}

#[test]
fn an_invocation_that_waits_too_long_expires() {
    let mut script = Script::new(1);
    script.call(0, "a");
    assert_eq!(script.steps(), "a");
    script.seconds = 1;
    script.call(0, "b");
    script.seconds = 2;
    script.event(1, EventKind::Connected, "in");
    script.call(1, "c");
    // No job can start, so the queue is not checked.
    script.seconds = 12;
    assert_eq!(script.steps(), "");
    script.done(0);
    assert_eq!(script.steps(), "deliver in");
    script.connected(1, Ok(()));
    assert_eq!(script.steps(), "expired c, expired b");
}

#[test]
fn an_event_above_the_limit_becomes_a_dead_letter_without_an_attempt() {
    let mut script = Script::new(1);
    let now = script.now();
    script.queues.push_dead_letter(key(0), EventKind::Connected, "in", "full".to_owned(), now);
    assert_eq!(script.steps(), "write_dead_letter in after 0: full");
    assert_eq!(script.connected(0, Ok(())), "in DeadLettered");
}

#[test]
fn listeners_of_one_connection_are_called_in_parallel() {
    let mut script = Script::new(10);
    let (now, other) = (script.now(), QueueKey { listener: 1, ..key(0) });
    script.event(0, EventKind::Connected, "in");
    script.queues.push_event(other, EventKind::Connected, "in", now);
    assert_eq!(script.steps(), "deliver in, deliver in");
}
