//! [`ConnectionService`]: handles each request between hyper and the service.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header};
use http_body::{Frame, SizeHint};
use http_body_util::BodyExt;
use http_messages::{Body, BoxError};
use hyper::body::Incoming;
use tower::ServiceExt;

use crate::activity::Activity;
use crate::body_rate::{BodyRate, MinimumRate};
use crate::error_table;
use crate::head::{HeadLimit, HeadTooLarge};
use crate::http2_streams::Http2Streams;
use crate::metrics::{ListenerMetrics, RequestRefusalReason};
use crate::options::{Options, milliseconds};
use crate::origin;
use crate::quotas::AddressUsage;
use crate::response_body::{ResponseBody, ResponseContext};
use crate::unread_body::UnreadBody;
use crate::{Peer, Upgrade};

/// The type of service that listeners call, as a bound.
pub(crate) trait RequestService:
    tower::Service<Request<Body>, Response = Response<Body>, Error = Infallible, Future: Send + 'static>
    + Clone
    + Send
    + 'static
{
}

impl<S> RequestService for S where
    S: tower::Service<Request<Body>, Response = Response<Body>, Error = Infallible, Future: Send + 'static>
        + Clone
        + Send
        + 'static
{
}

/// The service of one connection, with the state of the connection.
pub(crate) struct ConnectionService<S> {
    pub(crate) service: S,
    pub(crate) peer: Peer,
    pub(crate) activity: Arc<Activity>,
    pub(crate) client: Arc<AddressUsage>,
    pub(crate) protocol: Protocol,
    pub(crate) metrics: Arc<ListenerMetrics>,
    pub(crate) options: Arc<Options>,
}

/// The protocol of the connection, with its own state.
pub(crate) enum Protocol {
    /// HTTP/1.1: one request at a time, whose body may be left unread; the connection can be upgraded.
    One(Arc<UnreadBody>),
    /// HTTP/2: streams.
    Two(Http2Streams),
}

/// A request body that fails if the peer sends too slowly, and records if it was dropped before its end.
struct RequestBody {
    /// `None` once it was read to its end: a chunked body does not know its length.
    body: Option<Incoming>,
    /// The client waits for `100 Continue` (`Expect: 100-continue`), which was not sent yet.
    unasked: bool,
    pace: BodyRate,
    /// Its number among the bodies of its connection.
    number: u64,
    /// On HTTP/1.1; on HTTP/2 only the stream ends, and its connection continues.
    unread: Option<(Arc<UnreadBody>, Arc<Activity>)>,
}

impl<S> hyper::service::Service<Request<Incoming>> for ConnectionService<S>
where
    S: RequestService,
{
    type Response = Response<ResponseBody>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let Some(running) = self.activity.start_request() else {
            // Its task is about to be dropped. The client sees a connection that was closed while idle.
            return Box::pin(std::future::pending());
        };
        self.metrics.requests.inc();
        let (clock, slot) = match &self.protocol {
            Protocol::One(_) => (None, None),
            Protocol::Two(streams) => (Some(streams.clock_of_next()), self.client.stream(&self.options)),
        };
        let crowded = clock.is_some() && slot.is_none();
        let reader = ResponseContext {
            clock,
            client: Arc::clone(&self.client),
            options: Arc::clone(&self.options),
            metrics: Arc::clone(&self.metrics),
            running,
            slot,
        };
        let unread = match &self.protocol {
            Protocol::One(unread) => Some((Arc::clone(unread), Arc::clone(&self.activity))),
            Protocol::Two(_) => None,
        };
        if let Some(found) = self.activity.too_large_head() {
            // hyper has only a part of the head, and none of the following bytes: there is no other request on this connection.
            let refusal = self.refuse_head(request.headers(), found);
            drop(request);
            self.activity.body_left_unread();
            return Box::pin(finish(std::future::ready(Ok(refusal)), reader, None));
        }
        let head_bytes = head_bytes(&request);
        let mut request = self.with_paced_body(request, unread.clone());
        let refusal = if crowded {
            Some(self.refuse(RequestRefusalReason::Streams, TOO_MANY_STREAMS))
        } else {
            self.make_absolute(&mut request, head_bytes)
        };
        if let Some(mut refusal) = refusal {
            allow_page(request.headers(), &mut refusal);
            // The body is dropped first, as when a service responds.
            drop(request);
            return Box::pin(finish(std::future::ready(Ok(refusal)), reader, unread));
        }
        let response = self.service.clone().oneshot(request);
        Box::pin(finish(response, reader, unread))
    }
}

/// Converts a service's response. On HTTP/1.1 it states when it is the last one of its connection.
async fn finish<A>(
    response: A,
    reader: ResponseContext,
    unread: Option<(Arc<UnreadBody>, Arc<Activity>)>,
) -> Result<Response<ResponseBody>, Infallible>
where
    A: Future<Output = Result<Response<Body>, Infallible>>,
{
    let mut response = response.await?;
    if let Some((unread, activity)) = unread
        && response.status() != StatusCode::SWITCHING_PROTOCOLS
        && unread.ends_connection(&activity).await
    {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    Ok(response.map(|body| ResponseBody::new(body, reader)))
}

impl<S> ConnectionService<S> {
    fn with_paced_body(
        &self,
        request: Request<Incoming>,
        unread: Option<(Arc<UnreadBody>, Arc<Activity>)>,
    ) -> Request<Body> {
        let pace = BodyRate::new(MinimumRate {
            bytes_per_second_min: self.options.body_bytes_per_second_min,
            window: milliseconds(self.options.body_window_ms),
            grace: milliseconds(self.options.body_grace_ms),
        });
        let unasked = request.headers().contains_key(header::EXPECT);
        if let Some((unread, _)) = &unread {
            unread.reading(request.body(), unasked);
        }
        let number = match &unread {
            Some((_, activity)) if !http_body::Body::is_end_stream(request.body()) => activity.start_body(),
            _ => 0,
        };
        let mut upgraded = None;
        let mut request = request;
        if matches!(self.protocol, Protocol::One(_)) && request.headers().contains_key(header::UPGRADE) {
            upgraded = Some(hyper::upgrade::on(&mut request));
        }
        let mut request = request
            .map(|body| RequestBody { body: Some(body), unasked, pace, number, unread }.boxed_unsync());
        if let Some(upgraded) = upgraded {
            request
                .extensions_mut()
                .insert(Upgrade::new(upgraded, self.options.upgraded_tls_bytes_max.get()));
        }
        request.extensions_mut().insert(self.peer);
        request
    }

    /// Makes the address of a request absolute. Returns the response if the request must not reach a service.
    fn make_absolute(&self, request: &mut Request<Body>, head_bytes: usize) -> Option<Response<Body>> {
        let head_bytes_max = self.options.head_bytes_max();
        if head_bytes > head_bytes_max {
            let text = format!(
                "The request line and headers have {head_bytes} bytes; the limit is {head_bytes_max} (edge.head_bytes_max). Send fewer or shorter headers."
            );
            return Some(self.refuse(RequestRefusalReason::Head, &text));
        }
        let absolute = origin::absolute(
            request.method(),
            request.uri(),
            request.headers(),
            request.version(),
            self.peer.local,
            self.peer.tls,
        );
        match absolute {
            Ok(uri) => *request.uri_mut() = uri,
            Err(error) => return Some(error.description().json_response(&error.to_string())),
        }
        (!self.client.may_start_response(&self.options))
            .then(|| self.refuse(RequestRefusalReason::Unsent, TOO_MUCH_UNSENT))
    }

    fn refuse(&self, reason: RequestRefusalReason, text: &str) -> Response<Body> {
        self.metrics.request_refused(reason);
        reason.description().json_response(text)
    }

    /// The response to a head of which hyper has only the beginning.
    fn refuse_head(&self, seen: &HeaderMap, found: HeadTooLarge) -> Response<Body> {
        let options = &self.options;
        let text = match found.excess {
            HeadLimit::Bytes => format!(
                "The request line and headers have more than {} bytes (edge.head_bytes_max). Send fewer or shorter headers.",
                options.head_bytes_max()
            ),
            HeadLimit::Fields => format!(
                "The request has more than {} headers (edge.head_fields_max). Send fewer.",
                options.head_fields_max
            ),
        };
        let mut refusal = self.refuse(RequestRefusalReason::Head, &text);
        if let Some(origin) = seen.get(header::ORIGIN).cloned().or(found.origin) {
            allow_origin(origin, &mut refusal);
        }
        refusal.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        refusal
    }
}

/// The text for a client with too many HTTP/2 requests.
const TOO_MANY_STREAMS: &str = "The clients of your address have too many concurrent requests on HTTP/2. Wait until some of them have ended.";
/// The text for a client that does not read its responses.
const TOO_MUCH_UNSENT: &str =
    "Too many responses wait for the clients of your address to read them. Read those first.";

/// The size of a head as HTTP/1.1 writes it. hyper's own limit is that of its read buffer, which one last read may exceed.
fn head_bytes(request: &Request<Incoming>) -> usize {
    let uri = request.uri();
    let target = uri.authority().map_or(0, |authority| authority.as_str().len())
        + uri.path_and_query().map_or(0, |path| path.as_str().len());
    let line = request.method().as_str().len() + target + "  HTTP/1.1\r\n".len();
    let fields = request.headers().iter();
    line + fields.map(|(name, value)| name.as_str().len() + value.len() + ": \r\n".len()).sum::<usize>()
}

/// Lets the page that sent the request read the error: otherwise its browser hides the response (Fetch standard, CORS protocol).
/// The text contains no secret.
fn allow_page(request: &HeaderMap, refusal: &mut Response<Body>) {
    if let Some(origin) = request.get(header::ORIGIN) {
        allow_origin(origin.clone(), refusal);
    }
}

fn allow_origin(origin: HeaderValue, refusal: &mut Response<Body>) {
    let headers = refusal.headers_mut();
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    headers.insert(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
    headers.insert(header::VARY, HeaderValue::from_static("Origin"));
}

impl http_body::Body for RequestBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = self.get_mut();
        let Some(body) = &mut this.body else { return Poll::Ready(None) };
        this.unasked = false;
        // If the response was sent earlier, hyper adds this only after it has looked for the next request.
        let polled = if http_body::Body::is_end_stream(body) {
            Poll::Ready(None)
        } else {
            Pin::new(&mut *body).poll_frame(context)
        };
        match polled {
            Poll::Ready(Some(Ok(frame))) => {
                this.pace.arrived(frame.data_ref().map_or(0, Bytes::len));
                if let Some((unread, activity)) = &this.unread {
                    unread.reading(body, false);
                    if http_body::Body::is_end_stream(body) {
                        activity.end_body(this.number);
                    }
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(end) => {
                this.body = None;
                if let Some((unread, activity)) = &this.unread {
                    unread.ended();
                    activity.end_body(this.number);
                }
                Poll::Ready(end.map(|frame| frame.map_err(BoxError::from)))
            }
            Poll::Pending => match this.pace.wait(context) {
                Ok(()) => Poll::Pending,
                Err(error) => {
                    tracing::debug!(code = error_table::BODY_TOO_SLOW.code, "{error}");
                    Poll::Ready(Some(Err(error.into())))
                }
            },
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(http_body::Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(|| SizeHint::with_exact(0), http_body::Body::size_hint)
    }
}

impl Drop for RequestBody {
    fn drop(&mut self) {
        if let (Some(body), Some((unread, activity))) = (self.body.take(), &self.unread) {
            unread.discard(body, self.unasked, activity);
            activity.end_body(self.number);
        }
    }
}
