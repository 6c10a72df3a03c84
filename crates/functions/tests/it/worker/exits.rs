//! Workers that exit or are killed, and what becomes of their invocations.

use super::*;

#[tokio::test]
async fn a_worker_that_exits_is_named_in_the_error_and_replaced() {
    let running = start_loaded(&[], PoolOptions::default()).await;
    for (function, status) in [("crashes", "exit status: 1"), ("exits", "exit status: 7")] {
        let pid = running.pool.workers()[0].pid;
        let error = running.call(function).await.expect_err("the worker dies");
        assert!(matches!(error, InvokeError::WorkerGone { pid: gone } if gone == pid), "{error}");
        running.seen.wait_for(&format!("exited, {status}, asked: false")).await;
        // Waits for the next worker by itself.
        let next = whole(running.call("pid").await.expect("answered"));
        assert_ne!(next, i64::from(pid));
    }
    let crash = running.seen.wait_for("log crashes").await;
    assert!(crash.contains("Critical Uncaught error in crashes.Invocation"), "{crash}");
    assert!(crash.contains("nobody catches this"), "{crash}");
    assert!(running.metric("functions_worker_restarts_total 2"));
    assert!(running.metric("functions_worker_invocations_lost_total 2"));
    assert!(running.metric("functions_workers_ready 1"));
    running.drain().await;
}

/// A call is answered, by a worker that was not there before.
async fn another_worker_answers(running: &Running, before: u32) {
    loop {
        // A worker that is about to be missed may still be given a call, which then fails.
        let answer = tokio::time::timeout(Duration::from_secs(20), running.call("pid")).await;
        match answer.expect("it is answered or refused in time") {
            Ok(answer) if whole(answer.clone()) != i64::from(before) => break,
            Ok(_) | Err(InvokeError::WorkerGone { .. }) => tokio::task::yield_now().await,
            Err(error) => panic!("{error}"),
        }
    }
    assert_eq!(running.pool.workers().len(), 1, "its place is filled, once");
}

#[tokio::test]
async fn a_slot_whose_task_panics_keeps_its_worker() {
    let running = start_faulty("started").await;
    assert_eq!(running.pool.workers().len(), 1, "the one that was being started is gone");
    let pid = running.pool.workers()[0].pid;
    assert!(running.call("pid").await.is_ok());
    assert!(running.pool.kill(pid));
    running.seen.wait_for("exited").await;
    assert!(running.call("pid").await.is_ok(), "the task that was run again fills the place again");
    let pids: Vec<u32> = running.pool.workers().iter().map(|worker| worker.pid).collect();
    running.drain().await;
    for pid in pids {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        assert!(status.is_empty() || status.contains("State:\tZ"), "{status}");
    }
}

#[tokio::test]
async fn a_panic_while_output_is_read_replaces_only_that_worker() {
    // The task that waits for the process's end; the ones that read what it prints and what it sends.
    for (at, function) in [("exited", "exits"), ("line", "prints"), ("log first", "echo")] {
        let running = start_faulty(at).await;
        let before = running.pool.workers()[0].pid;
        let call = tokio::time::timeout(Duration::from_secs(20), running.call(function)).await;
        // Whether what was printed was read before the answer came is a race.
        let answer = call.unwrap_or_else(|_| panic!("a call waits for ever after a panic at {at}"));
        assert!(function == "prints" || answer.is_err(), "{at}");
        another_worker_answers(&running, before).await;
        running.drain().await;
    }
}

#[tokio::test]
async fn a_kill_ends_the_worker_and_its_descendants() {
    let running = start_loaded(&[], PoolOptions::default()).await;
    let child = whole(running.call("starts").await.expect("answered"));
    let pid = running.pool.workers()[0].pid;
    let waits = tokio::spawn({
        let pool = running.pool.clone();
        async move { pool.invoke(request("waits", TypedData::Null), InvokeOptions::default()).await }
    });
    // The call before it in the same worker was answered, so it has been sent once this one has.
    while running.pool.workers().first().is_none_or(|worker| worker.in_flight == 0) {
        tokio::task::yield_now().await;
    }
    assert!(running.pool.kill(pid));
    assert!(!running.pool.kill(0));
    let error = waits.await.expect("no panic").expect_err("the worker is gone");
    assert!(matches!(error, InvokeError::WorkerGone { .. }), "{error}");
    running.seen.wait_for("restarted").await;
    // Gone, or a zombie until whoever adopted it looks.
    let status = std::fs::read_to_string(format!("/proc/{child}/status")).unwrap_or_default();
    assert!(status.is_empty() || status.contains("State:\tZ"), "{status}");
    running.drain().await;
}

#[tokio::test]
async fn a_killed_worker_gets_no_more_invocations() {
    let options = PoolOptions { processes: 2, ..PoolOptions::default() };
    let running = start_loaded(&[], options).await;
    for _ in 0..5 {
        let pid = running.pool.workers()[0].pid;
        assert!(running.pool.kill(pid));
        assert!(!running.pool.kill(pid), "it is not there any more");
        for _ in 0..4 {
            assert_ne!(whole(running.call("pid").await.expect("answered")), i64::from(pid));
        }
    }
    assert!(running.metric("functions_worker_invocations_lost_total 0"));
    running.drain().await;
}

/// Stops a process without ending it, and waits until it stands still.
#[cfg(target_os = "linux")]
async fn freeze(pid: u32) {
    let sent = std::process::Command::new("kill").args(["-STOP", &pid.to_string()]).status();
    assert!(sent.expect("kill is there").success());
    let frozen = async {
        while !std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it lives").contains("State:\tT")
        {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), frozen).await.expect("it stands still");
}

#[tokio::test]
#[cfg(target_os = "linux")]
async fn only_invocations_that_a_dead_worker_cannot_have_run_are_sent_again() {
    let running = start_loaded(&[], PoolOptions::default()).await;
    let pid = running.pool.workers()[0].pid;
    freeze(pid).await;
    let call = |value: TypedData| {
        let pool = running.pool.clone();
        tokio::spawn(async move { pool.invoke(request("echo", value), InvokeOptions::default()).await })
    };
    let in_flight = async |count: usize| {
        while running.pool.workers()[0].in_flight < count {
            tokio::task::yield_now().await;
        }
    };
    // The system takes the first as a whole, and of the second only what its buffer holds: nobody reads.
    let small = call(TypedData::Int(1));
    in_flight(1).await;
    let large = TypedData::Bytes(Bytes::from(vec![7; 8 << 20]));
    let whole_large = call(large.clone());
    in_flight(2).await;
    let behind = call(TypedData::Int(3));
    in_flight(3).await;
    // Not by way of the pool, which thus learns of it by the connection's end only.
    let killed = std::process::Command::new("kill").args(["-KILL", &pid.to_string()]).status();
    assert!(killed.expect("kill is there").success());
    let lost = small.await.expect("no panic").expect_err("the dead worker may have run it");
    assert!(matches!(lost, InvokeError::WorkerGone { pid: gone } if gone == pid), "{lost}");
    assert_eq!(returned(whole_large.await.expect("no panic").expect("answered by the next")), large);
    let behind = behind.await.expect("no panic").expect("answered by the next");
    assert_eq!(returned(behind), TypedData::Int(3));
    assert!(running.metric("functions_worker_invocations_resent_total 2"));
    assert!(running.metric("functions_worker_invocations_lost_total 1"));
    running.drain().await;
}
