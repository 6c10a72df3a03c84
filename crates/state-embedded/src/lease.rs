//! The [`state::Lease`]: sends its calls to the registry's writer. The decisions are in `registry/grants.rs`.

use std::time::Duration;

use state::{Grant, Instance, LeaseError, Name};

use crate::error::StoreClosed;
use crate::registry::{RegistryCommand, RegistryHandle};

/// The handle; leases share the registry's writer.
pub(crate) struct LeaseHandle(pub(crate) RegistryHandle);

fn closed(closed: StoreClosed) -> LeaseError {
    LeaseError::Backend(Box::new(closed))
}

#[async_trait::async_trait]
impl state::Lease for LeaseHandle {
    async fn acquire(
        &self,
        instance: &Instance,
        name: &Name,
        owner: &str,
        ttl: Duration,
    ) -> Result<Grant, LeaseError> {
        let (lease, owner) = ((instance.clone(), name.clone()), owner.to_owned());
        self.0
            .command(owner.len(), |reply| RegistryCommand::Acquire { lease, owner, ttl, reply })
            .await
            .map_err(closed)?
    }

    async fn renew(&self, instance: &Instance, grant: &Grant, ttl: Duration) -> Result<Grant, LeaseError> {
        let (instance, grant) = (instance.clone(), grant.clone());
        self.0
            .command(0, |reply| RegistryCommand::Renew { instance, grant, ttl, reply })
            .await
            .map_err(closed)?
    }

    async fn release(&self, instance: &Instance, grant: Grant) -> Result<(), LeaseError> {
        let instance = instance.clone();
        self.0
            .command(0, |reply| RegistryCommand::Release { instance, grant, reply })
            .await
            .map_err(closed)?
    }
}
