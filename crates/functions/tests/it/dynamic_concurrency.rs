//! Dynamic concurrency of triggers, with a scripted feed and scripted workers.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::json;
use worker_protocol::TypedData;

use crate::fake::{Host, PATIENCE, Setup, returned};
use crate::feed::{Feed, PARTITIONS};

/// Deliveries that run, and the most that ran at a time since the last look.
#[derive(Default)]
struct Running {
    now: AtomicUsize,
    most: AtomicUsize,
}

/// A host with the function `f`, whose feed always has further items.
async fn host(setup: Setup, section: serde_json::Value) -> (Host, Arc<Running>, tokio::task::JoinSet<()>) {
    let (feed, running) = (Feed::default(), Arc::new(Running::default()));
    let (counts, items) = (Arc::clone(&running), feed.clone());
    let trigger = json!({"type": "feedTrigger", "name": "items", "direction": "in"});
    let host = setup
        .host_json(&json!({"version": "2.0", "concurrency": section}).to_string())
        .options(|options| options.concurrency_interval_ms = 10)
        .connector(Arc::new(feed.clone()))
        .function("f", &[trigger], move |_| {
            let running = Arc::clone(&counts);
            async move {
                let now = running.now.fetch_add(1, Ordering::SeqCst) + 1;
                running.most.fetch_max(now, Ordering::SeqCst);
                // The work of the function.
                tokio::time::sleep(Duration::from_millis(2)).await;
                running.now.fetch_sub(1, Ordering::SeqCst);
                returned(TypedData::Null)
            }
        })
        .start()
        .await;
    let mut load = tokio::task::JoinSet::new();
    load.spawn(async move {
        for completed in 0_usize.. {
            for partition in 0..PARTITIONS {
                for _ in 0..9 {
                    items.push_to(partition, &json!({}), None);
                }
            }
            items.completed(completed * 9 * PARTITIONS).await;
        }
    });
    (host, running, load)
}

/// Waits until the limit of `f` is this one.
async fn limit(host: &Host, expected: usize) {
    let gauge = format!("functions_dynamic_concurrency{{function=\"f\"}} {expected}\n");
    let wait = async {
        while !host.metrics().contains(&gauge) {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    let is_in_time = tokio::time::timeout(PATIENCE, wait).await.is_ok();
    assert!(is_in_time, "no {gauge}{}{}", host.metrics(), host.log());
}

// The tests of this process use the processors too.
fn section() -> serde_json::Value {
    json!({"dynamicConcurrencyEnabled": true, "CPUThreshold": 0.999})
}

#[tokio::test]
async fn concurrency_grows_under_load_shrinks_with_slow_workers_and_is_stored_for_the_next_start() {
    let setup = Setup::default();
    let store = Arc::clone(&setup.store);
    let (host, running, load) = host(setup, section()).await;
    limit(&host, 1).await;
    limit(&host, PARTITIONS).await;
    let log = host.log();
    assert!(log.contains("f Increasing concurrency (Concurrency: 2)"), "{log}");
    let all_run = async {
        while running.most.load(Ordering::SeqCst) < PARTITIONS {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(PATIENCE, all_run).await.expect("all partitions run at a time");
    host.is_slow.store(true, Ordering::SeqCst);
    limit(&host, 1).await;
    let log = host.log();
    assert!(
        log.contains("f Decreasing concurrency (Enabled throttles: WorkerChannel, Concurrency: "),
        "{log}"
    );
    host.is_slow.store(false, Ordering::SeqCst);
    limit(&host, 2).await;
    drop(load);
    host.handle.drain(PATIENCE).await;
    drop(host);
    let mut again = Setup::default();
    again.store = store;
    let (host, _, _load) = self::host(again, section()).await;
    let log = host.log();
    let stored =
        log.lines().find(|line| line.contains("Applying status snapshot for function f (Concurrency: "));
    let stored = stored.unwrap_or_else(|| panic!("{log}"));
    assert!(!stored.contains("(Concurrency: 1)"), "{stored}");
}

#[tokio::test]
async fn without_dynamic_concurrency_the_source_alone_limits_the_deliveries() {
    let (host, running, _load) = host(Setup::default(), json!({"maximumFunctionConcurrency": 1})).await;
    let all_run = async {
        while running.most.load(Ordering::SeqCst) < PARTITIONS {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(PATIENCE, all_run).await.expect("all partitions run at a time");
    assert!(!host.metrics().contains("functions_dynamic_concurrency{"));
}
