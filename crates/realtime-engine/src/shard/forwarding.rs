//! [`Forwarding`]: the progress of a message that is forwarded to an app server in parts.

use super::splitter::MessageSplitter;

/// The state of forwarding for a stateful client.
#[derive(Debug)]
pub(crate) struct Forwarding {
    pub(super) splitter: MessageSplitter,
    /// Whether the current long message is forwarded, and whether it is counted.
    pub(super) is_forwarded: bool,
    pub(super) is_sequenced: bool,
}
