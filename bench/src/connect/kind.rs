//! What `bench connect` measures, and the constants that its processes share.

use serde::Serialize;

/// The key that signs the clients' tokens.
pub(super) const KEY: &str = "a-key-of-the-bench-with-as-many-characters-as-such-keys-have";

/// Open files that a server and a generator may have: two for each client of a sample, and those of the process itself.
pub(super) const FILES: u64 = 12_000;

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Kind {
    /// The baseline: the bare stack.
    Bare,
    /// The realtime service without a listener of connection events.
    Chappe,
    /// The same with a listener, so that each client is recorded on disk before it is admitted.
    Listener,
}
