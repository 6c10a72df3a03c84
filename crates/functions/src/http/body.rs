//! Request bodies: how they are read, what bindings get of them, and how many bytes workers have at a time.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderValue, Response};
use http_messages::{Body, BufferedBody, FileBody, ReadError, StoredBody, error_chain};
use tokio::sync::OwnedSemaphorePermit;
use worker_protocol::TypedData;

use super::body_properties::{METADATA_BODY_BYTES_MAX, may_have_properties};
use super::dispatch::Dispatch;
use super::respond;
use crate::error_table::response;
use crate::worker::stored;

/// The body of a request to a function.
pub(super) struct ReceivedBody {
    /// The body for the worker.
    pub(super) data: TypedData,
    /// The bytes from which bindings read properties; empty if they need none.
    pub(super) for_bindings: Bytes,
}

/// The bytes of one permit of [`Dispatch::worker_bodies`]; a semaphore has too few permits for one per byte.
pub(crate) const PERMIT_BYTES: usize = 1024;

/// The bytes in which the first character of a JSON body is searched.
const FIRST_BYTES: usize = 4096;

impl Dispatch {
    /// Reads the body of a request to a function; a large one into a file.
    pub(super) async fn receive(
        &self,
        mut body: Body,
        needs_properties: bool,
    ) -> Result<ReceivedBody, Response<Body>> {
        let read = self.bodies.read_or_spill(&mut body, self.settings.get().body_bytes_max).await;
        match read.map_err(|error| self.unread(&error))? {
            StoredBody::Memory(bytes) => {
                let for_bindings = bytes.clone();
                let data = if bytes.is_empty() { TypedData::Null } else { TypedData::Bytes(bytes) };
                Ok(ReceivedBody { data, for_bindings })
            }
            StoredBody::File(spilled) => {
                let is_needed = needs_properties || spilled.bytes() <= METADATA_BODY_BYTES_MAX;
                let for_bindings =
                    if is_needed { self.load_for_bindings(&spilled).await } else { Ok(Bytes::new()) };
                let for_bindings = for_bindings.map_err(|error| self.unread(&error))?;
                Ok(ReceivedBody { data: TypedData::Stored(stored(spilled)), for_bindings })
            }
        }
    }

    /// Reads a body from its file, if it may have properties.
    async fn load_for_bindings(&self, spilled: &FileBody) -> Result<Bytes, ReadError> {
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

    /// Reads a whole body into memory, for `/admin`.
    pub(super) async fn read_body(&self, mut body: Body) -> Result<Bytes, Response<Body>> {
        let read = self.bodies.read(&mut body, self.settings.get().body_bytes_max).await;
        read.map(BufferedBody::into_bytes).map_err(|error| self.unread(&error))
    }

    /// The response to a request whose body could not be read.
    fn unread(&self, error: &ReadError) -> Response<Body> {
        match error {
            ReadError::TooLarge { .. } => respond::error(&response::BODY_TOO_LARGE),
            // The client disconnected or violated the framing, so it will probably not get this response.
            ReadError::Broken(_) => respond::error(&response::INCOMPLETE_BODY),
            error => {
                let code = response::NO_MEMORY_FOR_BODY.code;
                tracing::warn!(error = error_chain(error), code, "the body of a request was rejected");
                let seconds = error.retry_after().unwrap_or_default().as_secs();
                let why = format!("The request was rejected: {error}. Send it again in {seconds} seconds.\n");
                let mut response = respond::error_text(&response::NO_MEMORY_FOR_BODY, &why);
                response.headers_mut().insert(http::header::RETRY_AFTER, HeaderValue::from(seconds));
                response
            }
        }
    }

    /// Waits until the workers have capacity for a body from a file: they keep each one in memory, even several times.
    pub(super) async fn reserve_worker_bytes(&self, data: &TypedData) -> Option<OwnedSemaphorePermit> {
        let TypedData::Stored(stored) = data else { return None };
        let permits = stored.bytes().div_ceil(PERMIT_BYTES).min(self.worker_bodies_permits);
        let permits = u32::try_from(permits).unwrap_or(u32::MAX);
        self.metrics.worker_bodies_waiting.inc();
        let reserved = Arc::clone(&self.worker_bodies).acquire_many_owned(permits).await;
        self.metrics.worker_bodies_waiting.dec();
        reserved.ok()
    }
}
