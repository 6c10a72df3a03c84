//! The two ends of a simulated connection.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use mio::{Poll, Token};

/// Events of a socket that is registered with a poll.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SocketReadiness {
    /// The token of the registration.
    pub token: Token,
    /// There are bytes to read, or the end of the stream.
    pub is_readable: bool,
    /// Bytes can be written, or the connection is lost.
    pub is_writable: bool,
}

thread_local! {
    /// The events since the last call, with the poll that they belong to.
    static READY: RefCell<Vec<(i32, SocketReadiness)>> = const { RefCell::new(Vec::new()) };
}

/// The events of the sockets of a poll since the last call.
pub fn take_ready(poll: &Poll) -> Vec<SocketReadiness> {
    let of = number(poll.registry());
    READY.with_borrow_mut(|all| all.extract_if(.., |(poll, _)| *poll == of).map(|(_, ready)| ready).collect())
}

/// Clears all events.
pub fn forget() {
    READY.take();
}

/// A registry is identified by its descriptor.
fn number(registry: &mio::Registry) -> i32 {
    #[cfg(unix)]
    return std::os::fd::AsRawFd::as_raw_fd(registry);
    #[cfg(not(unix))]
    return i32::from(std::ptr::from_ref(registry).is_null());
}

/// The other end of a simulated [`Socket`](crate::Socket), and the network between.
#[derive(Clone, Debug)]
pub struct Remote(Arc<Mutex<Shared>>);

/// The end that a [`Socket`](crate::Socket) uses.
#[derive(Debug)]
pub(crate) struct Local(Arc<Mutex<Shared>>);

#[derive(Debug, Default)]
struct Shared {
    /// Bytes on their way to the socket.
    inward: VecDeque<u8>,
    /// Bytes that the socket wrote and the remote end has not read.
    outward: VecDeque<u8>,
    /// Most bytes in `outward`.
    outward_max: usize,
    /// The remote end sends no more bytes.
    is_inward_ended: bool,
    /// The socket sends no more bytes.
    is_outward_ended: bool,
    /// No more bytes arrive, in either direction.
    is_cut: bool,
    /// The last write of the socket did not fit.
    wants_write: bool,
    registered: Option<(i32, Token)>,
}

/// Creates the two ends of a connection. The local one can write `outward_max` bytes before the remote one reads.
pub(crate) fn ends(outward_max: usize) -> (Local, Remote) {
    let shared = Arc::new(Mutex::new(Shared { outward_max, ..Shared::default() }));
    (Local(Arc::clone(&shared)), Remote(shared))
}

impl Shared {
    fn tell(&self, is_readable: bool, is_writable: bool) {
        if let Some((poll, token)) = self.registered {
            READY
                .with_borrow_mut(|all| all.push((poll, SocketReadiness { token, is_readable, is_writable })));
        }
    }
}

fn lock(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Remote {
    /// Sends bytes to the socket.
    pub fn send(&self, bytes: &[u8]) {
        let mut shared = lock(&self.0);
        if !shared.is_cut && !shared.is_inward_ended {
            shared.inward.extend(bytes);
            shared.tell(true, false);
        }
    }

    /// Reads at most `bytes_max` bytes of what the socket wrote.
    pub fn receive(&self, bytes_max: usize) -> Vec<u8> {
        let mut shared = lock(&self.0);
        let length = shared.outward.len().min(bytes_max);
        let bytes = shared.outward.drain(..length).collect();
        if length > 0 && std::mem::take(&mut shared.wants_write) {
            shared.tell(false, true);
        }
        bytes
    }

    /// Whether the socket will send nothing after the bytes that are waiting.
    pub fn has_ended(&self) -> bool {
        let shared = lock(&self.0);
        shared.is_outward_ended || shared.is_cut
    }

    /// Closes this side regularly.
    pub fn end(&self) {
        let mut shared = lock(&self.0);
        shared.is_inward_ended = true;
        shared.tell(true, false);
    }

    /// Cuts the connection: bytes on their way in either direction are lost.
    pub fn cut(&self) {
        let mut shared = lock(&self.0);
        shared.is_cut = true;
        shared.inward.clear();
        shared.outward.clear();
        shared.tell(true, true);
    }
}

impl Local {
    pub(crate) fn try_read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut shared = lock(&self.0);
        if shared.is_cut {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        let length = shared.inward.len().min(buffer.len());
        if length == 0 {
            return if shared.is_inward_ended { Ok(0) } else { Err(io::ErrorKind::WouldBlock.into()) };
        }
        for (place, byte) in buffer.iter_mut().zip(shared.inward.drain(..length)) {
            *place = byte;
        }
        Ok(length)
    }

    pub(crate) fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        let mut shared = lock(&self.0);
        if shared.is_cut || shared.is_outward_ended {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let length = (shared.outward_max - shared.outward.len().min(shared.outward_max)).min(bytes.len());
        shared.wants_write |= length < bytes.len();
        if length == 0 && !bytes.is_empty() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        shared.outward.extend(&bytes[..length]);
        Ok(length)
    }

    pub(crate) fn shutdown_write(&self) {
        lock(&self.0).is_outward_ended = true;
    }

    pub(crate) fn register(&self, registry: &mio::Registry, token: Token) {
        let mut shared = lock(&self.0);
        shared.registered = Some((number(registry), token));
        let is_readable = !shared.inward.is_empty() || shared.is_inward_ended || shared.is_cut;
        shared.tell(is_readable, true);
    }

    pub(crate) fn deregister(&self) {
        lock(&self.0).registered = None;
    }
}

impl Drop for Local {
    fn drop(&mut self) {
        let mut shared = lock(&self.0);
        shared.registered = None;
        shared.is_outward_ended = true;
        shared.is_inward_ended = true;
    }
}
