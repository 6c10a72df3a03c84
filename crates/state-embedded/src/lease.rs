//! The [`state::Lease`]: decisions on a lease's row, and the handle that sends them to the registry's writer.
//!
//! The fence is one counter for all leases, written in the same transaction as the grant. So a lease's row can be
//! removed when it is free, and the next grant's fence is larger still.

use std::time::{Duration, SystemTime};

use state::{Fence, Grant, Instance, LeaseError, Name};

use crate::error::StoreClosed;
use crate::registry::{Command, LeaseRow, Registry};

/// The handle; leases share the registry's writer.
pub(crate) struct Lease(pub(crate) Registry);

/// When something that is granted now ends; a time to live beyond what the clock can tell means for ever.
pub(crate) fn expiry(now: SystemTime, ttl: Duration) -> SystemTime {
    // The year 2262, the last one that 64 bits of nanoseconds hold.
    let last = SystemTime::UNIX_EPOCH + Duration::from_nanos(i64::MAX.unsigned_abs());
    now.checked_add(ttl).map_or(last, |at| at.min(last))
}

/// The row after `owner` asked for the lease; a row with `fence` is a new acquisition.
pub(crate) fn acquire(
    name: &Name,
    present: Option<LeaseRow>,
    owner: &str,
    now: SystemTime,
    ttl: Duration,
    fence: u64,
) -> Result<LeaseRow, LeaseError> {
    let expires_at = expiry(now, ttl);
    match present.filter(|row| row.expires_at > now) {
        // Asking again never shortens what was granted before.
        Some(row) if row.owner == owner => Ok(LeaseRow { expires_at: row.expires_at.max(expires_at), ..row }),
        Some(row) => Err(LeaseError::Held { name: name.clone(), owner: row.owner, until: row.expires_at }),
        None => Ok(LeaseRow { owner: owner.to_owned(), fence, expires_at }),
    }
}

/// The row after `grant` was prolonged. The fence alone says whose it is: no two acquisitions share one.
pub(crate) fn renew(
    present: Option<LeaseRow>,
    grant: &Grant,
    now: SystemTime,
    ttl: Duration,
) -> Result<LeaseRow, LeaseError> {
    match present {
        Some(row) if row.fence == grant.fence.0 && row.expires_at > now => {
            Ok(LeaseRow { expires_at: expiry(now, ttl), ..row })
        }
        _ => Err(LeaseError::Lost { name: grant.name.clone() }),
    }
}

/// The row in the caller's words.
pub(crate) fn grant(name: &Name, row: LeaseRow) -> Grant {
    Grant { name: name.clone(), owner: row.owner, fence: Fence(row.fence), expires_at: row.expires_at }
}

fn closed(closed: StoreClosed) -> LeaseError {
    LeaseError::Backend(Box::new(closed))
}

#[async_trait::async_trait]
impl state::Lease for Lease {
    async fn acquire(
        &self,
        instance: &Instance,
        name: &Name,
        owner: &str,
        ttl: Duration,
    ) -> Result<Grant, LeaseError> {
        let (home, owner) = ((instance.clone(), name.clone()), owner.to_owned());
        self.0
            .command(owner.len(), |reply| Command::Acquire { home, owner, ttl, reply })
            .await
            .map_err(closed)?
    }

    async fn renew(&self, instance: &Instance, grant: &Grant, ttl: Duration) -> Result<Grant, LeaseError> {
        let (instance, grant) = (instance.clone(), grant.clone());
        self.0.command(0, |reply| Command::Renew { instance, grant, ttl, reply }).await.map_err(closed)?
    }

    async fn release(&self, instance: &Instance, grant: Grant) -> Result<(), LeaseError> {
        let instance = instance.clone();
        self.0.command(0, |reply| Command::Release { instance, grant, reply }).await.map_err(closed)?
    }
}
