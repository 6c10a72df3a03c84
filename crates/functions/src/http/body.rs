//! Bodies of requests: where they are read to, what bindings see of them, and how many the workers have at a time.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode};
use http_messages::{Body, BufferedBody, FileBody, ReadError, StoredBody, empty, error_chain};
use tokio::sync::OwnedSemaphorePermit;
use worker_protocol::TypedData;

use super::dispatch::Dispatch;
use super::request::{METADATA_BODY_BYTES_MAX, may_have_properties};
use super::respond::text;
use crate::metrics::Rejected;
use crate::worker::stored;

/// The body of a request to a function.
pub(super) struct Received {
    /// As the worker gets it.
    pub(super) data: TypedData,
    /// What bindings read properties from; empty where they need none.
    pub(super) shown: Bytes,
}

/// What one permit of [`Dispatch::worker_bodies`] stands for, as a permit a byte would not count far enough.
pub(crate) const PERMIT_BYTES: usize = 1024;

/// Where the first character of a JSON body is looked for.
const FIRST_BYTES: usize = 4096;

impl Dispatch {
    /// Reads the body of a request to a function; a large one to a file.
    pub(super) async fn receive(
        &self,
        mut body: Body,
        needs_properties: bool,
    ) -> Result<Received, Response<Body>> {
        let read = self.bodies.read_or_spill(&mut body, self.body_bytes_max).await;
        match read.map_err(|error| self.unread(&error))? {
            StoredBody::Memory(bytes) => {
                let shown = bytes.clone();
                let data = if bytes.is_empty() { TypedData::Null } else { TypedData::Bytes(bytes) };
                Ok(Received { data, shown })
            }
            StoredBody::File(spilled) => {
                let needs_it = needs_properties || spilled.bytes() <= METADATA_BODY_BYTES_MAX;
                let shown = if needs_it { self.show(&spilled).await } else { Ok(Bytes::new()) };
                let shown = shown.map_err(|error| self.unread(&error))?;
                Ok(Received { data: TypedData::Stored(stored(spilled)), shown })
            }
        }
    }

    /// Reads a body from its file, where it has properties.
    async fn show(&self, spilled: &FileBody) -> Result<Bytes, ReadError> {
        let first = {
            let spilled = spilled.clone();
            let read = tokio::task::spawn_blocking(move || spilled.read_at(0, FIRST_BYTES)).await;
            read.map_err(std::io::Error::other).and_then(|read| read).map_err(ReadError::File)?
        };
        if !may_have_properties(&first) {
            return Ok(Bytes::new());
        }
        self.bodies.load(spilled).await
    }

    /// Reads a whole body to memory, for `/admin`.
    pub(super) async fn read_body(&self, mut body: Body) -> Result<Bytes, Response<Body>> {
        let read = self.bodies.read(&mut body, self.body_bytes_max).await;
        read.map(BufferedBody::into_bytes).map_err(|error| self.unread(&error))
    }

    /// The answer to a request whose body was not read.
    fn unread(&self, error: &ReadError) -> Response<Body> {
        match error {
            ReadError::TooLarge { .. } => {
                self.rejected(Rejected::BodyTooLarge);
                empty(StatusCode::PAYLOAD_TOO_LARGE)
            }
            // The client broke off or broke the framing; nobody is likely to see this answer.
            ReadError::Broken(_) => empty(StatusCode::BAD_REQUEST),
            error => {
                self.rejected(Rejected::NoRoomForBody);
                tracing::warn!(error = error_chain(error), "the body of a request was refused");
                let seconds = error.retry_after().unwrap_or_default().as_secs();
                let why =
                    format!("The request was not taken: {error}. Send it again in {seconds} seconds.\n");
                let mut response = text(StatusCode::SERVICE_UNAVAILABLE, &why);
                response.headers_mut().insert(http::header::RETRY_AFTER, HeaderValue::from(seconds));
                response
            }
        }
    }

    /// Waits until the workers have room for a body from a file. They hold each of them in memory, several times even.
    pub(super) async fn turn(&self, data: &TypedData) -> Option<OwnedSemaphorePermit> {
        let TypedData::Stored(stored) = data else { return None };
        let permits = stored.bytes().div_ceil(PERMIT_BYTES).min(self.worker_bodies_permits);
        let permits = u32::try_from(permits).unwrap_or(u32::MAX);
        self.metrics.worker_bodies_waiting.inc();
        let turn = Arc::clone(&self.worker_bodies).acquire_many_owned(permits).await;
        self.metrics.worker_bodies_waiting.dec();
        turn.ok()
    }
}
