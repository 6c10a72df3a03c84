//! HTTP messages as every service of the workspace handles them: the one body type, responses whose body is complete, bounded
//! reading of bodies that others send, and errors with their causes in one line.
//!
//! A body is read within one bound for the whole process ([`Budget`]). Memory or disk space is reserved **before** a body is
//! read, in order of arrival and after a wait of bounded time, and is released when the body is dropped. A body for which there
//! is no capacity is not read; its sender is told to try again later ([`ReadError::retry_after`]).
//!
//! There are three pools, so that one kind of body cannot keep out another:
//!
//! | pool | for | size |
//! |---|---|---|
//! | small | bodies of at most [`SMALL_BYTES`] | an eighth of [`Options::memory_bytes_max`] |
//! | large | other bodies in memory, and the buffers of bodies on their way to disk | the rest of it |
//! | disk | bodies in files ([`Budget::read_or_spill`]) | [`Options::disk_bytes_max`] |
//!
//! A sender may be slow while nobody waits. While others wait, it must keep [`Options::contended_bytes_per_second_min`], or its
//! reservation is released: otherwise a few unfinished uploads could hold all the capacity.
//!
//! It also has the contract of all errors with a code: [`ErrorDescription`] says what a code means, whose fault it is and whether
//! a retry helps. Each service lists its own with [`error_table!`].
//!
//! Not its concern: how fast a body must arrive when there is capacity (the listener's, in `edge`), and how an error is
//! rendered in the protocol of a service (each service's).
//!
//! Know these first: [`Body`], [`Budget`], [`BufferedBody`], [`StoredBody`], [`ReadError`]. Start reading at
//! [`Budget::read`].

mod budget;
mod buffered;
mod error;
mod error_chain;
mod error_description;
mod incoming;
mod message;
mod metrics;
mod options;
mod read;
mod spill;

pub use budget::Budget;
pub use buffered::BufferedBody;
pub use error::ReadError;
pub use error_chain::{ErrorChain, error_chain};
pub use error_description::{ADMIN_NO_SUCH_PATH, ErrorDescription, Fault, RetryAdvice, error_table_markdown};
#[doc(hidden)]
pub use http::StatusCode;
pub use message::{Body, BoxError, JSON, TEXT, empty, full, json, response, text};
pub use metrics::Metrics;
pub use options::Options;
pub use spill::{FileBody, StoredBody};

/// Bodies of at most this many bytes have a pool of their own.
pub const SMALL_BYTES: usize = 64 * 1024;
