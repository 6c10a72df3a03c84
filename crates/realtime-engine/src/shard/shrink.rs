//! Memory goes back when most clients have left: tables keep the size of their busiest hour otherwise.

use super::Shard;
use crate::should_shrink;

impl Shard {
    /// Makes tables smaller that hold little of what they once held. Cheap where there is nothing to do.
    pub(super) fn shrink_tables(&mut self) {
        if !should_shrink(self.connections.len(), self.connections.capacity()) && !self.index.should_shrink()
        {
            return;
        }
        // Places are numbers that others know, so that only those behind the last one in use can go.
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
