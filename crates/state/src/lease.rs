//! [`Lease`]: one owner at a time, with a fencing token.
//!
//! # Guarantees
//!
//! 1. **One owner.** At any time at most one unexpired [`Grant`] exists for a name.
//! 2. **Fencing.** Each acquisition by another owner, or after expiry, gets a [`Fence`] larger than all before it. A
//!    writer sends the fence of its lease with each write, so that writes of an earlier owner can be rejected.
//! 3. **Expiry.** A grant that is not renewed expires; its owner must stop before then.
//! 4. **Fences survive restarts.** A fence never decreases, even after `kill -9`.

use std::time::{Duration, SystemTime};

use crate::{Instance, Name};

/// The fencing token: rises with each change of owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fence(pub u64);

/// A lease that its owner holds until it expires.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// The lease.
    pub name: Name,
    /// The owner.
    pub owner: String,
    /// The fencing token.
    pub fence: Fence,
    /// When it expires unless it is renewed.
    pub expires_at: SystemTime,
}

/// Why a lease call failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LeaseError {
    /// Another owner holds it.
    #[error("lease {name} is held by {owner}")]
    Held {
        /// The lease.
        name: Name,
        /// The current owner.
        owner: String,
        /// When it expires unless it is renewed.
        until: SystemTime,
    },
    /// The grant has expired, or another owner holds the lease: stop the work that it protects.
    #[error("lease {name} is lost")]
    Lost {
        /// The lease.
        name: Name,
    },
    /// The backend failed; whether the call took effect is unknown.
    #[error("the lease operation failed")]
    Backend(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// Leases by name. See the module's guarantees.
#[async_trait::async_trait]
pub trait Lease: Send + Sync + 'static {
    /// Acquires the lease if it is free or expired. The current owner acquires it again with the same fence.
    async fn acquire(
        &self,
        instance: &Instance,
        name: &Name,
        owner: &str,
        ttl: Duration,
    ) -> Result<Grant, LeaseError>;

    /// Renews a grant.
    async fn renew(&self, instance: &Instance, grant: &Grant, ttl: Duration) -> Result<Grant, LeaseError>;

    /// Releases a grant; releasing a lost one is not an error.
    async fn release(&self, instance: &Instance, grant: Grant) -> Result<(), LeaseError>;
}
