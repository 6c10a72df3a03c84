//! Triggers, inputs and outputs of connectors.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use expect_test::expect;
use functions::worker::InvokeError;
use functions_contract::suite::{check_reader, check_sink, check_source};
use functions_contract::{AfterFailure, BindingError, ItemOrigin, Value};
use serde_json::json;
use trace::{TraceContext, Tracer};
use worker_protocol::{InvocationRequest, RetryOptions, RetryStrategy, TypedData};

use crate::fake::{Setup, outputs, returned, threw};
use crate::feed::{Feed, PARTITIONS, away};

fn trigger() -> serde_json::Value {
    json!({"type": "feedTrigger", "name": "items", "direction": "in"})
}

fn text_of(request: &InvocationRequest) -> String {
    match &request.input_data[0].data {
        TypedData::String(text) => text.to_string(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn the_scripted_feed_keeps_the_contracts_of_source_sink_and_reader() {
    check_source(&Feed::default()).await;
    check_sink(&Feed::default()).await;
    check_reader(&Feed::default()).await;
}

#[tokio::test]
async fn a_change_passes_through_inputs_function_and_outputs() {
    let feed = Feed::default();
    let input = json!({"type": "feed", "name": "old", "direction": "IN", "id": "{sys.methodname}{Source}"});
    let known = json!({"type": "feed", "name": "known", "direction": "in", "id": "0"});
    let output =
        json!({"type": "FEED", "name": "out", "direction": "out", "to": "%HUB%-{source}", "sqlQuery": "{x}"});
    let result = json!({"type": "feed", "name": "$return", "direction": "out"});
    let inputs = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&inputs);
    let host = Setup::default()
        .setting("HUB", "board")
        .connector(Arc::new(feed.clone()))
        .function("f", &[trigger(), input, known, output, result], move |request| {
            let values = request.input_data.iter().map(|input| (input.name.clone(), input.data.clone()));
            *seen.lock().expect("no panic") = values.collect();
            async {
                let mut answer = outputs(&[("out", TypedData::Json("[{\"a\":1},{\"a\":2}]".into()))]);
                if let Ok(response) = &mut answer {
                    response.return_value = Some(TypedData::String("back".into()));
                }
                answer
            }
        })
        .start()
        .await;
    feed.push(&json!({"id": 1}), None);
    feed.completed(1).await;
    let data = |name: &str| {
        let inputs = inputs.lock().expect("no panic");
        inputs.iter().find(|(known, _)| known == name).map(|(_, data)| data.clone())
    };
    assert_eq!(data("items"), Some(TypedData::String("[{\"id\":1}]".into())));
    assert_eq!(data("old"), Some(TypedData::Null), "what is not there is null");
    assert_eq!(data("known"), Some(TypedData::Json("{\"id\":1}".into())));
    let written: Vec<_> = feed
        .written()
        .into_iter()
        .map(|(properties, value)| (properties.get("to").cloned(), value))
        .collect();
    assert_eq!(
        written,
        [
            (Some(json!("board-feed")), Value::Json("{\"a\":1}".into())),
            (Some(json!("board-feed")), Value::Json("{\"a\":2}".into())),
            (None, Value::Text("back".into())),
        ]
    );
    // The connector resolves the expressions of a query: values in the text would let data change the query.
    assert_eq!(feed.written()[0].0.get("sqlQuery"), Some(&json!("{x}")));
    host.handle.drain(Duration::from_secs(10)).await;
    assert!(!feed.is_owned(), "drain closes the source");
}

#[tokio::test]
async fn a_function_that_throws_does_not_stop_the_feed() {
    let feed = Feed::default();
    let host = Setup::default()
        .connector(Arc::new(feed.clone()))
        .function("f", &[trigger()], |request| async move {
            if text_of(&request).contains("bad") { threw("bad item") } else { returned(TypedData::Null) }
        })
        .start()
        .await;
    feed.push(&json!("bad"), None);
    feed.completed(1).await;
    feed.push(&json!("good"), None);
    feed.completed(2).await;
    host.handle.drain(Duration::from_secs(10)).await;
    let log = host.log();
    assert!(log.contains("Error Executed 'Functions.f' (Failed, Id=ID, Duration=Nms)"), "{log}");
    assert!(log.contains("Info Executed 'Functions.f' (Succeeded, Id=ID, Duration=Nms)"), "{log}");
    assert!(log.contains("Executing 'Functions.f' (Reason='New changes on the feed', Id=ID)"), "{log}");
}

#[tokio::test]
async fn a_batch_whose_worker_dies_is_delivered_again() {
    let feed = Feed::default();
    let texts = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&texts);
    let host = Setup::default()
        .connector(Arc::new(feed.clone()))
        .function("f", &[trigger()], move |request| {
            let count = {
                let mut seen = seen.lock().expect("no panic");
                seen.push(text_of(&request));
                seen.len()
            };
            async move {
                if count <= 2 { Err(InvokeError::WorkerGone { pid: 1 }) } else { returned(TypedData::Null) }
            }
        })
        .start()
        .await;
    feed.push(&json!(1), None);
    feed.completed(1).await;
    feed.push(&json!(2), None);
    feed.completed(2).await;
    assert_eq!(*texts.lock().expect("no panic"), ["[1]", "[1]", "[1]", "[2]"]);
    let metrics = host.metrics();
    assert!(
        metrics.contains("functions_source_batches_total{function=\"f\",ended=\"Abandoned\"} 2"),
        "{metrics}"
    );
    assert!(
        metrics.contains("functions_source_batches_total{function=\"f\",ended=\"Completed\"} 2"),
        "{metrics}"
    );
}

#[tokio::test]
async fn deliveries_of_different_keys_run_in_parallel_and_those_of_one_key_in_order() {
    let feed = Feed::default();
    let texts = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&texts);
    let all_run = Arc::new(tokio::sync::Barrier::new(PARTITIONS));
    let meet = Arc::clone(&all_run);
    let host = Setup::default()
        .connector(Arc::new(feed.clone()))
        .function("f", &[trigger()], move |request| {
            let text = text_of(&request);
            seen.lock().expect("no panic").push(text.clone());
            let meet = Arc::clone(&meet);
            async move {
                if text.contains("first") {
                    // Passes only if the first deliveries of all keys run at the same time.
                    meet.wait().await;
                }
                returned(TypedData::Null)
            }
        })
        .start()
        .await;
    for partition in 0..PARTITIONS {
        feed.push_to(partition, &json!(format!("first of {partition}")), None);
    }
    for partition in 0..PARTITIONS {
        for number in 0..6 {
            feed.push_to(partition, &json!(format!("{partition}: {number}")), None);
        }
    }
    feed.completed(7 * PARTITIONS).await;
    host.handle.drain(Duration::from_secs(10)).await;
    let texts = texts.lock().expect("no panic");
    for partition in 0..PARTITIONS {
        let of_partition: Vec<String> = texts
            .iter()
            .flat_map(|text| serde_json::from_str::<Vec<String>>(text).expect("texts"))
            .filter(|text| text.starts_with(&format!("{partition}: ")))
            .collect();
        let expected: Vec<String> = (0..6).map(|number| format!("{partition}: {number}")).collect();
        assert_eq!(of_partition, expected);
    }
}

#[tokio::test]
async fn a_failed_delivery_is_dead_lettered_with_the_error_if_its_source_requests_it() {
    let feed = Feed::default();
    feed.set_after_failure(AfterFailure::DeadLetter);
    let host = Setup::default()
        .connector(Arc::new(feed.clone()))
        .function("f", &[trigger()], |request| async move {
            if text_of(&request).contains("bad") { threw("bad item") } else { returned(TypedData::Null) }
        })
        .start()
        .await;
    feed.push_to(0, &json!("bad"), None);
    feed.push_to(1, &json!("good"), None);
    feed.completed(2).await;
    host.handle.drain(Duration::from_secs(10)).await;
    let [(item, reason)] = &feed.dead()[..] else { panic!("one item is dead-lettered") };
    assert_eq!((item.as_str(), reason.lines().next()), ("\"bad\"", Some("Error: bad item")));
    let metrics = host.metrics();
    for count in ["ended=\"DeadLettered\"} 1", "ended=\"Completed\"} 1"] {
        assert!(
            metrics.contains(&format!("functions_source_batches_total{{function=\"f\",{count}")),
            "{metrics}"
        );
    }
}

#[tokio::test]
async fn a_failed_delivery_is_repeated_if_its_source_requests_it() {
    let feed = Feed::default();
    feed.set_after_failure(AfterFailure::Abandon);
    let calls = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&calls);
    let host = Setup::default()
        .connector(Arc::new(feed.clone()))
        .function("f", &[trigger()], move |_| {
            let attempt = count.fetch_add(1, Ordering::SeqCst);
            async move { if attempt < 2 { threw("not yet") } else { returned(TypedData::Null) } }
        })
        .start()
        .await;
    feed.push(&json!(1), None);
    feed.completed(1).await;
    host.handle.drain(Duration::from_secs(10)).await;
    assert_eq!(calls.load(Ordering::SeqCst), 3);
    assert!(feed.dead().is_empty());
}

#[tokio::test]
async fn the_lock_of_a_delivery_is_renewed_while_its_function_runs() {
    let feed = Feed::default();
    // The last one is the first renewal's.
    let failures = vec![away("the system is away")];
    feed.lock_deliveries(Duration::from_millis(1), failures);
    let (release, wait) = (Arc::new(tokio::sync::Notify::new()), feed.clone());
    let host = Setup::default()
        .connector(Arc::new(feed.clone()))
        .function("f", &[trigger()], move |_| {
            let (release, feed) = (Arc::clone(&release), wait.clone());
            async move {
                feed.renewed(5).await;
                release.notify_one();
                returned(TypedData::Null)
            }
        })
        .start()
        .await;
    feed.push(&json!(1), None);
    feed.completed(1).await;
    host.handle.drain(Duration::from_secs(10)).await;
    let log = host.log();
    let line = "Warn The lock of delivery 0-1 could not be renewed: the system is away.";
    assert_eq!(log.matches(line).count(), 1, "{log}");
}

#[tokio::test]
async fn a_lost_lock_is_logged_and_concerns_only_its_delivery() {
    let feed = Feed::default();
    feed.lock_deliveries(
        Duration::from_millis(1),
        vec![BindingError::LockLost("the lock expired".to_owned())],
    );
    feed.fail_settlement(BindingError::LockLost("the lock expired".to_owned()));
    let wait = feed.clone();
    let host = Setup::default()
        .connector(Arc::new(feed.clone()))
        .function("f", &[trigger()], move |_| {
            let feed = wait.clone();
            async move {
                feed.renewed(1).await;
                returned(TypedData::Null)
            }
        })
        .start()
        .await;
    feed.push(&json!(1), None);
    feed.completed(1).await;
    host.handle.drain(Duration::from_secs(10)).await;
    let log = host.log();
    for line in [
        "Warn Delivery 0-1 may be processed twice: the lock expired.",
        "Warn Delivery 0-1 may come again: the lock expired.",
    ] {
        assert_eq!(log.matches(line).count(), 1, "{log}");
    }
    assert_eq!(log.matches("Executing 'Functions.f'").count(), 2, "it came again: {log}");
    assert!(!log.contains("The listener for function"), "the source was not opened again: {log}");
}

#[tokio::test]
async fn a_settlement_that_fails_opens_the_source_again_after_the_other_deliveries() {
    let feed = Feed::default();
    feed.fail_settlement(away("the database is away"));
    let (failed, other_ended) = (Arc::new(tokio::sync::Notify::new()), Arc::new(AtomicUsize::new(0)));
    let (failed_in, ended_in, owned) = (Arc::clone(&failed), Arc::clone(&other_ended), feed.clone());
    let host = Setup::default()
        .connector(Arc::new(feed.clone()))
        .options(|options| options.source_retry_ms_min = 1)
        .function("f", &[trigger()], move |request| {
            let (failed, ended, feed) = (Arc::clone(&failed_in), Arc::clone(&ended_in), owned.clone());
            async move {
                if text_of(&request).contains("slow") && ended.load(Ordering::SeqCst) == 0 {
                    failed.notified().await;
                    assert!(feed.is_owned(), "the source is closed after the last settlement");
                    ended.fetch_add(1, Ordering::SeqCst);
                }
                returned(TypedData::Null)
            }
        })
        .start()
        .await;
    feed.push_to(0, &json!("slow"), None);
    feed.push_to(1, &json!("quick"), None);
    while !host.metrics().contains("functions_source_batches_total{function=\"f\",ended=\"Completed\"} 1") {
        tokio::task::yield_now().await;
    }
    failed.notify_one();
    feed.completed(2).await;
    host.handle.drain(Duration::from_secs(10)).await;
    assert_eq!(other_ended.load(Ordering::SeqCst), 1);
    let log = host.log();
    assert_eq!(log.matches("Executing 'Functions.f'").count(), 3, "only one delivery came again: {log}");
    assert!(log.contains("failed: the database is away. Trying again."), "{log}");
}

#[tokio::test]
async fn every_attempt_gets_the_text_of_the_batch_without_a_copy() {
    let feed = Feed::default();
    let texts = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&texts);
    let host = Setup::default()
        .connector(Arc::new(feed.clone()))
        .function("f", &[trigger()], move |request| {
            let TypedData::String(text) = request.input_data[0].data.clone() else { panic!("text") };
            seen.lock().expect("no panic").push(text);
            async { threw("again") }
        })
        .metadata(|metadata| {
            metadata.retry_options = Some(RetryOptions {
                max_retry_count: 1,
                retry_strategy: RetryStrategy::FixedDelay,
                delay_interval: Some(Duration::from_millis(1)),
                ..RetryOptions::default()
            });
        })
        .start()
        .await;
    feed.push(&json!({"id": 1}), None);
    feed.completed(1).await;
    let batch = feed.last_batch().expect("a batch was handed out");
    let addresses: Vec<_> = texts.lock().expect("no panic").iter().map(|text| text.as_ptr()).collect();
    assert_eq!(addresses, [batch.as_ptr(), batch.as_ptr()]);
    host.handle.drain(crate::fake::PATIENCE).await;
}

#[tokio::test]
async fn a_retry_policy_repeats_the_batch_and_logs_it() {
    let feed = Feed::default();
    let contexts = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&contexts);
    let host = Setup::default()
        .connector(Arc::new(feed.clone()))
        .function("f", &[trigger()], move |request| {
            let retry = request.retry_context.map(|retry| {
                (retry.retry_count, retry.max_retry_count, retry.exception.map(|exception| exception.message))
            });
            seen.lock().expect("no panic").push(retry);
            async { threw("again") }
        })
        .metadata(|metadata| {
            metadata.retry_options = Some(RetryOptions {
                max_retry_count: 2,
                retry_strategy: RetryStrategy::FixedDelay,
                delay_interval: Some(Duration::from_millis(1)),
                ..RetryOptions::default()
            });
        })
        .start()
        .await;
    feed.push(&json!(1), None);
    feed.completed(1).await;
    let why = Some("again".to_owned());
    let expected = [Some((0, 2, None)), Some((1, 2, why.clone())), Some((2, 2, why))];
    assert_eq!(*contexts.lock().expect("no panic"), expected);
    let log = host.log();
    assert!(log.contains("Error Function execution failed after '2' retries."), "{log}");
    assert_eq!(log.matches("Executing 'Functions.f'").count(), 3, "{log}");
    let ids: std::collections::BTreeSet<_> =
        host.handle.logs().tail(0).into_iter().filter_map(|line| line.invocation_id).collect();
    assert_eq!(ids.len(), 1, "a retry keeps the id");
}

#[tokio::test]
async fn an_output_that_fails_fails_the_invocation() {
    let feed = Feed::default();
    let output = json!({"type": "feed", "name": "out", "direction": "out"});
    let host = Setup::default()
        .connector(Arc::new(feed.clone()))
        .function("f", &[trigger(), output], |_| async { outputs(&[("out", TypedData::String("x".into()))]) })
        .start()
        .await;
    // The source is open already, or its open fails with this error; either way the next error is that of the sink.
    feed.push(&json!(1), None);
    feed.completed(1).await;
    feed.fail_next("the hub is away");
    feed.push(&json!(2), None);
    feed.completed(2).await;
    host.handle.drain(Duration::from_secs(10)).await;
    let log = host.log();
    assert!(
        log.contains(
            "Exception while executing function: Functions.f. cannot write output 'out': the hub is away"
        ),
        "{log}"
    );
    assert_eq!(feed.written().len(), 1);
}

#[tokio::test]
async fn a_failing_source_is_opened_again_and_logged_once() {
    let feed = Feed::default();
    for _ in 0..3 {
        feed.fail_next("the database is away");
    }
    let host = Setup::default()
        .connector(Arc::new(feed.clone()))
        .options(|options| options.source_retry_ms_min = 1)
        .function("f", &[trigger()], |_| async { returned(TypedData::Null) })
        .start()
        .await;
    feed.push(&json!(1), None);
    feed.completed(1).await;
    host.handle.drain(Duration::from_secs(10)).await;
    let log = host.log();
    let line = "Error The listener for function 'Functions.f' failed: the database is away. Trying again.";
    assert_eq!(log.matches(line).count(), 1, "{log}");
    assert_eq!(log.matches("the database is away").count(), 1, "{log}");
    assert!(log.contains("The listener for function 'Functions.f' works again."), "{log}");
}

#[tokio::test]
async fn a_missing_source_is_logged_as_a_warning() {
    let feed = Feed::default();
    for _ in 0..3 {
        feed.absent_next("there is no feed yet");
    }
    let host = Setup::default()
        .connector(Arc::new(feed.clone()))
        .options(|options| options.source_retry_ms_min = 1)
        .function("f", &[trigger()], |_| async { returned(TypedData::Null) })
        .start()
        .await;
    feed.push(&json!(1), None);
    feed.completed(1).await;
    host.handle.drain(Duration::from_secs(10)).await;
    let log = host.log();
    let line = "Warn The listener for function 'Functions.f' waits: there is no feed yet.";
    assert_eq!(log.matches(line).count(), 1, "{log}");
    assert!(log.contains("Info The listener for function 'Functions.f' found what it waited for."), "{log}");
    assert!(!log.contains("Error"), "{log}");
}

#[tokio::test]
async fn spans_lead_from_the_write_to_the_function() {
    let feed = Feed::default();
    let inner = Arc::new(Mutex::new(None));
    let seen = Arc::clone(&inner);
    let host = Setup::default()
        .connector(Arc::new(feed.clone()))
        .function("f", &[trigger()], move |request| {
            *seen.lock().expect("no panic") = TraceContext::parse(&request.trace_context.trace_parent);
            async { returned(TypedData::Null) }
        })
        .start()
        .await;
    let write = Tracer::new(1).start("documents.write", None).context();
    let accepted_at = SystemTime::now() - Duration::from_secs(1);
    feed.push(&json!(1), Some(ItemOrigin { trace: write, accepted_at }));
    feed.completed(1).await;
    host.handle.drain(Duration::from_secs(10)).await;
    let spans = host.tracer.trace(write.trace_id);
    let find = |name| spans.iter().find(|span| span.name == name).expect("the span is there");
    let (feed_span, function) = (find("feed"), find("function"));
    assert_eq!(feed_span.parent, Some(write.span_id));
    assert_eq!(function.parent, Some(feed_span.context.span_id));
    assert!(
        feed_span.end_unix_ns - feed_span.start_unix_ns >= 1_000_000_000,
        "from acceptance to invocation"
    );
    assert!(function.start_unix_ns >= feed_span.start_unix_ns);
    assert_eq!(
        inner.lock().expect("no panic").map(|context| context.span_id),
        Some(function.context.span_id)
    );
}

#[tokio::test]
async fn drain_waits_for_active_invocations() {
    let feed = Feed::default();
    let ended = Arc::new(AtomicUsize::new(0));
    let (count, entered) = (Arc::clone(&ended), Arc::new(tokio::sync::Notify::new()));
    let (entered_in, release) = (Arc::clone(&entered), Arc::new(tokio::sync::Notify::new()));
    let release_in = Arc::clone(&release);
    let host = Setup::default()
        .connector(Arc::new(feed.clone()))
        .function("f", &[trigger()], move |_| {
            let (count, entered, release) =
                (Arc::clone(&count), Arc::clone(&entered_in), Arc::clone(&release_in));
            async move {
                entered.notify_one();
                release.notified().await;
                count.fetch_add(1, Ordering::SeqCst);
                returned(TypedData::Null)
            }
        })
        .start()
        .await;
    feed.push(&json!(1), None);
    entered.notified().await;
    let drain = host.handle.drain(Duration::from_secs(20));
    let let_go = async {
        release.notify_one();
    };
    tokio::join!(drain, let_go);
    assert_eq!(ended.load(Ordering::SeqCst), 1);
    feed.completed(1).await;
}

#[tokio::test]
async fn a_missing_value_for_an_expression_fails_the_invocation_with_its_name() {
    let feed = Feed::default();
    let output = json!({"type": "feed", "name": "out", "direction": "out", "to": "{headers.x-user}"});
    let http = json!({"type": "httpTrigger", "name": "req", "direction": "in", "authLevel": "anonymous"});
    let host = Setup::default()
        .connector(Arc::new(feed.clone()))
        .function("f", &[http, output], |_| async { outputs(&[("out", TypedData::String("x".into()))]) })
        .start()
        .await;
    assert_eq!(host.send("GET /api/f").await.status, 500);
    let log = host.log();
    let line = log.lines().find(|line| line.contains("Exception")).expect("an explanation");
    expect![[r#"Error Exception while executing function: Functions.f. binding 'out': no value for {headers.x-user} in "{headers.x-user}": there is no property 'x-user'"#]]
        .assert_eq(line);
    assert_eq!(host.send("GET /api/f\nx-user: ann").await.status, 204);
    assert_eq!(feed.written()[0].0.get("to"), Some(&json!("ann")));
}

#[tokio::test]
async fn the_connector_of_a_query_gets_route_query_and_body_as_binding_data() {
    let http = json!({"type": "httpTrigger", "name": "req", "direction": "in", "authLevel": "anonymous", "route": "f/{id:int}"});
    let query = json!({"type": "feed", "name": "found", "direction": "in", "sqlQuery": "SELECT {id}"});
    let host = Setup::default()
        .connector(Arc::new(Feed::default()))
        .function(
            "f",
            &[http, query, json!({"type": "http", "name": "$return", "direction": "out"})],
            |request| async move {
                let found =
                    request.input_data.into_iter().find(|input| input.name == "found").expect("the input");
                returned(found.data)
            },
        )
        .start()
        .await;
    let seen =
        host.send("POST /api/f/7?who=ann&id=lost&code=secret\n\n{\"who\":\"lost\",\"size\":3}").await.body;
    expect![[
        r#"{"size":"3","who":"ann","id":7,"Headers":{},"Query":{"code":"secret","id":"lost","who":"ann"}}"#
    ]]
    .assert_eq(&seen);
}

#[tokio::test]
async fn expressions_resolve_headers_query_route_and_body_of_a_request() {
    let http = json!({"type": "httpTrigger", "name": "req", "direction": "in", "authLevel": "anonymous", "route": "f/{id}"});
    let out = json!({
        "type": "feed", "name": "out", "direction": "out",
        "to": "{headers.X-User} {Query.q} {q} {id} {card.title} {size} {flag}"
    });
    let feed = Feed::default();
    let host = Setup::default()
        .connector(Arc::new(feed.clone()))
        .function(
            "f",
            &[http, out, json!({"type": "http", "name": "$return", "direction": "out"})],
            |_| async { outputs(&[("out", TypedData::String("x".into()))]) },
        )
        .start()
        .await;
    let body = r#"{"card": {"Title": "one"}, "size": 3, "flag": true, "headers": {"x-user": "forged"}, "query": {"q": "forged"}}"#;
    let request = format!("POST /api/f/7?q=1&headers=forged\nx-user: bob\n\n{body}");
    assert_eq!(host.send(&request).await.status, 204);
    assert_eq!(feed.written()[0].0["to"], "bob 1 1 7 one 3 True");
    // The properties of a body in a file are read too.
    let large = body.replacen('{', &format!("{{\"rest\": \"{}\", ", "y".repeat(2 * 1024 * 1024)), 1);
    let request = format!("POST /api/f/7?q=1\nx-user: bob\n\n{large}");
    assert_eq!(host.send(&request).await.status, 204);
    assert_eq!(feed.written()[1].0["to"], "bob 1 1 7 one 3 True");
    // The log names a missing header.
    assert_eq!(host.send("POST /api/f/7?q=1\n\n{}").await.status, 500);
    assert!(host.log().contains("no value for {headers.X-User}"), "{}", host.log());
}
