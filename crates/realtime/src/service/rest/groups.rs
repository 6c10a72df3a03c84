//! Memberships of connections and users in groups.

use std::time::Duration;

use http::StatusCode;

use super::request::RestRequest;
use crate::error_table;
use crate::names::group;
use crate::rejection::Rejection;
use realtime_engine::{ConnectionId, Lifetime, Membership, UserId};

/// Longest time for which a user can be in a group: a year, as in the real service.
const SECONDS_MAX: u64 = 366 * 24 * 60 * 60;

impl RestRequest<'_> {
    pub(super) async fn connection_joins(
        &self,
        connection: &str,
        name: &str,
    ) -> Result<StatusCode, Rejection> {
        if self.change(connection, name, Membership::Join).await? {
            Ok(StatusCode::OK)
        } else {
            // The SDK expects this code, and treats any other 404 as a failure.
            Err(Rejection::new(&error_table::ERROR_CONNECTION_NOT_EXISTED, "the connection does not exist"))
        }
    }

    /// Succeeds also if the connection does not exist: it is in no group then, and the SDK treats any 404 here as a failure.
    pub(super) async fn connection_leaves(
        &self,
        connection: &str,
        name: &str,
    ) -> Result<StatusCode, Rejection> {
        self.change(connection, name, Membership::Leave).await?;
        Ok(StatusCode::OK)
    }

    /// As [`RestRequest::connection_leaves`].
    pub(super) async fn connection_leaves_all(&self, connection: &str) -> Result<StatusCode, Rejection> {
        if let Ok(id) = ConnectionId::parse(connection) {
            self.shared.engine.leave_all_groups(&self.hub, id).await?;
        }
        Ok(StatusCode::OK)
    }

    /// Changes one connection's membership; returns whether the connection exists.
    async fn change(&self, connection: &str, name: &str, change: Membership) -> Result<bool, Rejection> {
        let group = group(name)?;
        let Ok(id) = ConnectionId::parse(connection) else { return Ok(false) };
        Ok(self.shared.engine.change_connection(&self.hub, id, &group, change).await?)
    }

    pub(super) async fn user_joins(&self, user: &str, name: &str) -> Result<StatusCode, Rejection> {
        let (group, lifetime) = (group(name)?, self.lifetime()?);
        self.shared.user_groups.join(&self.hub, &UserId::new(user), &group, lifetime).await?;
        Ok(self.either(StatusCode::ACCEPTED, StatusCode::OK))
    }

    pub(super) async fn user_leaves(&self, user: &str, name: &str) -> Result<StatusCode, Rejection> {
        self.shared.user_groups.leave(&self.hub, &UserId::new(user), &group(name)?).await?;
        Ok(self.either(StatusCode::ACCEPTED, StatusCode::NO_CONTENT))
    }

    pub(super) async fn user_leaves_all(&self, user: &str) -> Result<StatusCode, Rejection> {
        self.shared.user_groups.leave_all(&self.hub, &UserId::new(user)).await?;
        Ok(self.either(StatusCode::OK, StatusCode::NO_CONTENT))
    }

    /// How long a user stays in a group: `ttl`, in seconds. By the vendor's description, 0 adds only the open connections.
    fn lifetime(&self) -> Result<Lifetime, Rejection> {
        let Some(ttl) = self.text("ttl") else { return Ok(Lifetime::Always) };
        match ttl.parse::<u64>() {
            Ok(0) => Ok(Lifetime::Present),
            Ok(seconds) => Ok(Lifetime::For(Duration::from_secs(seconds.min(SECONDS_MAX)))),
            Err(_) => {
                let message = "ttl must be a whole number of seconds, such as ttl=3600";
                Err(Rejection::new(&error_table::INVALID_TTL, message).about("ttl"))
            }
        }
    }
}
