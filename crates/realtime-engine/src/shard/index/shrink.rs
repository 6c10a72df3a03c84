//! Shrinks the index.

use super::Index;
use crate::should_shrink;

impl Index {
    /// Whether it uses little of its capacity.
    pub(crate) fn should_shrink(&self) -> bool {
        should_shrink(self.by_id.len(), self.by_id.capacity())
            || should_shrink(self.user_keys.len(), self.user_keys.capacity())
    }

    /// Releases unused memory.
    pub(crate) fn shrink(&mut self) {
        self.by_id.shrink_to(2 * self.by_id.len());
        self.users.shrink_to_fit();
        self.user_keys.shrink_to(2 * self.user_keys.len());
        self.groups.shrink_to_fit();
        self.group_keys.shrink_to(2 * self.group_keys.len());
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::registry::Registry;

    use super::*;
    use crate::id::ShardId;
    use crate::metrics::EngineMetrics;
    use crate::{ConnectionId, NodeId, Options};

    #[test]
    fn an_index_without_connections_releases_its_memory() {
        let metrics = EngineMetrics::register(&mut Registry::default());
        let mut index = Index::new(metrics, &Options::default());
        let ids: Vec<ConnectionId> = (0..5_000).map(|_| ConnectionId::draw(NodeId(0), ShardId(0))).collect();
        for (slot, id) in ids.iter().enumerate() {
            index.admit(*id, slot as u32);
        }
        assert!(!index.should_shrink());
        for id in &ids[1..] {
            index.forget(*id);
        }
        assert!(index.should_shrink());
        index.shrink();
        assert!(!index.should_shrink() && index.by_id.capacity() < 100);
        assert_eq!(index.slot(ids[0]), Some(0));
    }
}
