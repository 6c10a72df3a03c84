//! Cancellation and `functionTimeout`.

use super::*;

#[tokio::test]
async fn a_cancelled_invocation_is_cancelled_in_its_function_or_never_sent() {
    let running = start_loaded(&[], PoolOptions::default()).await;
    let (cancellation_source, cancellation) = CancellationToken::channel();
    let options = InvokeOptions { cancellation, ..InvokeOptions::default() };
    let call = tokio::spawn({
        let (pool, options) = (running.pool.clone(), options.clone());
        async move { pool.invoke(request("stops", TypedData::Null), options).await }
    });
    running.seen.wait_for("line it waits").await;
    cancellation_source.cancel();
    // What the function then says is its answer.
    assert!(call.await.expect("no panic").expect("answered").result.is_success());
    let error =
        running.pool.invoke(request("echo", TypedData::Null), options).await.expect_err("nobody wants it");
    assert_eq!(error.to_string(), "the caller went away before the function was called");
    running.drain().await;
}

/// A short limit for each invocation, and a short grace for those that go on.
fn limited() -> (PoolOptions, InvokeOptions) {
    let options = PoolOptions { cancel_grace_ms: 200, ..PoolOptions::default() };
    (options, InvokeOptions { timeout: Some(Duration::from_millis(200)), ..InvokeOptions::default() })
}

#[tokio::test]
async fn a_worker_that_does_not_respond_is_killed_after_the_grace_period() {
    let (pool_options, options) = limited();
    let running = start_loaded(&[], pool_options).await;
    let pid = running.pool.workers()[0].pid;
    let error = running.pool.invoke(request("hangs", TypedData::Null), options).await.expect_err("it hangs");
    let expected = "the function did not end within 200ms; it was told to stop, and its worker is replaced if it goes on";
    assert_eq!(error.to_string(), expected);
    running.seen.wait_for(&format!("overran {pid}, answers: false")).await;
    running.seen.wait_for("exited, signal: 9 (SIGKILL)").await;
    running.seen.wait_for("restarted").await;
    assert_ne!(whole(running.call("pid").await.expect("answered")), i64::from(pid));
    running.drain().await;
}

#[tokio::test]
async fn a_function_that_stops_on_cancellation_keeps_its_worker() {
    let (pool_options, options) = limited();
    let running = start_loaded(&[], pool_options).await;
    let pid = running.pool.workers()[0].pid;
    for _ in 0..2 {
        let error = running.pool.invoke(request("stops", TypedData::Null), options.clone()).await;
        assert!(matches!(error.expect_err("too late"), InvokeError::TimedOut { .. }));
    }
    running.seen.wait_for("line it stops").await;
    // Longer than the grace: had it gone on, its worker would be another one by now.
    let options = InvokeOptions { timeout: Some(Duration::from_secs(20)), ..InvokeOptions::default() };
    let later = running.pool.invoke(request("later", TypedData::Null), options).await.expect("answered");
    assert_eq!(whole(later), i64::from(pid));
    running.drain().await;
}

#[tokio::test]
async fn a_replaced_worker_finishes_its_other_invocations_and_gets_no_new_ones() {
    let (pool_options, options) = limited();
    let running = start_loaded(&[], pool_options).await;
    let pid = running.pool.workers()[0].pid;
    let later = tokio::spawn({
        let pool = running.pool.clone();
        async move { pool.invoke(request("later", TypedData::Null), InvokeOptions::default()).await }
    });
    let error = running.pool.invoke(request("waits", TypedData::Null), options).await;
    assert!(matches!(error.expect_err("it never ends"), InvokeError::TimedOut { .. }));
    running.seen.wait_for(&format!("overran {pid}, answers: true")).await;
    assert_ne!(whole(running.call("pid").await.expect("answered")), i64::from(pid));
    assert_eq!(whole(later.await.expect("no panic").expect("answered")), i64::from(pid));
    running.seen.wait_for("exited, exit status: 0, asked: true").await;
    running.drain().await;
}
