//! The decisions on leases. Pure: rows and times are arguments.
//!
//! The fence is one counter for all leases, written in the same transaction as the grant. So the row of a free lease can
//! be removed: the fence of the next grant is still larger.

use std::time::{Duration, SystemTime};

use state::{Fence, Grant, LeaseError, Name};

/// A lease as it is stored. Its row is removed when it is released, and some time after it has expired.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct LeaseRow {
    pub(super) owner: String,
    pub(super) fence: u64,
    pub(super) expires_at: SystemTime,
}

/// When something that is granted now expires; never, if the time to live is beyond the range of the clock.
pub(super) fn expiry(now: SystemTime, ttl: Duration) -> SystemTime {
    // The year 2262, the last one that 64 bits of nanoseconds can express.
    let last = SystemTime::UNIX_EPOCH + Duration::from_nanos(i64::MAX.unsigned_abs());
    now.checked_add(ttl).map_or(last, |at| at.min(last))
}

/// The row after `owner` acquired the lease; a row with `fence` is a new acquisition.
pub(super) fn acquire(
    name: &Name,
    current: Option<LeaseRow>,
    owner: &str,
    now: SystemTime,
    ttl: Duration,
    fence: u64,
) -> Result<LeaseRow, LeaseError> {
    let expires_at = expiry(now, ttl);
    match current.filter(|row| row.expires_at > now) {
        // Acquiring again never shortens an earlier grant.
        Some(row) if row.owner == owner => Ok(LeaseRow { expires_at: row.expires_at.max(expires_at), ..row }),
        Some(row) => Err(LeaseError::Held { name: name.clone(), owner: row.owner, until: row.expires_at }),
        None => Ok(LeaseRow { owner: owner.to_owned(), fence, expires_at }),
    }
}

/// The row after `grant` was renewed. The fence alone identifies the grant: no two acquisitions share one.
pub(super) fn renew(
    current: Option<LeaseRow>,
    grant: &Grant,
    now: SystemTime,
    ttl: Duration,
) -> Result<LeaseRow, LeaseError> {
    match current {
        Some(row) if row.fence == grant.fence.0 && row.expires_at > now => {
            Ok(LeaseRow { expires_at: expiry(now, ttl), ..row })
        }
        _ => Err(LeaseError::Lost { name: grant.name.clone() }),
    }
}

/// The grant that a row stands for.
pub(super) fn grant(name: &Name, row: LeaseRow) -> Grant {
    Grant { name: name.clone(), owner: row.owner, fence: Fence(row.fence), expires_at: row.expires_at }
}
