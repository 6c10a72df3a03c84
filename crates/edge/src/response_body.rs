//! [`ResponseBody`]: passes the body of a response to hyper in pieces, to detect whether its reader reads them.
//!
//! HTTP/1.1 has one response per connection, and the socket shows whether it is read (`connection_io.rs`). On HTTP/2 a stream can
//! stop while the socket still works: its reader grants no window. Therefore each stream has a [`StreamClock`], and is reset if its
//! reader has read nothing for too long (`http2_streams.rs`).

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use http_messages::{Body, BoxError};
use tokio::time::Instant;

use crate::activity::RunningRequest;
use crate::metrics::{CutReason, ListenerMetrics};
use crate::options::Options;
use crate::quotas::{AddressUsage, StreamPermit, UnsentBytes};

/// The largest piece on HTTP/1.1, in bytes.
const HTTP1_PIECE_BYTES: usize = 64 * 1024;

/// Larger frames are copied piece by piece, so that their memory is free once hyper has the last piece, and not only once the
/// socket has it.
const SHARED_FRAME_BYTES_MAX: usize = 64 * 1024;

/// The largest piece on HTTP/2, in bytes: the largest frame that every peer accepts (RFC 9113 section 4.2).
const HTTP2_PIECE_BYTES_MAX: usize = 16 * 1024;

/// The smallest, for many readers that share a slow connection: each has to read one piece within the write timeout.
const HTTP2_PIECE_BYTES_MIN: usize = 1024;

/// A reader that reads a piece within this time gets larger ones.
const FAST: Duration = Duration::from_millis(250);

/// A reader that needs longer than this gets smaller ones.
const SLOW: Duration = Duration::from_secs(2);

/// The body of one response.
pub(crate) struct ResponseBody {
    body: Body,
    /// The rest of the last frame that the service returned.
    rest: Bytes,
    /// Whether that frame is sent in several pieces.
    divided: bool,
    /// Whether those pieces are copies.
    copied: bool,
    /// That frame, counted until all of it is passed on.
    held: Option<UnsentBytes>,
    piece_bytes: usize,
    clock: Option<Arc<StreamClock>>,
    client: Arc<AddressUsage>,
    options: Arc<Options>,
    metrics: Arc<ListenerMetrics>,
    _running: RunningRequest,
    _slot: Option<StreamPermit>,
}

/// The reader of a response, and the quota that is in use until it has read it.
pub(crate) struct ResponseContext {
    /// The clock of an HTTP/2 stream.
    pub(crate) clock: Option<Arc<StreamClock>>,
    pub(crate) client: Arc<AddressUsage>,
    pub(crate) options: Arc<Options>,
    pub(crate) metrics: Arc<ListenerMetrics>,
    pub(crate) running: RunningRequest,
    pub(crate) slot: Option<StreamPermit>,
}

/// Start of the current wait for the reader of a stream.
#[derive(Debug, Default)]
pub(crate) struct StreamClock(Mutex<Option<Instant>>);

impl StreamClock {
    /// Since when the reader has read nothing of the available data; `None` while the service has to provide data.
    pub(crate) fn waiting_since(&self) -> Option<Instant> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn handed_out(&self, now: Instant) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(now);
    }

    /// How long the reader needed for the last piece.
    fn taken(&self, now: Instant) -> Option<Duration> {
        let since = self.0.lock().unwrap_or_else(PoisonError::into_inner).take()?;
        Some(now.saturating_duration_since(since))
    }
}

impl ResponseBody {
    pub(crate) fn new(body: Body, reader: ResponseContext) -> Self {
        let ResponseContext { clock, client, options, metrics, running, slot } = reader;
        Self {
            body,
            rest: Bytes::new(),
            divided: false,
            copied: false,
            held: None,
            piece_bytes: if clock.is_some() { HTTP2_PIECE_BYTES_MIN } else { HTTP1_PIECE_BYTES },
            clock,
            client,
            options,
            metrics,
            _running: running,
            _slot: slot,
        }
    }

    /// Records that hyper wants more, which it does once its reader has read the previous piece.
    fn note_progress(&mut self) {
        let Some(took) = self.clock.as_ref().and_then(|clock| clock.taken(Instant::now())) else { return };
        if took < FAST {
            self.piece_bytes = (self.piece_bytes * 2).min(HTTP2_PIECE_BYTES_MAX);
        } else if took > SLOW {
            self.piece_bytes = (self.piece_bytes / 2).max(HTTP2_PIECE_BYTES_MIN);
        }
    }

    /// Stores a frame of the service to be sent.
    fn begin(&mut self, data: Bytes) -> Result<(), BoxError> {
        let small = if self.clock.is_some() { HTTP2_PIECE_BYTES_MIN } else { HTTP1_PIECE_BYTES };
        self.divided = self.clock.is_some() || data.len() > small;
        self.copied = data.len() > SHARED_FRAME_BYTES_MAX;
        if data.len() > small {
            let held = self.client.reserve_unsent(data.len(), &self.options);
            self.held = Some(held.inspect_err(|_| self.metrics.response_cut(CutReason::Unsent))?);
        }
        self.rest = data;
        Ok(())
    }

    fn next_chunk(&mut self) -> Bytes {
        if let Some(clock) = &self.clock {
            clock.handed_out(Instant::now());
        }
        if !self.divided {
            return std::mem::take(&mut self.rest);
        }
        let mut length = self.rest.len().min(self.piece_bytes);
        if self.clock.is_some() && length == self.rest.len() && length > 1 {
            // hyper passes a piece to h2 as soon as the window has room for one byte, and drops the stream with the last piece: h2
            // would keep it forever. A last piece of one byte is sent only when all before it has been granted.
            length -= 1;
        }
        let piece = self.rest.split_to(length);
        if self.copied { Bytes::copy_from_slice(&piece) } else { piece }
    }
}

impl http_body::Body for ResponseBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = self.get_mut();
        this.note_progress();
        while this.rest.is_empty() {
            this.held = None;
            let frame = match ready!(Pin::new(&mut this.body).poll_frame(context)) {
                Some(Ok(frame)) => frame,
                end => return Poll::Ready(end),
            };
            match frame.into_data() {
                Ok(data) => this.begin(data)?,
                Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
            }
        }
        Poll::Ready(Some(Ok(Frame::data(this.next_chunk()))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let mut hint = self.body.size_hint();
        let rest = self.rest.len() as u64;
        match hint.upper() {
            Some(upper) => {
                hint.set_upper(upper + rest);
                hint.set_lower(hint.lower() + rest);
            }
            None => hint.set_lower(hint.lower() + rest),
        }
        hint
    }
}

#[cfg(test)]
mod tests;
