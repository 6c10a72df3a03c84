//! The scheduler with a real store and scripted listeners, methods and clients. `tests/it/upstream.rs` tests it over HTTP.

mod stage;

use std::sync::atomic::Ordering;

use expect_test::{Expect, expect};
use state::Registry;

use self::stage::{Setup, client, instance};
use realtime_engine::{EndReason, HandshakeDecision, Upstream};

#[tokio::test]
async fn a_connection_has_a_record_from_before_its_handshake_until_disconnected_is_delivered() {
    let folder = tempfile::tempdir().unwrap();
    let mut process = Setup::new().start(folder.path(), true).await;
    let client = client(0, "chat");
    assert_eq!(process.dispatcher.connecting(&client), HandshakeDecision::Wait);
    assert_eq!(process.told().await, "opened Ok(())");
    // The record is on disk before the handshake completes.
    let found = process.disk.list(&instance(), "realtime/", None, 10).await.unwrap();
    assert_eq!(found.len(), 1);
    process.dispatcher.connected(&client);
    assert_eq!(process.heard().await, "first: connected user 0");
    process.disconnect(&client);
    assert_eq!(process.heard().await, "first: disconnected ClientClosed user 0");
    process.forgotten(1).await;
    // A hub without a listener has no records.
    assert_eq!(process.dispatcher.connecting(&self::client(1, "other")), HandshakeDecision::Accept);
    process.stop().await;
}

#[tokio::test]
async fn a_connection_that_cannot_be_recorded_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let mut process = Setup::new().start(folder.path(), true).await;
    process.disk.is_full.store(true, Ordering::SeqCst);
    let (refused, accepted) = (client(0, "chat"), client(1, "chat"));
    process.dispatcher.connecting(&refused);
    expect![[r#"opened Err("the connection cannot be recorded, which its `disconnected` event needs; the disk of the service may be full; try again later")"#]]
        .assert_eq(&process.told().await);
    process.dispatcher.disconnected(&refused, EndReason::HandshakeRefused, None);
    process.disk.is_full.store(false, Ordering::SeqCst);
    process.connect(&accepted).await;
    // No event for the rejected connection.
    assert_eq!(process.heard().await, "first: connected user 1");
    process.stop().await;
}

#[tokio::test]
async fn a_client_that_leaves_before_its_handshake_completes_causes_no_events() {
    let folder = tempfile::tempdir().unwrap();
    let mut process = Setup::new().start(folder.path(), true).await;
    let (early, late, other) = (client(0, "chat"), client(1, "chat"), client(2, "chat"));
    // Disconnects while its record is being written.
    process.dispatcher.connecting(&early);
    process.disconnect(&early);
    process.forgotten(1).await;
    // Disconnects after that, and before the handshake completes.
    process.dispatcher.connecting(&late);
    assert_eq!(process.told().await, "opened Ok(())");
    process.disconnect(&late);
    process.forgotten(2).await;
    process.connect(&other).await;
    assert_eq!(process.heard().await, "first: connected user 2");
    process.stop().await;
}

#[tokio::test]
async fn after_a_crash_disconnected_is_delivered_for_open_connections() {
    let folder = tempfile::tempdir().unwrap();
    let setup = Setup::new();
    let mut process = setup.start(folder.path(), true).await;
    process.connect(&client(0, "chat")).await;
    assert_eq!(process.heard().await, "first: connected user 0");
    process.kill().await;
    let mut process = Setup { lives: 2, ..setup }.start(folder.path(), true).await;
    assert_eq!(
        process.heard().await,
        "first: disconnected NodeLost (the process that held the connection was lost) user 0"
    );
    process.forgotten(1).await;
    process.stop().await;
}

#[tokio::test]
async fn a_disconnected_recorded_before_a_crash_is_delivered_with_its_reason() {
    let folder = tempfile::tempdir().unwrap();
    let mut setup = Setup::new();
    setup.events.attempts_max = 1_000_000.try_into().unwrap();
    let mut process = setup.start(folder.path(), true).await;
    let client = client(0, "chat");
    process.connect(&client).await;
    process.heard().await;
    process.set_up(false);
    process.disconnect(&client);
    assert_eq!(process.heard().await, "first: disconnected ClientClosed user 0, in vain");
    process.kill().await;
    let mut process = Setup { lives: 2, ..setup }.start(folder.path(), true).await;
    assert_eq!(process.heard().await, "first: disconnected ClientClosed user 0");
    process.stop().await;
}

#[tokio::test]
async fn a_drain_leaves_failed_events_to_the_next_start() {
    let folder = tempfile::tempdir().unwrap();
    let mut setup = Setup::new();
    setup.events.backoff_first_ms = 1_000_000.try_into().unwrap();
    setup.events.backoff_max_ms = 1_000_000.try_into().unwrap();
    let mut process = setup.start(folder.path(), true).await;
    let client = client(0, "chat");
    process.connect(&client).await;
    process.heard().await;
    process.set_up(false);
    process.disconnect(&client);
    assert_eq!(process.heard().await, "first: disconnected ClientClosed user 0, in vain");
    process.stop().await;
    let mut process = Setup { lives: 2, ..setup }.start(folder.path(), true).await;
    assert_eq!(process.heard().await, "first: disconnected ClientClosed user 0");
    process.forgotten(1).await;
    process.stop().await;
}

#[tokio::test]
async fn an_event_that_cannot_be_delivered_becomes_a_dead_letter() {
    let folder = tempfile::tempdir().unwrap();
    let mut process = Setup::new().start(folder.path(), false).await;
    let client = client(0, "chat");
    process.connect(&client).await;
    process.disconnect(&client);
    for event in ["connected", "disconnected ClientClosed"] {
        for _ in 0..3 {
            assert_eq!(process.heard().await, format!("first: {event} user 0, in vain"));
        }
    }
    process.forgotten(1).await;
    expect![[r#"
        first connected - 3 down
        first disconnected ClientClosed 3 down
    "#]]
    .assert_eq(&process.dead_letters().await);
    process.stop().await;
}

#[tokio::test]
async fn disconnected_events_above_the_memory_limit_wait_on_disk() {
    let folder = tempfile::tempdir().unwrap();
    let mut setup = Setup::new();
    setup.events.pending_max = 2.try_into().unwrap();
    setup.events.attempts_max = 1_000_000.try_into().unwrap();
    let mut process = setup.start(folder.path(), true).await;
    let clients: Vec<_> = (0..6).map(|number| client(number, "chat")).collect();
    for client in &clients {
        process.connect(client).await;
        process.heard().await;
    }
    process.set_up(false);
    for client in &clients {
        process.disconnect(client);
    }
    // Two of them are attempted; the others wait.
    process.heard().await;
    process.set_up(true);
    let mut told: Vec<String> = Vec::new();
    while told.len() < clients.len() {
        let heard = process.heard().await;
        if !heard.ends_with("in vain") {
            told.push(heard);
        }
    }
    told.sort();
    let expected: Vec<_> =
        (0..6).map(|number| format!("first: disconnected ClientClosed user {number}")).collect();
    assert_eq!(told, expected);
    process.forgotten(6).await;
    assert_eq!(process.dead_letters().await, "");
    process.stop().await;
}

#[tokio::test]
async fn a_connected_above_the_limit_becomes_a_dead_letter_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let mut setup = Setup::new();
    setup.events.pending_max = 1.try_into().unwrap();
    setup.events.attempts_max = 1_000_000.try_into().unwrap();
    let mut process = setup.start(folder.path(), false).await;
    process.connect(&client(0, "chat")).await;
    assert_eq!(process.heard().await, "first: connected user 0, in vain");
    process.connect(&client(1, "chat")).await;
    while process.dead_letters().await.is_empty() {
        // Each attempt of the other event takes a moment.
        process.heard().await;
    }
    expect![[r#"
        first connected - 0 too many events wait; the limit is 1 (realtime.events.pending_max)
    "#]]
    .assert_eq(&process.dead_letters().await);
    process.kill().await;
}

#[tokio::test]
async fn a_record_stays_until_every_listener_has_received_disconnected() {
    let folder = tempfile::tempdir().unwrap();
    let mut setup = Setup { listeners: 2, ..Setup::new() };
    setup.events.attempts_max = 1_000_000.try_into().unwrap();
    let mut process = setup.start(folder.path(), true).await;
    let client = client(0, "chat");
    process.connect(&client).await;
    let mut both = [process.heard().await, process.heard().await];
    both.sort();
    assert_eq!(both, ["first: connected user 0", "second: connected user 0"]);
    process.listeners[1].is_up.store(false, Ordering::SeqCst);
    process.disconnect(&client);
    let mut heard: Vec<String> = Vec::new();
    while heard.len() < 4 {
        heard.push(process.heard().await);
    }
    assert!(heard.contains(&"first: disconnected ClientClosed user 0".to_owned()), "{heard:?}");
    process.kill().await;
    // Both receive it again: delivery is at least once.
    let mut process = Setup { lives: 2, ..setup }.start(folder.path(), true).await;
    let mut both = [process.heard().await, process.heard().await];
    both.sort();
    assert_eq!(both, ["first: disconnected ClientClosed user 0", "second: disconnected ClientClosed user 0"]);
    process.forgotten(1).await;
    process.stop().await;
}

#[tokio::test]
async fn delivery_is_retried_after_a_listener_panics() {
    let folder = tempfile::tempdir().unwrap();
    let mut process = Setup::new().start(folder.path(), true).await;
    *process.listeners[0].panics.lock().unwrap() = 2;
    process.connect(&client(0, "chat")).await;
    assert_eq!(process.heard().await, "first: connected user 0");
    process.stop().await;
}

#[tokio::test]
async fn local_methods_and_their_streams_are_handled_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let mut process = Setup::new().start(folder.path(), true).await;
    let client = client(0, "other");
    let check = |result: Result<(), String>, expected: Expect| expected.assert_eq(&format!("{result:?}"));
    for message in [
        r#"{"type":1,"invocationId":"1","target":"chappe.a","arguments":[],"streamIds":["s"]}"#,
        r#"{"type":2,"invocationId":"s","item":1}"#,
        r#"{"type":2,"invocationId":"unknown","item":1}"#,
        r#"{"type":3,"invocationId":"s"}"#,
        r#"{"type":2,"invocationId":"s","item":"after the end"}"#,
        r#"{"type":4,"invocationId":"2","target":"chappe.b","arguments":[]}"#,
        r#"{"type":5,"invocationId":"2"}"#,
        r#"{"type":1,"target":"chappe.c","arguments":[]}"#,
    ] {
        assert_eq!(process.call(&client, message), Ok(()));
    }
    for expected in [
        "type 1 of chappe.a, id 1",
        "type 2 of chappe.a, id s",
        "type 3 of chappe.a, id s",
        "stream 2: type 4 of chappe.b, id 2",
        "type 5 of chappe.b, id 2",
        "type 1 of chappe.c, id ",
    ] {
        assert_eq!(process.told().await, expected);
    }
    check(
        process.call(&client, r#"{"type":1,"invocationId":"3","target":"send","arguments":[]}"#),
        expect![[
            r#"Err("no upstream is configured for hub other: its clients can receive messages, but cannot invoke methods")"#
        ]],
    );
    process.stop().await;
}

#[tokio::test]
async fn invocations_above_the_queue_limit_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let mut setup = Setup::new();
    setup.events.attempts_max = 1_000_000.try_into().unwrap();
    setup.options.queued_max = 1.try_into().unwrap();
    setup.options.queued_bytes_max = 100.try_into().unwrap();
    let process = setup.start(folder.path(), true).await;
    let client = client(0, "other");
    let large = format!(r#"{{"type":1,"target":"chappe.a","arguments":["{}"]}}"#, "x".repeat(100));
    let refused = Err("too many invocations wait for upstreams; try again later".to_owned());
    assert_eq!(process.call(&client, &large), refused);
    process.running.abort();
    let small = r#"{"type":1,"target":"chappe.a","arguments":[]}"#;
    assert_eq!(process.call(&client, small), Ok(()));
    assert_eq!(process.call(&client, small), refused);
    process.kill().await;
}
