//! [`Layout`]: what a store expects of its database file.

use std::path::Path;

/// What to do if acknowledged data is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LossPolicy {
    /// Fail, or open read-only if something can be read.
    Refuse,
    /// Continue with the remaining data.
    Accept,
}

/// What a store expects of its file.
#[derive(Clone, Copy, Debug)]
pub struct Layout<'a> {
    /// The name of the part, for `--accept-loss`.
    pub part: &'static str,
    /// The database file. The names of the other files begin with its name.
    pub path: &'a Path,
    /// The format that this version reads and writes, at least 2; stored as `user_version`. A file of format 1 has the same
    /// tables and no checksums, and is rewritten with them.
    pub format: u32,
    /// The statements that create the tables.
    pub tables: &'a str,
    /// The size of the connection's cache, in KiB.
    pub cache_kib: u32,
}
