//! The official road: a gRPC server on a loopback port, for the one stream of one worker.
//!
//! Written on hyper alone. One bidirectional stream of one method needs no more of gRPC than its five-byte message prefix
//! and its trailers ("gRPC over HTTP2", section "Requests" and "Responses"), and messages pass without a copy.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use futures_util::stream;
use http::{HeaderMap, HeaderValue, Request, Response, header};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message;
use tokio::net::{TcpListener, TcpStream};
use tokio::process::Command;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use uuid::Uuid;
use worker_protocol::function_rpc::{
    EVENT_STREAM_PATH, MESSAGE_BYTES_MAX, Placeholder, StreamingMessage, decode_worker,
};
use worker_protocol::{Chunk, WorkerMessage};

use super::link::{Link, Outgoing, QUEUE_MESSAGES};
use super::stored::read_piece;

/// Where one worker connects.
#[derive(Debug)]
pub(super) struct Listener {
    listener: TcpListener,
    port: u16,
    worker_id: String,
    request_id: String,
}

type Body = UnsyncBoxBody<Bytes, Infallible>;

/// The stream of the right worker, once it came.
struct Arrived {
    outgoing: mpsc::Sender<Outgoing>,
    incoming: mpsc::Receiver<WorkerMessage>,
}

type Arrival = Arc<Mutex<Option<oneshot::Sender<Arrived>>>>;

/// Flow control windows in bytes. The defaults of HTTP/2 (64 KiB) cost a large message many round trips.
const STREAM_WINDOW_BYTES: u32 = 4 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 8 << 20;

impl Listener {
    pub(super) async fn bind() -> io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let port = listener.local_addr()?.port();
        let id = || Uuid::new_v4().to_string();
        Ok(Self { listener, port, worker_id: id(), request_id: id() })
    }

    /// Both generations of flags, always: node and dotnet read only the new ones, python only the old ones. No others:
    /// java's worker refuses flags that it does not know.
    pub(super) fn prepare(&self, command: &mut Command) {
        let Self { port, worker_id, request_id, .. } = self;
        let port = port.to_string();
        let uri = format!("http://127.0.0.1:{port}/");
        let bytes_max = MESSAGE_BYTES_MAX.to_string();
        let flags = [
            ("--host", "127.0.0.1"),
            ("--port", &port),
            ("--workerId", worker_id),
            ("--requestId", request_id),
            ("--grpcMaxMessageLength", &bytes_max),
            ("--functions-uri", &uri),
            ("--functions-worker-id", worker_id),
            ("--functions-request-id", request_id),
            ("--functions-grpc-max-message-length", &bytes_max),
        ];
        for (name, value) in flags {
            command.arg(name).arg(value);
        }
        // How dotnet's worker finds its host when the app is started by other means.
        command.env("Functions__Worker__HostEndpoint", &uri);
    }

    pub(super) async fn accept(self) -> io::Result<Link> {
        let (sender, mut arrived) = oneshot::channel();
        let arrival: Arrival = Arc::new(Mutex::new(Some(sender)));
        let worker_id: Arc<str> = self.worker_id.into();
        let mut tasks = JoinSet::new();
        loop {
            tokio::select! {
                accepted = self.listener.accept() => {
                    let (stream, _) = accepted?;
                    stream.set_nodelay(true)?;
                    tasks.spawn(serve(stream, Arc::clone(&arrival), Arc::clone(&worker_id)));
                }
                Some(_) = tasks.join_next(), if !tasks.is_empty() => {}
                arrived = &mut arrived => {
                    let Arrived { outgoing, incoming } = arrived.map_err(io::Error::other)?;
                    return Ok(Link { outgoing, incoming, tasks });
                }
            }
        }
    }
}

type Reading = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Streams that one connection may open at the same time, and that wait to be read.
const STREAMS_MAX: u32 = 8;

/// Reads streams beside the connection, not from within the response: hyper asks for a response's next part only while the
/// worker takes parts, and a worker may well want to be read before it takes any.
async fn serve(stream: TcpStream, arrival: Arrival, worker_id: Arc<str>) {
    let (to_read, mut readings) = mpsc::channel::<Reading>(QUEUE_MESSAGES);
    let service = hyper::service::service_fn(move |request: Request<Incoming>| {
        let (arrival, worker_id, to_read) = (Arc::clone(&arrival), Arc::clone(&worker_id), to_read.clone());
        async move { Ok::<_, Infallible>(answer(request, arrival, worker_id, &to_read).await) }
    });
    let connection = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_concurrent_streams(STREAMS_MAX)
        .serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    let mut tasks = JoinSet::new();
    loop {
        tokio::select! {
            served = &mut connection => {
                if let Err(error) = served {
                    // A worker that dies closes its connection in the middle, which is nothing to worry about by itself.
                    tracing::debug!(%error, "a worker's connection ended");
                }
                // What it sent before may not be handled yet.
                while tasks.join_next().await.is_some() {}
                return;
            }
            Some(reading) = readings.recv() => {
                tasks.spawn(reading);
            }
            Some(_) = tasks.join_next(), if !tasks.is_empty() => {}
        }
    }
}

async fn answer(
    request: Request<Incoming>,
    arrival: Arrival,
    worker_id: Arc<str>,
    to_read: &mpsc::Sender<Reading>,
) -> Response<Body> {
    let (outgoing, to_write) = mpsc::channel(QUEUE_MESSAGES);
    let is_ours = request.uri().path() == EVENT_STREAM_PATH;
    let body = if is_ours {
        let reading = read(request.into_body(), arrival, worker_id, outgoing);
        let _ = to_read.send(Box::pin(reading)).await;
        respond(to_write)
    } else {
        // UNIMPLEMENTED; extensions' own services would be found here.
        StreamBody::new(stream::iter([Ok(trailers("12"))])).boxed_unsync()
    };
    let mut response = Response::new(body);
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    response
}

fn trailers(status: &'static str) -> Frame<Bytes> {
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static(status));
    Frame::trailers(trailers)
}

/// Everything that is to be written, and the trailers when nothing more will come.
fn respond(to_write: mpsc::Receiver<Outgoing>) -> Body {
    let frames = stream::unfold(Some((to_write, VecDeque::new(), 0)), async |state| {
        let (mut to_write, mut pieces, mut at) = state?;
        if pieces.is_empty() {
            match to_write.recv().await {
                Some(next) => {
                    // From here on hyper has it and does not tell how far it came, so it may arrive.
                    next.arrived.map(|arrived| arrived.send(()));
                    pieces = VecDeque::from(next.pieces);
                }
                None => return Some((Ok(trailers("0")), None)),
            }
        }
        let data = match pieces.pop_front() {
            Some(Chunk::Bytes(bytes)) => bytes,
            Some(Chunk::Stored(stored)) => {
                // One part of it is in memory at a time.
                let Ok(read) = read_piece(&stored, at).await else {
                    tracing::error!("the body of a request cannot be read from its file");
                    return Some((Ok(trailers("13")), None));
                };
                at += read.len();
                if at < stored.bytes() {
                    pieces.push_front(Chunk::Stored(stored));
                } else {
                    at = 0;
                }
                read
            }
            None => Bytes::new(),
        };
        Some((Ok(Frame::data(data)), Some((to_write, pieces, at))))
    });
    StreamBody::new(frames).boxed_unsync()
}

/// Reads a worker's stream until it ends. Its first message tells whether it is the worker that we started.
async fn read(mut body: Incoming, arrival: Arrival, worker_id: Arc<str>, outgoing: mpsc::Sender<Outgoing>) {
    let mut outgoing = Some(outgoing);
    let mut handler = None;
    let mut buffer = BytesMut::new();
    while let Some(Ok(frame)) = body.frame().await {
        let Ok(data) = frame.into_data() else { continue };
        buffer.extend_from_slice(&data);
        loop {
            let message = match next_message(&mut buffer) {
                Ok(None) => break,
                Ok(Some(message)) => decode_worker(message),
                Err(problem) => {
                    tracing::error!(problem, "a worker broke the protocol; its connection is closed");
                    return;
                }
            };
            let Some(to) = &handler else {
                if !matches!(&message, WorkerMessage::Start { worker_id: id } if id.as_str() == &*worker_id) {
                    tracing::warn!("a process connected in a worker's place, with a wrong worker id");
                    return;
                }
                let Some(outgoing) = outgoing.take() else { return };
                let (to, incoming) = mpsc::channel(QUEUE_MESSAGES);
                let waits = arrival.lock().unwrap_or_else(PoisonError::into_inner).take();
                // A worker may open more streams with its id; it has no need to, as all invocations go by the first.
                let Some(waits) = waits else { return };
                if waits.send(Arrived { outgoing, incoming }).is_err() {
                    return;
                }
                handler = Some(to);
                continue;
            };
            if to.send(message).await.is_err() {
                return;
            }
        }
    }
}

const PREFIX_BYTES: usize = 5;

/// Takes a message out of the buffer: a flag (compressed or not), a length, and the message.
fn next_message(buffer: &mut BytesMut) -> Result<Option<StreamingMessage>, &'static str> {
    let Some(prefix) = buffer.get(..PREFIX_BYTES) else { return Ok(None) };
    if prefix[0] != 0 {
        return Err("a compressed message, although we accept none");
    }
    let length = u32::from_be_bytes([prefix[1], prefix[2], prefix[3], prefix[4]]);
    let length = usize::try_from(length).unwrap_or(usize::MAX);
    if length > MESSAGE_BYTES_MAX {
        return Err("a message that is too large");
    }
    if buffer.len() - PREFIX_BYTES < length {
        return Ok(None);
    }
    buffer.advance(PREFIX_BYTES);
    let message = buffer.split_to(length).freeze();
    StreamingMessage::decode(message).map(Some).map_err(|_| "a message that is not well-formed")
}

/// Makes the pieces of a message.
pub(super) fn encode(
    message: &StreamingMessage,
    placeholder: Option<&Placeholder>,
) -> Result<Vec<Chunk>, usize> {
    let encoded_bytes = message.encoded_len();
    let mut bytes = BytesMut::with_capacity(PREFIX_BYTES + encoded_bytes);
    bytes.put_bytes(0, PREFIX_BYTES);
    message.encode(&mut bytes).expect("a growing buffer has room");
    let Some(placeholder) = placeholder else {
        bytes[1..PREFIX_BYTES].copy_from_slice(&prefix(encoded_bytes)?.to_be_bytes());
        return Ok(vec![bytes.freeze().into()]);
    };
    let mut first = bytes.split_to(PREFIX_BYTES);
    let (mut pieces, length) = placeholder.replace(&bytes.freeze());
    first[1..].copy_from_slice(&prefix(length)?.to_be_bytes());
    pieces.insert(0, first.freeze().into());
    Ok(pieces)
}

/// The length of a message as its prefix has it; too large a one is the error.
fn prefix(length: usize) -> Result<u32, usize> {
    u32::try_from(length).ok().filter(|_| length <= MESSAGE_BYTES_MAX).ok_or(length)
}
