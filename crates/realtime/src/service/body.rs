//! Reads request bodies up to a size limit.

use bytes::Bytes;
use http::HeaderValue;
use http::header::RETRY_AFTER;
use http_body::Body as _;
use http_body_util::BodyExt;
use http_messages::{Body, BufferedBody, ReadError};

use super::shared::Shared;
use crate::error_table;
use crate::rejection::Rejection;

/// Of a body above the limit, this many times the limit is read.
const DISCARD_FACTOR: usize = 8;

/// Reads a whole body of at most `bytes_max` bytes, within the memory limit of the process. If it is larger, some more of it is
/// read and discarded: a client whose body is not read often sees a broken connection instead of the response.
pub(crate) async fn read_body(
    shared: &Shared,
    mut body: Body,
    bytes_max: usize,
) -> Result<BufferedBody, Rejection> {
    let patience_bytes = bytes_max.saturating_mul(DISCARD_FACTOR) as u64;
    let is_hopeless = body.size_hint().lower() > patience_bytes;
    let read = shared.bodies.read(&mut body, bytes_max).await;
    if matches!(read, Err(ReadError::TooLarge { .. })) && !is_hopeless {
        discard(body, patience_bytes).await;
    }
    read.map_err(body_rejection)
}

/// Reads up to `bytes_max` more bytes of a rejected body.
pub(crate) async fn discard(mut body: Body, bytes_max: u64) {
    let mut discarded_bytes = 0;
    while let Some(Ok(frame)) = body.frame().await {
        discarded_bytes += frame.data_ref().map_or(0, Bytes::len) as u64;
        if discarded_bytes > bytes_max {
            return;
        }
    }
}

/// The response to a request whose body was not read to its end.
pub(crate) fn body_rejection(error: ReadError) -> Rejection {
    match &error {
        ReadError::TooLarge { .. } => Rejection::new(&error_table::BODY_TOO_LARGE, error.to_string()),
        ReadError::Broken(cause) => {
            tracing::debug!(cause, "the body of a request was interrupted");
            Rejection::new(&error_table::BROKEN_BODY, error.to_string())
        }
        _ => {
            let seconds = HeaderValue::from(error.retry_after().unwrap_or_default().as_secs());
            Rejection::new(&error_table::NO_ROOM_FOR_BODY, error.to_string()).with(RETRY_AFTER, seconds)
        }
    }
}
