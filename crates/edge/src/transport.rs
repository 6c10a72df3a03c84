//! [`Transport`]: the bytes of one connection as hyper reads and writes them.

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
use crate::descriptors::Descriptor;
use crate::metrics::{Cut, ListenerMetrics};
use crate::options::{Options, milliseconds};
use crate::pace::{Pace, Rate};
use crate::platform;

/// Most bytes of an answer that the kernel holds before it sends them.
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

/// What a write has brought.
trait Written {
    /// Bytes that the peer, or the kernel for it, has taken.
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

/// One connection: its stream, what was read ahead of it, and where arriving bytes are noted.
#[derive(Debug)]
pub(crate) struct Transport {
    stream: Stream,
    /// Read while the protocol was being recognised; served first.
    ahead: Bytes,
    activity: Arc<Activity>,
    unread_timeout: Duration,
    write_rate: Rate,
    /// Whether the peer takes what is sent fast enough; set once a write had to wait for it.
    write_pace: Option<Box<Pace>>,
    /// Rings when the rest of an unread body was awaited for long enough; set once our half is shut.
    unread_end: Option<Pin<Box<Sleep>>>,
    metrics: Arc<ListenerMetrics>,
    /// Given back after the stream is closed: fields are dropped in order.
    descriptor: Option<Descriptor>,
}

impl Transport {
    pub(crate) fn new(
        stream: Stream,
        ahead: Bytes,
        activity: Arc<Activity>,
        options: &Options,
        metrics: Arc<ListenerMetrics>,
        descriptor: Option<Descriptor>,
    ) -> Self {
        platform::limit_unsent(stream.tcp(), KERNEL_UNSENT_BYTES);
        let write_timeout = milliseconds(options.write_timeout_ms);
        let write_rate = Rate {
            bytes_per_second_min: options.write_bytes_per_second_min,
            window: write_timeout,
            grace: write_timeout,
        };
        Self {
            stream,
            ahead,
            activity,
            unread_timeout: milliseconds(options.unread_timeout_ms),
            write_rate,
            write_pace: None,
            unread_end: None,
            metrics,
            descriptor,
        }
    }

    /// Gives up on a peer that takes too little of what is sent to it: its answer, and its connection, would be kept for ever.
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
                let pace = self.write_pace.get_or_insert_with(|| Box::new(Pace::new(rate)));
                if pace.wait(context).is_err() {
                    self.metrics.answer_cut(Cut::Slow);
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

    /// Throws away what the peer still sends, until it closes or the time is over.
    ///
    /// A socket that is closed while bytes wait in it resets the connection, and a reset takes the answer from a peer that
    /// was still sending (RFC 9112 section 9.6).
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

    /// The stream, what was read ahead of it and not yet given away, and its place among the descriptors. The limits that are
    /// HTTP's end.
    pub(crate) fn into_parts(self) -> (Stream, Bytes, Option<Descriptor>) {
        // The default of the system again.
        platform::limit_unsent(self.stream.tcp(), 0);
        (self.stream, self.ahead, self.descriptor)
    }
}

impl AsyncRead for Transport {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if !this.ahead.is_empty() {
            let length = this.ahead.len().min(buffer.remaining());
            buffer.put_slice(&this.ahead[..length]);
            this.ahead.advance(length);
            return Poll::Ready(Ok(()));
        }
        let before = buffer.filled().len();
        let result = match &mut this.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_read(context, buffer),
            Stream::Tls(stream) => Pin::new(stream).poll_read(context, buffer),
        };
        if buffer.filled().len() > before {
            this.activity.bytes_arrived();
        }
        result
    }
}

impl AsyncWrite for Transport {
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
