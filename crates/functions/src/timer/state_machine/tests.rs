use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::*;
use crate::schedule::Schedule;

fn at(time: &str) -> SystemTime {
    format!("2026-01-01T{time}Z").parse::<Timestamp>().expect("a time").into()
}

fn trigger(schedule: &str) -> TimerTrigger {
    TimerTrigger {
        schedule: Schedule::parse(schedule, TimeZone::UTC).expect("a valid schedule"),
        schedule_text: schedule.to_owned(),
        run_on_startup: false,
        use_monitor: None,
    }
}

fn hourly() -> TimerTrigger {
    trigger("0 0 * * * *")
}

/// Without schedule monitor.
fn every_second() -> TimerTrigger {
    trigger("* * * * * *")
}

/// 30 February.
fn never() -> TimerTrigger {
    trigger("0 0 0 30 2 *")
}

fn on_startup(trigger: TimerTrigger) -> TimerTrigger {
    TimerTrigger { run_on_startup: true, ..trigger }
}

/// The status after the run of 10:00, which ended 2 s later.
fn ran_at_ten() -> ScheduleStatus {
    ScheduleStatus { last: Some(at("10:00:00")), next: Some(at("11:00:00")), last_updated: at("10:00:02") }
}

/// The status of a timer that was first seen at 10:30.
fn never_ran() -> ScheduleStatus {
    ScheduleStatus { last: None, next: Some(at("11:00:00")), last_updated: at("10:30:00") }
}

fn waiting(due: &str, reason: RunReason, status: Option<ScheduleStatus>) -> TimerState {
    TimerState::Waiting { due: at(due), reason, status }
}

fn running(due: &str, started: &str, is_monitored: bool) -> TimerState {
    TimerState::Running { due: at(due), started: at(started), is_monitored }
}

fn standby(milliseconds: u64) -> TimerState {
    TimerState::Standby { pause: Duration::from_millis(milliseconds) }
}

struct Case {
    name: &'static str,
    trigger: TimerTrigger,
    state: TimerState,
    event: TimerEvent,
    now: &'static str,
    next: TimerState,
    effects: Vec<TimerEffect>,
}

fn check(cases: Vec<Case>) {
    for case in cases {
        let (state, effects) = next(&case.trigger, case.state, case.event, at(case.now));
        assert_eq!((state, effects), (case.next, case.effects), "{}", case.name);
    }
}

#[test]
fn a_timer_asks_for_its_lease_until_it_has_it() {
    let case = |name, state, event, next, effects| Case {
        name,
        trigger: hourly(),
        state,
        event,
        now: "10:30:00",
        next,
        effects,
    };
    let held = |until| TimerEvent::LeaseHeld { until: at(until) };
    check(vec![
        case(
            "at its start",
            TimerState::default(),
            TimerEvent::TimeReached,
            TimerState::AcquiringLease,
            vec![TimerEffect::AcquireLease],
        ),
        case(
            "another host has it for long: asks every second",
            TimerState::AcquiringLease,
            held("10:31:00"),
            standby(1000),
            vec![],
        ),
        case(
            "another host has it for half a second more",
            TimerState::AcquiringLease,
            held("10:30:00.5"),
            standby(500),
            vec![],
        ),
        case(
            "another host's lease has expired: not in a tight loop",
            TimerState::AcquiringLease,
            held("10:29:00"),
            standby(100),
            vec![],
        ),
        case(
            "the store fails",
            TimerState::AcquiringLease,
            TimerEvent::LeaseUnavailable,
            standby(1000),
            vec![],
        ),
        case(
            "granted: reads the status",
            TimerState::AcquiringLease,
            TimerEvent::LeaseGranted { inherited: None },
            TimerState::LoadingStatus,
            vec![TimerEffect::LoadStatus],
        ),
    ]);
}

fn status_loaded(
    name: &'static str,
    trigger: TimerTrigger,
    status: Option<ScheduleStatus>,
    now: &'static str,
    next: TimerState,
    effects: Vec<TimerEffect>,
) -> Case {
    let event = TimerEvent::StatusLoaded(status);
    Case { name, trigger, state: TimerState::LoadingStatus, event, now, next, effects }
}

#[test]
fn the_first_run_makes_up_for_missed_ones() {
    let case = status_loaded;
    let (first, ran) = (never_ran(), ran_at_ten());
    let missed = RunReason::PastDue(at("11:00:00"));
    check(vec![
        case(
            "never ran: waits, and is due from now on",
            hourly(),
            None,
            "10:30:00",
            waiting("11:00:00", RunReason::Schedule, Some(first.clone())),
            vec![TimerEffect::StoreStatus(first.clone())],
        ),
        case(
            "never ran, and missed the first time it was due",
            hourly(),
            Some(first.clone()),
            "11:00:01",
            waiting("11:00:01", missed, Some(first)),
            vec![],
        ),
        case(
            "nothing missed",
            hourly(),
            Some(ran.clone()),
            "10:59:59",
            waiting("11:00:00", RunReason::Schedule, Some(ran.clone())),
            vec![],
        ),
        case(
            "one run missed",
            hourly(),
            Some(ran.clone()),
            "11:00:01",
            waiting("11:00:01", missed, Some(ran.clone())),
            vec![],
        ),
        case(
            "many runs missed: one makes up for all",
            hourly(),
            Some(ran.clone()),
            "20:20:00",
            waiting("20:20:00", missed, Some(ran.clone())),
            vec![],
        ),
    ]);
}

#[test]
fn run_on_startup_starts_a_run_unless_a_missed_one_does() {
    let case = status_loaded;
    let (first, ran) = (never_ran(), ran_at_ten());
    let missed = RunReason::PastDue(at("11:00:00"));
    check(vec![
        case(
            "never ran, with runOnStartup",
            on_startup(hourly()),
            None,
            "10:30:00",
            waiting("10:30:00", RunReason::Startup, Some(first.clone())),
            vec![TimerEffect::StoreStatus(first)],
        ),
        case(
            "a missed run comes before runOnStartup",
            on_startup(hourly()),
            Some(ran.clone()),
            "11:00:01",
            waiting("11:00:01", missed, Some(ran.clone())),
            vec![],
        ),
        case(
            "runOnStartup, nothing missed",
            on_startup(hourly()),
            Some(ran.clone()),
            "10:30:00",
            waiting("10:30:00", RunReason::Startup, Some(ran)),
            vec![],
        ),
    ]);
}

#[test]
fn a_timer_without_schedule_monitor_stores_and_makes_up_for_nothing() {
    let case = |name, trigger, state, event, next, effects| Case {
        name,
        trigger,
        state,
        event,
        now: "10:30:00.5",
        next,
        effects,
    };
    let unmonitored = TimerTrigger { use_monitor: Some(false), ..hourly() };
    check(vec![
        case(
            "faster than a minute",
            every_second(),
            TimerState::AcquiringLease,
            TimerEvent::LeaseGranted { inherited: None },
            waiting("10:30:01", RunReason::Schedule, None),
            vec![],
        ),
        case(
            "useMonitor is false",
            unmonitored,
            TimerState::AcquiringLease,
            TimerEvent::LeaseGranted { inherited: None },
            waiting("11:00:00", RunReason::Schedule, None),
            vec![],
        ),
        case(
            "runOnStartup",
            on_startup(every_second()),
            TimerState::AcquiringLease,
            TimerEvent::LeaseGranted { inherited: None },
            waiting("10:30:00.5", RunReason::Startup, None),
            vec![],
        ),
        case(
            "a run ends",
            every_second(),
            running("10:30:00", "10:30:00.1", false),
            TimerEvent::RunEnded,
            waiting("10:30:01", RunReason::Schedule, None),
            vec![],
        ),
    ]);
}

#[test]
fn a_run_starts_when_its_time_has_come() {
    let case = |name, state, now, next, effects| Case {
        name,
        trigger: hourly(),
        state,
        event: TimerEvent::TimeReached,
        now,
        next,
        effects,
    };
    let ran = ran_at_ten();
    let run = |started, reason, status| TimerEffect::Run { started: at(started), reason, status };
    check(vec![
        case(
            "the time has come",
            waiting("11:00:00", RunReason::Schedule, Some(ran.clone())),
            "11:00:00.003",
            running("11:00:00", "11:00:00.003", true),
            vec![run("11:00:00.003", RunReason::Schedule, Some(ran.clone()))],
        ),
        case(
            "the reason and the status go to the run",
            waiting("20:20:00", RunReason::PastDue(at("11:00:00")), Some(ran.clone())),
            "20:20:00",
            running("20:20:00", "20:20:00", true),
            vec![run("20:20:00", RunReason::PastDue(at("11:00:00")), Some(ran))],
        ),
    ]);
}

#[test]
fn runs_follow_the_schedule_and_an_overrun_is_followed_at_once() {
    let case = |name, trigger, state, event, now, next, effects| Case {
        name,
        trigger,
        state,
        event,
        now,
        next,
        effects,
    };
    let after = |last, next, updated| ScheduleStatus {
        last: Some(at(last)),
        next: Some(at(next)),
        last_updated: at(updated),
    };
    let long = after("11:00:00", "13:00:00", "12:00:00");
    let short = after("11:00:00", "12:00:00", "11:59:59");
    let made_up = after("20:20:00", "21:00:00", "20:20:05");
    check(vec![
        case(
            "a run ends before the next time",
            hourly(),
            running("11:00:00", "11:00:00.003", true),
            TimerEvent::RunEnded,
            "11:59:59",
            waiting("12:00:00", RunReason::Schedule, Some(short.clone())),
            vec![TimerEffect::StoreStatus(short)],
        ),
        case(
            "a run ends at the next time: the next one starts at once",
            hourly(),
            running("11:00:00", "11:00:00.003", true),
            TimerEvent::RunEnded,
            "12:00:00",
            waiting("12:00:00", RunReason::Schedule, Some(long.clone())),
            vec![TimerEffect::StoreStatus(long)],
        ),
        case(
            "a run that made up for a missed one counts as run now",
            hourly(),
            running("20:20:00", "20:20:00", true),
            TimerEvent::RunEnded,
            "20:20:05",
            waiting("21:00:00", RunReason::Schedule, Some(made_up.clone())),
            vec![TimerEffect::StoreStatus(made_up)],
        ),
        case(
            "the schedule has no time",
            TimerTrigger { use_monitor: Some(false), ..never() },
            TimerState::AcquiringLease,
            TimerEvent::LeaseGranted { inherited: None },
            "10:30:00",
            TimerState::Exhausted,
            vec![TimerEffect::WarnExhausted],
        ),
    ]);
}

#[test]
fn a_run_completes_if_its_lease_is_lost_or_the_host_stops() {
    let case = |name, state, event, next, effects| Case {
        name,
        trigger: hourly(),
        state,
        event,
        now: "11:00:10",
        next,
        effects,
    };
    let ran = Some(ran_at_ten());
    let run = running("11:00:00", "11:00:00", true);
    let wait = waiting("12:00:00", RunReason::Schedule, ran);
    let release = vec![TimerEffect::ReleaseLease];
    let (lost, stop) = (TimerEvent::LeaseLost, TimerEvent::StopRequested);
    check(vec![
        case("lost while waiting: asks again", wait.clone(), lost.clone(), standby(0), vec![]),
        case("lost without further times", TimerState::Exhausted, lost.clone(), standby(0), vec![]),
        case("lost during a run", run.clone(), lost, TimerState::RunningWithoutLease, vec![]),
        case(
            "the run ends without the lease: no status, asks again",
            TimerState::RunningWithoutLease,
            TimerEvent::RunEnded,
            standby(0),
            vec![],
        ),
        case("stop while waiting", wait, stop.clone(), TimerState::Stopped, release.clone()),
        case(
            "stop without further times",
            TimerState::Exhausted,
            stop.clone(),
            TimerState::Stopped,
            release.clone(),
        ),
        case(
            "stop while the status is read",
            TimerState::LoadingStatus,
            stop.clone(),
            TimerState::Stopped,
            release,
        ),
        case("stop on standby", standby(1000), stop.clone(), TimerState::Stopped, vec![]),
        case(
            "stop while the lease is asked for",
            TimerState::AcquiringLease,
            stop.clone(),
            TimerState::Stopped,
            vec![],
        ),
        case("stop during a run", run.clone(), stop, run, vec![]),
        case(
            "an event without meaning",
            TimerState::Stopped,
            TimerEvent::TimeReached,
            TimerState::Stopped,
            vec![],
        ),
    ]);
}

fn handover(trigger: &TimerTrigger, due: &str, reason: RunReason) -> TimerHandover {
    TimerHandover { trigger: trigger.clone(), due: at(due), reason, status: None }
}

#[test]
fn a_timer_hands_over_when_it_is_due_next_and_keeps_its_lease() {
    let case = |name, state, next, effects| Case {
        name,
        trigger: every_second(),
        state,
        event: TimerEvent::HandoverRequested,
        now: "10:00:00.999",
        next,
        effects,
    };
    check(vec![
        case(
            "the next run",
            waiting("10:00:01", RunReason::Schedule, None),
            TimerState::HandedOver(handover(&every_second(), "10:00:01", RunReason::Schedule)),
            vec![],
        ),
        case(
            "a run that is due is started first",
            waiting("10:00:00.999", RunReason::Schedule, None),
            running("10:00:00.999", "10:00:00.999", false),
            vec![TimerEffect::Run { started: at("10:00:00.999"), reason: RunReason::Schedule, status: None }],
        ),
        case(
            "a schedule without a further time",
            TimerState::Exhausted,
            TimerState::Stopped,
            vec![TimerEffect::ReleaseLease],
        ),
        case("another host has the lease", standby(100), TimerState::Stopped, vec![]),
        case(
            "a run is let end",
            running("10:00:00", "10:00:00", false),
            running("10:00:00", "10:00:00", false),
            vec![],
        ),
    ]);
}

#[test]
fn a_timer_continues_where_that_of_the_previous_generation_ended() {
    let case = |name, trigger: TimerTrigger, inherited, now, next| Case {
        name,
        trigger,
        state: TimerState::AcquiringLease,
        event: TimerEvent::LeaseGranted { inherited: Some(inherited) },
        now,
        next,
        effects: vec![],
    };
    let (schedule, startup) = (RunReason::Schedule, RunReason::Startup);
    let (each_second, on_start) = (every_second(), on_startup(every_second()));
    check(vec![
        case(
            "before the run is due",
            each_second.clone(),
            handover(&each_second, "10:00:01", schedule),
            "10:00:00.999",
            waiting("10:00:01", schedule, None),
        ),
        case(
            "after the run was due, so that it is not skipped",
            each_second.clone(),
            handover(&each_second, "10:00:01", schedule),
            "10:00:01.001",
            waiting("10:00:01", schedule, None),
        ),
        case(
            "a changed schedule counts from now",
            each_second.clone(),
            handover(&hourly(), "11:00:00", schedule),
            "10:00:00.999",
            waiting("10:00:01", schedule, None),
        ),
        case(
            "a run on start-up comes first",
            on_start.clone(),
            handover(&on_start, "10:00:01", schedule),
            "10:00:00.500",
            waiting("10:00:00.500", startup, None),
        ),
        case(
            "a run that is due comes before the one on start-up",
            on_start.clone(),
            handover(&on_start, "10:00:01", schedule),
            "10:00:01.001",
            waiting("10:00:01", schedule, None),
        ),
    ]);
}
