//! Changes of groups.

use super::EngineHandle;
use crate::command::{GroupChangeResult, ShardCommand};
use crate::{
    ConnectionId, GroupError, GroupName, Hub, Lifetime, Membership, Stopped, UserGroupError, UserId,
};

impl EngineHandle {
    /// Puts a connection into a group or takes it out. Says whether the connection exists.
    ///
    /// # Errors
    ///
    /// If it is in as many groups as it may be, or the engine has ended.
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

    /// Takes a connection out of all its groups. Says whether the connection exists.
    pub async fn leave_all_groups(&self, hub: &Hub, connection: ConnectionId) -> Result<bool, Stopped> {
        let hub = hub.clone();
        self.ask_owner(connection, |found| ShardCommand::LeaveAllGroups { hub, connection, found }).await
    }

    /// Puts a user into a group or takes it out: all its connections, those of now and, by its `lifetime`, those to come. Kept in
    /// memory here; whoever wants it to outlive the process keeps it, and says it again at the next start.
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

    /// Takes a user, with all its connections, out of all its groups.
    pub async fn user_leaves_all_groups(&self, hub: &Hub, user: &UserId) -> Result<(), Stopped> {
        let ask = |done| ShardCommand::UserLeavesAllGroups { hub: hub.clone(), user: user.clone(), done };
        self.ask_all(ask).await.map(|_| ())
    }
}
