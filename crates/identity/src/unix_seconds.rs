//! [`UnixSeconds`]: time in tokens and signatures.

/// Seconds since the Unix epoch. The current time is an argument everywhere in this crate.
pub type UnixSeconds = u64;
