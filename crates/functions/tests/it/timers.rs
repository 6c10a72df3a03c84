//! Timers: schedule, lease, schedule monitor.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value as Json, json};
use state::{Durability, Expect, Instance, Key};
use tokio::sync::mpsc;
use worker_protocol::{InvocationRequest, TypedData};

use crate::fake::{PATIENCE, Setup, returned};

fn timer(schedule: &str, more: Json) -> Json {
    let mut binding = json!({"type": "timerTrigger", "name": "t", "direction": "in", "schedule": schedule});
    if let (Json::Object(binding), Json::Object(more)) = (&mut binding, more) {
        binding.extend(more);
    }
    binding
}

/// A host with one timer that reports its trigger data.
fn ticking(schedule: &str, more: Json) -> (Setup, mpsc::UnboundedReceiver<Json>) {
    let (sender, receiver) = mpsc::unbounded_channel();
    let script = move |request: InvocationRequest| {
        if let TypedData::Json(text) = &request.input_data[0].data {
            let _ = sender.send(serde_json::from_str(text).expect("JSON"));
        }
        async { returned(TypedData::Null) }
    };
    (Setup::default().function("tick", &[timer(schedule, more)], script), receiver)
}

async fn next(receiver: &mut mpsc::UnboundedReceiver<Json>) -> Json {
    tokio::time::timeout(PATIENCE, receiver.recv()).await.expect("the timer fires").expect("the host runs")
}

#[tokio::test]
async fn a_timer_fires_repeatedly() {
    let (setup, mut fired) = ticking("00:00:00.02", json!({}));
    let host = setup.start().await;
    for _ in 0..3 {
        let seen = next(&mut fired).await;
        // The status of a schedule faster than a minute is not stored.
        assert_eq!(
            seen,
            json!({"Schedule": {"AdjustForDST": false}, "ScheduleStatus": null, "IsPastDue": false})
        );
    }
    host.handle.drain(PATIENCE).await;
    assert!(host.log().contains("Executing 'Functions.tick' (Reason='Timer fired at 20"), "{}", host.log());
}

#[tokio::test]
async fn a_trigger_whose_task_panics_is_started_again() {
    let (mut setup, mut fired) = ticking("00:00:00.02", json!({}));
    let mut metrics = prometheus_client::registry::Registry::default();
    setup.supervisor = supervision::Supervisor::new(&mut metrics);
    setup.supervisor.panic_next("trigger of tick");
    let host = setup.start().await;
    next(&mut fired).await;
    let mut page = String::new();
    prometheus_client::encoding::text::encode(&mut page, &metrics).expect("metrics can be written");
    assert!(page.contains("supervision_restarted_total{component=\"trigger of tick\"} 1"), "{page}");
    assert_eq!(host.supervisor.not_ready(), []);
    host.handle.drain(PATIENCE).await;
}

#[tokio::test]
async fn a_missed_run_is_made_up_after_a_restart() {
    let (setup, mut fired) = ticking("0 0 0 1 1 *", json!({}));
    let store = Arc::clone(&setup.store);
    let instance = Instance::new("functions-app").expect("a valid name");
    let key = Key::new("timers/tick/status").expect("a valid key");
    let missed = json!({"Last": "2020-01-01T00:00:00Z", "Next": "2021-01-01T00:00:00Z", "LastUpdated": "2020-01-01T00:00:01Z"});
    let registry = store.registry();
    let value = missed.to_string().into();
    registry.put(&instance, &key, value, Expect::Anything, Durability::Durable, None).await.expect("written");
    let host = setup.start().await;
    let seen = next(&mut fired).await;
    assert_eq!(seen["IsPastDue"], true);
    assert_eq!(seen["ScheduleStatus"]["Last"], "2020-01-01T00:00:00+00:00");
    host.handle.drain(PATIENCE).await;
    let stored = registry.get(&instance, &key).await.expect("readable").expect("there");
    let stored: Json = serde_json::from_slice(&stored.value).expect("JSON");
    assert!(stored["Last"].as_str().expect("text") > "2025", "{stored}");
    // The next start has no missed run.
    let (mut again, mut fired) = ticking("0 0 0 1 1 *", json!({"runOnStartup": true}));
    again.store = store;
    let host = again.start().await;
    assert_eq!(next(&mut fired).await["IsPastDue"], false, "only runOnStartup started it");
    host.handle.drain(PATIENCE).await;
}

#[tokio::test]
async fn only_one_host_at_a_time_runs_a_timer() {
    let (first, mut fired_first) = ticking("00:00:00.02", json!({}));
    let (mut second, mut fired_second) = ticking("00:00:00.02", json!({}));
    second.store = Arc::clone(&first.store);
    second.owner = "host-2".to_owned();
    let first = first.start().await;
    next(&mut fired_first).await;
    let second = second.start().await;
    next(&mut fired_first).await;
    next(&mut fired_first).await;
    assert!(fired_second.try_recv().is_err(), "the second host waits");
    first.handle.drain(PATIENCE).await;
    // The lease was released, so that the second host acquires it before it expires.
    next(&mut fired_second).await;
    second.handle.drain(PATIENCE).await;
}

#[tokio::test]
async fn runs_of_one_timer_never_overlap() {
    let running = Arc::new(Mutex::new(0_u32));
    let (sender, mut receiver) = mpsc::unbounded_channel();
    let host = Setup::default()
        .function("tick", &[timer("00:00:00.001", json!({}))], move |_| {
            let (running, sender) = (Arc::clone(&running), sender.clone());
            async move {
                let count = {
                    let mut running = running.lock().expect("no panic");
                    *running += 1;
                    *running
                };
                let _ = sender.send(count);
                tokio::task::yield_now().await;
                *running.lock().expect("no panic") -= 1;
                returned(TypedData::Null)
            }
        })
        .start()
        .await;
    for _ in 0..5 {
        let count = tokio::time::timeout(PATIENCE, receiver.recv()).await.expect("the timer fires");
        assert_eq!(count, Some(1));
    }
    host.handle.drain(Duration::from_secs(10)).await;
}

#[tokio::test]
async fn a_timer_run_at_startup_or_by_name_gets_its_schedule_status() {
    let (sender, mut receiver) = mpsc::unbounded_channel();
    let binding = timer("0 0 0 1 1 *", json!({"runOnStartup": true}));
    let host = Setup::default()
        .function("tick", &[binding], move |request| {
            let TypedData::Json(data) = &request.input_data[0].data else { panic!("JSON") };
            let data: Json = serde_json::from_str(data).expect("JSON");
            let metadata = request.trigger_metadata;
            let (fired, input) =
                (format!("{:?}", metadata["TimerTrigger"]), format!("{:?}", metadata.get("t")));
            let _ = sender.send(json!([data, fired, input]));
            async { returned(TypedData::Null) }
        })
        .start()
        .await;
    let first = next(&mut receiver).await;
    assert_eq!(first[0]["Schedule"]["AdjustForDST"], true);
    assert_eq!(first[0]["ScheduleStatus"]["Last"], "0001-01-01T00:00:00+00:00");
    assert_eq!(first[0]["ScheduleStatus"]["LastUpdated"], "0001-01-01T00:00:00+00:00");
    let fired = first[1].as_str().expect("text");
    assert!(fired.starts_with("String(\"") && fired.matches(['/', ':']).count() == 4, "{fired}");
    assert!(
        host.log().contains("Info Trigger Details: UnscheduledInvocationReason: RunOnStartup"),
        "{}",
        host.log()
    );
    // The status of the last run is stored before the triggers stop.
    let by_name = async { host.handle.invoke("tick", &json!("x")).await.expect("it runs") };
    host.handle.drain(PATIENCE).await;
    by_name.await;
    let second = next(&mut receiver).await;
    assert_eq!((&first[2], &second[2]), (&json!("None"), &json!("Some(String(\"x\"))")));
    assert_eq!(second[0]["IsPastDue"], false);
    let last = second[0]["ScheduleStatus"]["Last"].as_str().expect("text");
    assert!(last > "2025" && last.ends_with("+00:00"), "{last}");
}
