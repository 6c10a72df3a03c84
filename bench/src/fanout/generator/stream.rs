//! [`Stream`]: a client's connection, plain or TLS, and the count of what arrives.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;

use anyhow::{Context, bail};
use rustix::net::RecvFlags;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName};

use crate::fanout::task::MARK;

/// What TLS 1.3 adds to each record with AES-GCM or ChaCha20 (RFC 8446, 5.2): head, type and tag.
pub(super) const RECORD_EXTRA_BYTES: u64 = 5 + 1 + 16;

/// How one message is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unit {
    /// By bytes, if each message is one frame of known size.
    Bytes,
    /// By its mark, if a server may put several messages into one frame, or other frames between them.
    Marks,
}

/// A client's connection.
pub(super) enum Stream {
    Plain(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

impl Stream {
    pub(super) fn socket(&self) -> &TcpStream {
        match self {
            Self::Plain(stream) => stream,
            Self::Tls(stream) => &stream.sock,
        }
    }

    /// Reads what has arrived, and returns how much of it counts.
    pub(super) fn read_all(&mut self, buffer: &mut [u8], unit: Unit) -> anyhow::Result<u64> {
        let mut count = 0;
        loop {
            match self.read(buffer) {
                Ok(0) => bail!("the server closed a connection"),
                Ok(length) => {
                    count += match unit {
                        Unit::Bytes => length as u64,
                        Unit::Marks => memchr::memchr_iter(MARK, &buffer[..length]).count() as u64,
                    };
                    // A plain read that does not fill the buffer has emptied the socket.
                    if matches!(self, Self::Plain(_)) && length < buffer.len() {
                        return Ok(count);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(count),
                Err(error) => return Err(error).context("read what was published"),
            }
        }
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.read(buffer),
            Self::Tls(stream) => stream.read(buffer),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.write(bytes),
            Self::Tls(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(stream) => stream.flush(),
            Self::Tls(stream) => stream.flush(),
        }
    }
}

/// Discards what has arrived, and returns the number of bytes; for TLS, of encrypted bytes. The kernel copies nothing (`MSG_TRUNC` of
/// tcp(7)).
pub(crate) fn discard_all(socket: &TcpStream, buffer: &mut [u8]) -> anyhow::Result<u64> {
    let mut count = 0;
    loop {
        match rustix::net::recv(socket, &mut *buffer, RecvFlags::TRUNC) {
            Ok((_, 0)) => bail!("the server closed a connection"),
            Ok((_, length)) => {
                count += length as u64;
                if length < buffer.len() {
                    return Ok(count);
                }
            }
            Err(rustix::io::Errno::WOULDBLOCK) => return Ok(count),
            Err(error) => return Err(error).context("read what was published"),
        }
    }
}

/// Trusts one certificate authority.
pub(super) fn tls(authority: &std::path::Path) -> anyhow::Result<Arc<ClientConfig>> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(authority).context("read the authority's certificate")?)?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}

pub(super) fn secure(stream: TcpStream, config: &Arc<ClientConfig>) -> anyhow::Result<Stream> {
    let name = ServerName::try_from("localhost")?;
    let connection = ClientConnection::new(Arc::clone(config), name)?;
    Ok(Stream::Tls(Box::new(StreamOwned::new(connection, stream))))
}
