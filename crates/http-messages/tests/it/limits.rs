//! What is refused, and that bodies come out as they went in.

use bytes::Bytes;
use http_messages::{Options, ReadError, StoredBody};
use proptest::prelude::*;
use tempfile::tempdir;

use crate::sender::{Measured, sent, whole};

#[tokio::test]
async fn a_body_above_the_limit_is_rejected_and_the_rest_can_be_read() {
    let folder = tempdir().expect("a folder");
    let measured = Measured::new(Options::default(), folder.path());
    // Declared: nothing is read.
    let mut body = whole(true, &[b"0123456789"]);
    let error = measured.budget.read(&mut body, 9).await.expect_err("too large");
    assert!(matches!(error, ReadError::TooLarge { bytes_max: 9 }), "{error}");
    assert_eq!(error.retry_after(), None);
    assert_eq!(
        measured.budget.read(&mut body, 10).await.expect("as large as allowed").into_bytes(),
        "0123456789"
    );
    // Not declared: as soon as it is seen, and the rest is left to the caller.
    let mut body = whole(false, &[b"01234", b"56789", b"rest"]);
    measured.budget.read(&mut body, 9).await.expect_err("too large");
    assert_eq!(measured.budget.read(&mut body, 9).await.expect("the rest").into_bytes(), "rest");
    let mut body = whole(false, &[b"01234", b"56789", b"rest"]);
    measured.budget.read_or_spill(&mut body, 9).await.expect_err("too large");
    assert_eq!(measured.metric(r#"bodies_rejected_total{cause="too_large"}"#), 3);
}

#[tokio::test]
async fn an_incomplete_body_is_an_error() {
    let folder = tempdir().expect("a folder");
    let measured = Measured::new(Options { spill_bytes_min: 10, ..Options::default() }, folder.path());
    for is_spilled in [false, true] {
        let (sender, mut body) = sent(Some(100));
        sender.send(Ok(Bytes::from_static(b"some"))).expect("it is open");
        sender.send(Err("the connection is gone")).expect("it is open");
        let error = if is_spilled {
            measured.budget.read_or_spill(&mut body, 1000).await.map(drop).expect_err("it broke off")
        } else {
            measured.budget.read(&mut body, 1000).await.map(drop).expect_err("it broke off")
        };
        assert!(matches!(error, ReadError::Broken(_)), "{error}");
    }
    for pool in ["small", "large", "disk"] {
        assert_eq!(measured.metric(&format!("bodies_held_bytes{{pool=\"{pool}\"}}")), 0, "{pool}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_body_is_read_unchanged(
        sizes in prop::collection::vec(0_usize..200_000, 0..12),
        declared: bool,
        spill_bytes_min in 0_usize..1_000_000,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let folder = tempdir().expect("a folder");
            let options = Options { spill_bytes_min, ..Options::default() };
            let measured = Measured::new(options, folder.path());
            let pieces: Vec<Vec<u8>> =
                sizes.iter().enumerate().map(|(at, bytes)| vec![at as u8 + 1; *bytes]).collect();
            let expected = pieces.concat();
            let pieces: Vec<&[u8]> = pieces.iter().map(Vec::as_slice).collect();
            let read = measured.budget.read(&mut whole(declared, &pieces), 4 << 20).await.expect("it is read");
            assert!(**read == expected[..]);
            let content = measured.budget.read_or_spill(&mut whole(declared, &pieces), 4 << 20).await;
            match content.expect("it is read") {
                StoredBody::Memory(bytes) => {
                    assert!(bytes == expected && bytes.len() <= spill_bytes_min);
                }
                StoredBody::File(spilled) => {
                    assert!(spilled.bytes() == expected.len() && spilled.bytes() > spill_bytes_min);
                    assert!(measured.budget.load(&spilled).await.expect("it is read") == expected);
                }
            }
            drop(read);
            for pool in ["small", "large", "disk"] {
                assert_eq!(measured.metric(&format!("bodies_held_bytes{{pool=\"{pool}\"}}")), 0);
            }
        });
    }
}
