//! A POST that is longer than what is collected of a client: for an app server that takes messages in pieces it is handed on as it
//! arrives.

use bytes::Bytes;
use http::Response;
use http_body::Body as _;
use http_body_util::BodyExt;
use http_messages::{Body, ReadError};

use super::{FRAMING_BYTES, taken};
use crate::engine::{ConnectionId, EngineHandle, Outlet, Received};
use crate::error::Refusal;
use crate::service::{Shared, discard, refused_body};

/// A connection whose app server has the beginning of a message. Whatever keeps the end from coming ends the connection: what the client
/// sent next would be read as the rest. When it is dropped, the request itself has gone.
struct Unfinished<'a> {
    engine: &'a EngineHandle,
    connection: Option<ConnectionId>,
}

/// Hands a body on piece by piece.
pub(super) async fn send(
    shared: &Shared,
    connection: ConnectionId,
    outlet: &Outlet,
    body: Body,
) -> Result<Response<Body>, Refusal> {
    let bytes_max = shared.options.engine.forwarded_message_bytes_max as usize + FRAMING_BYTES;
    let patience_bytes = bytes_max.saturating_mul(2) as u64;
    let bytes = body.size_hint().lower();
    if bytes > bytes_max as u64 {
        // A sender that is cut off in the middle often sees a broken connection instead of the answer.
        if bytes <= patience_bytes {
            discard(body, patience_bytes).await;
        }
        return Err(refused_body(ReadError::TooLarge { bytes_max }));
    }
    let _alone = outlet.sends_alone().await;
    let engine = &shared.engine;
    let mut unfinished = Unfinished { engine, connection: None };
    let sent = hand_on(&mut unfinished, connection, body, bytes_max).await;
    if !matches!(sent, Ok(Received::Taken))
        && let Some(connection) = unfinished.connection.take()
    {
        engine.leave(connection, false).await?;
    }
    unfinished.connection = None;
    taken(sent?)
}

async fn hand_on(
    unfinished: &mut Unfinished<'_>,
    connection: ConnectionId,
    mut body: Body,
    bytes_max: usize,
) -> Result<Received, Refusal> {
    let engine = unfinished.engine;
    let mut bytes = 0;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|cause| refused_body(ReadError::Broken(cause)))?;
        let Ok(piece) = frame.into_data() else { continue };
        bytes += piece.len();
        if bytes > bytes_max {
            return Err(refused_body(ReadError::TooLarge { bytes_max }));
        }
        if piece.is_empty() {
            continue;
        }
        unfinished.connection = Some(connection);
        let received = engine.receive_part(connection, piece, false).await?;
        if received != Received::Taken {
            return Ok(received);
        }
    }
    if unfinished.connection.is_none() {
        return Ok(Received::Taken);
    }
    Ok(engine.receive_part(connection, Bytes::new(), true).await?)
}

impl Drop for Unfinished<'_> {
    fn drop(&mut self) {
        if let Some(connection) = self.connection {
            self.engine.try_leave(connection);
        }
    }
}
