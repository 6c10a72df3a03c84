//! [`Forwarding`]: the progress of a message that is forwarded to an app server in parts.

use super::splitter::MessageSplitter;

/// What a stateful client of an app server is in the middle of.
#[derive(Debug)]
pub(crate) struct Forwarding {
    pub(super) splitter: MessageSplitter,
    /// Whether the long message under way is forwarded, and whether it is one that is numbered.
    pub(super) is_forwarded: bool,
    pub(super) is_sequenced: bool,
}
