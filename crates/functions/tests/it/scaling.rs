//! The number of worker processes follows the load; idle, large and old ones end, and none loses an invocation.

use std::collections::BTreeSet;
use std::sync::Arc;

use functions::worker::PoolOptions;

use crate::feed::Feed;
use crate::real_host::RealHost;

async fn start(workers: PoolOptions) -> Arc<RealHost> {
    let workers = PoolOptions { spare: workers.spare.or(Some(false)), ..workers };
    Arc::new(RealHost::start(workers, vec![Arc::new(Feed::default())]).await)
}

async fn drain(host: Arc<RealHost>) {
    Arc::into_inner(host).expect("nobody else has it").drain().await;
}

/// Calls a route at the same time so often; all must succeed.
async fn call(host: &Arc<RealHost>, route: &str, times: usize) -> BTreeSet<String> {
    let calls = (0..times).map(|_| host.get(route));
    let answers = futures_util::future::join_all(calls).await;
    assert!(answers.iter().all(|(status, _)| *status == 200), "{answers:?}");
    answers.into_iter().map(|(_, body)| body).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_app_has_no_process_and_the_next_call_starts_one() {
    let host = start(PoolOptions { idle_timeout_ms: 300, spare: Some(true), ..PoolOptions::default() }).await;
    for _ in 0..2 {
        call(&host, "work/1", 3).await;
        host.until("all processes end", |host| host.handle.worker_pids().is_empty()).await;
    }
    call(&host, "work/1", 3).await;
    assert!(host.metric("functions_worker_retired_total{reason=\"Idle\"}") >= 2.0);
    assert_eq!(host.metric("functions_worker_restarts_total"), 0.0, "none of them replaced one that died");
    drain(host).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_with_too_much_memory_is_replaced_and_finishes_its_invocations() {
    let limit = 200 << 20;
    let workers = PoolOptions { memory_bytes_max: limit, memory_grace_ms: 0, ..PoolOptions::default() };
    let host = start(workers).await;
    let first = call(&host, "pid", 1).await;
    call(&host, "grow/200", 1).await;
    let replaced = async {
        // `call` fails if any invocation is lost in the meantime.
        while call(&host, "pid", 1).await == first {
            call(&host, "slow/1", 4).await;
        }
    };
    tokio::time::timeout(crate::fake::PATIENCE, replaced).await.expect("it is replaced in time");
    assert_eq!(host.metric("functions_worker_retired_total{reason=\"Memory\"}"), 1.0);
    host.until("the large one ends", |host| host.handle.worker_pids().len() == 1).await;
    assert_eq!(host.metric("functions_worker_invocations_lost_total"), 0.0);
    drain(host).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn old_workers_are_replaced_without_a_failed_call() {
    let host = start(PoolOptions { age_ms_max: 700, ..PoolOptions::default() }).await;
    let mut pids = BTreeSet::new();
    let seen = async {
        while pids.len() < 3 {
            call(&host, "slow/1", 4).await;
            pids.extend(call(&host, "pid", 1).await);
        }
    };
    tokio::time::timeout(crate::fake::PATIENCE, seen).await.expect("they are replaced in time");
    assert_eq!(host.metric("functions_worker_invocations_lost_total"), 0.0);
    drain(host).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_responses_add_processes_and_low_load_ends_them() {
    let workers = PoolOptions { processes_max: 2, scale_in_ms: 5_000, ..PoolOptions::default() };
    let host = start(workers).await;
    let grown = async {
        while host.handle.worker_pids().len() < 2 {
            // Each blocks its worker.
            call(&host, "busy/150", 4).await;
        }
    };
    tokio::time::timeout(crate::fake::PATIENCE, grown).await.expect("a process is added in time");
    assert_eq!(call(&host, "pid", 8).await.len(), 2, "both get calls");
    host.until("the second one ends", |host| host.handle.worker_pids().len() == 1).await;
    assert_eq!(host.metric("functions_worker_retired_total{reason=\"Excess\"}"), 1.0);
    drain(host).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn invocations_beyond_the_limit_of_a_process_wait_and_add_one() {
    let workers = PoolOptions { processes_max: 2, invocations_per_process_max: 2, ..PoolOptions::default() };
    let host = start(workers).await;
    let calls = tokio::spawn({
        let host = Arc::clone(&host);
        async move { call(&host, "slow/1", 60).await }
    });
    host.until("calls wait", |host| host.metric("functions_worker_invocations_waiting") >= 50.0).await;
    host.until("a process is added", |host| {
        host.metric("functions_worker_processes{state=\"Serving\"}") == 2.0
    })
    .await;
    calls.await.expect("no panic");
    assert_eq!(host.metric("functions_worker_invocations_waiting"), 0.0);
    drain(host).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_spare_worker_takes_over_when_the_one_that_serves_is_killed() {
    let host = start(PoolOptions { spare: Some(true), ..PoolOptions::default() }).await;
    host.until("a spare one is ready", |host| host.handle.worker_pids().len() == 2).await;
    for _ in 0..3 {
        let serving = call(&host, "pid", 8).await;
        assert_eq!(serving.len(), 1, "the spare one gets no calls");
        let serving: u32 = serving.first().expect("one").parse().expect("a process id");
        let spare = host.handle.worker_pids().into_iter().find(|pid| *pid != serving).expect("a spare one");
        assert!(host.handle.kill_worker(serving));
        assert_eq!(call(&host, "pid", 1).await, BTreeSet::from([spare.to_string()]));
        host.until("there is a spare one again", |host| {
            host.metric("functions_worker_processes{state=\"Spare\"}") == 1.0
        })
        .await;
    }
    drain(host).await;
}
