//! [`Upgrade`]: a client's request to switch protocols, and the conversion of its connection to a [`Socket`] or a [`Duplex`].

use std::io;

use bytes::Bytes;
use hyper_util::rt::TokioIo;

use crate::connection_io::{ConnectionIo, Stream};
use crate::descriptors::Descriptor;
use crate::{Duplex, Socket};

/// The client asks to switch protocols; in the extensions of its request.
///
/// Take it out, spawn or keep a future of [`Upgrade::into_socket`] or [`Upgrade::into_duplex`], and answer 101: the future is ready once that response is sent.
/// If the response has another status, or the value is dropped, the connection stays with HTTP.
#[derive(Clone, Debug)]
pub struct Upgrade {
    origin: Origin,
    tls_bytes_max: usize,
}

/// The connection, until a caller takes it over.
#[derive(Clone, Debug)]
enum Origin {
    Http(hyper::upgrade::OnUpgrade),
    /// The first clone that is used gets it.
    #[cfg(feature = "simulation")]
    Simulated(std::sync::Arc<std::sync::Mutex<Option<Socket>>>),
}

/// Why a connection was not handed over.
#[derive(Debug, thiserror::Error)]
pub enum UpgradeError {
    /// The response was not 101, or the connection ended before it was sent, or another caller took the connection over.
    #[error("the connection did not switch protocols")]
    NotSwitched(#[source] hyper::Error),
    /// The request did not come through a [`crate::Listener`].
    #[error("the connection belongs to another server")]
    Foreign,
    /// The operating system refused.
    #[error("cannot remove the connection from the async runtime")]
    Socket(#[source] io::Error),
}

impl Upgrade {
    pub(crate) fn new(upgraded: hyper::upgrade::OnUpgrade, tls_bytes_max: usize) -> Self {
        Self { origin: Origin::Http(upgraded), tls_bytes_max }
    }

    /// The upgrade request of a client whose connection is simulated.
    #[cfg(feature = "simulation")]
    pub fn simulated(socket: Socket) -> Self {
        let origin = Origin::Simulated(std::sync::Arc::new(std::sync::Mutex::new(Some(socket))));
        Self { origin, tls_bytes_max: 0 }
    }

    /// Waits until the 101 response is sent, and takes the connection over.
    ///
    /// # Errors
    ///
    /// If the connection ended, or another response was sent.
    pub async fn into_socket(self) -> Result<Socket, UpgradeError> {
        #[cfg(feature = "simulation")]
        if let Origin::Simulated(socket) = &self.origin {
            let mut socket = socket.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            return socket.take().ok_or(UpgradeError::Foreign);
        }
        let tls_bytes_max = self.tls_bytes_max;
        let (stream, leftover, descriptor) = self.switched().await?;
        let socket = match stream {
            Stream::Plain(stream) => {
                Socket::plain(stream.into_std().map_err(UpgradeError::Socket)?, leftover)
            }
            Stream::Tls(stream) => {
                let (stream, session) = stream.into_inner();
                let stream = stream.into_std().map_err(UpgradeError::Socket)?;
                Socket::tls(stream, session, tls_bytes_max, leftover)
            }
        };
        Ok(socket.with_descriptor(descriptor))
    }

    /// As [`Upgrade::into_socket`], but the connection stays with the async runtime.
    ///
    /// # Errors
    ///
    /// If the connection ended, or another response was sent.
    pub async fn into_duplex(self) -> Result<Duplex, UpgradeError> {
        let (stream, leftover, descriptor) = self.switched().await?;
        Ok(Duplex::new(stream, leftover, descriptor))
    }

    async fn switched(self) -> Result<(Stream, Bytes, Option<Descriptor>), UpgradeError> {
        let upgraded = match self.origin {
            Origin::Http(upgraded) => upgraded.await.map_err(UpgradeError::NotSwitched)?,
            #[cfg(feature = "simulation")]
            Origin::Simulated(_) => return Err(UpgradeError::Foreign),
        };
        let parts = upgraded.downcast::<TokioIo<ConnectionIo>>().map_err(|_other| UpgradeError::Foreign)?;
        let (stream, unread, descriptor) = parts.io.into_inner().into_parts();
        Ok((stream, joined(parts.read_buf, unread), descriptor))
    }
}

/// The bytes that HTTP had read, followed by those that it had not yet read.
fn joined(first: Bytes, second: Bytes) -> Bytes {
    match (first.is_empty(), second.is_empty()) {
        // Not the empty slice of HTTP: it would keep HTTP's read buffer allocated as long as the connection exists.
        (true, true) => Bytes::new(),
        (false, true) => first,
        (true, false) => second,
        (false, false) => [first, second].concat().into(),
    }
}
