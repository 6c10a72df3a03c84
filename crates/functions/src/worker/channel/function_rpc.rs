//! The channel of FunctionRpc: a gRPC server on a loopback port, for the one stream of one worker.
//!
//! Written on hyper alone. One bidirectional stream of one method needs no more of gRPC than its five-byte message prefix
//! and its trailers ("gRPC over HTTP2", section "Requests" and "Responses"), and messages are not copied.

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

use super::{EncodedMessage, QUEUE_MESSAGES, WorkerChannel};
use crate::worker::stored::read_chunk;

/// Listens for the connection of one worker.
#[derive(Debug)]
pub(in crate::worker) struct GrpcListener {
    listener: TcpListener,
    port: u16,
    worker_id: String,
    request_id: String,
}

type Body = UnsyncBoxBody<Bytes, Infallible>;

/// The stream of the worker that was started.
struct AcceptedStream {
    outgoing: mpsc::Sender<EncodedMessage>,
    incoming: mpsc::Receiver<WorkerMessage>,
}

/// Receives the stream of the worker, once.
type StreamSlot = Arc<Mutex<Option<oneshot::Sender<AcceptedStream>>>>;

/// Flow control windows in bytes. The defaults of HTTP/2 (64 KiB) cost a large message many round trips.
const STREAM_WINDOW_BYTES: u32 = 4 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 8 << 20;

/// Messages that wait together are sent in one frame up to this size, the smallest maximum of HTTP/2.
const JOINED_BYTES_MAX: usize = 16 * 1024;

impl GrpcListener {
    pub(in crate::worker) async fn bind() -> io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let port = listener.local_addr()?.port();
        let id = || Uuid::new_v4().to_string();
        Ok(Self { listener, port, worker_id: id(), request_id: id() })
    }

    /// Passes both generations of flags: the Node.js and .NET workers read only the new ones, the Python worker only the old ones. No
    /// others: the Java worker fails on flags that it does not know.
    pub(in crate::worker) fn prepare(&self, command: &mut Command) {
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
        // The .NET worker reads its host's address from here if the app is started by other means.
        command.env("Functions__Worker__HostEndpoint", &uri);
    }

    pub(in crate::worker) async fn accept(self) -> io::Result<WorkerChannel> {
        let (sender, mut stream_receiver) = oneshot::channel();
        let slot: StreamSlot = Arc::new(Mutex::new(Some(sender)));
        let worker_id: Arc<str> = self.worker_id.into();
        let mut tasks = JoinSet::new();
        loop {
            tokio::select! {
                accepted = self.listener.accept() => {
                    let (stream, _) = accepted?;
                    stream.set_nodelay(true)?;
                    tasks.spawn(serve(stream, Arc::clone(&slot), Arc::clone(&worker_id)));
                }
                Some(_) = tasks.join_next(), if !tasks.is_empty() => {}
                accepted = &mut stream_receiver => {
                    let AcceptedStream { outgoing, incoming } = accepted.map_err(io::Error::other)?;
                    return Ok(WorkerChannel { outgoing, incoming, tasks });
                }
            }
        }
    }
}

type Reading = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Number of streams that one connection may have open.
const STREAMS_MAX: u32 = 8;

/// Serves one connection. Streams are read beside it, not from within the response: hyper polls a response only while the worker reads,
/// and a worker may write before it reads.
async fn serve(stream: TcpStream, slot: StreamSlot, worker_id: Arc<str>) {
    let (to_read, mut readings) = mpsc::channel::<Reading>(QUEUE_MESSAGES);
    let service = hyper::service::service_fn(move |request: Request<Incoming>| {
        let (slot, worker_id, to_read) = (Arc::clone(&slot), Arc::clone(&worker_id), to_read.clone());
        async move { Ok::<_, Infallible>(respond_to(request, slot, worker_id, &to_read).await) }
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
                    // A worker that dies closes its connection in the middle of a stream; its end is reported elsewhere.
                    tracing::debug!(%error, "a worker's connection ended");
                }
                // Messages that it sent before may not be handled yet.
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

async fn respond_to(
    request: Request<Incoming>,
    slot: StreamSlot,
    worker_id: Arc<str>,
    to_read: &mpsc::Sender<Reading>,
) -> Response<Body> {
    let (outgoing, to_write) = mpsc::channel(QUEUE_MESSAGES);
    let is_ours = request.uri().path() == EVENT_STREAM_PATH;
    let body = if is_ours {
        let reading = read(request.into_body(), slot, worker_id, outgoing);
        let _ = to_read.send(Box::pin(reading)).await;
        outgoing_body(to_write)
    } else {
        // UNIMPLEMENTED: the service of an extension, which this host does not have.
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

/// The body of the response: all messages of the host, then the trailers.
fn outgoing_body(to_write: mpsc::Receiver<EncodedMessage>) -> Body {
    let frames = stream::unfold(Some((to_write, VecDeque::new(), 0)), async |state| {
        let (mut to_write, mut chunks, mut at) = state?;
        if chunks.is_empty() {
            match to_write.recv().await {
                Some(next) => accept(next, &mut chunks),
                None => return Some((Ok(trailers("0")), None)),
            }
            // Small messages that wait already are sent together. Behind a large one they would count as delivered long before they are.
            while are_small(&chunks)
                && let Ok(next) = to_write.try_recv()
            {
                accept(next, &mut chunks);
            }
        }
        let data = match chunks.pop_front() {
            Some(Chunk::Bytes(bytes)) => join_small(bytes, &mut chunks),
            Some(Chunk::Stored(stored)) => {
                // One part of the stored bytes is in memory at a time.
                let Ok(read) = read_chunk(&stored, at).await else {
                    tracing::error!("the body of a request cannot be read from its file");
                    return Some((Ok(trailers("13")), None));
                };
                at += read.len();
                if at < stored.bytes() {
                    chunks.push_front(Chunk::Stored(stored));
                } else {
                    at = 0;
                }
                read
            }
            None => Bytes::new(),
        };
        Some((Ok(Frame::data(data)), Some((to_write, chunks, at))))
    });
    StreamBody::new(frames).boxed_unsync()
}

/// Adds the chunks of a message. From here on hyper has it and does not report what was written, so the worker may receive it.
fn accept(message: EncodedMessage, chunks: &mut VecDeque<Chunk>) {
    message.delivered.map(|delivered| delivered.send(()));
    chunks.extend(message.chunks);
}

/// Whether all chunks fit into one frame.
fn are_small(chunks: &VecDeque<Chunk>) -> bool {
    let mut left = JOINED_BYTES_MAX;
    chunks.iter().all(|chunk| match chunk {
        Chunk::Bytes(bytes) => left.checked_sub(bytes.len()).map(|rest| left = rest).is_some(),
        Chunk::Stored(_) => false,
    })
}

/// Appends the small chunks that follow a small one, so that they share an HTTP/2 frame.
fn join_small(first: Bytes, chunks: &mut VecDeque<Chunk>) -> Bytes {
    let mut joined = BytesMut::new();
    while let Some(Chunk::Bytes(next)) = chunks.front()
        && joined.len().max(first.len()) + next.len() <= JOINED_BYTES_MAX
    {
        if joined.is_empty() {
            joined.extend_from_slice(&first);
        }
        joined.extend_from_slice(next);
        chunks.pop_front();
    }
    if joined.is_empty() { first } else { joined.freeze() }
}

/// Reads the stream of a worker until it ends. Its first message identifies the worker that was started.
async fn read(
    mut body: Incoming,
    slot: StreamSlot,
    worker_id: Arc<str>,
    outgoing: mpsc::Sender<EncodedMessage>,
) {
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
                    tracing::error!(problem, "a worker violated the protocol; its connection is closed");
                    return;
                }
            };
            let Some(to) = &handler else {
                if !matches!(&message, WorkerMessage::Start { worker_id: id } if id.as_str() == &*worker_id) {
                    tracing::warn!(
                        "a process connected to the port of a worker with a wrong worker id; its stream is closed"
                    );
                    return;
                }
                let Some(outgoing) = outgoing.take() else { return };
                let (to, incoming) = mpsc::channel(QUEUE_MESSAGES);
                let waits = slot.lock().unwrap_or_else(PoisonError::into_inner).take();
                // All messages are sent on the first stream of a worker; further ones are closed.
                let Some(waits) = waits else { return };
                if waits.send(AcceptedStream { outgoing, incoming }).is_err() {
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

/// Splits a message off the buffer: a flag (compressed or not), a length, and the message.
fn next_message(buffer: &mut BytesMut) -> Result<Option<StreamingMessage>, &'static str> {
    let Some(prefix) = buffer.get(..PREFIX_BYTES) else { return Ok(None) };
    if prefix[0] != 0 {
        return Err("it sent a compressed message, which this host does not support");
    }
    let length = u32::from_be_bytes([prefix[1], prefix[2], prefix[3], prefix[4]]);
    let length = usize::try_from(length).unwrap_or(usize::MAX);
    if length > MESSAGE_BYTES_MAX {
        return Err("it sent a message beyond 2 GiB");
    }
    if buffer.len() - PREFIX_BYTES < length {
        return Ok(None);
    }
    buffer.advance(PREFIX_BYTES);
    let message = buffer.split_to(length).freeze();
    StreamingMessage::decode(message).map(Some).map_err(|_| "it sent a malformed message")
}

/// Encodes a message, with its gRPC prefix.
pub(in crate::worker) fn encode(
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
    let (mut chunks, length) = placeholder.replace(&bytes.freeze());
    first[1..].copy_from_slice(&prefix(length)?.to_be_bytes());
    chunks.insert(0, first.freeze().into());
    Ok(chunks)
}

/// The length of a message for its prefix; the error is a length beyond the maximum.
fn prefix(length: usize) -> Result<u32, usize> {
    u32::try_from(length).ok().filter(|_| length <= MESSAGE_BYTES_MAX).ok_or(length)
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    /// Sends messages of these sizes, all at once. Returns the size of the first frame, and which messages count as delivered then.
    async fn first_frame(sizes: &[usize]) -> (usize, Vec<bool>) {
        let (sender, to_write) = mpsc::channel(sizes.len());
        let mut notices = Vec::new();
        for size in sizes {
            let (delivered, notice) = oneshot::channel();
            let chunks = vec![Chunk::Bytes(vec![0; *size].into())];
            let message = EncodedMessage { chunks, delivered: Some(delivered) };
            sender.send(message).await.expect("the channel has room");
            notices.push(notice);
        }
        let frame = outgoing_body(to_write).frame().await.expect("a frame").expect("nothing fails");
        let bytes = frame.into_data().expect("data").len();
        (bytes, notices.iter_mut().map(|notice| notice.try_recv().is_ok()).collect())
    }

    #[tokio::test]
    async fn small_messages_share_a_frame_and_those_behind_a_large_one_are_not_delivered_yet() {
        assert_eq!(first_frame(&[10, 20, 30]).await, (60, vec![true, true, true]));
        assert_eq!(first_frame(&[50_000, 10]).await, (50_000, vec![true, false]));
        assert_eq!(first_frame(&[10, 50_000, 10]).await, (10, vec![true, true, false]));
    }
}
