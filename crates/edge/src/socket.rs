//! [`Socket`]: an upgraded connection outside the async runtime.
//!
//! It never blocks and never waits: its owner registers it with its own `mio::Poll` and continues when it is ready. Readiness is
//! edge-triggered, so read or write until `WouldBlock`. Two conditions cause no readiness event and have to be checked: bytes that
//! were read before the upgrade ([`Socket::has_leftover`]), and ciphertext that waits to be sent ([`Socket::wants_write`]: call
//! [`Socket::try_flush`] when the socket becomes writable).

mod retry;
mod tls;

use std::io::{self, IoSlice, Read, Write};
use std::net::{Shutdown, SocketAddr};

use bytes::{Buf, Bytes};
use mio::event::Source;
use mio::{Interest, Registry, Token};

use self::tls::TlsStream;
use crate::descriptors::Descriptor;

/// An upgraded connection, plain or TLS.
///
/// A plain one costs as much as the bare socket: a match, and no allocation.
#[derive(Debug)]
pub struct Socket {
    stream: Stream,
    /// Bytes that HTTP had already read after the request, if any; returned first. Boxed, because it is dropped after the first
    /// read.
    leftover: Option<Box<Bytes>>,
    /// Released after the stream is closed: fields are dropped in order.
    descriptor: Option<Descriptor>,
}

#[derive(Debug)]
enum Stream {
    Plain(mio::net::TcpStream),
    Tls(Box<TlsStream>),
    #[cfg(feature = "simulation")]
    Simulated(Box<crate::simulation::ends::Local>),
}

impl Socket {
    #[cfg(feature = "simulation")]
    pub(crate) fn simulated(local: crate::simulation::ends::Local) -> Self {
        Self { stream: Stream::Simulated(Box::new(local)), leftover: None, descriptor: None }
    }

    /// Wraps a connected stream without HTTP, for tests and load generators.
    ///
    /// # Errors
    ///
    /// If the stream cannot be made non-blocking.
    pub fn from_std(stream: std::net::TcpStream) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        stream.set_nodelay(true)?;
        Ok(Self::plain(stream, Bytes::new()))
    }

    /// `stream` must be non-blocking.
    pub(crate) fn plain(stream: std::net::TcpStream, leftover: Bytes) -> Self {
        let stream = Stream::Plain(mio::net::TcpStream::from_std(stream));
        Self { stream, leftover: boxed_leftover(leftover), descriptor: None }
    }

    /// `stream` must be non-blocking, and the handshake done.
    pub(crate) fn tls(
        stream: std::net::TcpStream,
        session: rustls::ServerConnection,
        bytes_max: usize,
        leftover: Bytes,
    ) -> Self {
        let stream = mio::net::TcpStream::from_std(stream);
        let stream = TlsStream::new(stream, session, bytes_max);
        Self { stream: Stream::Tls(Box::new(stream)), leftover: boxed_leftover(leftover), descriptor: None }
    }

    /// Keeps the connection's descriptor counted for its port until it is closed.
    pub(crate) fn with_descriptor(mut self, descriptor: Option<Descriptor>) -> Self {
        self.descriptor = descriptor;
        self
    }

    /// Reads the available bytes. `Ok(0)` (for a buffer that is not empty) means that the peer has closed its side.
    ///
    /// # Errors
    ///
    /// `WouldBlock` if there is nothing to read now; any other error is the end of the connection.
    pub fn try_read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if let Some(leftover) = &mut self.leftover {
            let length = leftover.len().min(buffer.len());
            leftover.copy_to_slice(&mut buffer[..length]);
            if leftover.is_empty() {
                // Releases HTTP's read buffer.
                self.leftover = None;
            }
            return Ok(length);
        }
        match &mut self.stream {
            Stream::Plain(stream) => retry::uninterrupted(|| stream.read(buffer)),
            Stream::Tls(stream) => stream.try_read(buffer),
            #[cfg(feature = "simulation")]
            Stream::Simulated(stream) => stream.try_read(buffer),
        }
    }

    /// Writes as much of `bytes` as the connection accepts now. With TLS that is at most the configured number of unsent bytes, and
    /// accepted bytes may still wait in memory: see [`Socket::wants_write`].
    ///
    /// # Errors
    ///
    /// `WouldBlock` if nothing can be accepted now; any other error is the end of the connection.
    pub fn try_write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.stream {
            Stream::Plain(stream) => retry::uninterrupted(|| stream.write(bytes)),
            Stream::Tls(stream) => stream.try_write(bytes),
            #[cfg(feature = "simulation")]
            Stream::Simulated(stream) => stream.try_write(bytes),
        }
    }

    /// [`Socket::try_write`] of several slices in one system call (and with TLS in as few records as possible).
    ///
    /// # Errors
    ///
    /// See [`Socket::try_write`].
    pub fn try_write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        match &mut self.stream {
            Stream::Plain(stream) => retry::uninterrupted(|| stream.write_vectored(slices)),
            Stream::Tls(stream) => stream.try_write_vectored(slices),
            #[cfg(feature = "simulation")]
            Stream::Simulated(stream) => {
                stream.try_write(slices.iter().find(|slice| !slice.is_empty()).map_or(&[], |slice| slice))
            }
        }
    }

    /// Whether [`Socket::try_read`] can return bytes for which no readiness event will come.
    pub fn has_leftover(&self) -> bool {
        self.leftover.is_some()
            || match &self.stream {
                Stream::Plain(_) => false,
                Stream::Tls(stream) => stream.has_plaintext(),
                #[cfg(feature = "simulation")]
                Stream::Simulated(_) => false,
            }
    }

    /// Whether [`Socket::try_flush`] has data to send when the socket becomes writable. Always false on a plain connection.
    pub fn wants_write(&self) -> bool {
        match &self.stream {
            Stream::Plain(_) => false,
            Stream::Tls(stream) => stream.wants_write(),
            #[cfg(feature = "simulation")]
            Stream::Simulated(_) => false,
        }
    }

    /// Sends ciphertext that waits in memory.
    ///
    /// # Errors
    ///
    /// `WouldBlock` if some of it still waits; any other error is the end of the connection.
    pub fn try_flush(&mut self) -> io::Result<()> {
        match &mut self.stream {
            Stream::Plain(_) => Ok(()),
            Stream::Tls(stream) => stream.try_flush(),
            #[cfg(feature = "simulation")]
            Stream::Simulated(_) => Ok(()),
        }
    }

    /// Ends our side of the connection: TLS sends close_notify first, and if it cannot be sent now, [`Socket::try_flush`] completes
    /// it. Reading continues.
    ///
    /// # Errors
    ///
    /// `WouldBlock` if flushing must complete it; any other error if the connection has already ended.
    pub fn shutdown_write(&mut self) -> io::Result<()> {
        match &mut self.stream {
            Stream::Plain(stream) => stream.shutdown(Shutdown::Write),
            Stream::Tls(stream) => stream.shutdown_write(),
            #[cfg(feature = "simulation")]
            Stream::Simulated(stream) => {
                stream.shutdown_write();
                Ok(())
            }
        }
    }

    /// Whether the connection is encrypted.
    pub fn is_tls(&self) -> bool {
        matches!(self.stream, Stream::Tls(_))
    }

    /// The peer's address.
    ///
    /// # Errors
    ///
    /// If the connection has already ended.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        match &self.stream {
            Stream::Plain(stream) => stream.peer_addr(),
            Stream::Tls(stream) => stream.socket().peer_addr(),
            #[cfg(feature = "simulation")]
            Stream::Simulated(_) => Err(io::ErrorKind::NotConnected.into()),
        }
    }

    fn source(&mut self) -> &mut mio::net::TcpStream {
        match &mut self.stream {
            Stream::Plain(stream) => stream,
            Stream::Tls(stream) => stream.socket_mut(),
            #[cfg(feature = "simulation")]
            Stream::Simulated(_) => unreachable!("simulated sockets are not the system's"),
        }
    }
}

impl Source for Socket {
    fn register(&mut self, registry: &Registry, token: Token, interests: Interest) -> io::Result<()> {
        #[cfg(feature = "simulation")]
        if let Stream::Simulated(stream) = &self.stream {
            stream.register(registry, token);
            return Ok(());
        }
        self.source().register(registry, token, interests)
    }

    fn reregister(&mut self, registry: &Registry, token: Token, interests: Interest) -> io::Result<()> {
        #[cfg(feature = "simulation")]
        if let Stream::Simulated(stream) = &self.stream {
            stream.register(registry, token);
            return Ok(());
        }
        self.source().reregister(registry, token, interests)
    }

    fn deregister(&mut self, registry: &Registry) -> io::Result<()> {
        #[cfg(feature = "simulation")]
        if let Stream::Simulated(stream) = &self.stream {
            stream.deregister();
            return Ok(());
        }
        self.source().deregister(registry)
    }
}

fn boxed_leftover(leftover: Bytes) -> Option<Box<Bytes>> {
    (!leftover.is_empty()).then(|| Box::new(leftover))
}
