//! Finding the containers of a trigger and taking leases.

use std::time::Duration;

use functions_contract::BindingError;

use super::{FeedSource, Opened, hinted};
use crate::client::{Container, NewContainer};
use crate::keeper::{Keeper, LeaseStore};

/// How long a source waits for a missing container before it says so again.
const MISSING_AGAIN_AFTER: Duration = Duration::from_secs(60);

impl FeedSource {
    /// Opens the source unless it is open. Every step may be repeated, so that being dropped in the middle is harmless.
    pub(super) async fn open(&mut self) -> Result<(), BindingError> {
        if self.opened.is_some() {
            return Ok(());
        }
        // Asked for first: a write from here on is not missed.
        let name = &self.trigger.monitored;
        let mut hint = self.monitored.transport().hint(&name.database, &name.container);
        if let Some(hint) = hint.as_mut() {
            hint.borrow_and_update();
        }
        let monitored = self.monitored_container(hint.clone()).await?;
        let listener = self.listener();
        let made_meanwhile = self.shared.watched.found(&listener, &monitored.rid);
        self.lease_container().await?;
        let store = LeaseStore {
            leases: self.leases.clone(),
            lease_container: self.trigger.leases.clone(),
            monitored: self.monitored.clone(),
            monitored_container: self.trigger.monitored.clone(),
            prefix: format!(
                "{}{}_{}_{}",
                self.trigger.processor,
                self.monitored.host(),
                monitored.database_rid,
                monitored.rid
            ),
            owner: self.owner(),
            siblings: self.shared.siblings.clone(),
        };
        store.initialise(made_meanwhile).await?;
        let ranges = self.monitored.key_ranges(&self.trigger.monitored).await?;
        let keeper = Keeper::start(store, self.trigger.intervals).await?;
        self.shared.watched.has_leases(&listener);
        self.opened = Some(Opened { rid: monitored.rid, ranges, keeper, hint });
        Ok(())
    }

    /// The monitored container. That it is missing is said at once the first time; later the source waits for it, so that
    /// a container made by the app's first write is noticed without delay and without a log full of the same line.
    async fn monitored_container(
        &self,
        mut hint: Option<tokio::sync::watch::Receiver<u64>>,
    ) -> Result<Container, BindingError> {
        let name = &self.trigger.monitored;
        let give_up = tokio::time::Instant::now() + MISSING_AGAIN_AFTER;
        loop {
            if let Some(container) = self.monitored.container(name).await? {
                return Ok(container);
            }
            let first_time = self.shared.watched.missing(&self.listener());
            if first_time || tokio::time::Instant::now() >= give_up {
                return Err(self.missing());
            }
            tokio::select! {
                () = hinted(hint.as_mut()) => {}
                () = tokio::time::sleep(self.trigger.poll_delay) => {}
            }
        }
    }

    async fn lease_container(&self) -> Result<(), BindingError> {
        let name = &self.trigger.leases;
        let found = match self.leases.container(name).await? {
            Some(found) => found,
            None if !self.trigger.create_leases => {
                return Err(BindingError::Absent(format!(
                    "the lease container {name} of function '{}' does not exist; create it with partition key \
                     /id, or set createLeaseContainerIfNotExists",
                    self.trigger.function
                )));
            }
            None => {
                let new = NewContainer {
                    partition_key_path: "/id".to_owned(),
                    default_ttl_seconds: Some(-1),
                    throughput: self.trigger.leases_throughput,
                };
                self.leases.create_container(name, &new).await?;
                return Ok(());
            }
        };
        if matches!(found.key.single_property(), Some("id" | "partitionKey")) {
            return Ok(());
        }
        Err(BindingError::Declaration(format!(
            "the lease container {name} of function '{}' has another partition key than /id or /partitionKey; \
             name another container in leaseContainerName",
            self.trigger.function
        )))
    }

    pub(super) fn missing(&self) -> BindingError {
        let name = &self.trigger.monitored;
        BindingError::Absent(format!(
            "container '{}' in database '{}', which function '{}' listens to, does not exist; it is looked for \
             again until it does: create it, or correct databaseName and containerName",
            name.container, name.database, self.trigger.function
        ))
    }
}
