//! Sockets without an operating system, for a simulation with one thread. Compiled only with the feature `simulation`.
//!
//! [`pair`] creates a [`Socket`] and the [`Remote`] at its other end. Readiness is edge-triggered like that of `mio`: a shard calls
//! [`take_ready`] where it would otherwise wait for its poll.

pub(crate) mod ends;

pub use ends::{Remote, SocketReadiness, forget, take_ready};

use crate::Socket;

/// A socket and its other end. The socket can write `outward_max` bytes before the other end reads.
pub fn pair(outward_max: usize) -> (Socket, Remote) {
    let (local, remote) = ends::ends(outward_max);
    (Socket::simulated(local), remote)
}
