//! The limits of a page.

/// The size limits of a page.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PageLimits {
    pub(crate) items: usize,
    pub(crate) bytes: usize,
    pub(crate) sort_rows: usize,
}

/// Most bytes of values in memory for ORDER BY, or for MIN and MAX.
pub(super) const HELD_BYTES_MAX: usize = 64 * 1024 * 1024;
