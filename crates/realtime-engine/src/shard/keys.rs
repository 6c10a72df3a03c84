//! Numbers of connections, hubs, users and groups within one shard.

/// Number of a connection in its shard's table; used again after it ends.
pub(crate) type Slot = u32;

/// Number of a hub in its shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct HubKey(pub(crate) u32);

/// Number of a user in its shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct UserKey(pub(crate) u32);

/// Number of a group in its shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct GroupKey(pub(crate) u32);
