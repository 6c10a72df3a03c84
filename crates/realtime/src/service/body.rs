//! Bodies of requests, of bounded size.

use bytes::Bytes;
use http::header::RETRY_AFTER;
use http::{HeaderValue, StatusCode};
use http_body::Body as _;
use http_body_util::BodyExt;
use http_messages::{Body, BufferedBody, ReadError};

use super::Shared;
use crate::error::Refusal;

/// How many times the largest body is read before a sender of more is cut off.
const DISCARD_FACTOR: usize = 8;

/// Reads a whole body of bounded size, within the room of the process. What is too large is read on for a while and thrown away: a
/// sender that is cut off in the middle of its body often sees a broken connection instead of the answer.
pub(crate) async fn read_body(
    shared: &Shared,
    mut body: Body,
    bytes_max: usize,
) -> Result<BufferedBody, Refusal> {
    let patience_bytes = bytes_max.saturating_mul(DISCARD_FACTOR) as u64;
    let is_hopeless = body.size_hint().lower() > patience_bytes;
    let read = shared.bodies.read(&mut body, bytes_max).await;
    if matches!(read, Err(ReadError::TooLarge { .. })) && !is_hopeless {
        discard(body, patience_bytes).await;
    }
    read.map_err(refused_body)
}

/// Reads on up to so many bytes of a body that is refused.
pub(crate) async fn discard(mut body: Body, bytes_max: u64) {
    let mut discarded_bytes = 0;
    while let Some(Ok(frame)) = body.frame().await {
        discarded_bytes += frame.data_ref().map_or(0, Bytes::len) as u64;
        if discarded_bytes > bytes_max {
            return;
        }
    }
}

/// The answer to a request whose body was not read whole.
pub(crate) fn refused_body(error: ReadError) -> Refusal {
    match &error {
        ReadError::TooLarge { .. } => {
            Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, "BodyTooLarge", error.to_string())
        }
        ReadError::Broken(cause) => {
            tracing::debug!(cause, "the body of a request broke off");
            Refusal::bad_request("BrokenBody", error.to_string())
        }
        _ => {
            let seconds = HeaderValue::from(error.retry_after().unwrap_or_default().as_secs());
            Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "NoRoomForBody", error.to_string())
                .with(RETRY_AFTER, seconds)
        }
    }
}
