//! Groups: connections and users join and leave them; and the members that the service lists when no work is left.

use std::collections::BTreeSet;

use anyhow::{Context, Result, bail, ensure};
use realtime_engine::{ConnectionId, GroupName, Lifetime, ListScope, Membership, UserId};

use super::client::SimulatedClient;
use super::{Delivery, GROUPS, KEPT, USERS};
use crate::system;

impl Delivery<'_> {
    pub(super) fn change_group(&mut self, number: usize, membership: Membership) -> Result<()> {
        let group = *self.chance.one_of(&GROUPS[1..]);
        let Some(client) = self.clients[number].as_ref().filter(|client| client.is_open) else {
            return Ok(());
        };
        let (connection, id) = (client.number, client.id);
        self.events.add(format_args!("client {number}: {membership:?} {group}"));
        if membership == Membership::Join {
            self.model.joining(connection, group);
        } else {
            self.model.leaving(connection, group);
        }
        let process = self.process()?;
        let (hub, engine) = (process.handle.hub("chat")?, process.handle.engine().clone());
        let group_name = GroupName::new(group);
        let changed = process
            .finish(async { engine.change_connection(&hub, id, &group_name, membership).await }, || Ok(()))?;
        if changed.is_ok_and(|found| found) && membership == Membership::Join {
            self.model.joined(connection, group);
        }
        Ok(())
    }

    /// A user joins or leaves a group, with all its connections.
    pub(super) fn change_user(&mut self, membership: Membership) -> Result<()> {
        let user = self.chance.below(USERS);
        let group = if self.chance.once_in(2) { KEPT } else { *self.chance.one_of(&GROUPS) };
        self.events.add(format_args!("user {user}: {membership:?} {group}"));
        self.model.user_changes(user, group, membership == Membership::Join);
        for client in self.clients.iter_mut().flatten().filter(|client| client.user == user) {
            if let Some(following) = &mut client.following {
                following.has_left |= membership == Membership::Leave;
            }
        }
        let process = self.process()?;
        let (hub, handle) = (process.handle.hub("chat")?, process.handle.clone());
        let (name, group_name) = (user_name(user), GroupName::new(group));
        let changed = process.finish(
            async {
                match membership {
                    Membership::Join => {
                        handle.user_joins_group(&hub, &name, &group_name, Lifetime::Always).await
                    }
                    Membership::Leave => handle.user_leaves_group(&hub, &name, &group_name).await,
                }
            },
            || Ok(()),
        )?;
        match changed {
            Ok(()) => {
                self.model.user_changed(user, group, membership == Membership::Join);
                let listed = self.list(&ListScope::Group(GroupName::new(group)))?;
                // A client that asks to follow may join the group with that.
                let is_out = |client: &&SimulatedClient| client.user == user && client.following.is_none();
                let of_user = self.clients.iter().flatten().filter(is_out);
                let has_stayed = of_user.map(|client| client.id).find(|id| listed.contains(id));
                ensure!(
                    membership == Membership::Join || has_stayed.is_none(),
                    "user {user} has left {group}, which has the members {listed:?}"
                );
            }
            Err(error) => {
                self.events.add(format_args!("user {user} {membership:?} {group}: {error}"));
                let has_reason = system::disk(|disk| disk.was_full())
                    || !self.process()?.supervisor.not_ready().is_empty();
                ensure!(has_reason, "the user's group is not changed although no fault is the reason");
            }
        }
        Ok(())
    }

    /// Compares the members of each group, as the service lists them, with the model.
    pub(super) fn check_members(&self) -> Result<()> {
        let open: Vec<(u64, ConnectionId)> = self
            .clients
            .iter()
            .flatten()
            .filter(|client| client.is_open)
            .map(|client| (client.number, client.id))
            .collect();
        let ids = |numbers: &BTreeSet<u64>| -> BTreeSet<ConnectionId> {
            open.iter().filter(|(number, _)| numbers.contains(number)).map(|(_, id)| *id).collect()
        };
        let all: BTreeSet<u64> = open.iter().map(|(number, _)| *number).collect();
        let mut expected = vec![("the hub".to_owned(), ListScope::Hub, all)];
        for group in GROUPS {
            if let Some(members) = self.model.members(group) {
                expected.push((group.to_owned(), ListScope::Group(GroupName::new(group)), members));
            }
        }
        for user in 0..USERS {
            let scope = ListScope::User(user_name(user));
            expected.push((format!("user {user}"), scope, self.model.connections_of(user)));
        }
        for (name, scope, numbers) in expected {
            let listed: BTreeSet<ConnectionId> = self.list(&scope)?.into_iter().collect();
            let expected = ids(&numbers);
            ensure!(listed == expected, "{name} has the members {listed:?}, and should have {expected:?}");
        }
        let process = self.process()?;
        let (hub, engine) = (process.handle.hub("chat")?, process.handle.engine().clone());
        let counts = process.finish(async { engine.counts(&hub).await }, || Ok(()))?;
        let counts = counts.context("the engine runs")?;
        ensure!(
            counts.connections == open.len() as u64,
            "{} connections are counted, and {} are open",
            counts.connections,
            open.len()
        );
        Ok(())
    }

    /// The connections that the service lists.
    pub(super) fn list(&self, scope: &ListScope) -> Result<Vec<ConnectionId>> {
        let process = self.process()?;
        let (hub, engine) = (process.handle.hub("chat")?, process.handle.engine().clone());
        let listed =
            process.finish(async { engine.list_members(&hub, scope, None, 100).await }, || Ok(()))?;
        let Ok(listed) = listed else { bail!("the engine has ended") };
        Ok(listed.into_iter().map(|entry| entry.connection).collect())
    }
}

fn user_name(user: usize) -> UserId {
    UserId::new(&format!("user{user}"))
}
