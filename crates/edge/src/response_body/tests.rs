//! Whatever a service returns and however its reader reads it: all bytes arrive, in pieces, and no quota stays in use.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::FutureExt;
use http_body_util::{BodyExt, StreamBody};
use proptest::prelude::*;

use super::*;
use crate::activity::Activity;
use crate::metrics::Metrics;
use crate::quotas::Quotas;

fn answer(frames: &[usize], clock: Option<Arc<StreamClock>>, quotas: &Quotas) -> ResponseBody {
    let mut next = 0u8;
    let frames: Vec<_> = frames
        .iter()
        .map(|length| {
            let mut byte = || {
                next = next.wrapping_add(1);
                next
            };
            Ok(Frame::data((0..*length).map(|_| byte()).collect::<Bytes>()))
        })
        .collect();
    let body = BodyExt::boxed_unsync(StreamBody::new(futures_util::stream::iter(frames)));
    let activity = Arc::new(Activity::accepted(std::time::Instant::now()));
    let reader = ResponseContext {
        clock,
        client: Arc::new(quotas.client([192, 0, 2, 1].into())),
        options: Arc::new(Options::default()),
        metrics: Metrics::default().of("test"),
        running: activity.start_request().expect("nobody needs its place"),
        slot: None,
    };
    ResponseBody::new(body, reader)
}

/// Reads everything, pausing before each piece as `pauses` says.
async fn taken(mut response: ResponseBody, pauses: &[u64]) -> Vec<Bytes> {
    let mut pieces = Vec::new();
    for number in 0.. {
        let pause = pauses.get(number % pauses.len().max(1)).copied().unwrap_or(0);
        tokio::time::advance(Duration::from_millis(pause)).await;
        let Some(frame) = response.frame().now_or_never().expect("all frames are there") else { break };
        pieces.push(frame.expect("no error").into_data().expect("data"));
    }
    pieces
}

fn in_paused_time<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.expect("a runtime").block_on(future)
}

proptest! {
    #[test]
    fn a_body_is_sent_completely_in_chunks(
        frames in proptest::collection::vec(0usize..200_000, 0..6),
        pauses in proptest::collection::vec(0u64..5_000, 0..8),
        http2 in any::<bool>(),
    ) {
        let quotas = Quotas::default();
        let clock = http2.then(Arc::<StreamClock>::default);
        let pieces = in_paused_time(taken(answer(&frames, clock, &quotas), &pauses));
        let most = if http2 { HTTP2_PIECE_BYTES_MAX } else { HTTP1_PIECE_BYTES };
        prop_assert!(pieces.iter().all(|piece| (1..=most).contains(&piece.len())));
        let all = pieces.iter().fold(BytesMut::new(), |mut all, piece| {
            all.extend_from_slice(piece);
            all
        });
        prop_assert_eq!(all.len(), frames.iter().sum::<usize>());
        prop_assert!(all.iter().enumerate().all(|(at, byte)| *byte == (at as u8).wrapping_add(1)));
        if http2 && !pieces.is_empty() {
            // hyper never releases more with the last piece than the reader has granted.
            prop_assert_eq!(pieces.last().map(Bytes::len), Some(1));
        }
        prop_assert_eq!(quotas.unsent_bytes(), 0);
    }
}

#[test]
fn chunks_are_small_for_slow_readers_and_large_for_fast_ones() {
    let largest = |pauses: &[u64]| {
        let response = answer(&[200_000], Some(Arc::default()), &Quotas::default());
        in_paused_time(taken(response, pauses)).iter().map(Bytes::len).max()
    };
    assert_eq!(largest(&[0]), Some(HTTP2_PIECE_BYTES_MAX));
    assert_eq!(largest(&[3_000]), Some(HTTP2_PIECE_BYTES_MIN));
}

#[test]
fn the_write_timeout_counts_only_while_the_reader_is_slow() {
    in_paused_time(async {
        let clock = Arc::<StreamClock>::default();
        let quotas = Quotas::default();
        let mut response = answer(&[2_000], Some(Arc::clone(&clock)), &quotas);
        assert_eq!(clock.waiting_since(), None);
        for _ in 0..3 {
            let piece =
                response.frame().now_or_never().expect("it is there").expect("no end").expect("no error");
            assert!(piece.is_data());
            assert_eq!(clock.waiting_since(), Some(Instant::now()));
            assert_eq!(quotas.unsent_bytes(), 2_000);
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        assert!(response.frame().now_or_never().expect("the end is there").is_none());
        assert_eq!((clock.waiting_since(), quotas.unsent_bytes()), (None, 0));
    });
}
