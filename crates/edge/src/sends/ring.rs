//! [`Ring`]: sends by io_uring (io_uring_enter(2)), the only place where the kernel is given pointers of ours.
#![allow(
    unsafe_code,
    reason = "the kernel reads buffers by their addresses; see `Ring::push` for why they are alive"
)]

use std::io;
use std::os::fd::AsRawFd;

use io_uring::{IoUring, opcode, types};
use rustix::net::SendFlags;

use crate::Socket;

/// Sends that are under way at once.
const ENTRIES: u32 = 1024;

/// A queue of sends and one of what became of them, both shared with the kernel.
pub(super) struct Ring(IoUring);

impl std::fmt::Debug for Ring {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_tuple("Ring").finish_non_exhaustive()
    }
}

impl Ring {
    /// # Errors
    ///
    /// If the kernel has no io_uring, or a filter of system calls forbids it, as in most containers.
    pub(super) fn new() -> io::Result<Self> {
        // One thread uses it, and only that one needs to be interrupted for its completions; kernels before 6.0 do not know that.
        let quick = IoUring::builder().setup_single_issuer().setup_coop_taskrun().build(ENTRIES);
        quick.or_else(|_| IoUring::new(ENTRIES)).map(Self)
    }

    /// As [`super::Sends::send_all`]. Nothing is under way any more when it returns.
    ///
    /// # Errors
    ///
    /// If the kernel takes no sends; the ring must not be used again. Then, and for single ones at any time, `results` says of those
    /// that were not sent that they were interrupted.
    pub(super) fn send_all<'a>(
        &mut self,
        mut sends: impl ExactSizeIterator<Item = (&'a Socket, &'a [u8])>,
        results: &mut Vec<io::Result<usize>>,
    ) -> io::Result<()> {
        results.resize_with(sends.len(), || Err(io::ErrorKind::Interrupted.into()));
        let mut first = 0;
        while first < results.len() {
            let mut pushed = 0;
            let mut last = first;
            for (socket, bytes) in sends.by_ref().take(ENTRIES as usize) {
                if self.push(last, socket, bytes) {
                    pushed += 1;
                } else {
                    results[last] = Err(io::ErrorKind::Unsupported.into());
                }
                last += 1;
            }
            self.finish(pushed, results)?;
            if last == first {
                break;
            }
            first = last;
        }
        Ok(())
    }

    /// Puts a send into the queue, to be answered under this number. False for a socket with TLS.
    fn push(&mut self, number: usize, socket: &Socket, bytes: &[u8]) -> bool {
        let Some(stream) = socket.as_plain() else { return false };
        let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        // Sockets are non-blocking, and the flag says so once more: each send is over when the kernel has looked at it.
        let flags = (SendFlags::NOSIGNAL | SendFlags::DONTWAIT).bits();
        let entry = opcode::Send::new(types::Fd(stream.as_raw_fd()), bytes.as_ptr(), length)
            .flags(flags.cast_signed())
            .build()
            .user_data(number as u64);
        // SAFETY: the socket and the bytes are borrowed for as long as `send_all` runs, and `finish`, which it calls, does not return
        // before each send that the kernel has taken is answered. Those that it has not taken when that fails never reach it, since
        // the ring is dropped then.
        unsafe { self.0.submission().push(&entry) }.is_ok()
    }

    /// Hands the queue over, and waits until all is answered.
    fn finish(&mut self, pushed: usize, results: &mut [io::Result<usize>]) -> io::Result<()> {
        let mut left = pushed;
        while left > 0 {
            let submitted = self.0.submit_and_wait(left);
            for completion in self.0.completion() {
                left -= 1;
                let number = usize::try_from(completion.user_data()).unwrap_or(usize::MAX);
                let Some(result) = results.get_mut(number) else { continue };
                *result = usize::try_from(completion.result())
                    .map_err(|_| io::Error::from_raw_os_error(-completion.result()));
            }
            match submitted {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // Not for want of sends that are taken: those are all answered by now.
                Err(error) if self.0.submission().len() == left => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }
}
