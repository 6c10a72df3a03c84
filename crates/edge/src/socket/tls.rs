//! The TLS side of a [`Socket`](super::Socket): rustls called directly over a non-blocking stream.

use std::io::{self, IoSlice, Read, Write};
use std::net::Shutdown;

use rustls::ServerConnection;

use super::retry::uninterrupted;

#[derive(Debug)]
pub(super) struct TlsStream {
    socket: mio::net::TcpStream,
    session: ServerConnection,
    /// Decrypted bytes that rustls has buffered.
    plaintext_bytes: usize,
    /// close_notify was written; the socket's write side is shut down once all data is sent.
    closing: bool,
}

impl TlsStream {
    pub(super) fn new(socket: mio::net::TcpStream, mut session: ServerConnection, bytes_max: usize) -> Self {
        session.set_buffer_limit(Some(bytes_max));
        // No new data to process: this only reads how much plaintext the HTTP side left. An error is returned again by read.
        let plaintext_bytes =
            session.process_new_packets().map_or(0, |state| state.plaintext_bytes_to_read());
        Self { socket, session, plaintext_bytes, closing: false }
    }

    pub(super) fn socket(&self) -> &mio::net::TcpStream {
        &self.socket
    }

    pub(super) fn socket_mut(&mut self) -> &mut mio::net::TcpStream {
        &mut self.socket
    }

    pub(super) fn has_plaintext(&self) -> bool {
        self.plaintext_bytes > 0
    }

    pub(super) fn wants_write(&self) -> bool {
        self.session.wants_write()
    }

    pub(super) fn try_read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.session.reader().read(buffer) {
                Ok(length) => {
                    self.plaintext_bytes -= length;
                    return Ok(length);
                }
                // The peer closed TCP without close_notify. Frames have their own lengths and the protocol has its own close, so
                // truncation is detected there; here it is treated as a normal end.
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(0),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
            uninterrupted(|| self.session.read_tls(&mut self.socket))?;
            match self.session.process_new_packets() {
                Ok(state) => self.plaintext_bytes = state.plaintext_bytes_to_read(),
                Err(error) => {
                    // Sends the alert to the peer, if it still reads.
                    let _ = self.try_flush();
                    return Err(io::Error::new(io::ErrorKind::InvalidData, error));
                }
            }
            // A key update requires a response.
            if self.session.wants_write() {
                self.send_what_fits()?;
            }
        }
    }

    pub(super) fn try_write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_with(bytes.is_empty(), |session| session.writer().write(bytes))
    }

    pub(super) fn try_write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let empty = slices.iter().all(|slice| slice.is_empty());
        self.write_with(empty, |session| session.writer().write_vectored(slices))
    }

    fn write_with(
        &mut self,
        empty: bool,
        write: impl FnOnce(&mut ServerConnection) -> io::Result<usize>,
    ) -> io::Result<usize> {
        if self.session.wants_write() {
            self.send_what_fits()?;
        }
        let length = write(&mut self.session)?;
        self.send_what_fits()?;
        if length == 0 && !empty { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(length) }
    }

    pub(super) fn try_flush(&mut self) -> io::Result<()> {
        while self.session.wants_write() {
            uninterrupted(|| self.session.write_tls(&mut self.socket))?;
        }
        if self.closing {
            self.closing = false;
            self.socket.shutdown(Shutdown::Write)?;
        }
        Ok(())
    }

    pub(super) fn shutdown_write(&mut self) -> io::Result<()> {
        self.session.send_close_notify();
        self.closing = true;
        self.try_flush()
    }

    /// Flushes; what the socket does not accept now stays buffered.
    fn send_what_fits(&mut self) -> io::Result<()> {
        match self.try_flush() {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
            result => result,
        }
    }
}
