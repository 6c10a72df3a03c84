//! Bodies of requests, of bounded size.

use bytes::{Bytes, BytesMut};
use http::StatusCode;
use http_body::Body as _;
use http_body_util::BodyExt;

use crate::Body;
use crate::error::Refusal;

/// How many times the largest body is read before a sender of more is cut off.
const DISCARD_FACTOR: usize = 8;

/// Reads a whole body of bounded size. What is too large is read on for a while and thrown away: a sender that is cut off in the
/// middle of its body often sees a broken connection instead of the answer.
pub(crate) async fn read_body(mut body: Body, bytes_max: usize) -> Result<Bytes, Refusal> {
    let patience_bytes = bytes_max.saturating_mul(DISCARD_FACTOR);
    let too_large = || {
        let message = format!("the body has more than the {bytes_max} bytes allowed");
        Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, "BodyTooLarge", message)
    };
    if body.size_hint().lower() > patience_bytes as u64 {
        return Err(too_large());
    }
    // Most bodies come in one piece, which need not be copied.
    let (mut first, mut whole, mut read_bytes) = (None, BytesMut::new(), 0);
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| {
            tracing::debug!(%error, "the body of a request broke off");
            Refusal::bad_request("BrokenBody", "the body broke off before its end")
        })?;
        let Ok(data) = frame.into_data() else { continue };
        read_bytes += data.len();
        if read_bytes > patience_bytes {
            break;
        }
        if read_bytes > bytes_max {
            continue;
        }
        if read_bytes == data.len() {
            first = Some(data);
            continue;
        }
        if let Some(first) = first.take() {
            whole.extend_from_slice(&first);
        }
        whole.extend_from_slice(&data);
    }
    if read_bytes > bytes_max { Err(too_large()) } else { Ok(first.unwrap_or_else(|| whole.freeze())) }
}
