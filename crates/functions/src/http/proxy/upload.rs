//! The body of a proxied request.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use http_body_util::BodyExt;
use http_messages::Body;

/// A body that several attempts of a request share until one reaches the worker, and that can be closed from outside.
#[derive(Clone)]
pub(super) struct RequestUpload {
    shared: Arc<Mutex<Shared>>,
}

struct Shared {
    body: Body,
    /// The bytes that may still come.
    bytes_left: u64,
    /// Whether an attempt has read data, which no later attempt can send.
    is_started: bool,
    end: Option<UploadError>,
    /// Woken when it is closed from outside.
    waker: Option<Waker>,
}

/// Why a body did not reach the worker completely.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum UploadError {
    /// It is larger than the limit.
    #[error("the body of the request is larger than functions.body_bytes_max")]
    TooLarge,
    /// The client disconnected, or was too slow.
    #[error("the client did not send the complete body of its request")]
    Broken,
    /// The response has ended, so that the rest is not needed.
    #[error("the response ended before the body of the request was sent")]
    NotNeeded,
}

struct SharedBody(RequestUpload);

impl RequestUpload {
    pub(super) fn new(body: Body, bytes_max: usize) -> Self {
        let bytes_left = u64::try_from(bytes_max).unwrap_or(u64::MAX);
        Self {
            shared: Arc::new(Mutex::new(Shared {
                body,
                bytes_left,
                is_started: false,
                end: None,
                waker: None,
            })),
        }
    }

    /// The body for one attempt. What an earlier attempt read is lost.
    pub(super) fn body(&self) -> Body {
        SharedBody(self.clone()).boxed_unsync()
    }

    /// Closes it, unless it has ended. A reader gets an error.
    pub(super) fn close(&self) {
        let mut shared = self.lock();
        shared.end.get_or_insert(UploadError::NotNeeded);
        let waker = shared.waker.take();
        drop(shared);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Whether an attempt has read data.
    pub(super) fn is_started(&self) -> bool {
        self.lock().is_started
    }

    /// Why it ended early.
    pub(super) fn error(&self) -> Option<UploadError> {
        self.lock().end
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl http_body::Body for SharedBody {
    type Data = Bytes;
    type Error = Box<dyn std::error::Error + Send + Sync>;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let mut shared = self.0.lock();
        if let Some(end) = shared.end {
            return Poll::Ready(Some(Err(end.into())));
        }
        let frame = match Pin::new(&mut shared.body).poll_frame(context) {
            Poll::Pending => {
                shared.waker = Some(context.waker().clone());
                return Poll::Pending;
            }
            Poll::Ready(frame) => frame,
        };
        let end = match &frame {
            Some(Err(_)) => UploadError::Broken,
            Some(Ok(frame)) => {
                shared.is_started = true;
                let bytes = frame.data_ref().map_or(0, |data| data.len() as u64);
                match shared.bytes_left.checked_sub(bytes) {
                    Some(left) => {
                        shared.bytes_left = left;
                        return Poll::Ready(Some(Ok(Frame::data(frame_data(frame)))));
                    }
                    None => UploadError::TooLarge,
                }
            }
            None => return Poll::Ready(None),
        };
        shared.end = Some(end);
        Poll::Ready(Some(Err(end.into())))
    }

    fn is_end_stream(&self) -> bool {
        let shared = self.0.lock();
        shared.end.is_none() && shared.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.0.lock().body.size_hint()
    }
}

/// The data of a frame; trailers are not sent to functions.
fn frame_data(frame: &Frame<Bytes>) -> Bytes {
    frame.data_ref().cloned().unwrap_or_default()
}
