//! [`Lease`]: one owner at a time, with a rising fencing number.
//!
//! # Guarantees
//!
//! 1. **One owner.** At any time at most one unexpired [`Grant`] exists for a name.
//! 2. **Fencing.** Each acquisition by another owner, or after expiry, gets a [`Fence`] larger than all before it. Who
//!    writes under a lease sends its fence along, so that a writer that was overtaken can be refused.
//! 3. **Expiry.** A grant that is not renewed ends after its time; the holder must stop by itself before then.
//! 4. **Fences survive restarts.** A fence never goes back, also not after `kill -9`.

use std::time::{Duration, SystemTime};

use crate::{Instance, Name};

/// A number that rises with each change of owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fence(pub u64);

/// Ownership for a time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// What is owned.
    pub name: Name,
    /// By whom.
    pub owner: String,
    /// The number to send along.
    pub fence: Fence,
    /// When it ends unless renewed.
    pub expires_at: SystemTime,
}

/// Why a lease call failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LeaseError {
    /// Somebody else holds it, until then.
    #[error("lease {name} is held by {owner}")]
    Held {
        /// The lease.
        name: Name,
        /// Who holds it.
        owner: String,
        /// Until when, unless renewed.
        until: SystemTime,
    },
    /// The grant has expired or passed to another owner: stop what it protected.
    #[error("lease {name} is lost")]
    Lost {
        /// The lease.
        name: Name,
    },
    /// The backend failed; whether the call took effect is unknown.
    #[error("lease")]
    Backend(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// Leases by name. See the module's guarantees.
#[async_trait::async_trait]
pub trait Lease: Send + Sync + 'static {
    /// Takes the lease if it is free, expired, or already this owner's (which keeps its fence).
    async fn acquire(
        &self,
        instance: &Instance,
        name: &Name,
        owner: &str,
        ttl: Duration,
    ) -> Result<Grant, LeaseError>;

    /// Prolongs a grant.
    async fn renew(&self, instance: &Instance, grant: &Grant, ttl: Duration) -> Result<Grant, LeaseError>;

    /// Gives a grant back; giving back a lost one is not an error.
    async fn release(&self, instance: &Instance, grant: Grant) -> Result<(), LeaseError>;
}
