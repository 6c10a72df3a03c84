//! [`Budget`]: the memory and disk space that all bodies share.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use prometheus_client::metrics::gauge::Gauge;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::error::ReadError;
use crate::metrics::{Metrics, PoolLabel};
use crate::options::Options;

/// The memory and disk space for all bodies of a process; cheap to clone.
#[derive(Clone, Debug)]
pub struct Budget {
    pub(crate) shared: Arc<Shared>,
}

#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) options: Options,
    pub(crate) folder: PathBuf,
    pub(crate) metrics: Metrics,
    pub(crate) small: CapacityPool,
    pub(crate) large: CapacityPool,
    pub(crate) disk: CapacityPool,
}

/// Capacity of one kind, reserved in order of arrival.
#[derive(Debug)]
pub(crate) struct CapacityPool {
    name: &'static str,
    permits: Arc<Semaphore>,
    units_max: u32,
    wait: Duration,
    waiting_count: AtomicUsize,
    waiting: Gauge,
    held: Gauge,
}

/// Reserved capacity, released on drop.
#[derive(Debug)]
pub(crate) struct Reservation {
    permit: OwnedSemaphorePermit,
    held: Gauge,
}

/// Bytes of one permit. One permit for each byte would overflow the semaphore.
const UNIT_BYTES: u64 = 1024;

impl Budget {
    /// Capacity as the options say. Bodies that do not stay in memory go to files without a name in `folder`, which disappear with
    /// the process, however it ends.
    pub fn new(options: Options, folder: &Path, metrics: Metrics) -> Self {
        let pool = |label, name, bytes: u64| {
            let label = PoolLabel { pool: label };
            // More units than a u32 counts are 4 TiB.
            let units_max = u32::try_from(bytes / UNIT_BYTES).unwrap_or(u32::MAX).max(1);
            CapacityPool {
                name,
                permits: Arc::new(Semaphore::new(units_max as usize)),
                units_max,
                wait: Duration::from_millis(options.wait_ms),
                waiting_count: AtomicUsize::new(0),
                waiting: metrics.waiting.get_or_create_owned(&label),
                held: metrics.held_bytes.get_or_create_owned(&label),
            }
        };
        let small = pool("small", "memory", options.small_pool_bytes() as u64);
        let large = pool("large", "memory", options.body_bytes_max() as u64);
        let disk = pool("disk", "disk space", options.disk_bytes_max);
        let folder = folder.to_owned();
        Self { shared: Arc::new(Shared { options, folder, metrics, small, large, disk }) }
    }
}

impl Default for Budget {
    /// Capacity by default options, with files in the system's temporary folder; for tests and tools.
    fn default() -> Self {
        Self::new(Options::default(), &std::env::temp_dir(), Metrics::default())
    }
}

impl CapacityPool {
    /// Reserves capacity; waits for it in order of arrival and for a bounded time.
    pub(crate) async fn reserve(&self, bytes: u64) -> Result<Reservation, ReadError> {
        let units = units(bytes).min(self.units_max);
        let permits = Arc::clone(&self.permits);
        // While a body waits there are no free permits, so that this one does not overtake it.
        let permit = match permits.try_acquire_many_owned(units) {
            Ok(permit) => permit,
            Err(_) => self.wait(units).await?,
        };
        self.held.inc_by(held_bytes(&permit));
        Ok(Reservation { permit, held: self.held.clone() })
    }

    async fn wait(&self, units: u32) -> Result<OwnedSemaphorePermit, ReadError> {
        let _waiting = Waiting::new(self);
        let acquire = Arc::clone(&self.permits).acquire_many_owned(units);
        match tokio::time::timeout(self.wait, acquire).await {
            Ok(permit) => Ok(permit.expect("these semaphores are never closed")),
            Err(_) => Err(ReadError::OverBudget { pool: self.name, waited: self.wait }),
        }
    }

    /// Whether a body waits for capacity of this pool.
    pub(crate) fn is_contended(&self) -> bool {
        self.waiting_count.load(Ordering::Relaxed) > 0
    }
}

/// Counts one waiting body.
struct Waiting<'a>(&'a CapacityPool);

impl<'a> Waiting<'a> {
    fn new(pool: &'a CapacityPool) -> Self {
        pool.waiting_count.fetch_add(1, Ordering::Relaxed);
        pool.waiting.inc();
        Self(pool)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting_count.fetch_sub(1, Ordering::Relaxed);
        self.0.waiting.dec();
    }
}

impl Reservation {
    /// The reserved bytes.
    pub(crate) fn bytes(&self) -> u64 {
        self.permit.num_permits() as u64 * UNIT_BYTES
    }

    /// Releases what exceeds these bytes.
    pub(crate) fn shrink(&mut self, bytes: u64) {
        let excess = self.permit.num_permits().saturating_sub(units(bytes) as usize);
        if let Some(released) = self.permit.split(excess) {
            self.held.dec_by(held_bytes(&released));
        }
    }

    /// Adds another reservation of the same pool.
    pub(crate) fn merge(&mut self, mut other: Self) {
        if let Some(permit) = other.permit.split(other.permit.num_permits()) {
            self.permit.merge(permit);
        }
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.held.dec_by(held_bytes(&self.permit));
    }
}

fn units(bytes: u64) -> u32 {
    u32::try_from(bytes.div_ceil(UNIT_BYTES)).unwrap_or(u32::MAX)
}

fn held_bytes(permit: &OwnedSemaphorePermit) -> i64 {
    i64::try_from(permit.num_permits() as u64 * UNIT_BYTES).unwrap_or(i64::MAX)
}
