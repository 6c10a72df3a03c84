//! Reads bodies that others send (requests of clients, answers of upstreams) within one bound for the whole process.
//!
//! Room is taken **before** a body is read, in order of arrival and after a wait of bounded time, and is given back when the body
//! is dropped. A body that finds no room is not read; its sender is told to come back ([`ReadError::retry_after`]).
//!
//! There are three pools, so that one kind of body cannot keep out another:
//!
//! | pool | for | size |
//! |---|---|---|
//! | small | bodies of at most [`SMALL_BYTES`] | an eighth of [`Options::memory_bytes_max`] |
//! | large | other bodies in memory, and the buffers of bodies on their way to disk | the rest of it |
//! | disk | bodies in files ([`Budget::read_or_spill`]) | [`Options::disk_bytes_max`] |
//!
//! A slow sender may take its time while nobody waits. While others wait, it must keep [`Options::contended_bytes_per_second_min`],
//! or it loses its place: otherwise a few unfinished uploads could hold all the room.
//!
//! Not its concern: how fast a body must arrive when there is room enough (that is the listener's), and how a refusal looks on
//! the wire (that is each service's).
//!
//! Know these first: [`Budget`], [`Held`], [`Content`], [`ReadError`]. Start reading at [`Budget::read`].

mod budget;
mod error;
mod metrics;
mod options;
mod read;
mod spill;

pub use budget::Budget;
pub use error::{BoxError, ReadError};
pub use metrics::Metrics;
pub use options::Options;
pub use read::Held;
pub use spill::{Content, Spilled};

/// Bodies of at most this many bytes have a pool of their own.
pub const SMALL_BYTES: usize = 64 * 1024;
