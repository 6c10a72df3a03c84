use super::*;

const S: Duration = Duration::from_secs(1);

fn limits() -> ScaleLimits {
    ScaleLimits {
        processes_min: 1,
        processes_max: 3,
        has_spare: false,
        idle_after: None,
        memory_bytes_max: Some(100),
        memory_grace: 60 * S,
        age_max: Some(1_000 * S),
        backlog_items: 10,
        scale_in_after: 60 * S,
    }
}

/// The time of every test; views lie before it.
fn now() -> Instant {
    Instant::now() + 10_000 * S
}

/// A group of workers that are 100 s old and have what their letter says: `i`dle, `b`usy and spare (`s`), starting (`t`), finishing (`f`),
/// large (`m`), old (`o`).
fn view(workers: &str, now: Instant) -> GroupView {
    let workers = workers.chars().zip(0..).map(|(kind, number)| WorkerView {
        id: MemberId(number),
        phase: match kind {
            't' => WorkerPhase::Starting,
            's' => WorkerPhase::Spare,
            'f' => WorkerPhase::Finishing,
            _ => WorkerPhase::Serving,
        },
        started_at: now - if kind == 'o' { 1_000 * S } else { 100 * S },
        in_flight: if kind == 'b' { 5 } else { 0 },
        memory_bytes: Some(if kind == 'm' { 101 } else { 50 }),
    });
    GroupView {
        workers: workers.collect(),
        target: 1,
        scaled_at: now - 3_000 * S,
        pressed_at: now - 3_000 * S,
        active_at: now - 1_000 * S,
        waiting: 0,
        backlog: 0,
        slow: 0,
        probes: 6,
        retry_at: None,
        starts_singly: false,
    }
}

/// The decision as text, such as `1 start promote-2 retire-0-Memory`.
fn decided(view: &GroupView, limits: &ScaleLimits, now: Instant) -> String {
    let decision = scale(view, limits, now);
    let mut text = decision.target.to_string();
    for action in decision.actions {
        text += &match action {
            ScaleAction::Start => " start".to_owned(),
            ScaleAction::Promote(MemberId(id)) => format!(" promote-{id}"),
            ScaleAction::Retire(MemberId(id), reason) => format!(" retire-{id}-{reason:?}"),
        };
    }
    text
}

/// A change to a view or to the limits.
type Change = fn(&mut GroupView, &mut ScaleLimits, Instant);

/// What a case shows, its workers, its change, and the decision.
type Case = (&'static str, &'static str, Change, &'static str);

fn check(cases: &[Case]) {
    for (what, workers, change, expected) in cases {
        let now = now();
        let (mut view, mut limits) = (view(workers, now), limits());
        change(&mut view, &mut limits, now);
        assert_eq!(decided(&view, &limits, now), *expected, "{what}: {workers:?}");
    }
}

const SAME: Change = |_, _, _| {};
const SPARE: Change = |_, limits, _| limits.has_spare = true;
const WAIT: Change = |view, _, _| view.waiting = 1;
const IDLE: Change = |_, limits, _| limits.idle_after = Some(1_000 * S);
const TWO: Change = |view, _, _| view.target = 2;
const THREE: Change = |view, limits, _| {
    view.target = 3;
    limits.processes_min = 3;
};
const THREE_SINGLY: Change = |view, limits, _| {
    limits.processes_min = 3;
    view.starts_singly = true;
};

#[test]
fn workers_start_until_the_required_number_serves() {
    check(&[
        ("the first worker starts", "", SAME, "1 start"),
        ("it is waited for", "t", SAME, "1"),
        ("one that became ready serves", "s", SAME, "1 promote-0"),
        ("a worker that serves stays", "i", SAME, "1"),
        ("a finishing one is replaced", "f", SAME, "1 start"),
        ("a spare one is started beside it", "i", SPARE, "1 start"),
        ("a spare one stays", "is", SPARE, "1"),
        ("a spare one takes over at a crash, and is replaced", "s", SPARE, "1 promote-0 start"),
        ("a spare one without the option ends", "is", SAME, "1 retire-1-Excess"),
        ("several start together", "", THREE, "3 start start start"),
        ("they start singly before the first is ready", "", THREE_SINGLY, "3 start"),
        ("singly means one at a time", "t", THREE_SINGLY, "3"),
        ("after failures the next waits", "", |view, _, now| view.retry_at = Some(now + S), "1"),
        ("until the pause is over", "", |view, _, now| view.retry_at = Some(now), "1 start"),
    ]);
}

#[test]
fn load_adds_workers_and_low_load_ends_them() {
    let busy_two: Change = |view, _, _| {
        view.waiting = 1;
        view.target = 2;
    };
    check(&[
        ("calls that wait for the first worker add none", "t", WAIT, "1"),
        ("calls that wait beside a worker add one", "b", WAIT, "2 start"),
        (
            "not within the pause",
            "b",
            |view, _, now| {
                view.waiting = 1;
                view.scaled_at = now - 2 * S;
            },
            "1",
        ),
        ("not while the last one starts", "bt", busy_two, "2"),
        (
            "not beyond the limit",
            "bbb",
            |view, _, _| {
                view.waiting = 1;
                view.target = 3;
            },
            "3",
        ),
        ("two slow responses of six add one", "b", |view, _, _| view.slow = 2, "2 start"),
        ("one of six does not", "b", |view, _, _| view.slow = 1, "1"),
        ("slow ones of too few do not", "b", |view, _, _| (view.probes, view.slow) = (5, 5), "1"),
        ("a backlog adds one", "b", |view, _, _| view.backlog = 11, "2 start"),
        ("a small backlog does not", "b", |view, _, _| view.backlog = 10, "1"),
        (
            "a spare one takes over under load",
            "bs",
            |view, limits, _| {
                limits.has_spare = true;
                view.waiting = 1;
            },
            "2 promote-1 start",
        ),
        ("the least loaded one ends after low load", "bi", TWO, "1 retire-1-Excess"),
        ("not before", "bi", |view, _, now| (view.target, view.pressed_at) = (2, now - 59 * S), "2"),
    ]);
}

#[test]
fn an_idle_group_has_no_worker_until_there_is_work() {
    check(&[
        ("without invocations all end", "ii", IDLE, "0 retire-0-Idle retire-1-Idle"),
        (
            "a spare one too",
            "is",
            |_, limits, _| (limits.idle_after, limits.has_spare) = (Some(1_000 * S), true),
            "0 retire-0-Idle retire-1-Idle",
        ),
        ("not before the time is over", "i", |_, limits, _| limits.idle_after = Some(1_001 * S), "1"),
        ("none starts without an invocation", "", IDLE, "0"),
        (
            "an invocation starts one",
            "",
            |view, limits, _| (limits.idle_after, view.waiting) = (Some(1_000 * S), 1),
            "1 start",
        ),
        (
            "a backlog starts one",
            "",
            |view, limits, _| (limits.idle_after, view.backlog) = (Some(1_000 * S), 1),
            "1 start",
        ),
    ]);
}

#[test]
fn a_large_or_old_worker_ends_once_its_successor_serves() {
    check(&[
        ("the successor of a large one starts first", "m", SAME, "1 start"),
        ("it is waited for", "mt", SAME, "1"),
        ("then it takes over, and the large one ends", "ms", SAME, "1 promote-1 retire-0-Memory"),
        ("a large one that is young stays", "m", |_, limits, _| limits.memory_grace = 101 * S, "1"),
        ("an old one is replaced", "os", SAME, "1 promote-1 retire-0-Age"),
        ("by the spare one, which is replaced", "os", SPARE, "1 promote-1 retire-0-Age start"),
        ("one at a time", "ooi", THREE, "3 start"),
    ]);
}

#[test]
fn the_next_decision_is_due_when_a_pause_or_the_time_without_invocations_ends() {
    let now = now();
    let mut failed = view("", now);
    failed.retry_at = Some(now + S);
    assert_eq!(scale(&failed, &limits(), now).decide_at, Some(now + S));
    let limits = ScaleLimits { idle_after: Some(1_005 * S), ..limits() };
    assert_eq!(scale(&view("i", now), &limits, now).decide_at, Some(now + 5 * S));
    assert_eq!(scale(&view("", now), &limits, now).decide_at, None, "a worker is being started");
}
