//! Presence: which connections, users and groups exist.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{EngineHandle, Stopped};
use crate::command::{PresenceQuery, ShardCommand};
use crate::trace_subscription::subscription;
use crate::{
    Action, ConnectionEntry, ConnectionId, GroupName, Hub, ListScope, NameKind, NamedCount, Predicate,
    PresenceCounts, TraceFilter, TraceSubscription, UserId,
};

impl EngineHandle {
    /// Whether the connection exists and has completed its handshake.
    pub async fn connection_exists(&self, hub: &Hub, connection: ConnectionId) -> Result<bool, Stopped> {
        let hub = hub.clone();
        let subject = PresenceQuery::Connection(connection);
        self.ask_owner(connection, |answer| ShardCommand::Exists { hub, subject, answer }).await
    }

    /// Whether the user has a connection.
    pub async fn user_exists(&self, hub: &Hub, user: &UserId) -> Result<bool, Stopped> {
        self.exists(hub, &PresenceQuery::User(user.clone())).await
    }

    /// Whether the group has a connection.
    pub async fn group_exists(&self, hub: &Hub, group: &GroupName) -> Result<bool, Stopped> {
        self.exists(hub, &PresenceQuery::Group(group.clone())).await
    }

    /// Whether the user was added to the group, or has a connection that was.
    pub async fn user_in_group(&self, hub: &Hub, user: &UserId, group: &GroupName) -> Result<bool, Stopped> {
        self.exists(hub, &PresenceQuery::UserInGroup(user.clone(), group.clone())).await
    }

    /// Whether the connection is a member of the group.
    pub async fn connection_in_group(
        &self,
        hub: &Hub,
        connection: ConnectionId,
        group: &GroupName,
    ) -> Result<bool, Stopped> {
        let (hub, subject) = (hub.clone(), PresenceQuery::ConnectionInGroup(connection, group.clone()));
        self.ask_owner(connection, |answer| ShardCommand::Exists { hub, subject, answer }).await
    }

    /// Number of connections that have completed their handshake, in one hub or in all.
    pub async fn connection_count(&self, hub: Option<&Hub>) -> Result<u64, Stopped> {
        let counts = self.ask_all(|answer| ShardCommand::Count { hub: hub.cloned(), answer }).await?;
        Ok(counts.into_iter().sum())
    }

    async fn exists(&self, hub: &Hub, subject: &PresenceQuery) -> Result<bool, Stopped> {
        let ask = |answer| ShardCommand::Exists { hub: hub.clone(), subject: subject.clone(), answer };
        Ok(self.ask_all(ask).await?.contains(&true))
    }

    /// At most `max` connections of a hub, a group or a user, in the order of their ids, after the id `after`.
    ///
    /// # Errors
    ///
    /// If the engine has ended.
    pub async fn list_members(
        &self,
        hub: &Hub,
        scope: &ListScope,
        after: Option<ConnectionId>,
        max: usize,
    ) -> Result<Vec<ConnectionEntry>, Stopped> {
        let ask = |answer| ShardCommand::ListConnections {
            hub: hub.clone(),
            scope: scope.clone(),
            after,
            max,
            answer,
        };
        let mut members: Vec<ConnectionEntry> = self.ask_all(ask).await?.into_iter().flatten().collect();
        members.sort_unstable_by_key(|member| member.connection);
        members.truncate(max);
        Ok(members)
    }

    /// At most `max` users or groups of a hub that have connections, in the order of their names, after the name `after`.
    ///
    /// # Errors
    ///
    /// If the engine has ended.
    pub async fn list_names(
        &self,
        hub: &Hub,
        names: NameKind,
        after: Option<&str>,
        max: usize,
    ) -> Result<Vec<NamedCount>, Stopped> {
        let ask = |answer| ShardCommand::ListNames {
            hub: hub.clone(),
            names,
            after: after.map(Into::into),
            max,
            answer,
        };
        let mut all: BTreeMap<String, u64> = BTreeMap::new();
        for NamedCount { name, connections } in self.ask_all(ask).await?.into_iter().flatten() {
            *all.entry(name).or_default() += connections;
        }
        Ok(all.into_iter().take(max).map(|(name, connections)| NamedCount { name, connections }).collect())
    }

    /// The numbers of connections, users and groups of a hub.
    ///
    /// # Errors
    ///
    /// If the engine has ended.
    pub async fn counts(&self, hub: &Hub) -> Result<PresenceCounts, Stopped> {
        let mut all = PresenceCounts::default();
        for counts in self.ask_all(|answer| ShardCommand::CountPresence { hub: hub.clone(), answer }).await? {
            all.add(counts);
        }
        Ok(all)
    }

    /// Applies actions, one after the other, to the connections of a hub that match a predicate; returns how many match. The predicate is
    /// evaluated once, before the first action.
    ///
    /// # Errors
    ///
    /// If the engine has ended.
    pub async fn execute(&self, hub: &Hub, which: Predicate, actions: Vec<Action>) -> Result<u64, Stopped> {
        let (which, actions): (_, Arc<[Action]>) = (Arc::new(which), actions.into());
        let ask = |answer| {
            let (which, actions) = (Arc::clone(&which), Arc::clone(&actions));
            ShardCommand::Execute { hub: hub.clone(), which, actions, answer }
        };
        Ok(self.ask_all(ask).await?.into_iter().sum())
    }

    /// Subscribes to the live trace, from now on.
    ///
    /// # Errors
    ///
    /// If the engine has ended.
    pub async fn subscribe_trace(&self, filter: TraceFilter) -> Result<TraceSubscription, Stopped> {
        let (sink, subscription) = subscription(filter);
        for shard in &self.0.shards {
            shard.send(ShardCommand::SubscribeTrace(Box::new(sink.clone()))).await?;
        }
        Ok(subscription)
    }
}
