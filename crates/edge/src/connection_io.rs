//! [`ConnectionIo`]: the byte stream of one connection, as hyper reads and writes it.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Sleep;
use tokio_rustls::server::TlsStream;

use crate::activity::Activity;
use crate::body_rate::{BodyRate, MinimumRate};
use crate::descriptors::Descriptor;
use crate::head::{Head, HeadTooLarge};
use crate::metrics::{CutReason, ListenerMetrics};
use crate::options::{Options, milliseconds};
use crate::platform;

/// Most bytes of a response that the kernel buffers before it sends them.
const KERNEL_UNSENT_BYTES: u32 = 64 * 1024;

#[derive(Debug)]
pub(crate) enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Stream {
    fn tcp(&self) -> &TcpStream {
        match self {
            Self::Plain(stream) => stream,
            Self::Tls(stream) => stream.get_ref().0,
        }
    }

    fn tcp_mut(&mut self) -> &mut TcpStream {
        match self {
            Self::Plain(stream) => stream,
            Self::Tls(stream) => stream.get_mut().0,
        }
    }
}

/// The result of a write.
trait Written {
    /// Bytes that the peer, or the kernel on its behalf, has accepted.
    fn bytes(&self) -> usize;
}

impl Written for usize {
    fn bytes(&self) -> usize {
        *self
    }
}

impl Written for () {
    fn bytes(&self) -> usize {
        0
    }
}

/// One connection: its stream, the bytes read ahead of it, and the record of arriving bytes.
#[derive(Debug)]
pub(crate) struct ConnectionIo {
    stream: Stream,
    /// Bytes that hyper reads before the stream: those read while the protocol was detected, or the end of a head whose rest was
    /// dropped.
    ahead: Bytes,
    /// On HTTP/1.1, the head that is arriving.
    head: Option<Head>,
    activity: Arc<Activity>,
    unread_timeout: Duration,
    write_rate: MinimumRate,
    /// Whether the peer reads fast enough; set once a write had to wait for it.
    write_pace: Option<Box<BodyRate>>,
    /// Fires when the rest of an unread body was awaited for long enough; set once our side is shut down.
    unread_end: Option<Pin<Box<Sleep>>>,
    metrics: Arc<ListenerMetrics>,
    /// Released after the stream is closed: fields are dropped in order.
    descriptor: Option<Descriptor>,
}

impl ConnectionIo {
    pub(crate) fn new(
        stream: Stream,
        ahead: Bytes,
        mut head: Option<Head>,
        activity: Arc<Activity>,
        options: &Options,
        metrics: Arc<ListenerMetrics>,
        descriptor: Option<Descriptor>,
    ) -> Self {
        if let Some(head) = &mut head {
            // A few bytes, which no limit refuses.
            head.pass(&ahead);
        }
        platform::limit_unsent(stream.tcp(), KERNEL_UNSENT_BYTES);
        let write_timeout = milliseconds(options.write_timeout_ms);
        let write_rate = MinimumRate {
            bytes_per_second_min: options.write_bytes_per_second_min,
            window: write_timeout,
            grace: write_timeout,
        };
        Self {
            stream,
            ahead,
            head,
            activity,
            unread_timeout: milliseconds(options.unread_timeout_ms),
            write_rate,
            write_pace: None,
            unread_end: None,
            metrics,
            descriptor,
        }
    }

    /// Gives up on a peer that reads too slowly: otherwise its response and its connection would stay forever.
    fn paced<T: Written>(
        &mut self,
        written: Poll<io::Result<T>>,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<T>> {
        match &written {
            Poll::Ready(Ok(written)) => {
                if let Some(pace) = &mut self.write_pace {
                    pace.arrived(written.bytes());
                }
            }
            Poll::Ready(Err(_)) => {}
            Poll::Pending => {
                let rate = self.write_rate;
                let pace = self.write_pace.get_or_insert_with(|| Box::new(BodyRate::new(rate)));
                if pace.wait(context).is_err() {
                    self.metrics.response_cut(CutReason::Slow);
                    return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
                }
            }
        }
        written
    }

    fn shut_writing(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let shut = match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_shutdown(context),
            Stream::Tls(stream) => Pin::new(stream).poll_shutdown(context),
        };
        self.paced(shut, context)
    }

    /// Discards what the peer still sends, until it closes or the time is over.
    ///
    /// Closing a socket that has unread bytes resets the connection, and a reset discards the response at a peer that was still
    /// sending (RFC 9112 section 9.6).
    fn discard(&mut self, end: &mut Pin<Box<Sleep>>, context: &mut Context<'_>) -> Poll<()> {
        let stream = self.stream.tcp_mut();
        let mut scratch = [0; 16 * 1024];
        loop {
            if end.as_mut().poll(context).is_ready() {
                return Poll::Ready(());
            }
            let mut buffer = ReadBuf::new(&mut scratch);
            let read = ready!(Pin::new(&mut *stream).poll_read(context, &mut buffer));
            if read.is_err() || buffer.filled().is_empty() {
                return Poll::Ready(());
            }
        }
    }

    /// The stream, the bytes read ahead of it and not yet consumed, and its descriptor. The limits that apply to HTTP end here.
    pub(crate) fn into_parts(self) -> (Stream, Bytes, Option<Descriptor>) {
        // Restore the default of the system.
        platform::limit_unsent(self.stream.tcp(), 0);
        (self.stream, self.ahead, self.descriptor)
    }
}

impl ConnectionIo {
    fn is_skipping(&self) -> bool {
        self.head.as_ref().is_some_and(Head::is_skipping)
    }

    /// Returns the bytes that come before the stream.
    fn read_ahead(&mut self, buffer: &mut ReadBuf<'_>) {
        let length = self.ahead.len().min(buffer.remaining());
        buffer.put_slice(&self.ahead[..length]);
        self.ahead.advance(length);
    }

    fn poll_stream(&mut self, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_read(context, buffer),
            Stream::Tls(stream) => Pin::new(stream).poll_read(context, buffer),
        }
    }

    /// Records arrived bytes, and removes those of a head that is too large.
    fn note_arrived(&mut self, before: usize, buffer: &mut ReadBuf<'_>) {
        let in_head = self.activity.bytes_arrived();
        let Some(head) = &mut self.head else { return };
        if !in_head {
            head.is_over();
            return;
        }
        let arrived = &buffer.filled()[before..];
        let passed = head.pass(arrived);
        if passed < arrived.len() {
            let ended = head.skip(&arrived[passed..]);
            buffer.set_filled(before + passed);
            self.end_head(ended);
        }
    }

    /// Passes hyper the end of a head whose rest was dropped.
    fn end_head(&mut self, ended: Option<(HeadTooLarge, &'static [u8])>) {
        if let Some((found, ending)) = ended {
            self.activity.head_is_too_large(found);
            self.ahead = Bytes::from_static(ending);
        }
    }

    /// Reads and drops the rest of a head that is too large. Ready when the rest is read, or the peer has closed.
    fn skip_head(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut scratch = [0; 8 * 1024];
        while self.is_skipping() {
            let mut dropped = ReadBuf::new(&mut scratch);
            ready!(self.poll_stream(context, &mut dropped))?;
            if dropped.filled().is_empty() {
                return Poll::Ready(Ok(()));
            }
            let ended = self.head.as_mut().and_then(|head| head.skip(dropped.filled()));
            self.end_head(ended);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for ConnectionIo {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        if this.ahead.is_empty() && !this.is_skipping() {
            ready!(this.poll_stream(context, buffer))?;
            if buffer.filled().len() > before {
                this.note_arrived(before, buffer);
            }
        }
        if buffer.filled().len() == before && this.is_skipping() {
            ready!(this.skip_head(context))?;
        }
        if buffer.filled().len() == before {
            this.read_ahead(buffer);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for ConnectionIo {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = match &mut this.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_write(context, bytes),
            Stream::Tls(stream) => Pin::new(stream).poll_write(context, bytes),
        };
        this.paced(written, context)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = match &mut this.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_write_vectored(context, slices),
            Stream::Tls(stream) => Pin::new(stream).poll_write_vectored(context, slices),
        };
        this.paced(written, context)
    }

    fn is_write_vectored(&self) -> bool {
        match &self.stream {
            Stream::Plain(stream) => stream.is_write_vectored(),
            Stream::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let flushed = match &mut this.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_flush(context),
            Stream::Tls(stream) => Pin::new(stream).poll_flush(context),
        };
        this.paced(flushed, context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let mut end = match this.unread_end.take() {
            Some(end) => end,
            None => {
                ready!(this.shut_writing(context))?;
                if !this.activity.has_unread_body() {
                    return Poll::Ready(Ok(()));
                }
                Box::pin(tokio::time::sleep(this.unread_timeout))
            }
        };
        let discarded = this.discard(&mut end, context);
        this.unread_end = Some(end);
        discarded.map(Ok)
    }
}
