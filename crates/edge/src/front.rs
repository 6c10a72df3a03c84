//! [`Front`]: what each request passes on its way from hyper to the service.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::FutureExt;
use http::{HeaderValue, Request, Response, StatusCode, header};
use http_body::{Frame, SizeHint};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use prometheus_client::metrics::counter::Counter;
use tower::ServiceExt;

use crate::activity::{Activity, Running};
use crate::options::{Options, milliseconds};
use crate::origin::{self, OriginError};
use crate::pace::{Pace, Rate};
use crate::{Body, BoxError, Peer, Upgrade};

/// The one meeting type, as a bound.
pub(crate) trait Serve:
    tower::Service<Request<Body>, Response = Response<Body>, Error = Infallible, Future: Send + 'static>
    + Clone
    + Send
    + 'static
{
}

impl<S> Serve for S where
    S: tower::Service<Request<Body>, Response = Response<Body>, Error = Infallible, Future: Send + 'static>
        + Clone
        + Send
        + 'static
{
}

/// The service of one connection, with what the connection knows.
pub(crate) struct Front<S> {
    pub(crate) service: S,
    pub(crate) peer: Peer,
    pub(crate) activity: Arc<Activity>,
    pub(crate) requests: Counter,
    /// Whether this connection can be taken over; HTTP/2 streams cannot.
    pub(crate) upgradable: bool,
    pub(crate) options: Arc<Options>,
}

/// A response body that keeps its request running until it is sent or dropped.
pub(crate) struct RunningBody {
    body: Body,
    _running: Running,
}

/// A request body that notes when it was given up before its end, and gives a peer up that sends too slowly.
struct RequestBody {
    body: Incoming,
    activity: Arc<Activity>,
    pace: Pace,
}

impl<S> hyper::service::Service<Request<Incoming>> for Front<S>
where
    S: Serve,
{
    type Response = Response<RunningBody>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn call(&self, mut request: Request<Incoming>) -> Self::Future {
        let running = self.activity.request_began();
        self.requests.inc();
        let head_bytes = head_bytes(&request);
        let head_bytes_max = self.options.head_bytes_max();
        if head_bytes > head_bytes_max {
            let text = format!(
                "The request head has {head_bytes} bytes, and at most {head_bytes_max} are taken. Send fewer or shorter fields.\n"
            );
            let response = plain(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, text);
            let response = response.map(|body| RunningBody { body, _running: running });
            return Box::pin(std::future::ready(Ok(response)));
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
            Err(error) => {
                let response = refusal(&error).map(|body| RunningBody { body, _running: running });
                return Box::pin(std::future::ready(Ok(response)));
            }
        }
        if self.upgradable && request.headers().contains_key(header::UPGRADE) {
            let upgraded = hyper::upgrade::on(&mut request);
            request
                .extensions_mut()
                .insert(Upgrade::new(upgraded, self.options.upgraded_tls_bytes_max.get()));
        }
        request.extensions_mut().insert(self.peer);
        let pace = Pace::new(Rate {
            bytes_per_second_min: self.options.body_bytes_per_second_min,
            window: milliseconds(self.options.body_window_ms),
            grace: milliseconds(self.options.body_grace_ms),
        });
        let activity = Arc::clone(&self.activity);
        let request = request.map(|body| RequestBody { body, activity, pace }.boxed_unsync());
        let answer = self.service.clone().oneshot(request);
        Box::pin(
            answer.map(|answer| {
                answer.map(|answer| answer.map(|body| RunningBody { body, _running: running }))
            }),
        )
    }
}

/// The size of a head as HTTP/1.1 writes it. hyper's own limit is that of its read buffer, which one last read may exceed.
fn head_bytes(request: &Request<Incoming>) -> usize {
    let uri = request.uri();
    let target = uri.authority().map_or(0, |authority| authority.as_str().len())
        + uri.path_and_query().map_or(0, |path| path.as_str().len());
    let line = request.method().as_str().len() + target + "  HTTP/1.1\r\n".len();
    let fields = request.headers().iter();
    line + fields.map(|(name, value)| name.as_str().len() + value.len() + ": \r\n".len()).sum::<usize>()
}

fn refusal(error: &OriginError) -> Response<Body> {
    let status = match error {
        OriginError::Connect => StatusCode::NOT_IMPLEMENTED,
        OriginError::Missing | OriginError::Several | OriginError::Malformed(_) => StatusCode::BAD_REQUEST,
    };
    plain(status, format!("{error}\n"))
}

fn plain(status: StatusCode, text: String) -> Response<Body> {
    let body = Full::new(Bytes::from(text)).map_err(|never| match never {}).boxed_unsync();
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let kind = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

impl http_body::Body for RequestBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = self.get_mut();
        match Pin::new(&mut this.body).poll_frame(context) {
            Poll::Ready(frame) => {
                let data = frame.as_ref().and_then(|frame| frame.as_ref().ok()?.data_ref());
                this.pace.arrived(data.map_or(0, Bytes::len));
                Poll::Ready(frame.map(|frame| frame.map_err(BoxError::from)))
            }
            Poll::Pending => match this.pace.wait(context) {
                Ok(()) => Poll::Pending,
                Err(error) => Poll::Ready(Some(Err(error.into()))),
            },
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for RequestBody {
    fn drop(&mut self) {
        if !http_body::Body::is_end_stream(&self.body) {
            self.activity.body_left_unread();
        }
    }
}

impl http_body::Body for RunningBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        Pin::new(&mut self.get_mut().body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
