//! The limits of a page.

/// How large a page may be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PageLimits {
    pub(crate) items: usize,
    pub(crate) bytes: usize,
    pub(crate) sort_rows: usize,
}

/// Most bytes of values that ORDER BY, or MIN and MAX, hold in memory.
pub(super) const HELD_BYTES_MAX: usize = 64 * 1024 * 1024;
