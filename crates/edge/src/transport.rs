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
use crate::options::{Options, milliseconds};

#[derive(Debug)]
pub(crate) enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// One connection: its stream, what was read ahead of it, and where arriving bytes are noted.
#[derive(Debug)]
pub(crate) struct Transport {
    stream: Stream,
    /// Read while the protocol was being recognised; served first.
    ahead: Bytes,
    activity: Arc<Activity>,
    unread_timeout: Duration,
    write_timeout: Duration,
    /// Rings when the peer has taken nothing for long enough; set while a write waits for it.
    write_end: Option<Pin<Box<Sleep>>>,
    /// Rings when the rest of an unread body was awaited for long enough; set once our half is shut.
    unread_end: Option<Pin<Box<Sleep>>>,
}

impl Transport {
    pub(crate) fn new(stream: Stream, ahead: Bytes, activity: Arc<Activity>, options: &Options) -> Self {
        Self {
            stream,
            ahead,
            activity,
            unread_timeout: milliseconds(options.unread_timeout_ms),
            write_timeout: milliseconds(options.write_timeout_ms),
            write_end: None,
            unread_end: None,
        }
    }

    /// Gives up on a peer that has taken nothing for too long: its answer would be kept, and its connection, for ever.
    fn timed<T>(&mut self, written: Poll<io::Result<T>>, context: &mut Context<'_>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.write_end = None;
            return written;
        }
        let timeout = self.write_timeout;
        let end = self.write_end.get_or_insert_with(|| Box::pin(tokio::time::sleep(timeout)));
        end.as_mut().poll(context).map(|()| Err(io::ErrorKind::TimedOut.into()))
    }

    fn shut_writing(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let shut = match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_shutdown(context),
            Stream::Tls(stream) => Pin::new(stream).poll_shutdown(context),
        };
        self.timed(shut, context)
    }

    /// Throws away what the peer still sends, until it closes or the time is over.
    ///
    /// A socket that is closed while bytes wait in it resets the connection, and a reset takes the answer from a peer that
    /// was still sending (RFC 9112 section 9.6).
    fn discard(&mut self, end: &mut Pin<Box<Sleep>>, context: &mut Context<'_>) -> Poll<()> {
        let stream = match &mut self.stream {
            Stream::Plain(stream) => stream,
            Stream::Tls(stream) => stream.get_mut().0,
        };
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

    /// The stream, and what was read ahead of it and not yet given away.
    pub(crate) fn into_parts(self) -> (Stream, Bytes) {
        (self.stream, self.ahead)
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
        this.timed(written, context)
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
        this.timed(written, context)
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
        this.timed(flushed, context)
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
