//! Who gets room, in which order, and when it is given back.

use std::time::Duration;

use bytes::Bytes;
use http_messages::{Options, ReadError, SMALL_BYTES};
use tempfile::tempdir;

use crate::sender::{Measured, sent, whole};

const MIB: usize = 1024 * 1024;
const LARGE_HELD: &str = r#"bodies_held_bytes{pool="large"}"#;
const SMALL_HELD: &str = r#"bodies_held_bytes{pool="small"}"#;
const LARGE_WAITING: &str = r#"bodies_waiting{pool="large"}"#;

/// Reservation for 7 MiB of large and 1 MiB of small bodies.
fn options() -> Options {
    Options { memory_bytes_max: 8 * MIB, ..Options::default() }
}

#[tokio::test]
async fn small_bodies_are_admitted_while_large_ones_wait() {
    let folder = tempdir().expect("a folder");
    let measured = Measured::new(options(), folder.path());
    // Six megabytes are taken before a byte of them is there.
    let (first_sender, mut first) = sent(Some(6 * MIB as u64));
    let budget = measured.budget.clone();
    let reading = tokio::spawn(async move { budget.read(&mut first, 8 * MIB).await });
    measured.until(LARGE_HELD, 6 * MIB as u64).await;
    // The next large one waits, and is not read meanwhile.
    let (second_sender, mut second) = sent(Some(2 * MIB as u64));
    second_sender.send(Ok(Bytes::from(vec![2; 2 * MIB]))).expect("it is open");
    drop(second_sender);
    let budget = measured.budget.clone();
    let waiting = tokio::spawn(async move { budget.read(&mut second, 8 * MIB).await });
    measured.until(LARGE_WAITING, 1).await;
    // One that would fit comes behind it in the order, and small ones pass.
    let budget = measured.budget.clone();
    let behind =
        tokio::spawn(
            async move { budget.read(&mut whole(true, &[&vec![3; SMALL_BYTES + 1]]), 8 * MIB).await },
        );
    measured.until(LARGE_WAITING, 2).await;
    for declared in [true, false] {
        let small = measured.budget.read(&mut whole(declared, &[b"sm", b"all"]), MIB).await;
        assert_eq!(**small.expect("it passes"), *b"small");
    }
    assert_eq!(measured.metric(SMALL_HELD), 0);
    // The first one ends; its room goes to the others when it is dropped.
    first_sender.send(Ok(Bytes::from(vec![1; 6 * MIB]))).expect("it is open");
    drop(first_sender);
    let first = reading.await.expect("no panic").expect("it is read").into_bytes();
    let piece = first.slice(10..20);
    drop(first);
    assert_eq!(measured.metric(LARGE_WAITING), 2, "a slice still holds the whole");
    drop(piece);
    assert_eq!(waiting.await.expect("no panic").expect("it is read").len(), 2 * MIB);
    assert_eq!(behind.await.expect("no panic").expect("it is read").len(), SMALL_BYTES + 1);
    measured.until(LARGE_HELD, 0).await;
}

#[tokio::test]
async fn a_body_without_a_length_reserves_more_memory_as_it_grows() {
    let folder = tempdir().expect("a folder");
    let measured = Measured::new(options(), folder.path());
    let (sender, mut body) = sent(None);
    let budget = measured.budget.clone();
    let reading = tokio::spawn(async move { budget.read(&mut body, 4 * MIB).await });
    measured.until(SMALL_HELD, SMALL_BYTES as u64).await;
    sender.send(Ok(Bytes::from(vec![1; SMALL_BYTES]))).expect("it is open");
    sender.send(Ok(Bytes::from(vec![2; 10]))).expect("it is open");
    measured.until(LARGE_HELD, 4 * MIB as u64).await;
    assert_eq!(measured.metric(SMALL_HELD), 0);
    drop(sender);
    let bytes = reading.await.expect("no panic").expect("it is read");
    assert_eq!(bytes.len(), SMALL_BYTES + 10);
    // What it did not need is given back while it is held.
    assert!(measured.metric(LARGE_HELD) <= 2 * SMALL_BYTES as u64 + 1024, "{}", measured.metric(LARGE_HELD));
}

#[tokio::test]
async fn a_body_without_capacity_in_time_is_rejected_unread() {
    let folder = tempdir().expect("a folder");
    let measured = Measured::new(Options { wait_ms: 50, ..options() }, folder.path());
    let held = measured.budget.read(&mut whole(true, &[&vec![1; 7 * MIB]]), 8 * MIB).await;
    let held = held.expect("there is room");
    let (_sender, mut body) = sent(Some(MIB as u64));
    let error = measured.budget.read(&mut body, 8 * MIB).await.expect_err("there is none");
    assert!(matches!(error, ReadError::OverBudget { pool: "memory", .. }), "{error}");
    assert_eq!(error.retry_after(), Some(Duration::from_secs(5)));
    assert_eq!(measured.metric(r#"bodies_rejected_total{cause="no_room"}"#), 1);
    drop(held);
    let (sender, mut body) = sent(Some(3));
    sender.send(Ok(Bytes::from_static(b"abc"))).expect("it is open");
    drop(sender);
    assert_eq!(
        measured.budget.read(&mut body, 8 * MIB).await.expect("there is room again").into_bytes(),
        "abc"
    );
}

#[tokio::test]
async fn a_slow_body_is_rejected_only_while_others_wait() {
    let folder = tempdir().expect("a folder");
    let options = Options { contended_grace_ms: 50, wait_ms: 60_000, ..options() };
    let measured = Measured::new(options, folder.path());
    // One that takes its time while nobody waits.
    let (sender, mut body) = sent(Some(2 * SMALL_BYTES as u64));
    let budget = measured.budget.clone();
    let alone = tokio::spawn(async move { budget.read(&mut body, MIB).await });
    for _ in 0..2 {
        tokio::time::sleep(Duration::from_millis(150)).await;
        sender.send(Ok(Bytes::from(vec![1; SMALL_BYTES]))).expect("it is open");
    }
    drop(sender);
    assert_eq!(alone.await.expect("no panic").expect("it is read").len(), 2 * SMALL_BYTES);
    // All the large room, for uploads that never end.
    let mut uploads = Vec::new();
    for _ in 0..7 {
        let (sender, mut body) = sent(Some(MIB as u64));
        sender.send(Ok(Bytes::from_static(&[1; 1000]))).expect("it is open");
        let budget = measured.budget.clone();
        uploads.push((sender, tokio::spawn(async move { budget.read(&mut body, MIB).await })));
    }
    measured.until(LARGE_HELD, 7 * MIB as u64).await;
    let mut honest = whole(true, &[&vec![1; MIB]]);
    let honest = tokio::time::timeout(Duration::from_secs(20), measured.budget.read(&mut honest, MIB)).await;
    assert_eq!(honest.expect("it does not wait long").expect("it is read").len(), MIB);
    let mut outpaced = 0;
    for (sender, upload) in uploads {
        if upload.is_finished() {
            let error = upload.await.expect("no panic").expect_err("it lost its place");
            assert!(matches!(error, ReadError::Outpaced { received_bytes: 1000, .. }), "{error}");
            outpaced += 1;
        }
        drop(sender);
    }
    assert!(outpaced > 0);
}
