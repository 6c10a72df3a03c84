//! Workers that are killed under load, and a function that ends its worker again and again. `cargo xtask soak` runs these in full: then
//! they also assert latencies and throughput, which a busy machine of CI cannot promise.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use functions::worker::PoolOptions;
use functions_contract::Value;
use serde_json::json;

use crate::feed::Feed;
use crate::real_host::RealHost;

/// Kills in CI; `CHAPPE_SOAK_KILLS` sets another number.
const KILLS: u64 = 15;

const CLIENTS: u64 = 16;

const LOST: &str =
    "The worker process ended while the function ran. Whether the function had an effect is unknown.\n";

fn soak_kills() -> Option<u64> {
    std::env::var("CHAPPE_SOAK_KILLS").ok().map(|text| text.parse().expect("a number of kills"))
}

/// What callers saw.
#[derive(Default)]
struct Outcomes {
    latencies: Vec<Duration>,
    statuses: BTreeMap<u16, usize>,
    took: Duration,
}

impl Outcomes {
    fn failed(&self) -> usize {
        self.statuses.iter().filter(|(status, _)| **status >= 500).map(|(_, count)| count).sum()
    }

    fn p99(&self) -> Duration {
        self.latencies[self.latencies.len() * 99 / 100]
    }

    fn per_second(&self) -> f64 {
        let succeeded = self.statuses.get(&200).copied().unwrap_or_default();
        succeeded as f64 / self.took.as_secs_f64()
    }
}

impl std::fmt::Display for Outcomes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (rate, p99) = (self.per_second(), self.p99());
        let max = self.latencies.last().copied().unwrap_or_default();
        write!(f, "{rate:.0} successes a second, p99 {p99:?}, longest {max:?}, by status {:?}", self.statuses)
    }
}

/// Clients that call a route, each one request at a time with a pause, until `done`.
async fn load(host: &Arc<RealHost>, route: &'static str, pause: Duration, done: Arc<AtomicBool>) -> Outcomes {
    let started = Instant::now();
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let clients = (0..CLIENTS).map(|_| {
        let (host, done) = (Arc::clone(host), Arc::clone(&done));
        tokio::spawn(async move {
            let mut seen = Vec::new();
            while !done.load(Ordering::Relaxed) {
                let number = NEXT.fetch_add(1, Ordering::Relaxed);
                let sent = Instant::now();
                let (status, body) = host.get(&format!("{route}/{number}")).await;
                match status {
                    200 => assert_eq!(body, number.to_string(), "the response of another request"),
                    500 => assert_eq!(body, LOST),
                    503 => assert!(body.contains("no worker is ready"), "{body}"),
                    other => panic!("{other}: {body}"),
                }
                seen.push((sent.elapsed(), status));
                tokio::time::sleep(pause).await;
            }
            seen
        })
    });
    let mut outcomes = Outcomes::default();
    for client in futures_util::future::join_all(clients).await {
        for (latency, status) in client.expect("no client panics") {
            outcomes.latencies.push(latency);
            *outcomes.statuses.entry(status).or_default() += 1;
        }
    }
    outcomes.latencies.sort();
    outcomes.took = started.elapsed();
    outcomes
}

/// Load for a time.
async fn load_for(host: &Arc<RealHost>, route: &'static str, pause: Duration, time: Duration) -> Outcomes {
    let done = Arc::new(AtomicBool::new(false));
    let load = load(host, route, pause, Arc::clone(&done));
    let timer = async {
        tokio::time::sleep(time).await;
        done.store(true, Ordering::Relaxed);
    };
    tokio::join!(load, timer).0
}

/// Numbers between 0 and 1 that are the same in each run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 11) as f64 / (1_u64 << 53) as f64
    }
}

fn kill(pid: u32) {
    let pid = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw).expect("a process id");
    // It may have ended a moment ago.
    let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
}

#[tokio::test(flavor = "multi_thread")]
async fn workers_that_are_killed_under_load_lose_no_event_and_leave_no_caller_without_an_answer() {
    let kills = soak_kills().unwrap_or(KILLS);
    let feed = Feed::default();
    let workers = PoolOptions { spare: Some(true), ..PoolOptions::default() };
    let host = Arc::new(RealHost::start(workers, vec![Arc::new(feed.clone())]).await);
    let undisturbed = load_for(&host, "work", Duration::ZERO, Duration::from_secs(2)).await;
    let done = Arc::new(AtomicBool::new(false));
    let disturb = async {
        let (mut random, mut events) = (Random(13), 0);
        for _ in 0..kills {
            for _ in 0..5 {
                feed.push(&json!(events), None);
                events += 1;
            }
            tokio::time::sleep(Duration::from_millis(100).mul_f64(1.0 + 4.0 * random.next())).await;
            let pids = host.handle.worker_pids();
            if !pids.is_empty() {
                kill(pids[(random.next() * pids.len() as f64) as usize]);
            }
        }
        done.store(true, Ordering::Relaxed);
        events
    };
    let (disturbed, events) = tokio::join!(load(&host, "work", Duration::ZERO, Arc::clone(&done)), disturb);
    feed.completed(events).await;
    let mut delivered: Vec<usize> = Vec::new();
    for (_, value) in feed.written() {
        let Value::Json(text) = value else { panic!("{value:?}") };
        delivered.push(serde_json::from_str(&text).expect("the function returned its item"));
    }
    delivered.sort_unstable();
    assert_eq!(delivered, (0..events).collect::<Vec<_>>(), "each event succeeded once");
    println!("undisturbed: {undisturbed}");
    let start = host.mean_start();
    println!("{kills} kills: {disturbed}; {events} events; a worker starts in {start:?}");
    assert!(disturbed.statuses[&200] > disturbed.failed(), "{disturbed}");
    if soak_kills().is_some() {
        assert!(disturbed.p99() <= Duration::from_secs(1), "{disturbed}");
        assert!(disturbed.per_second() >= undisturbed.per_second() / 2.0, "{undisturbed}; {disturbed}");
    }
    Arc::into_inner(host).expect("the clients have ended").drain().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_function_that_ends_its_worker_again_and_again_gets_one_of_its_own() {
    let is_soak = soak_kills().is_some();
    let (crash_pause, time) = match is_soak {
        true => (Duration::from_secs(2), Duration::from_secs(60)),
        false => (Duration::from_millis(300), Duration::from_secs(3)),
    };
    for route in ["crash", "exit"] {
        let workers = PoolOptions { spare: Some(true), ..PoolOptions::default() };
        let host = Arc::new(RealHost::start(workers, vec![Arc::new(Feed::default())]).await);
        let pause = Duration::from_millis(5);
        let undisturbed = load_for(&host, "work", pause, time).await;
        let done = Arc::new(AtomicBool::new(false));
        let crash = async {
            let end = Instant::now() + time;
            while Instant::now() < end {
                let (status, body) = host.get(route).await;
                assert!((status == 500 && body == LOST) || status == 503, "{status}: {body}");
                tokio::time::sleep(crash_pause).await;
            }
            done.store(true, Ordering::Relaxed);
        };
        let (disturbed, ()) = tokio::join!(load(&host, "work", pause, Arc::clone(&done)), crash);
        println!("{route}: undisturbed: {undisturbed}\ndisturbed: {disturbed}");
        assert!(host.logged(&format!("Functions.{route} ended its worker process more than once")));
        assert!(!host.logged("Functions.work ended its worker process more than once"));
        // From then on its crashes do not touch the others.
        let lost = host.metric("functions_worker_invocations_lost_total");
        let pid = host.get("pid").await.1;
        for _ in 0..3 {
            let (status, _) = host.get(route).await;
            assert!(status >= 500);
        }
        assert_eq!(host.metric("functions_worker_invocations_lost_total"), lost + 3.0);
        assert_eq!(host.get("pid").await.1, pid);
        if is_soak {
            assert!(disturbed.p99() <= undisturbed.p99().mul_f64(1.5), "{undisturbed}; {disturbed}");
            assert!(disturbed.failed() * 100 < disturbed.latencies.len(), "{disturbed}");
        }
        Arc::into_inner(host).expect("the clients have ended").drain().await;
    }
}
