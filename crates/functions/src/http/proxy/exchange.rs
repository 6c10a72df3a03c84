//! One proxied request: the HTTP exchange and the invocation, and their common outcome.

use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use http::{Response, StatusCode};
use http_body::{Body as _, Frame};
use http_body_util::{BodyExt, StreamBody};
use http_messages::{Body, ErrorDescription, empty, error_chain, full};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use tokio::sync::OwnedSemaphorePermit;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::forward::ForwardError;
use super::head;
use super::upload::{RequestUpload, UploadError};
use crate::error_table::{invocation, response};
use crate::generation::GenerationGuard;
use crate::http::respond::{self, failed};
use crate::invoke::{InvocationError, Returned};
use crate::log::Logs;
use crate::metrics::{Metrics, ProxiedEnd, ProxiedLabel};
use crate::worker::{CancellationSource, WorkerAddressReceiver};

/// How long to wait for the head of a response after an invocation succeeded without a value: some workers send no response then.
const HEAD_WAIT: Duration = Duration::from_millis(900);

/// The same after an invocation that returned a value, so that a response follows.
const RETURNED_HEAD_WAIT: Duration = Duration::from_secs(10);

/// How long to wait for an invocation after the worker responded with 404: a worker that does not know the path responds so, and then
/// nothing ends the invocation. A 404 of the function itself comes within 30 ms of the end of its invocation.
const NOT_FOUND_WAIT: Duration = Duration::from_millis(500);

/// How long the end of a complete response waits for the end of its invocation.
const INVOCATION_WAIT: Duration = Duration::from_secs(5);

/// How long to wait for the reason from the invocation after the connection to the worker broke.
const BROKEN_WAIT: Duration = Duration::from_millis(500);

/// How long to read what a worker sent before its function failed: the data is in the socket already, but the host may see the failure
/// first.
const SENT_WAIT: Duration = Duration::from_millis(50);

/// The longest pause of a response after its invocation has ended; before, the function timeout applies. The value of the Azure Functions
/// host.
const SILENCE_MAX: Duration = Duration::from_secs(240);

const FAILED_DURING_RESPONSE: &str = "the function failed during its response";

/// The permits of a request, released when its response has ended.
pub(crate) type Permits = (OwnedSemaphorePermit, Option<OwnedSemaphorePermit>);

/// An active proxied request. Dropping it before its end cancels the invocation and closes the connection to the worker.
pub(super) struct Exchange {
    pub(super) function: String,
    pub(super) invocation: InvocationState,
    /// `None` once the invocation has ended.
    pub(super) cancellation_source: Option<CancellationSource>,
    pub(super) upload: RequestUpload,
    pub(super) logs: Logs,
    pub(super) ended: OutcomeCounter,
    pub(super) _permits: Permits,
    /// The worker that sends the response ends after it.
    pub(super) _generation: GenerationGuard,
    /// Keeps the worker in use until the response has ended.
    pub(super) _worker: WorkerAddressReceiver,
}

/// Whether a function that succeeded returned a value, which shows whether an HTTP response follows.
enum Returns {
    Nothing,
    Something,
}

/// The state of the invocation.
pub(super) enum InvocationState {
    /// It is active.
    Active(JoinHandle<Result<Returned, InvocationError>>),
    /// It succeeded.
    Succeeded,
}

/// Counts the outcome of a proxied request.
pub(super) struct OutcomeCounter {
    counters: Family<ProxiedLabel, Counter>,
    end: ProxiedEnd,
}

/// The rest of a response.
struct Download {
    body: Body,
    /// A frame that was read already.
    first: Option<Frame<Bytes>>,
    exchange: Exchange,
}

impl Exchange {
    /// Waits for the response and for the invocation, and returns the response; its body continues with both.
    pub(super) async fn answer(
        mut self,
        forward: impl Future<Output = Result<Response<Body>, ForwardError>>,
    ) -> Response<Body> {
        let response = {
            tokio::pin!(forward);
            tokio::select! {
                biased;
                ended = self.invocation.ended() => match ended {
                    Err(error) => return match timeout(SENT_WAIT, forward).await {
                        Ok(Ok(response)) => self.abort_or_fail(response, error).await,
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
                return self.abort_or_fail(Response::from_parts(parts, body), error).await;
            }
            Err(Break::Lost(cause)) => return self.not_forwarded(&ForwardError::Lost { cause }).await,
        };
        // A complete response can still become a failure.
        if (first.is_none() || body.is_end_stream())
            && let Err(error) = self.settle(parts.status).await
        {
            return self.fail(error.as_ref());
        }
        let rest = Download { body, first, exchange: self };
        let is_empty = rest.first.is_none();
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
            let frame = match &mut self.invocation {
                invocation @ InvocationState::Active(_) => tokio::select! {
                    biased;
                    ended = invocation.ended() => match ended {
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
                    Err(_) => return Err(Break::Lost("the worker sent nothing for too long".into())),
                },
            };
            match frame {
                // HTTP/1.1 clients receive trailers only if they requested them.
                Some(Ok(frame)) if !frame.is_data() => {}
                Some(Ok(frame)) => return Ok(Some(frame)),
                Some(Err(cause)) => return Err(Break::Lost(cause)),
                None => return Ok(None),
            }
        }
    }

    /// Waits a bounded time at the end of the response for the end of the invocation.
    async fn settle(&mut self, status: StatusCode) -> Result<(), Option<InvocationError>> {
        if matches!(self.invocation, InvocationState::Succeeded) {
            return Ok(());
        }
        let wait = if status == StatusCode::NOT_FOUND { NOT_FOUND_WAIT } else { INVOCATION_WAIT };
        let ended = timeout(wait, self.invocation.ended()).await;
        // The invocation is not awaited any longer. A worker that did not know the path releases it; any other worker may end it.
        if ended.is_ok() || status == StatusCode::NOT_FOUND {
            self.cancellation_source = None;
        } else if let Some(cancellation_source) = self.cancellation_source.take() {
            cancellation_source.forget();
        }
        ended.map_or(Ok(()), |ended| ended.map(drop))
    }

    /// The response to a request whose invocation failed before the first byte of its response was read. If the worker had sent a part of
    /// the response before, that part, followed by an abort, as by the Azure Functions host.
    async fn abort_or_fail(
        mut self,
        response: Response<Body>,
        error: Option<InvocationError>,
    ) -> Response<Body> {
        let (mut parts, mut body) = response.into_parts();
        let first = timeout(SENT_WAIT, body.frame()).await;
        let Ok(Some(Ok(frame))) = first else { return self.fail(error.as_ref()) };
        let is_complete = body.is_end_stream() || matches!(timeout(SENT_WAIT, body.frame()).await, Ok(None));
        if is_complete || !frame.is_data() {
            return self.fail(error.as_ref());
        }
        head::remove_hop_by_hop(&mut parts.headers);
        self.ended.end = ProxiedEnd::BrokenOff;
        let frames: [FrameResult; 2] = [Ok(frame), Err(FAILED_DURING_RESPONSE.into())];
        Response::from_parts(parts, StreamBody::new(stream::iter(frames)).boxed_unsync())
    }

    /// The response to a request whose invocation failed before anything was sent to the client. If the upload broke before, the failure
    /// is its consequence: the worker may report it before the connection to the worker ends.
    fn fail(mut self, error: Option<&InvocationError>) -> Response<Body> {
        self.ended.end = ProxiedEnd::Failed;
        self.failed_upload().map_or_else(|| failed(error), respond::error)
    }

    /// The error of an upload that the client did not complete.
    fn failed_upload(&self) -> Option<&'static ErrorDescription> {
        match self.upload.error()? {
            UploadError::TooLarge => Some(&response::BODY_TOO_LARGE),
            UploadError::Broken => Some(&response::INCOMPLETE_BODY),
            UploadError::NotNeeded => None,
        }
    }

    /// The response to a request that the worker did not accept or did not respond to.
    async fn not_forwarded(mut self, error: &ForwardError) -> Response<Body> {
        self.cancellation_source = None;
        self.ended.end = ProxiedEnd::Failed;
        if let Some(error) = self.failed_upload() {
            return respond::error(error);
        }
        // The end of a dead worker is a better reason than its broken connection.
        if let Ok(Err(error)) = timeout(BROKEN_WAIT, self.invocation.ended()).await
            && error.as_ref().is_some_and(InvocationError::is_interrupted)
        {
            return failed(error.as_ref());
        }
        let text =
            format!("Functions.{} got no response from its worker: {}", self.function, error_chain(error));
        let description = error.description();
        self.logs.function_error(description, &self.function, None, text);
        respond::error(description)
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        self.upload.close();
    }
}

/// Why a response has no further data.
enum Break {
    /// The invocation failed; `None` if its task panicked, which the runtime reports.
    Failed(Option<InvocationError>),
    /// The connection to the worker broke.
    Lost(Box<dyn std::error::Error + Send + Sync>),
}

impl InvocationState {
    /// Waits for the end of the invocation. Cancel-safe.
    async fn ended(&mut self) -> Result<Returns, Option<InvocationError>> {
        let Self::Active(invocation) = self else { return Ok(Returns::Nothing) };
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

type FrameResult = Result<Frame<Bytes>, Box<dyn std::error::Error + Send + Sync>>;

impl Download {
    /// The next frame for the client. The last data of a response, if it is known to be the last, waits for the end of the invocation, and
    /// so does the end of the response: an error instead aborts the connection.
    async fn next(download: Option<Self>) -> Option<(FrameResult, Option<Self>)> {
        let mut download = download?;
        let frame = match download.first.take() {
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
            Err(reason) => Some((Err(download.abort(reason)), None)),
        }
    }

    fn finish(mut self) {
        self.exchange.ended.end = ProxiedEnd::Answered;
    }

    fn abort(mut self, reason: Break) -> Box<dyn std::error::Error + Send + Sync> {
        let exchange = &mut self.exchange;
        exchange.ended.end = ProxiedEnd::BrokenOff;
        match reason {
            // The failure itself is in the log.
            Break::Failed(_) => FAILED_DURING_RESPONSE.into(),
            Break::Lost(cause) => {
                let function = &exchange.function;
                let text =
                    format!("The response of Functions.{function} was aborted: {}", error_chain(&*cause));
                exchange.logs.function_error(&invocation::NO_WORKER_RESPONSE, function, None, text);
                cause
            }
        }
    }
}
