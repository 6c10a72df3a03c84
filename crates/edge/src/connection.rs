//! The life cycle of one connection: detect the protocol, do the TLS handshake, serve requests, close.

use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_messages::ErrorDescription;
use hyper::server::conn::{http1, http2};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncReadExt, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::timeout_at;

use crate::activity::{Activity, Deadline};
use crate::connection_io::{ConnectionIo, Stream};
use crate::connection_service::{ConnectionService, Protocol, RequestService};
use crate::descriptors::Descriptor;
use crate::error_table;
use crate::head::{Head, LINE_GRACE_BYTES};
use crate::http2_streams::Http2Streams;
use crate::metrics::ListenerMetrics;
use crate::options::{Options, milliseconds};
use crate::tls::TlsConfig;
use crate::unread_body::UnreadBody;
use crate::{Peer, Quotas};

/// The first byte of a TLS record with a handshake (RFC 8446 section 5.1). No HTTP method starts with it.
const TLS_HANDSHAKE: u8 = 0x16;

/// The preface of HTTP/2 with prior knowledge (RFC 9113 section 3.4).
const HTTP2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// How many fields hyper accepts in an HTTP/1 head by default.
const HTTP1_FIELDS_DEFAULT: usize = 100;

/// Size of hyper's read buffer beyond the largest head, so that hyper never refuses one itself: the bytes that `head.rs` passes
/// beyond the limit, and the end that it inserts.
const HTTP1_HEAD_SLACK_BYTES: usize = 2 * LINE_GRACE_BYTES;

/// Up to this multiple of the largest head, h2 passes HTTP/2 requests on and we refuse them, with a text and the CORS headers for a
/// browser; beyond it h2 itself responds with 431. A connection may buffer as much of one head that is arriving.
const HTTP2_HEADS: u32 = 4;

/// Most bytes of one response that wait in h2 for the socket; the data that waits for the reader's window is less than one piece of
/// `response_body.rs`.
const HTTP2_BUFFER_BYTES: usize = 16 * 1024;

/// What all connections of a listener share.
pub(crate) struct Shared<S> {
    pub(crate) service: S,
    pub(crate) options: Arc<Options>,
    pub(crate) tls: Option<TlsConfig>,
    pub(crate) metrics: Arc<ListenerMetrics>,
    pub(crate) quotas: Quotas,
    /// True once the listener drains.
    pub(crate) draining: watch::Receiver<bool>,
}

impl<S: Clone> Clone for Shared<S> {
    fn clone(&self) -> Self {
        Self {
            service: self.service.clone(),
            options: Arc::clone(&self.options),
            tls: self.tls.clone(),
            metrics: Arc::clone(&self.metrics),
            quotas: self.quotas.clone(),
            draining: self.draining.clone(),
        }
    }
}

/// An accepted and admitted connection.
pub(crate) struct AcceptedConnection {
    pub(crate) stream: TcpStream,
    pub(crate) remote: SocketAddr,
    pub(crate) activity: Arc<Activity>,
    pub(crate) descriptor: Option<Descriptor>,
}

/// A connection whose protocol was detected.
struct Recognised {
    stream: Stream,
    /// The bytes read for the detection.
    ahead: Bytes,
    peer: Peer,
    activity: Arc<Activity>,
    descriptor: Option<Descriptor>,
}

/// Why a connection ended early. The client causes it, so it is logged at debug level only.
#[derive(Debug, thiserror::Error)]
enum ServeError {
    #[error("the connection failed")]
    Io(#[from] io::Error),
    #[error("the request head did not arrive in time")]
    HeadTimeout,
    #[error("the TLS handshake did not finish in time")]
    HandshakeTimeout,
    #[error("the TLS handshake failed")]
    Handshake(#[source] io::Error),
    #[error("the client speaks TLS, and this listener has no certificate")]
    TlsUnexpected,
    #[error("the client did not close an idle connection")]
    CloseTimeout,
    #[error("the protocol was violated, or the peer left")]
    Http(#[from] hyper::Error),
}

impl ServeError {
    fn description(&self) -> &'static ErrorDescription {
        match self {
            Self::Io(_) => &error_table::CONNECTION_FAILED,
            Self::HeadTimeout => &error_table::HEAD_TIMEOUT,
            Self::HandshakeTimeout => &error_table::HANDSHAKE_TIMEOUT,
            Self::Handshake(_) => &error_table::HANDSHAKE_FAILED,
            Self::TlsUnexpected => &error_table::TLS_UNEXPECTED,
            Self::CloseTimeout => &error_table::CLOSE_TIMEOUT,
            Self::Http(_) => &error_table::PROTOCOL_VIOLATED,
        }
    }
}

enum Version {
    One,
    Two,
}

/// Serves one accepted connection until it ends or is handed over.
pub(crate) async fn serve<S>(accepted: AcceptedConnection, shared: Shared<S>)
where
    S: RequestService,
{
    let (metrics, remote) = (Arc::clone(&shared.metrics), accepted.remote);
    match serve_fallible(accepted, shared).await {
        Ok(()) => {}
        Err(error @ ServeError::TlsUnexpected) => {
            if metrics.tls_failures.inc() == 0 {
                let code = error.description().code;
                tracing::warn!(listener = %metrics.name, %remote, code, "{error}; use http://, or set tls.certificate_file and tls.key_file (logged once)");
            }
        }
        Err(error) => {
            if matches!(error, ServeError::Handshake(_) | ServeError::HandshakeTimeout) {
                metrics.tls_failures.inc();
            }
            let cause = std::error::Error::source(&error).map(ToString::to_string);
            let code = error.description().code;
            tracing::debug!(listener = %metrics.name, %remote, code, cause, "{error}");
        }
    }
}

async fn serve_fallible<S>(accepted: AcceptedConnection, mut shared: Shared<S>) -> Result<(), ServeError>
where
    S: RequestService,
{
    let AcceptedConnection { stream, remote, activity, descriptor } = accepted;
    stream.set_nodelay(true)?;
    let local = stream.local_addr()?;
    let recognised = {
        let tls = shared.tls.clone();
        let options = Arc::clone(&shared.options);
        let draining = &mut shared.draining;
        tokio::select! {
            recognised = recognise(stream, tls.as_ref(), &options, &activity) => recognised?,
            // No request was received yet, so nothing is lost.
            _ = draining.wait_for(|draining| *draining) => return Ok(()),
        }
    };
    let Some((stream, ahead, version)) = recognised else { return Ok(()) };
    let peer = Peer { remote, local, tls: matches!(stream, Stream::Tls(_)) };
    let recognised = Recognised { stream, ahead, peer, activity, descriptor };
    match version {
        Version::One => serve_http1(recognised, shared).await,
        Version::Two => serve_http2(recognised, shared).await,
    }
}

/// Detects the protocol. `None`: the client closed without sending a byte.
async fn recognise(
    stream: TcpStream,
    tls: Option<&TlsConfig>,
    options: &Options,
    activity: &Activity,
) -> Result<Option<(Stream, Bytes, Version)>, ServeError> {
    let head_deadline = tokio::time::Instant::now() + milliseconds(options.head_timeout_ms);
    let mut first = [0];
    let mut buffer = ReadBuf::new(&mut first);
    let peeked = std::future::poll_fn(|context| {
        let peeked = stream.poll_peek(context, &mut buffer);
        if peeked.is_pending() {
            activity.set_listening();
        }
        peeked
    });
    let length = timeout_at(head_deadline, peeked).await.map_err(|_late| ServeError::HeadTimeout)??;
    if length == 0 {
        return Ok(None);
    }
    activity.first_byte_received();
    if first[0] == TLS_HANDSHAKE {
        let acceptor = tls.ok_or(ServeError::TlsUnexpected)?.acceptor();
        let limit = milliseconds(options.tls_handshake_timeout_ms);
        activity.set_securing();
        let stream = tokio::time::timeout(limit, acceptor.accept(stream))
            .await
            .map_err(|_late| ServeError::HandshakeTimeout)?
            .map_err(ServeError::Handshake)?;
        activity.set_secure();
        let version =
            if stream.get_ref().1.alpn_protocol() == Some(b"h2") { Version::Two } else { Version::One };
        return Ok(Some((Stream::Tls(Box::new(stream)), Bytes::new(), version)));
    }
    if first[0] != HTTP2_PREFACE[0] {
        return Ok(Some((Stream::Plain(stream), Bytes::new(), Version::One)));
    }
    let mut stream = stream;
    let (ahead, version) = timeout_at(head_deadline, read_preface(&mut stream))
        .await
        .map_err(|_late| ServeError::HeadTimeout)??;
    Ok(Some((Stream::Plain(stream), ahead, version)))
}

/// Reads until the bytes are the HTTP/2 preface, or are not.
async fn read_preface(stream: &mut TcpStream) -> io::Result<(Bytes, Version)> {
    let mut buffer = [0; HTTP2_PREFACE.len()];
    let mut filled = 0;
    while filled < buffer.len() {
        let length = stream.read(&mut buffer[filled..]).await?;
        filled += length;
        if length == 0 || !HTTP2_PREFACE.starts_with(&buffer[..filled]) {
            return Ok((Bytes::copy_from_slice(&buffer[..filled]), Version::One));
        }
    }
    Ok((Bytes::copy_from_slice(&buffer), Version::Two))
}

async fn serve_http1<S>(recognised: Recognised, shared: Shared<S>) -> Result<(), ServeError>
where
    S: RequestService,
{
    let activity = Arc::clone(&recognised.activity);
    let (options, draining) = (Arc::clone(&shared.options), shared.draining.clone());
    let unread = Arc::new(UnreadBody::new(milliseconds(options.unread_timeout_ms)));
    let (transport, front) = parts(recognised, shared, Protocol::One(Arc::clone(&unread)));
    let mut builder = http1::Builder::new();
    // We measure the timeouts ourselves; see `activity.rs`.
    builder.header_read_timeout(None).max_buf_size(options.head_bytes_max() + HTTP1_HEAD_SLACK_BYTES);
    if options.head_fields_max.get() != HTTP1_FIELDS_DEFAULT {
        // Only if needed: hyper then allocates for each request.
        builder.max_headers(options.head_fields_max.get());
    }
    let connection = builder.serve_connection(transport, front).with_upgrades();
    let close = http1::UpgradeableConnection::graceful_shutdown;
    drive(connection, close, &activity, Some(&unread), &options, draining).await
}

async fn serve_http2<S>(recognised: Recognised, shared: Shared<S>) -> Result<(), ServeError>
where
    S: RequestService,
{
    let activity = Arc::clone(&recognised.activity);
    activity.set_multiplexed();
    let (options, draining) = (Arc::clone(&shared.options), shared.draining.clone());
    let streams = Http2Streams::new(milliseconds(options.write_timeout_ms), Arc::clone(&shared.metrics));
    let (transport, front) = parts(recognised, shared, Protocol::Two(streams.clone()));
    let ping_interval = milliseconds(options.http2_ping_interval_ms);
    let connection = http2::Builder::new(streams)
        .timer(TokioTimer::new())
        .max_concurrent_streams(options.http2_streams_max.get())
        .max_header_list_size(http2_heads_bytes(&options))
        .max_send_buf_size(HTTP2_BUFFER_BYTES)
        .keep_alive_interval(ping_interval)
        .keep_alive_timeout(ping_interval)
        .serve_connection(transport, front);
    drive(connection, http2::Connection::graceful_shutdown, &activity, None, &options, draining).await
}

fn http2_heads_bytes(options: &Options) -> u32 {
    u32::try_from(options.head_bytes_max()).unwrap_or(u32::MAX).saturating_mul(HTTP2_HEADS)
}

fn parts<S>(
    recognised: Recognised,
    shared: Shared<S>,
    protocol: Protocol,
) -> (TokioIo<ConnectionIo>, ConnectionService<S>) {
    let Recognised { stream, ahead, peer, activity, descriptor } = recognised;
    let metrics = Arc::clone(&shared.metrics);
    let head = match &protocol {
        Protocol::One(_) => {
            Some(Head::new(shared.options.head_bytes_max(), shared.options.head_fields_max.get()))
        }
        Protocol::Two(_) => None,
    };
    let transport =
        ConnectionIo::new(stream, ahead, head, Arc::clone(&activity), &shared.options, metrics, descriptor);
    let front = ConnectionService {
        service: shared.service,
        peer,
        activity,
        client: Arc::new(shared.quotas.client(peer.remote.ip())),
        protocol,
        metrics: shared.metrics,
        options: shared.options,
    };
    (TokioIo::new(transport), front)
}

/// Polls a connection, and closes it if it is idle for too long, if its head is late, or when the listener drains.
async fn drive<C>(
    connection: C,
    close: impl Fn(Pin<&mut C>),
    activity: &Activity,
    unread: Option<&UnreadBody>,
    options: &Options,
    mut draining: watch::Receiver<bool>,
) -> Result<(), ServeError>
where
    C: Future<Output = hyper::Result<()>>,
{
    let head_timeout = milliseconds(options.head_timeout_ms);
    let idle_timeout = milliseconds(options.idle_timeout_ms);
    let told = draining.clone();
    let mut connection = pin!(connection);
    let mut drain = pin!(async move {
        let _ = draining.wait_for(|draining| *draining).await;
    });
    let mut alarm = DriveTimer::after(head_timeout);
    let mut closing = false;
    std::future::poll_fn(move |context| {
        loop {
            // Draining first, so that a response that is ready at the same moment has `connection: close`; and by the value,
            // because receivers are woken one after another.
            if !closing && (*told.borrow() || drain.as_mut().poll(context).is_ready()) {
                closing = true;
                close(connection.as_mut());
            }
            if let Poll::Ready(result) = connection.as_mut().poll(context) {
                return Poll::Ready(result.map_err(ServeError::from));
            }
            if let Some(unread) = unread {
                // Reading from hyper wakes this task again, and hyper continues to read.
                let _ = unread.poll_discard(context, activity);
            }
            let deadline = activity.deadline(head_timeout, idle_timeout);
            match deadline {
                Deadline::Head(at) => alarm.not_after(at),
                Deadline::Idle(at) if !closing => alarm.not_after(at),
                Deadline::Idle(_) | Deadline::None => {}
            }
            if alarm.poll(context).is_pending() {
                return Poll::Pending;
            }
            let now = Instant::now();
            match deadline {
                Deadline::Head(at) if at <= now => return Poll::Ready(Err(ServeError::HeadTimeout)),
                Deadline::Head(at) => alarm.set(at),
                Deadline::None => alarm.set(now + idle_timeout),
                Deadline::Idle(at) if at > now => alarm.set(at),
                Deadline::Idle(_) if closing => return Poll::Ready(Err(ServeError::CloseTimeout)),
                Deadline::Idle(_) => {
                    closing = true;
                    close(connection.as_mut());
                    alarm.set(now + head_timeout);
                }
            }
        }
    })
    .await
}

/// A timer that is reset only when it must fire earlier, or has fired: most deadlines move before they are reached.
struct DriveTimer {
    sleep: Pin<Box<tokio::time::Sleep>>,
}

impl DriveTimer {
    fn after(duration: Duration) -> Self {
        Self { sleep: Box::pin(tokio::time::sleep(duration)) }
    }

    fn not_after(&mut self, at: Instant) {
        if self.sleep.deadline() > at.into() {
            self.set(at);
        }
    }

    fn set(&mut self, at: Instant) {
        self.sleep.as_mut().reset(at.into());
    }

    fn poll(&mut self, context: &mut std::task::Context<'_>) -> Poll<()> {
        self.sleep.as_mut().poll(context)
    }
}
