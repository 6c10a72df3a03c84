//! Opening a source: finds the containers of the trigger and acquires leases.

use std::time::Duration;

use functions_contract::BindingError;

use super::{FeedSource, OpenFeed, hinted};
use crate::client::{ContainerProperties, NewContainer};
use crate::lease_renewer::LeaseRenewer;
use crate::lease_store::LeaseStore;

/// How long a source waits for a missing container before it reports it again.
const MISSING_AGAIN_AFTER: Duration = Duration::from_secs(60);

impl FeedSource {
    /// Opens the source unless it is open. Every step may be repeated, so that cancelling is harmless.
    pub(super) async fn open(&mut self) -> Result<(), BindingError> {
        if let Some(opened) = self.opened.as_mut() {
            if opened.ranges.is_none() {
                opened.ranges = Some(self.monitored.key_ranges(&self.trigger.monitored).await?);
            }
            return Ok(());
        }
        // Subscribed first, so that no later write is missed.
        let name = &self.trigger.monitored;
        let mut hint = self.monitored.transport().hint(&name.database, &name.container);
        if let Some(hint) = hint.as_mut() {
            hint.borrow_and_update();
        }
        let monitored = self.monitored_container(hint.clone()).await?;
        let trigger_id = self.trigger_id();
        let created_while_listening = self.shared.triggers.found(&trigger_id, &monitored.rid);
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
            live_sources: self.shared.live_sources.clone(),
        };
        store.initialise(created_while_listening).await?;
        let ranges = self.monitored.key_ranges(&self.trigger.monitored).await?;
        let renewer = LeaseRenewer::start(store, self.trigger.intervals).await?;
        self.shared.triggers.has_leases(&trigger_id);
        self.opened = Some(OpenFeed { rid: monitored.rid, ranges: Some(ranges), renewer, hint });
        Ok(())
    }

    /// The monitored container. The first time that it is missing, an error reports it at once. After that, the source waits for
    /// it, so that a container that the app's first write creates is found without delay, and the log does not repeat the line.
    async fn monitored_container(
        &self,
        mut hint: Option<tokio::sync::watch::Receiver<u64>>,
    ) -> Result<ContainerProperties, BindingError> {
        let name = &self.trigger.monitored;
        let give_up = tokio::time::Instant::now() + MISSING_AGAIN_AFTER;
        loop {
            if let Some(container) = self.monitored.container(name).await? {
                return Ok(container);
            }
            let first_time = self.shared.triggers.missing(&self.trigger_id());
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
            "the lease container {name} of function '{}' has a partition key other than /id or /partitionKey; \
             set leaseContainerName to another container",
            self.trigger.function
        )))
    }

    pub(super) fn missing(&self) -> BindingError {
        let name = &self.trigger.monitored;
        BindingError::Absent(format!(
            "container '{}' in database '{}', which function '{}' listens to, does not exist; the \
             trigger waits for it: create it, or correct databaseName and containerName",
            name.container, name.database, self.trigger.function
        ))
    }
}
