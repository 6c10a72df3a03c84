//! [`UnreadBody`]: what becomes of a request body on HTTP/1.1 that its service does not read to its end.
//!
//! A client may use the connection again once it has sent its body and read the response. If nobody reads the rest of the body, the
//! connection has to be closed, and the client has to be told before: otherwise its next request fails (RFC 9112 section 9.3 and
//! 9.6). So a bounded rest is read and thrown away, and where it is too long the response says `Connection: close`.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::task::AtomicWaker;
use http_body::Body;
use hyper::body::Incoming;
use tokio::time::Sleep;

use crate::activity::{Activity, RunningRequest};

/// The longest rest that is read and thrown away, in bytes. To read more would cost more than a new connection.
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
    /// The service has it.
    Reading {
        /// Bytes to come; `None` where the client does not say.
        rest_bytes: Option<u64>,
        /// The client waits to be asked for it (`Expect: 100-continue`), and was not yet.
        unasked: bool,
    },
    /// The service dropped it; the rest is read and discarded.
    Discarding(Rest),
    /// The rest is too long, or did not come in time: the connection ends with the response.
    GivenUp,
}

/// A body that is read and thrown away.
#[derive(Debug)]
struct Rest {
    body: Incoming,
    /// Bytes that may still come.
    bytes_left: u64,
    end: Pin<Box<Sleep>>,
    /// Keeps the connection from being idle, or late with its next head.
    _running: RunningRequest,
}

impl UnreadBody {
    /// `timeout`: how long a rest is awaited.
    pub(crate) fn new(timeout: Duration) -> Self {
        Self { state: Mutex::new(State::Read), driver: AtomicWaker::new(), timeout }
    }

    /// A service has a body, or has read some of it. `unasked`: its client waits to be asked for it, and was not yet.
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
        // What was not asked for need not come, and if it does it cannot be told from the next request.
        if unasked || rest_bytes.is_some_and(|bytes| bytes > REST_BYTES_MAX) {
            *state = State::GivenUp;
            drop(state);
            activity.body_left_unread();
            return;
        }
        *state = State::Discarding(Rest {
            body,
            bytes_left: rest_bytes.unwrap_or(REST_BYTES_MAX),
            end: Box::pin(tokio::time::sleep(self.timeout)),
            _running: activity.request_goes_on(),
        });
        drop(state);
        self.driver.wake();
    }

    /// Whether the response that is about to be sent has to say that it is the last one. Waits a little where that is not known.
    pub(crate) async fn ends_connection(&self, activity: &Arc<Activity>) -> bool {
        match &*self.state() {
            State::Read => return false,
            State::GivenUp => return true,
            // It is still being read, or sent on. If it is short, its rest can be thrown away later.
            State::Reading { rest_bytes, unasked } => {
                return *unasked || rest_bytes.is_none_or(|bytes| bytes > REST_BYTES_MAX);
            }
            // The client cannot use the connection before it has sent all of it, so there is time.
            State::Discarding(rest) if rest.body.size_hint().exact().is_some() => return false,
            State::Discarding(_) => {}
        }
        let read = std::future::poll_fn(|context| self.poll_rest(context, activity));
        if tokio::time::timeout(UNKNOWN_WAIT, read).await.is_err() {
            self.give_up(activity);
        }
        matches!(*self.state(), State::GivenUp)
    }

    /// Reads what is there of a rest; the driver of the connection calls it whenever it runs. Ready when there is none to read.
    pub(crate) fn poll_rest(&self, context: &mut Context<'_>, activity: &Activity) -> Poll<()> {
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
