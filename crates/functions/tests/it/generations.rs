//! Generations of an app: one takes over from another, which drains. With scripted workers.

use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use functions::Options;
use serde_json::{Value as Json, json};
use tokio::sync::{Semaphore, mpsc};
use worker_protocol::{InvocationRequest, TypedData};

use crate::fake::{Host, PATIENCE, Setup, returned};
use crate::feed::Feed;

fn http_trigger(name: &str) -> Vec<Json> {
    vec![
        json!({"type": "httpTrigger", "name": "req", "direction": "in", "authLevel": "anonymous", "route": name}),
        json!({"type": "http", "name": "$return", "direction": "out"}),
    ]
}

/// The generation whose worker runs an invocation.
fn generation(request: &InvocationRequest) -> i64 {
    match request.trigger_metadata.get("generation") {
        Some(TypedData::Int(generation)) => *generation,
        other => panic!("no generation: {other:?}"),
    }
}

fn answer(request: &InvocationRequest) -> crate::fake::Answer {
    returned(TypedData::String(generation(request).to_string().into()))
}

/// An app with the functions `now`, which answers at once, and `slow`, which answers with a permit; both with their generation.
fn app() -> (Setup, Arc<Semaphore>, mpsc::UnboundedReceiver<i64>) {
    let (permits, (entered, slow)) = (Arc::new(Semaphore::new(0)), mpsc::unbounded_channel());
    let gate = Arc::clone(&permits);
    let setup = Setup::default()
        .mark_generation()
        .function("now", &http_trigger("now"), |request| async move { answer(&request) })
        .function("slow", &http_trigger("slow"), move |request| {
            let (gate, entered) = (Arc::clone(&gate), entered.clone());
            async move {
                let _ = entered.send(generation(&request));
                gate.acquire().await.expect("open").forget();
                answer(&request)
            }
        });
    (setup, permits, slow)
}

async fn received<T>(receiver: &mut mpsc::UnboundedReceiver<T>) -> T {
    tokio::time::timeout(PATIENCE, receiver.recv()).await.expect("in time").expect("it goes on")
}

async fn drained(host: &Host, expected: &[i64]) {
    let mut drained = host.drained.subscribe();
    let wait = drained.wait_for(|drained| drained == expected);
    tokio::time::timeout(PATIENCE, wait).await.expect("in time").expect("the host is there");
}

#[tokio::test]
async fn a_call_ends_in_the_generation_where_it_started_and_new_ones_run_in_the_next() {
    let (setup, permits, mut slow) = app();
    let host = setup.start().await;
    let call = host.send("GET /api/slow");
    tokio::pin!(call);
    tokio::select! {
        response = &mut call => panic!("it has no permit: {}", response.text()),
        entered = received(&mut slow) => assert_eq!(entered, 1),
    }
    host.handle.reload().await.expect("the app starts again");
    assert_eq!(host.send("GET /api/now").await.body, "2");
    assert!(host.drained.borrow().is_empty(), "a call is active in generation 1");
    permits.add_permits(1);
    assert_eq!(call.await.body, "1");
    drained(&host, &[1]).await;
    host.handle.drain(PATIENCE).await;
    drained(&host, &[1, 2]).await;
}

#[tokio::test]
async fn a_pushed_event_ends_in_the_generation_where_it_started_and_new_ones_run_in_the_next() {
    let (permits, (entered, mut slow)) = (Arc::new(Semaphore::new(0)), mpsc::unbounded_channel());
    let gate = Arc::clone(&permits);
    let trigger = json!({"type": "webhookTrigger", "name": "event", "direction": "in"});
    let setup = Setup::default().mark_generation().function("hook", &[trigger], move |request| {
        let (gate, entered) = (Arc::clone(&gate), entered.clone());
        async move {
            let _ = entered.send(generation(&request));
            gate.acquire().await.expect("open").forget();
            answer(&request)
        }
    });
    let host = setup.start().await;
    let push = || {
        let request = http::Request::post("/runtime/webhooks/webhook?functionName=hook");
        host.handle.push("webhook", request.body(bytes::Bytes::new()).expect("a request"))
    };
    let first = push();
    tokio::pin!(first);
    tokio::select! {
        response = &mut first => panic!("it has no permit: {response:?}"),
        entered = received(&mut slow) => assert_eq!(entered, 1),
    }
    host.handle.reload().await.expect("the app starts again");
    let second = push();
    tokio::pin!(second);
    tokio::select! {
        response = &mut second => panic!("it has no permit: {response:?}"),
        entered = received(&mut slow) => assert_eq!(entered, 2),
    }
    assert!(host.drained.borrow().is_empty(), "an event is under way in generation 1");
    permits.add_permits(2);
    assert_eq!(first.await.expect("it runs").body(), "1");
    assert_eq!(second.await.expect("it runs").body(), "2");
    drained(&host, &[1]).await;
}

#[tokio::test]
async fn invocations_beyond_the_grace_period_are_aborted_with_their_workers() {
    let (setup, permits, mut slow) = app();
    let host = setup.options(|options| options.generation_drain_ms = 20).start().await;
    let call = host.send("GET /api/slow");
    tokio::pin!(call);
    tokio::select! {
        response = &mut call => panic!("it has no permit: {}", response.text()),
        entered = received(&mut slow) => assert_eq!(entered, 1),
    }
    host.handle.reload().await.expect("the app starts again");
    drained(&host, &[1]).await;
    let cut_off =
        "1 invocations of the previous version of the app did not end within 0.02 s and are cut off";
    assert!(host.log().contains(cut_off), "{}", host.log());
    permits.add_permits(1);
    assert_eq!(call.await.body, "1", "scripted workers do not end their invocations");
}

#[tokio::test]
async fn a_generation_that_does_not_start_leaves_the_one_before_in_service() {
    let (setup, _permits, _slow) = app();
    let host = setup.options(|options| options.start_retry_ms_min = 3_600_000).start().await;
    host.is_broken.store(true, std::sync::atomic::Ordering::SeqCst);
    let error = host.handle.reload().await.expect_err("it does not start").to_string();
    assert!(
        error.contains("The 'now' function is in error") && error.contains("SyntaxError: edited"),
        "{error}"
    );
    drained(&host, &[2]).await;
    assert_eq!(host.send("GET /api/now").await.body, "1");
    assert_eq!(host.supervisor.not_ready(), []);
    let status = host.send("GET /admin/host/status").await.body;
    assert!(status.contains("\"Running\"") && status.contains("SyntaxError: edited"), "{status}");
    let status = host.send("GET /admin/functions/now/status").await.body;
    assert!(status.contains("The changed version of the function is in error"), "{status}");
    // Files that cannot be read concern all functions.
    std::fs::write(host.dir.path().join("host.json"), "{").expect("written");
    host.is_broken.store(false, std::sync::atomic::Ordering::SeqCst);
    let error = host.handle.reload().await.expect_err("it cannot be read").to_string();
    assert!(error.contains("host.json: not valid JSON"), "{error}");
    let status = host.send("GET /admin/functions/slow/status").await.body;
    assert!(status.contains("host.json: not valid JSON"), "{status}");
    // All functions are gone.
    let none = r#"{"version": "2.0", "functions": ["none"]}"#;
    std::fs::write(host.dir.path().join("host.json"), none).expect("written");
    let error = host.handle.reload().await.expect_err("it has no functions").to_string();
    assert!(error.contains("it has no functions any more"), "{error}");
    std::fs::write(host.dir.path().join("host.json"), r#"{"version":"2.0"}"#).expect("written");
    host.handle.reload().await.expect("it is repaired");
    assert_eq!(host.send("GET /api/now").await.body, "4");
    assert_eq!(host.send("GET /admin/functions/slow/status").await.body, "{}");
}

#[tokio::test]
async fn a_restart_by_the_admin_api_puts_a_new_generation_into_service() {
    let (setup, _permits, _slow) = app();
    let host = setup.options(|options| options.enable_auth = true).start().await;
    assert_eq!(host.send("POST /admin/host/restart").await.status, 401);
    let key = host.handle.master_key().await.expect("a key");
    let restart = format!("POST /admin/host/restart\nx-functions-key: {key}");
    assert_eq!(host.send(&restart).await.status, 200);
    assert_eq!(host.send("GET /api/now").await.body, "2");
    std::fs::write(host.dir.path().join("host.json"), "{").expect("written");
    let failed = host.send(&restart).await;
    assert_eq!(failed.status, 503);
    assert!(failed.body.contains("host.json: not valid JSON"), "{}", failed.body);
    assert_eq!(host.send("GET /api/now").await.body, "2", "the previous generation stays in service");
}

#[tokio::test]
async fn settings_of_host_json_take_effect_with_the_next_generation() {
    let (setup, _permits, _slow) = app();
    let host = setup.start().await;
    let changed = json!({"version": "2.0", "extensions": {"http": {"routePrefix": "v2", "customHeaders": {"X-New": "1"}}}});
    std::fs::write(host.dir.path().join("host.json"), changed.to_string()).expect("written");
    std::fs::write(host.dir.path().join("local.settings.json"), r#"{"Host": {"CORS": "https://new.test"}}"#)
        .expect("written");
    assert_eq!(host.send("GET /api/now").await.body, "1", "nothing changes before");
    host.handle.reload().await.expect("the app starts again");
    assert_eq!(host.send("GET /api/now").await.status, 404);
    let response = host.send("GET /v2/now\nOrigin: https://new.test").await;
    assert_eq!(response.body, "2");
    assert_eq!(response.headers["x-new"], "1");
    assert_eq!(response.headers["access-control-allow-origin"], "https://new.test");
}

#[tokio::test]
async fn changed_options_take_effect_with_a_new_generation_and_active_calls_end_in_the_old_one() {
    let (setup, permits, mut slow) = app();
    let host = setup.start().await;
    let call = host.send("GET /api/slow");
    tokio::pin!(call);
    tokio::select! {
        response = &mut call => panic!("it has no permit: {}", response.text()),
        entered = received(&mut slow) => assert_eq!(entered, 1),
    }
    let mut options = Options { functions: vec!["now".to_owned()], ..Options::default() };
    host.handle.prepare(&options).expect("the options are valid").await;
    assert_eq!(host.send("GET /api/now").await.body, "2");
    assert_eq!(host.send("GET /api/slow").await.status, 404);
    permits.add_permits(1);
    assert_eq!(call.await.body, "1");
    drained(&host, &[1]).await;

    options.cors_origins = vec!["https://new.test".to_owned()];
    host.handle.prepare(&options).expect("the options are valid").await;
    let response = host.send("GET /api/now\nOrigin: https://new.test").await;
    assert_eq!(response.body, "2", "CORS needs no new generation");
    assert_eq!(response.headers["access-control-allow-origin"], "https://new.test");

    options.workers.processes_max = 99;
    let error = host.handle.prepare(&options).map(drop).expect_err("too many processes").to_string();
    assert!(error.starts_with("functions.workers.processes_max is 99"), "{error}");
}

/// Each second has one run, in one of the generations.
#[tokio::test(flavor = "multi_thread")]
async fn a_timer_runs_once_at_each_time_of_its_schedule_while_generations_change() {
    let runs: Arc<Mutex<Vec<(u128, i64)>>> = Arc::default();
    let seen = Arc::clone(&runs);
    let timer = json!({"type": "timerTrigger", "name": "t", "direction": "in", "schedule": "* * * * * *"});
    let host = Setup::default()
        .mark_generation()
        .function("tick", &[timer], move |request| {
            let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970");
            seen.lock().expect("no panic").push((now.as_millis(), generation(&request)));
            async { returned(TypedData::Null) }
        })
        .start()
        .await;
    // Some of the changes come at the moment of a run.
    let mut tick = tokio::time::interval(Duration::from_millis(37));
    let mut changes = 0;
    while runs.lock().expect("no panic").len() < 4 {
        tick.tick().await;
        host.handle.reload().await.expect("the app starts again");
        changes += 1;
    }
    host.handle.drain(PATIENCE).await;
    let runs = runs.lock().expect("no panic").clone();
    for pair in runs.windows(2) {
        let [(last, _), (now, _)] = *pair else { unreachable!("windows of two") };
        // A run that comes late on a busy machine takes the place of the one that was due meanwhile.
        let (seconds, is_late) = (now / 1000 - last / 1000, last % 1000 >= 700);
        assert!(seconds == 1 || (seconds == 2 && is_late), "{changes} changes: {runs:?}");
    }
    assert!(changes > 10, "{changes}");
}

#[tokio::test]
async fn a_batch_ends_in_its_generation_before_the_next_one_opens_the_source() {
    let (feed, permits, (entered, mut batches)) =
        (Feed::default(), Arc::new(Semaphore::new(0)), mpsc::unbounded_channel());
    let gate = Arc::clone(&permits);
    let trigger = json!({"type": "feedTrigger", "name": "items", "direction": "in"});
    let host = Setup::default()
        .mark_generation()
        .connector(Arc::new(feed.clone()))
        .function("on_item", &[trigger], move |request| {
            let (gate, entered) = (Arc::clone(&gate), entered.clone());
            async move {
                let items = match &request.input_data[0].data {
                    TypedData::String(text) => text.to_string(),
                    other => panic!("no text: {other:?}"),
                };
                let _ = entered.send((generation(&request), items));
                gate.acquire().await.expect("open").forget();
                returned(TypedData::Null)
            }
        })
        .start()
        .await;
    feed.push(&json!(1), None);
    assert_eq!(received(&mut batches).await, (1, "[1]".to_owned()));
    feed.push(&json!(2), None);
    host.handle.reload().await.expect("the app starts again");
    assert!(batches.try_recv().is_err(), "the first batch is active");
    permits.add_permits(1);
    assert_eq!(received(&mut batches).await, (2, "[2]".to_owned()));
    permits.add_permits(1);
    feed.completed(2).await;
    host.handle.drain(PATIENCE).await;
    assert!(!feed.is_owned());
}
