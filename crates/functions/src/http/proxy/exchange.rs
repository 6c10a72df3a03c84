//! One proxied request: its two halves, and the outcome that they make together.

use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use http::{Response, StatusCode};
use http_body::{Body as _, Frame};
use http_body_util::{BodyExt, StreamBody};
use http_messages::{Body, empty, error_chain, full};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use tokio::sync::OwnedSemaphorePermit;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::forward::ForwardError;
use super::head;
use super::upload::{RequestUpload, UploadError};
use crate::http::respond::failed;
use crate::invoke::{InvocationError, Returned};
use crate::log::{Level, Logs};
use crate::metrics::{Metrics, ProxiedEnd, ProxiedLabel};
use crate::worker::CancellationSource;

/// How long the head of a response may come after its invocation succeeded without returning anything: some workers send none then.
const HEAD_WAIT: Duration = Duration::from_millis(900);

/// The same where the function returned something, so that a response is on its way.
const RETURNED_HEAD_WAIT: Duration = Duration::from_secs(10);

/// How long an invocation may go on after the worker answered its request with 404: that is the answer of a worker that does not
/// know the path, and then nothing ends the invocation. A function's own 404 comes within 30 ms of its invocation's end.
const NOT_FOUND_WAIT: Duration = Duration::from_millis(500);

/// How long the end of a whole response waits for its invocation to end.
const VERDICT_WAIT: Duration = Duration::from_secs(5);

/// How long the invocation has to say what happened when the connection to its worker broke.
const BROKEN_WAIT: Duration = Duration::from_millis(500);

/// How long what a worker sent before its function failed may take to be read: it lies in the socket already, and only the order in which
/// the host sees the two is open.
const SENT_WAIT: Duration = Duration::from_millis(50);

/// How long a response may pause once its invocation has ended; before that, the limit of the function counts. That of the original.
const SILENCE_MAX: Duration = Duration::from_secs(240);

const FAILED_IN_THE_MIDDLE: &str = "the function failed in the middle of its response";

/// What a request holds until its response has ended.
pub(crate) type Permits = (OwnedSemaphorePermit, Option<OwnedSemaphorePermit>);

/// A proxied request while it is under way. Dropped before its end, it cancels its invocation and closes the connection to the worker.
pub(super) struct Exchange {
    pub(super) function: String,
    pub(super) verdict: InvocationState,
    /// Gone once the invocation has ended.
    pub(super) cancellation_source: Option<CancellationSource>,
    pub(super) upload: RequestUpload,
    pub(super) logs: Logs,
    pub(super) ended: OutcomeCounter,
    pub(super) _permits: Permits,
}

/// What a function that succeeded gave as its response, which counts only as a sign that one comes.
enum Returns {
    Nothing,
    Something,
}

/// How the invocation ended.
pub(super) enum InvocationState {
    /// It has not.
    Open(JoinHandle<Result<Returned, InvocationError>>),
    /// Well.
    Succeeded,
}

/// Counts how a proxied request ended.
pub(super) struct OutcomeCounter {
    counters: Family<ProxiedLabel, Counter>,
    end: ProxiedEnd,
}

/// The rest of a response.
struct Download {
    body: Body,
    /// A frame that was taken already.
    taken: Option<Frame<Bytes>>,
    exchange: Exchange,
}

impl Exchange {
    /// Waits for both halves and gives the response, whose body goes on with both.
    pub(super) async fn answer(
        mut self,
        forward: impl Future<Output = Result<Response<Body>, ForwardError>>,
    ) -> Response<Body> {
        let response = {
            tokio::pin!(forward);
            tokio::select! {
                biased;
                ended = self.verdict.ended() => match ended {
                    Err(error) => return match timeout(SENT_WAIT, forward).await {
                        Ok(Ok(response)) => self.break_off_or_fail(response, error).await,
                        _ => self.fail(error.as_ref()),
                    },
                    Ok(Returns::Something) => match timeout(RETURNED_HEAD_WAIT, forward).await {
                        Ok(response) => response,
                        Err(_) => Err(ForwardError::Silent { waited: RETURNED_HEAD_WAIT }),
                    },
                    Ok(Returns::Nothing) => match timeout(HEAD_WAIT, forward).await {
                        Ok(response) => response,
                        Err(_) => {
                            self.ended.end = ProxiedEnd::Answered;
                            return empty(StatusCode::NO_CONTENT);
                        }
                    },
                },
                response = &mut forward => response,
            }
        };
        let (mut parts, mut body) = match response {
            Ok(response) => response.into_parts(),
            Err(error) => return self.not_forwarded(&error).await,
        };
        head::remove_hop_by_hop(&mut parts.headers);
        let first = match self.frame(&mut body).await {
            Ok(first) => first,
            Err(Break::Failed(error)) => {
                return self.break_off_or_fail(Response::from_parts(parts, body), error).await;
            }
            Err(Break::Lost(cause)) => return self.not_forwarded(&ForwardError::Lost { cause }).await,
        };
        // A response that is all there can still become a failure.
        if (first.is_none() || body.is_end_stream())
            && let Err(error) = self.settle(parts.status).await
        {
            return self.fail(error.as_ref());
        }
        let rest = Download { body, taken: first, exchange: self };
        let is_empty = rest.taken.is_none();
        let rest = match is_empty {
            true => {
                rest.finish();
                full(Bytes::new())
            }
            false => StreamBody::new(stream::unfold(Some(rest), Download::next)).boxed_unsync(),
        };
        Response::from_parts(parts, rest)
    }

    /// The next data of the response, as long as the invocation has not failed. `None` at the end.
    async fn frame(&mut self, body: &mut Body) -> Result<Option<Frame<Bytes>>, Break> {
        loop {
            let frame = match &mut self.verdict {
                verdict @ InvocationState::Open(_) => tokio::select! {
                    biased;
                    ended = verdict.ended() => match ended {
                        Err(error) => return Err(Break::Failed(error)),
                        Ok(_) => {
                            self.cancellation_source = None;
                            continue;
                        }
                    },
                    frame = body.frame() => frame,
                },
                InvocationState::Succeeded => match timeout(SILENCE_MAX, body.frame()).await {
                    Ok(frame) => frame,
                    Err(_) => return Err(Break::Lost("the worker was silent for too long".into())),
                },
            };
            match frame {
                // Trailers have no place in HTTP/1.1 to clients that did not ask for them.
                Some(Ok(frame)) if !frame.is_data() => {}
                Some(Ok(frame)) => return Ok(Some(frame)),
                Some(Err(cause)) => return Err(Break::Lost(cause)),
                None => return Ok(None),
            }
        }
    }

    /// Waits at the end of the response for the end of the invocation, for a bounded time.
    async fn settle(&mut self, status: StatusCode) -> Result<(), Option<InvocationError>> {
        if matches!(self.verdict, InvocationState::Succeeded) {
            return Ok(());
        }
        let wait = if status == StatusCode::NOT_FOUND { NOT_FOUND_WAIT } else { VERDICT_WAIT };
        let ended = timeout(wait, self.verdict.ended()).await;
        // Nobody waits for it any longer. A worker that did not know the path frees the invocation; any other may end it.
        if ended.is_ok() || status == StatusCode::NOT_FOUND {
            self.cancellation_source = None;
        } else if let Some(cancellation_source) = self.cancellation_source.take() {
            cancellation_source.forget();
        }
        ended.map_or(Ok(()), |ended| ended.map(drop))
    }

    /// The answer to a request whose invocation failed before the first byte of its response was read: the response, broken off behind that
    /// byte, if the worker had sent it before and not all of it, as the original does.
    async fn break_off_or_fail(
        mut self,
        response: Response<Body>,
        error: Option<InvocationError>,
    ) -> Response<Body> {
        let (mut parts, mut body) = response.into_parts();
        let first = timeout(SENT_WAIT, body.frame()).await;
        let Ok(Some(Ok(frame))) = first else { return self.fail(error.as_ref()) };
        let is_whole = body.is_end_stream() || matches!(timeout(SENT_WAIT, body.frame()).await, Ok(None));
        if is_whole || !frame.is_data() {
            return self.fail(error.as_ref());
        }
        head::remove_hop_by_hop(&mut parts.headers);
        self.ended.end = ProxiedEnd::BrokenOff;
        let pieces: [Piece; 2] = [Ok(frame), Err(FAILED_IN_THE_MIDDLE.into())];
        Response::from_parts(parts, StreamBody::new(stream::iter(pieces)).boxed_unsync())
    }

    /// The answer to a request whose invocation failed before anything was sent to the client.
    fn fail(mut self, error: Option<&InvocationError>) -> Response<Body> {
        self.ended.end = ProxiedEnd::Failed;
        failed(error)
    }

    /// The answer to a request that the worker did not take, or did not answer.
    async fn not_forwarded(mut self, error: &ForwardError) -> Response<Body> {
        self.cancellation_source = None;
        self.ended.end = ProxiedEnd::Failed;
        match self.upload.error() {
            Some(UploadError::TooLarge) => return empty(StatusCode::PAYLOAD_TOO_LARGE),
            Some(UploadError::Broken) => return empty(StatusCode::BAD_REQUEST),
            Some(UploadError::Unwanted) | None => {}
        }
        // A worker that died tells more by its end than by its connection.
        if let Ok(Err(error)) = timeout(BROKEN_WAIT, self.verdict.ended()).await
            && error.as_ref().is_some_and(InvocationError::is_interrupted)
        {
            return failed(error.as_ref());
        }
        let text =
            format!("Functions.{} was not answered by its worker: {}", self.function, error_chain(error));
        self.logs.function(Level::Error, &self.function, None, text);
        empty(StatusCode::INTERNAL_SERVER_ERROR)
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        self.upload.close();
    }
}

/// Why a response has no further data.
enum Break {
    /// The invocation failed; `None` if its task did, which the runtime reports.
    Failed(Option<InvocationError>),
    /// The connection to the worker broke.
    Lost(Box<dyn std::error::Error + Send + Sync>),
}

impl InvocationState {
    /// Waits for the end of the invocation. Cancel-safe.
    async fn ended(&mut self) -> Result<Returns, Option<InvocationError>> {
        let Self::Open(invocation) = self else { return Ok(Returns::Nothing) };
        let ended = invocation.await;
        *self = Self::Succeeded;
        match ended {
            Ok(Ok(returned)) if returned.http.is_null() => Ok(Returns::Nothing),
            Ok(Ok(_)) => Ok(Returns::Something),
            Ok(Err(error)) => Err(Some(error)),
            Err(_) => Err(None),
        }
    }
}

impl OutcomeCounter {
    pub(super) fn new(metrics: &Metrics) -> Self {
        Self { counters: metrics.http_proxied.clone(), end: ProxiedEnd::Abandoned }
    }
}

impl Drop for OutcomeCounter {
    fn drop(&mut self) {
        self.counters.get_or_create(&ProxiedLabel { ended: self.end }).inc();
    }
}

type Piece = Result<Frame<Bytes>, Box<dyn std::error::Error + Send + Sync>>;

impl Download {
    /// The next frame for the client. The last data of a response waits for the end of the invocation where it is known to be the last,
    /// and the end of the response waits in any case: an error in its place breaks the connection off.
    async fn next(download: Option<Self>) -> Option<(Piece, Option<Self>)> {
        let mut download = download?;
        let frame = match download.taken.take() {
            Some(frame) => Ok(Some(frame)),
            None => download.exchange.frame(&mut download.body).await,
        };
        let is_last = !matches!(frame, Ok(Some(_))) || download.body.is_end_stream();
        let frame = match frame {
            Ok(frame) if is_last => match download.exchange.settle(StatusCode::OK).await {
                Ok(()) => Ok(frame),
                Err(error) => Err(Break::Failed(error)),
            },
            frame => frame,
        };
        match frame {
            Ok(Some(frame)) => {
                if is_last {
                    download.exchange.ended.end = ProxiedEnd::Answered;
                }
                Some((Ok(frame), Some(download)))
            }
            Ok(None) => {
                download.finish();
                None
            }
            Err(reason) => Some((Err(download.break_off(reason)), None)),
        }
    }

    fn finish(mut self) {
        self.exchange.ended.end = ProxiedEnd::Answered;
    }

    fn break_off(mut self, reason: Break) -> Box<dyn std::error::Error + Send + Sync> {
        let exchange = &mut self.exchange;
        exchange.ended.end = ProxiedEnd::BrokenOff;
        match reason {
            // The log has the failure itself.
            Break::Failed(_) => FAILED_IN_THE_MIDDLE.into(),
            Break::Lost(cause) => {
                let function = &exchange.function;
                let text =
                    format!("The response of Functions.{function} was broken off: {}", error_chain(&*cause));
                exchange.logs.function(Level::Error, function, None, text);
                cause
            }
        }
    }
}
