//! Durable memberships of users in groups, for callers in this process.

use super::Handle;
use crate::store::user_groups::MembershipError;
use realtime_engine::{GroupName, Hub, Lifetime, UserId};

impl Handle {
    /// Adds a user to a group: the user's open connections and, depending on `lifetime`, later ones. When the call returns, the
    /// membership is on disk and the shards have applied it.
    ///
    /// # Errors
    ///
    /// If the limit on memberships is reached, the membership cannot be stored on disk, or the service is shutting down.
    pub async fn user_joins_group(
        &self,
        hub: &Hub,
        user: &UserId,
        group: &GroupName,
        lifetime: Lifetime,
    ) -> Result<(), MembershipError> {
        self.shared.user_groups.join(hub, user, group, lifetime).await
    }

    /// Removes a user, with all connections, from a group.
    ///
    /// # Errors
    ///
    /// If the change cannot be stored on disk, or the service is shutting down.
    pub async fn user_leaves_group(
        &self,
        hub: &Hub,
        user: &UserId,
        group: &GroupName,
    ) -> Result<(), MembershipError> {
        self.shared.user_groups.leave(hub, user, group).await
    }

    /// Removes a user, with all connections, from all groups.
    ///
    /// # Errors
    ///
    /// If the change cannot be stored on disk, or the service is shutting down.
    pub async fn user_leaves_all_groups(&self, hub: &Hub, user: &UserId) -> Result<(), MembershipError> {
        self.shared.user_groups.leave_all(hub, user).await
    }
}
