//! Users in groups, durably, for callers in this process.

use super::Handle;
use crate::store::user_groups::MembershipError;
use realtime_engine::{GroupName, Hub, Lifetime, UserId};

impl Handle {
    /// Puts a user into a group: all its connections, those of now and, by the `lifetime`, those to come. When this returns, the membership
    /// is on disk and the shards know it.
    ///
    /// # Errors
    ///
    /// If there is no room for another membership, it cannot be kept on disk, or the service is shutting down.
    pub async fn user_joins_group(
        &self,
        hub: &Hub,
        user: &UserId,
        group: &GroupName,
        lifetime: Lifetime,
    ) -> Result<(), MembershipError> {
        self.shared.user_groups.join(hub, user, group, lifetime).await
    }

    /// Takes a user, with all its connections, out of a group.
    ///
    /// # Errors
    ///
    /// If that cannot be kept on disk, or the service is shutting down.
    pub async fn user_leaves_group(
        &self,
        hub: &Hub,
        user: &UserId,
        group: &GroupName,
    ) -> Result<(), MembershipError> {
        self.shared.user_groups.leave(hub, user, group).await
    }

    /// Takes a user, with all its connections, out of all its groups.
    ///
    /// # Errors
    ///
    /// If that cannot be kept on disk, or the service is shutting down.
    pub async fn user_leaves_all_groups(&self, hub: &Hub, user: &UserId) -> Result<(), MembershipError> {
        self.shared.user_groups.leave_all(hub, user).await
    }
}
