//! The usage of functions: what is counted, and that it is stored.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use functions::worker::PoolOptions;
use functions::{Admin, Options};
use http::Request;
use http_body_util::BodyExt;
use serde_json::Value as Json;
use state_embedded::Store;
use tower::Service as _;

use crate::fake::{PATIENCE, body_of};
use crate::feed::Feed;
use crate::real_host::RealHost;

async fn start(store: &Arc<Store>, concurrency: &[(&str, usize)]) -> RealHost {
    let concurrency: BTreeMap<String, usize> =
        concurrency.iter().map(|(name, max)| ((*name).to_owned(), *max)).collect();
    let workers = PoolOptions { spare: Some(false), ..PoolOptions::default() };
    let options = Options { workers, concurrency, ..Options::default() };
    RealHost::start_on(Arc::clone(store), options, vec![Arc::new(Feed::default())], "{}").await
}

async fn usage(host: &RealHost, query: &str) -> (u16, Json) {
    let request = Request::get(format!("http://localhost/admin/usage{query}"));
    let mut admin = Admin::new(host.handle.clone(), "/admin");
    let response = admin.call(request.body(body_of(b"")).expect("a request")).await.expect("infallible");
    let status = response.status().as_u16();
    let body = response.into_body().collect().await.expect("a complete body").to_bytes();
    (status, serde_json::from_slice(&body).expect("JSON"))
}

/// The row of a function.
async fn row(host: &RealHost, function: &str) -> BTreeMap<String, u64> {
    let (_, report) = usage(host, &format!("?function={function}")).await;
    let row = report["rows"].as_array().and_then(|rows| rows.first()).cloned().unwrap_or_default();
    let counts = row.as_object().into_iter().flatten();
    counts.filter_map(|(name, value)| Some((name.clone(), value.as_u64()?))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn executions_are_counted_and_stored_for_the_next_process() {
    let store = Arc::new(Store::ephemeral(&state_embedded::Options::default()).expect("a store"));
    let host = start(&store, &[]).await;
    for number in 0..5 {
        assert_eq!(host.get(&format!("work/{number}")).await.0, 200);
    }
    assert_eq!(host.get("slow/1").await.0, 200);
    assert_eq!(host.get("exit").await.0, 500);
    let work = row(&host, "work").await;
    assert_eq!((work["executions"], work["failures"]), (5, 0));
    assert!(work["milliseconds"] >= 500, "each counts at least 100 ms: {work:?}");
    let memory = work["executionUnits"] / work["milliseconds"];
    assert!((128..=1_536).contains(&memory), "{work:?}");
    let slow = row(&host, "slow").await;
    assert!(slow["milliseconds"] >= 200 && slow["executionUnits"] % 128 == 0, "{slow:?}");
    let exit = row(&host, "exit").await;
    assert_eq!((exit["executions"], exit["failures"]), (1, 1), "it had begun");
    // Without a drain, as if the process were killed: what was written is there.
    let written = async {
        let instance = state::Instance::new("functions-crashing").expect("a name");
        while store.registry().list(&instance, "usage/", None, 10).await.expect("it is read").len() < 3 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, written).await.expect("it is written in time");
    let next = start(&store, &[]).await;
    assert_eq!(row(&next, "work").await, work);
    assert_eq!(next.get("work/1").await.0, 200);
    assert_eq!(row(&next, "work").await["executions"], 6);
    let (status, refusal) = usage(&next, "?from=yesterday").await;
    assert_eq!((status, refusal["error"]["code"].as_str()), (400, Some("admin-invalid-usage-query")));
    assert_eq!(usage(&next, "?to=2020-01-01").await.1["rows"], serde_json::json!([]));
    next.drain().await;
    host.drain().await;
    let last = start(&store, &[]).await;
    assert_eq!(row(&last, "work").await["executions"], 6, "a drain writes what was not written yet");
    last.drain().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_function_runs_no_more_often_at_a_time_than_its_limit() {
    let store = Arc::new(Store::ephemeral(&state_embedded::Options::default()).expect("a store"));
    let host = start(&store, &[("SLOW", 2)]).await;
    let started = Instant::now();
    let limited = async {
        let calls = (0..6).map(|_| host.get("slow/1"));
        futures_util::future::join_all(calls).await;
        started.elapsed()
    };
    let others = async {
        // They do not wait for the limited one.
        assert_eq!(host.get("work/1").await.0, 200);
        started.elapsed()
    };
    let (limited, others) = tokio::join!(limited, others);
    assert!(limited >= Duration::from_millis(600), "three after each other: {limited:?}");
    assert!(others < limited, "{others:?} {limited:?}");
    host.drain().await;
}
