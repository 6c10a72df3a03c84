//! Followers of the group with history: their requests, and the positions that they receive.

use anyhow::{Context, Result, ensure};
use realtime_engine::{GroupName, ListScope};
use serde_json::{Value, json};

use super::client::Following;
use super::{Delivery, KEPT};
use crate::system;

impl Delivery<'_> {
    pub(super) fn follow(&mut self, number: usize) -> Result<()> {
        let known = self.positions[number].clone();
        let Some(client) = self.clients[number].as_mut().filter(|client| client.is_open) else {
            return Ok(());
        };
        if client.following.is_some() || client.position.is_some() {
            return Ok(());
        }
        self.events.add(format_args!("client {number} follows from {known:?}"));
        self.model.following(client.number, KEPT);
        client.following = Some(Following::default());
        client.position = known;
        let arguments = match &client.position {
            Some((epoch, offset)) => json!([KEPT, format!("{epoch}-{offset}")]),
            None => json!([KEPT]),
        };
        client.invoke("follow", "chappe.follow", &arguments);
        Ok(())
    }

    /// The position after a message of the group with history.
    pub(super) fn placed(&mut self, number: usize, message: &Value) -> Result<()> {
        let Some(client) = &mut self.clients[number] else { return Ok(()) };
        let position = message["arguments"][1].as_str().context("a position")?;
        let (epoch, next) = position.split_once('-').context("an epoch and a number")?;
        let next: u64 = next.parse()?;
        // New messages without positions may come between a missed message and its position.
        let is_mixed = client.following.is_some() && self.model.was_member(client.number, KEPT);
        if !is_mixed {
            let id = client.unplaced.take().context("a position without a message")?;
            self.model.placed(id, epoch, next - 1)?;
        }
        let is_next =
            client.position.as_ref().is_none_or(|(known, offset)| known == epoch && offset + 1 == next);
        match &mut client.following {
            Some(following) => {
                following.replayed += 1;
                following.has_jumped |= !is_next;
            }
            None => ensure!(is_next, "position {position} does not follow {:?}", client.position),
        }
        client.position = Some((epoch.to_owned(), next));
        Ok(())
    }

    /// The response to `chappe.follow`.
    pub(super) fn followed(&mut self, number: usize, message: &Value) -> Result<()> {
        let Some(client) = &mut self.clients[number] else { return Ok(()) };
        let Following { replayed, has_jumped, has_left } =
            client.following.take().context("nothing was asked")?;
        self.events.add(format_args!("client {number} follows: {message}"));
        if !message["error"].is_null() {
            let is_gone =
                has_left && message["error"].as_str().is_some_and(|text| text.contains("left the group"));
            let is_full = system::disk(|disk| disk.was_full());
            ensure!(is_gone || is_full, "it cannot follow, and the disk has room");
            client.position = None;
            return Ok(());
        }
        let result = &message["result"];
        ensure!(!has_jumped || result["gap"] == true, "positions jumped, and it says that there is no gap");
        let position = result["position"].as_str().context("a position")?;
        let (epoch, next) = position.split_once('-').context("an epoch and a number")?;
        let answered: (String, u64) = (epoch.to_owned(), next.parse()?);
        // Missed messages come before the response, and new ones after it.
        ensure!(
            result["messages"] == replayed,
            "{replayed} messages with positions came before the response, which says {}",
            result["messages"]
        );
        // A member that follows gets new messages without positions until the response.
        let may_be_behind = self.model.was_member(client.number, KEPT);
        let is_known = client.position.as_ref().is_none_or(|known| {
            *known == answered || may_be_behind && known.0 == answered.0 && known.1 < answered.1
        });
        ensure!(
            is_known || result["gap"] == true,
            "it is at {answered:?}, and heard up to {:?}",
            client.position
        );
        client.position = Some(answered);
        let (connection, id) = (client.number, client.id);
        // Its user may have left the group after it became a follower, and before it has read the response.
        if !has_left || self.list(&ListScope::Group(GroupName::new(KEPT)))?.contains(&id) {
            self.model.joined(connection, KEPT);
        }
        Ok(())
    }
}
