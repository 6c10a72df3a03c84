//! Bodies in files.

use bytes::Bytes;
use http_messages::{Options, ReadError, StoredBody};
use tempfile::tempdir;

use crate::sender::{Measured, sent, whole};

const MIB: usize = 1024 * 1024;
const DISK_HELD: &str = r#"bodies_held_bytes{pool="disk"}"#;
const LARGE_HELD: &str = r#"bodies_held_bytes{pool="large"}"#;

#[tokio::test]
async fn a_large_body_is_stored_in_an_unnamed_file() {
    let folder = tempdir().expect("a folder");
    let measured = Measured::new(Options::default(), folder.path());
    for declared in [true, false] {
        let pieces: Vec<Vec<u8>> = (0..50).map(|at| vec![at; 100_000]).collect();
        let expected = pieces.concat();
        let pieces: Vec<&[u8]> = pieces.iter().map(Vec::as_slice).collect();
        let read = measured.budget.read_or_spill(&mut whole(declared, &pieces), 10 * MIB).await;
        let StoredBody::File(spilled) = read.expect("it is read") else { panic!("it is in memory") };
        assert_eq!(spilled.bytes(), expected.len());
        // Whatever happens to the process, nothing of it stays.
        assert_eq!(std::fs::read_dir(folder.path()).expect("a folder").count(), 0);
        assert_eq!(measured.metric(DISK_HELD), (expected.len() as u64).next_multiple_of(1024));
        assert_eq!(measured.metric(LARGE_HELD), 0);
        let again = spilled.clone();
        drop(spilled);
        assert!(again.read_at(150_000, 100_000).expect("it is read") == expected[150_000..250_000]);
        assert_eq!(again.read_at(expected.len() - 5, 100).expect("it is read").len(), 5);
        assert_eq!(again.read_at(expected.len() + 5, 100).expect("nothing is there").len(), 0);
        drop(again);
        assert_eq!(measured.metric(DISK_HELD), 0);
    }
    assert_eq!(measured.metric("bodies_spilled_total"), 2);
}

#[tokio::test]
async fn many_unfinished_uploads_use_little_memory() {
    let folder = tempdir().expect("a folder");
    let measured = Measured::new(Options::default(), folder.path());
    let mut uploads = Vec::new();
    for _ in 0..40 {
        let (sender, mut body) = sent(Some(100 * MIB as u64));
        sender.send(Ok(Bytes::from(vec![1; 300_000]))).expect("it is open");
        let budget = measured.budget.clone();
        uploads.push((sender, tokio::spawn(async move { budget.read_or_spill(&mut body, 100 * MIB).await })));
    }
    measured.until(DISK_HELD, 40 * 100 * MIB as u64).await;
    measured.until(LARGE_HELD, 40 * 512 * 1024).await;
    for (sender, upload) in uploads {
        sender.send(Err("the client is gone")).expect("it is open");
        let error = upload.await.expect("no panic").map(drop).expect_err("it broke off");
        assert!(matches!(error, ReadError::Broken(_)), "{error}");
    }
    assert_eq!((measured.metric(DISK_HELD), measured.metric(LARGE_HELD)), (0, 0));
}

#[tokio::test]
async fn the_disk_space_of_bodies_is_bounded() {
    let folder = tempdir().expect("a folder");
    let options = Options { disk_bytes_max: 10 * MIB as u64, wait_ms: 50, ..Options::default() };
    let measured = Measured::new(options, folder.path());
    let first = measured.budget.read_or_spill(&mut whole(true, &[&vec![1; 6 * MIB]]), 10 * MIB).await;
    let first = first.expect("there is room");
    for declared in [true, false] {
        let (_sender, mut body) = sent(declared.then_some(6 * MIB as u64));
        for _ in 0..6 {
            _sender.send(Ok(Bytes::from(vec![1; MIB]))).expect("it is open");
        }
        let error = measured.budget.read_or_spill(&mut body, 10 * MIB).await.map(drop).expect_err("no room");
        assert!(matches!(error, ReadError::OverBudget { pool: "disk space", .. }), "{error}");
    }
    drop(first);
    assert_eq!(measured.metric(DISK_HELD), 0);
}

#[tokio::test]
async fn a_missing_folder_for_bodies_is_a_retryable_error() {
    let folder = tempdir().expect("a folder");
    let measured = Measured::new(Options::default(), &folder.path().join("missing"));
    let read = measured.budget.read_or_spill(&mut whole(true, &[&vec![1; 2 * MIB]]), 10 * MIB).await;
    let error = read.map(drop).expect_err("there is no such folder");
    assert!(matches!(error, ReadError::File(_)) && error.retry_after().is_some(), "{error}");
}
