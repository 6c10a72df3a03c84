//! [`UnreadBody`]: handles an HTTP/1.1 request body that its service does not read to its end.
//!
//! A client may use the connection again once it has sent its body and read the response. If the rest of the body is not read, the
//! connection has to be closed, and the client has to be informed first: otherwise its next request fails (RFC 9112 sections 9.3
//! and 9.6). So a limited rest is read and discarded, and if it is too long the response has `Connection: close`.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::task::AtomicWaker;
use http_body::Body;
use hyper::body::Incoming;
use tokio::time::Sleep;

use crate::activity::{Activity, RunningRequest};

/// The longest rest that is read and discarded, in bytes. Reading more would cost more than a new connection.
const REST_BYTES_MAX: u64 = 256 * 1024;

/// How long a response waits for the end of a body of unknown length: most have arrived by then.
const UNKNOWN_WAIT: Duration = Duration::from_millis(50);

/// The body of the request that runs on a connection; shared by the request, its response and the driver of the connection.
#[derive(Debug)]
pub(crate) struct UnreadBody {
    state: Mutex<State>,
    /// Wakes the driver when there is a rest to read.
    driver: AtomicWaker,
    timeout: Duration,
}

#[derive(Debug)]
enum State {
    /// There is no body, or it was read to its end.
    Read,
    /// The service reads it.
    Reading {
        /// Bytes to come; `None` if the client does not state the length.
        rest_bytes: Option<u64>,
        /// The client waits for `100 Continue` (`Expect: 100-continue`), which was not sent yet.
        unasked: bool,
    },
    /// The service dropped it; the rest is read and discarded.
    Discarding(DiscardedBody),
    /// The rest is too long, or did not arrive in time: the connection ends with the response.
    GivenUp,
}

/// A body that is read and discarded.
#[derive(Debug)]
struct DiscardedBody {
    body: Incoming,
    /// Bytes that may still come.
    bytes_left: u64,
    end: Pin<Box<Sleep>>,
    /// Prevents the connection from counting as idle, or as late with its next head.
    _running: RunningRequest,
}

impl UnreadBody {
    /// `timeout`: how long to wait for a rest.
    pub(crate) fn new(timeout: Duration) -> Self {
        Self { state: Mutex::new(State::Read), driver: AtomicWaker::new(), timeout }
    }

    /// A service has a body, or has read some of it. `unasked`: its client waits for `100 Continue`, which was not sent.
    pub(crate) fn reading(&self, body: &Incoming, unasked: bool) {
        *self.state() = if body.is_end_stream() {
            State::Read
        } else {
            State::Reading { rest_bytes: body.size_hint().exact(), unasked }
        };
    }

    /// The body was read to its end.
    pub(crate) fn ended(&self) {
        *self.state() = State::Read;
    }

    /// The service will not read the rest. `unasked`: as for [`UnreadBody::reading`].
    pub(crate) fn discard(&self, body: Incoming, unasked: bool, activity: &Arc<Activity>) {
        let rest_bytes = body.size_hint().exact();
        let mut state = self.state();
        if body.is_end_stream() {
            *state = State::Read;
            return;
        }
        // A body that was not requested with `100 Continue` may not arrive, and if it does it cannot be distinguished from the next
        // request.
        if unasked || rest_bytes.is_some_and(|bytes| bytes > REST_BYTES_MAX) {
            *state = State::GivenUp;
            drop(state);
            activity.body_left_unread();
            return;
        }
        *state = State::Discarding(DiscardedBody {
            body,
            bytes_left: rest_bytes.unwrap_or(REST_BYTES_MAX),
            end: Box::pin(tokio::time::sleep(self.timeout)),
            _running: activity.continue_request(),
        });
        drop(state);
        self.driver.wake();
    }

    /// Whether the response about to be sent must state that it is the last one. Waits for a short time if that is not known.
    pub(crate) async fn ends_connection(&self, activity: &Arc<Activity>) -> bool {
        match &*self.state() {
            State::Read => return false,
            State::GivenUp => return true,
            // It is still being read, or sent on. If it is short, its rest can be discarded later.
            State::Reading { rest_bytes, unasked } => {
                return *unasked || rest_bytes.is_none_or(|bytes| bytes > REST_BYTES_MAX);
            }
            // The client cannot use the connection before it has sent all of it, so there is time.
            State::Discarding(rest) if rest.body.size_hint().exact().is_some() => return false,
            State::Discarding(_) => {}
        }
        let read = std::future::poll_fn(|context| self.poll_discard(context, activity));
        if tokio::time::timeout(UNKNOWN_WAIT, read).await.is_err() {
            self.give_up(activity);
        }
        matches!(*self.state(), State::GivenUp)
    }

    /// Reads the available part of a rest; the driver of the connection calls it whenever it runs. Ready if there is none to read.
    pub(crate) fn poll_discard(&self, context: &mut Context<'_>, activity: &Activity) -> Poll<()> {
        self.driver.register(context.waker());
        let mut state = self.state();
        let State::Discarding(rest) = &mut *state else { return Poll::Ready(()) };
        loop {
            let frame = match Pin::new(&mut rest.body).poll_frame(context) {
                Poll::Ready(frame) => frame,
                Poll::Pending if rest.end.as_mut().poll(context).is_pending() => return Poll::Pending,
                Poll::Pending => break,
            };
            let Some(Ok(frame)) = frame else {
                *state = State::Read;
                return Poll::Ready(());
            };
            let bytes = frame.data_ref().map_or(0, bytes::Bytes::len) as u64;
            if bytes > rest.bytes_left {
                break;
            }
            rest.bytes_left -= bytes;
        }
        *state = State::GivenUp;
        drop(state);
        activity.body_left_unread();
        Poll::Ready(())
    }

    fn give_up(&self, activity: &Activity) {
        let mut state = self.state();
        if matches!(*state, State::Discarding(_)) {
            *state = State::GivenUp;
            drop(state);
            activity.body_left_unread();
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
