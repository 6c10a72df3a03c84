//! Changes of groups.

use super::EngineHandle;
use crate::command::{GroupChangeResult, ShardCommand};
use crate::{
    ConnectionId, GroupError, GroupName, Hub, Lifetime, Membership, Stopped, UserGroupError, UserId,
};

impl EngineHandle {
    /// Adds a connection to a group or removes it. Returns whether the connection exists.
    ///
    /// # Errors
    ///
    /// If the connection is in too many groups, or the engine has ended.
    pub async fn change_connection(
        &self,
        hub: &Hub,
        connection: ConnectionId,
        group: &GroupName,
        membership: Membership,
    ) -> Result<bool, GroupError> {
        let (hub, group) = (hub.clone(), group.clone());
        let ask = |changed| ShardCommand::ChangeConnection { hub, connection, group, membership, changed };
        match self.ask_owner(connection, ask).await? {
            GroupChangeResult::Done => Ok(true),
            GroupChangeResult::NoConnection => Ok(false),
            GroupChangeResult::TooMany => Err(GroupError::TooMany),
        }
    }

    /// Removes a connection from all its groups. Returns whether the connection exists.
    pub async fn leave_all_groups(&self, hub: &Hub, connection: ConnectionId) -> Result<bool, Stopped> {
        let hub = hub.clone();
        self.ask_owner(connection, |found| ShardCommand::LeaveAllGroups { hub, connection, found }).await
    }

    /// Adds a user to a group or removes it: all its current connections and, depending on `lifetime`, its later ones. The
    /// membership is in memory only; a caller that needs it after a restart stores it, and repeats the call.
    pub async fn change_user(
        &self,
        hub: &Hub,
        user: &UserId,
        group: &GroupName,
        membership: Membership,
        lifetime: Lifetime,
    ) -> Result<(), UserGroupError> {
        let ask = |taken| {
            let (hub, user, group) = (hub.clone(), user.clone(), group.clone());
            ShardCommand::ChangeUser { hub, user, group, membership, lifetime, taken }
        };
        let answers = self.ask_all(ask).await.map_err(|Stopped| UserGroupError::Stopped)?;
        if answers.into_iter().all(|taken| taken) { Ok(()) } else { Err(UserGroupError::Full) }
    }

    /// Removes a user, with all its connections, from all its groups.
    pub async fn user_leaves_all_groups(&self, hub: &Hub, user: &UserId) -> Result<(), Stopped> {
        let ask = |done| ShardCommand::UserLeavesAllGroups { hub: hub.clone(), user: user.clone(), done };
        self.ask_all(ask).await.map(|_| ())
    }
}
