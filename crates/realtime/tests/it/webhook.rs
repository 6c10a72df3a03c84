//! An upstream that a test plays: each request waits until the test responds.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt, Full};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

type PendingResponse = oneshot::Sender<(StatusCode, HeaderMap, http_messages::Body)>;

/// A webhook on a free port of loopback.
pub(crate) struct Webhook {
    pub(crate) authority: String,
    requests: mpsc::UnboundedReceiver<Received>,
    _stop: oneshot::Sender<()>,
}

/// A request that waits for its response. If it is dropped, the response has status 500.
pub(crate) struct Received {
    pub(crate) path: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    answer: PendingResponse,
}

/// The body of a response in parts. Dropping it ends the body.
pub(crate) struct Parts(mpsc::Sender<Result<Bytes, http_messages::BoxError>>);

impl Parts {
    pub(crate) async fn send(&self, part: impl Into<Bytes>) {
        self.try_send(part).await.expect("the response is read");
    }

    /// As `send`, if the response may not be read any more.
    pub(crate) async fn try_send(&self, part: impl Into<Bytes>) -> Result<(), ()> {
        let sent = timeout(testkit::PATIENCE, self.0.send(Ok(part.into()))).await;
        sent.expect("the part is read or the body is dropped within the time limit").map_err(drop)
    }

    /// Interrupts the response.
    pub(crate) async fn interrupt(self) {
        let _ = self.0.send(Err("broken off".into())).await;
    }

    /// Waits until the response is not read any more.
    pub(crate) async fn until_dropped(&self) {
        timeout(testkit::PATIENCE, self.0.closed()).await.expect("the body is dropped within the time limit");
    }
}

struct PartsBody(mpsc::Receiver<Result<Bytes, http_messages::BoxError>>);

impl http_body::Body for PartsBody {
    type Data = Bytes;
    type Error = http_messages::BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, http_messages::BoxError>>> {
        self.0.poll_recv(context).map(|part| part.map(|part| part.map(Frame::data)))
    }
}

/// A reserved port of loopback that refuses connections until it is opened.
pub(crate) struct ClosedPort(TcpSocket);

impl ClosedPort {
    pub(crate) fn closed() -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).expect("a free port");
        Self(socket)
    }

    pub(crate) fn authority(&self) -> String {
        self.0.local_addr().unwrap().to_string()
    }

    /// Forwards connections to a webhook from now on.
    pub(crate) fn open(self, webhook: &Webhook) {
        let (listener, target) = (self.0.listen(16).unwrap(), webhook.authority.clone());
        tokio::spawn(async move {
            while let Ok((mut outside, _)) = listener.accept().await {
                let mut inside = TcpStream::connect(&target).await.expect("the webhook listens");
                tokio::spawn(async move { copy_bidirectional(&mut outside, &mut inside).await });
            }
        });
    }
}

impl Webhook {
    pub(crate) fn start() -> Self {
        let listener = edge::Listener::bind("webhook", "127.0.0.1:0".parse().unwrap()).expect("a free port");
        let authority = listener.local_addr().to_string();
        let (send, requests) = mpsc::unbounded_channel();
        let service = tower::service_fn(move |request: Request<http_messages::Body>| {
            let send = send.clone();
            async move { Ok::<_, Infallible>(receive(request, &send).await) }
        });
        let (stop, stopped) = oneshot::channel::<()>();
        tokio::spawn(async move {
            let shutdown = async { drop(stopped.await) };
            listener.serve(service, shutdown).await.expect("the listener serves");
        });
        Self { authority, requests, _stop: stop }
    }

    /// The next request.
    pub(crate) async fn next(&mut self) -> Received {
        let next = timeout(testkit::PATIENCE, self.requests.recv()).await;
        next.expect("a request comes").expect("the webhook serves")
    }

    /// The next request as `event body`; responds at once.
    pub(crate) async fn take(&mut self, status: u16, body: impl Into<Bytes>) -> String {
        let received = self.next().await;
        let shown = received.shown();
        received.answer(status, body);
        shown
    }

    /// Whether no further request has arrived.
    pub(crate) fn has_no_request(&mut self) -> bool {
        self.requests.try_recv().is_err()
    }
}

impl Received {
    pub(crate) fn answer(self, status: u16, body: impl Into<Bytes>) {
        self.answer_with(status, HeaderMap::new(), body);
    }

    pub(crate) fn answer_with(self, status: u16, headers: HeaderMap, body: impl Into<Bytes>) {
        let status = StatusCode::from_u16(status).unwrap();
        let body = Full::new(body.into()).map_err(|never| match never {}).boxed_unsync();
        // The service may have cancelled the request.
        let _ = self.answer.send((status, headers, body));
    }

    /// Starts a response with status 200, whose parts follow.
    pub(crate) fn answer_in_parts(self) -> Parts {
        let (send, parts) = mpsc::channel(1);
        let _ = self.answer.send((StatusCode::OK, HeaderMap::new(), PartsBody(parts).boxed_unsync()));
        Parts(send)
    }

    pub(crate) fn header(&self, name: &str) -> String {
        let value =
            self.headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
        value.unwrap_or_default()
    }

    /// The event and the body.
    pub(crate) fn shown(&self) -> String {
        let body = match self.header("content-type").as_str() {
            "application/json" => String::from_utf8_lossy(&self.body).into_owned(),
            _ => self.body.iter().map(|byte| format!("{byte:02x}")).collect(),
        };
        format!("{} {body}", self.header("x-asrs-event"))
    }
}

async fn receive(
    request: Request<http_messages::Body>,
    requests: &mpsc::UnboundedSender<Received>,
) -> Response<http_messages::Body> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.expect("the body comes").to_bytes();
    let (answer, answered) = oneshot::channel();
    let path = head.uri.path_and_query().map(ToString::to_string).unwrap_or_default();
    let sent = requests.send(Received { path, headers: head.headers, body, answer });
    let answered = if sent.is_ok() { answered.await.ok() } else { None };
    let nothing = || Full::default().map_err(|never| match never {}).boxed_unsync();
    let (status, headers, body) =
        answered.unwrap_or_else(|| (StatusCode::INTERNAL_SERVER_ERROR, HeaderMap::new(), nothing()));
    let mut response = Response::new(body);
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response
}
