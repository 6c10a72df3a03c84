//! Sockets without an operating system, for a simulation with one thread. Compiled only with the feature `simulation`.
//!
//! [`pair`] makes a [`Socket`] and the [`Remote`] at its other end. Readiness is edge-triggered as that of `mio`: a shard asks
//! [`take_ready`] for it where it would otherwise wait for its poll.

pub(crate) mod ends;

pub use ends::{Remote, SocketReadiness, forget, take_ready};

use crate::Socket;

/// A socket and its other end. The socket can write `outward_max` bytes before the other end reads.
pub fn pair(outward_max: usize) -> (Socket, Remote) {
    let (local, remote) = ends::ends(outward_max);
    (Socket::simulated(local), remote)
}
