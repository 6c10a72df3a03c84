//! Releases memory after most clients have disconnected; otherwise tables keep their largest size.

use super::Shard;
use crate::should_shrink;

impl Shard {
    /// Shrinks tables that use little of their capacity. Cheap if there is nothing to do.
    pub(super) fn shrink_tables(&mut self) {
        if !should_shrink(self.connections.len(), self.connections.capacity()) && !self.index.should_shrink()
        {
            return;
        }
        // Slots are in use as keys, so only those after the last one in use can be released.
        let before = self.connections.capacity();
        self.connections.shrink_to_fit();
        if self.connections.capacity() == before && !self.index.should_shrink() {
            return;
        }
        self.index.shrink();
        self.deadlines.shrink(self.connections.is_empty());
        self.dirty.shrink_to_fit();
        self.unread.shrink_to_fit();
        self.receivers = Vec::new();
        self.soon.shrink_to_fit();
    }
}
