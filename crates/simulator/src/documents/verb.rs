//! [`Verb`]: what is asked of an item.

/// What is asked of an item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verb {
    Create,
    Upsert,
    Replace,
    Delete,
    Read,
}
