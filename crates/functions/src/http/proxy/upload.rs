//! The body of a proxied request on its way to the worker.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use http_body_util::BodyExt;
use http_messages::Body;

/// A body that is lent to one request after the other until one of them reaches the worker, and that can be ended from outside.
#[derive(Clone)]
pub(super) struct RequestUpload {
    shared: Arc<Mutex<Shared>>,
}

struct Shared {
    body: Body,
    /// Bytes that may still come.
    bytes_left: u64,
    end: Option<UploadError>,
    /// Who is to be woken when it is ended from outside.
    waker: Option<Waker>,
}

/// Why a body did not reach the worker whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum UploadError {
    /// It is larger than the host takes.
    #[error("the body of the request is larger than the host takes")]
    TooLarge,
    /// The client broke off, or was too slow.
    #[error("the client did not send the body of its request to the end")]
    Broken,
    /// The response has ended, so nobody wants the rest.
    #[error("the request was answered before its body was sent")]
    Unwanted,
}

struct Lent(RequestUpload);

impl RequestUpload {
    pub(super) fn new(body: Body, bytes_max: usize) -> Self {
        let bytes_left = u64::try_from(bytes_max).unwrap_or(u64::MAX);
        Self { shared: Arc::new(Mutex::new(Shared { body, bytes_left, end: None, waker: None })) }
    }

    /// The body for one request. What an earlier request took of it is gone.
    pub(super) fn lend(&self) -> Body {
        Lent(self.clone()).boxed_unsync()
    }

    /// Ends it, unless it has ended. Whoever has it sees an error.
    pub(super) fn close(&self) {
        let mut shared = self.lock();
        shared.end.get_or_insert(UploadError::Unwanted);
        let waker = shared.waker.take();
        drop(shared);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Why it ended before its end.
    pub(super) fn error(&self) -> Option<UploadError> {
        self.lock().end
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl http_body::Body for Lent {
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

/// The data of a frame; trailers have no meaning to a function.
fn frame_data(frame: &Frame<Bytes>) -> Bytes {
    frame.data_ref().cloned().unwrap_or_default()
}
