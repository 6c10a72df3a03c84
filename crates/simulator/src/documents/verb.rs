//! [`Verb`]: an operation on an item.

/// An operation on an item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verb {
    Create,
    Upsert,
    Replace,
    Delete,
    Read,
}
