//! What follows when a thread or task ends.

use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use tokio::time::timeout;

use super::*;

/// Longer than anything here takes.
const LIMIT: Duration = Duration::from_secs(10);

async fn failure(supervisor: &Supervisor) -> Failure {
    timeout(LIMIT, supervisor.failed()).await.expect("a failure is told")
}

#[tokio::test]
async fn a_panic_of_an_essential_thread_is_a_failure_with_its_text() {
    let mut registry = Registry::default();
    let supervisor = Supervisor::new(&mut registry);
    supervisor.panic_next("writer");
    let thread = supervisor.essential_thread(thread::Builder::new(), "writer", Unit::fault_point);
    let failure = failure(&supervisor).await;
    assert_eq!(failure.unit, "writer");
    assert_eq!(failure.cause, "it panicked: a fault that a test ordered");
    assert_eq!(supervisor.not_ready(), [NotReady { component: failure.unit, reason: failure.cause }]);
    thread.expect("a thread can be started").join().expect("the panic was caught");
    let mut page = String::new();
    prometheus_client::encoding::text::encode(&mut page, &registry).expect("metrics can be written");
    assert!(page.contains("supervision_ended_total{component=\"writer\",cause=\"Panic\"} 1"), "{page}");
}

#[tokio::test]
async fn a_return_is_a_failure_unless_the_process_is_stopping() {
    let supervisor = Supervisor::default();
    assert_eq!(supervisor.essential("task", |_| async { 7 }).await, Some(7));
    assert!(failure(&supervisor).await.cause.contains("nobody asked"));
    let supervisor = Supervisor::default();
    supervisor.stopping();
    assert_eq!(supervisor.essential("task", |_| async { 7 }).await, Some(7));
    assert_eq!(supervisor.not_ready(), []);
}

#[tokio::test]
async fn a_panic_of_an_essential_task_is_a_failure() {
    let supervisor = Supervisor::default();
    supervisor.panic_next("task");
    let ended = supervisor.essential("task", |unit| async move { unit.fault_point() }).await;
    assert_eq!(ended, None);
    assert_eq!(failure(&supervisor).await.unit, "task");
}

#[tokio::test]
async fn a_panic_of_an_owned_task_is_returned_to_its_owner() {
    let supervisor = Supervisor::default();
    let unit = supervisor.owned("link");
    supervisor.panic_next("link");
    let ended = tokio::spawn(async move { unit.fault_point() }).await;
    assert!(ended.is_err_and(|error| error.is_panic()));
    assert_eq!(supervisor.not_ready(), []);
}

#[tokio::test(start_paused = true)]
async fn a_restarting_task_runs_again_after_a_panic_and_is_ready_again() {
    let supervisor = Supervisor::default();
    let runs = AtomicUsize::new(0);
    supervisor.panic_next("trigger");
    let run = supervisor.restarting("trigger", |unit| {
        runs.fetch_add(1, Ordering::Relaxed);
        async move { unit.fault_point() }
    });
    let mut run = std::pin::pin!(run);
    assert!(timeout(Duration::from_millis(50), &mut run).await.is_err(), "it pauses first");
    let not_ready = supervisor.not_ready();
    assert!(not_ready[0].reason.contains("being started again"), "{not_ready:?}");
    timeout(LIMIT, run).await.expect("it runs again and returns");
    assert_eq!(runs.load(Ordering::Relaxed), 2);
    assert_eq!(supervisor.not_ready(), [], "a component that ended is no longer listed");
}

#[tokio::test]
async fn a_restarting_thread_runs_again_after_a_panic() {
    let supervisor = Supervisor::default();
    supervisor.panic_next("reader");
    let (done, ended) = tokio::sync::oneshot::channel();
    let mut done = Some(done);
    let thread = supervisor.restarting_thread(thread::Builder::new(), "reader", move |unit| {
        unit.fault_point();
        done.take().expect("it returns once").send(()).expect("the test waits");
    });
    timeout(LIMIT, ended).await.expect("it runs again").expect("it returns");
    thread.expect("a thread can be started").join().expect("the panic was caught");
}

#[tokio::test]
async fn components_of_a_named_service_have_its_name() {
    let supervisor = Supervisor::default();
    let chat = supervisor.named("realtime.chat");
    let _component = chat.component("files");
    assert_eq!(supervisor.not_ready()[0].component, "realtime.chat: files");
    supervisor.panic_next("realtime.chat: history");
    chat.essential("history", |unit| async move { unit.fault_point() }).await;
    assert_eq!(supervisor.failed().await.unit, "realtime.chat: history");
}

#[test]
fn components_say_whether_they_are_ready() {
    let supervisor = Supervisor::default();
    let app = supervisor.component("function app");
    assert_eq!(supervisor.not_ready()[0].reason, "starting");
    app.set_not_ready("node_modules is missing; run npm install");
    assert_eq!(supervisor.not_ready()[0].reason, "node_modules is missing; run npm install");
    app.set_ready();
    assert_eq!(supervisor.not_ready(), []);
    app.set_not_ready("gone");
    drop(app);
    assert_eq!(supervisor.not_ready(), []);
}

/// Counts its turns, and ends after three.
struct Three(u32);

impl Turns for Three {
    fn turn(&mut self, unit: &Unit, _wait: Wait) -> TurnOutcome {
        unit.fault_point();
        self.0 += 1;
        if self.0 < 3 { TurnOutcome::Worked } else { TurnOutcome::Ended }
    }
}

#[tokio::test]
async fn a_panic_in_a_turn_of_an_essential_thread_is_a_failure() {
    let supervisor = Supervisor::default();
    supervisor.panic_next("shard");
    let thread = supervisor.essential_turns(thread::Builder::new(), "shard", || Three(0));
    assert_eq!(failure(&supervisor).await.unit, "shard");
    thread.expect("a thread can be started").join().expect("the panic was caught");
}

#[tokio::test]
async fn a_thread_whose_turns_end_is_a_failure() {
    let supervisor = Supervisor::default();
    let thread = supervisor.essential_turns(thread::Builder::new(), "shard", || Three(0));
    assert!(failure(&supervisor).await.cause.contains("nobody asked"));
    thread.expect("a thread can be started").join().expect("it ended");
}

#[cfg(feature = "simulation")]
#[test]
fn a_simulated_thread_runs_when_its_turn_is_called_and_continues_after_a_restart() {
    let supervisor = Supervisor::simulated();
    let thread = supervisor.restarting_turns(thread::Builder::new(), "reader", Three(0));
    let thread = thread.expect("nothing is started");
    supervisor.panic_next("reader");
    assert_eq!(crate::simulation::turn(0), TurnOutcome::Worked, "it panics and starts again");
    assert_eq!(crate::simulation::turn(0), TurnOutcome::Worked);
    thread.join().expect("nothing panics");
    assert_eq!(crate::simulation::turn(0), TurnOutcome::Ended);
    crate::simulation::forget();
    assert_eq!(crate::simulation::threads(), 0);
}
