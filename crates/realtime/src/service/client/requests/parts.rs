//! POST requests with a body longer than the service buffers: an app server that accepts messages in parts gets the body as it arrives.

use bytes::Bytes;
use http::Response;
use http_body::Body as _;
use http_body_util::BodyExt;
use http_messages::{Body, ReadError};

use super::received::{FRAMING_BYTES, response_to};
use crate::rejection::Rejection;
use crate::service::Shared;
use crate::service::body::{body_rejection, discard};
use realtime_engine::{ConnectionId, EngineHandle, HttpTransport, ReceiveResult};

/// A connection whose app server has received the first parts of a message. If the rest cannot follow, the connection must close,
/// because the app server would read the client's next message as the rest. Dropped when the request is cancelled.
struct UnfinishedMessage<'a> {
    engine: &'a EngineHandle,
    connection: Option<ConnectionId>,
}

/// Forwards a body part by part.
pub(super) async fn send(
    shared: &Shared,
    connection: ConnectionId,
    http_transport: &HttpTransport,
    body: Body,
) -> Result<Response<Body>, Rejection> {
    let bytes_max = shared.options().engine.forwarded_message_bytes_max as usize + FRAMING_BYTES;
    let patience_bytes = bytes_max.saturating_mul(2) as u64;
    let bytes = body.size_hint().lower();
    if bytes > bytes_max as u64 {
        // A client whose body is not read often sees a broken connection instead of the response.
        if bytes <= patience_bytes {
            discard(body, patience_bytes).await;
        }
        return Err(body_rejection(ReadError::TooLarge { bytes_max }));
    }
    let _alone = http_transport.begin_partial_send().await;
    let engine = &shared.engine;
    let mut unfinished = UnfinishedMessage { engine, connection: None };
    let sent = forward(&mut unfinished, connection, body, bytes_max).await;
    if !matches!(sent, Ok(ReceiveResult::Accepted))
        && let Some(connection) = unfinished.connection.take()
    {
        engine.leave(connection, false).await?;
    }
    unfinished.connection = None;
    response_to(sent?)
}

async fn forward(
    unfinished: &mut UnfinishedMessage<'_>,
    connection: ConnectionId,
    mut body: Body,
    bytes_max: usize,
) -> Result<ReceiveResult, Rejection> {
    let engine = unfinished.engine;
    let mut bytes = 0;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|cause| body_rejection(ReadError::Broken(cause)))?;
        let Ok(part) = frame.into_data() else { continue };
        bytes += part.len();
        if bytes > bytes_max {
            return Err(body_rejection(ReadError::TooLarge { bytes_max }));
        }
        if part.is_empty() {
            continue;
        }
        unfinished.connection = Some(connection);
        let received = engine.receive_part(connection, part, false).await?;
        if received != ReceiveResult::Accepted {
            return Ok(received);
        }
    }
    if unfinished.connection.is_none() {
        return Ok(ReceiveResult::Accepted);
    }
    Ok(engine.receive_part(connection, Bytes::new(), true).await?)
}

impl Drop for UnfinishedMessage<'_> {
    fn drop(&mut self) {
        if let Some(connection) = self.connection {
            self.engine.try_leave(connection);
        }
    }
}
