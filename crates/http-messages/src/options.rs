//! [`Options`]: the bounds.

use serde::{Deserialize, Serialize};

/// Bounds over all bodies that the process holds at a time: of requests, and of the answers that it reads.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// Most bytes of bodies in memory, at least 1 MiB. An eighth is kept for bodies of at most 64 KiB. A body that is larger than
    /// the other seven eighths cannot be read into memory. Default: 128 MiB. Since 0.1.0.
    #[serde(deserialize_with = "memory_bytes")]
    pub memory_bytes_max: usize,
    /// Most bytes of request bodies that are kept in files of the data folder until the function's worker has taken them.
    /// Default: 8 GiB. Since 0.1.0.
    pub disk_bytes_max: u64,
    /// Request bodies for functions that are larger than this, in bytes, go to a file instead of to memory. Default: 1 MiB.
    /// Since 0.1.0.
    pub spill_bytes_min: usize,
    /// How long a body waits for capacity before it is refused with 503, in milliseconds. Default: 10000. Since 0.1.0.
    pub wait_ms: u64,
    /// Least rate of a body while others wait for capacity, in bytes a second, from its beginning on; a slower one is refused with
    /// 503. Default: 32768. Since 0.1.0.
    pub contended_bytes_per_second_min: u64,
    /// Time by which a body may be later than `contended_bytes_per_second_min` allows, in milliseconds. Default: 5000.
    /// Since 0.1.0.
    pub contended_grace_ms: u64,
}

const MIB: usize = 1024 * 1024;

impl Default for Options {
    fn default() -> Self {
        Self {
            memory_bytes_max: 128 * MIB,
            disk_bytes_max: 8 << 30,
            spill_bytes_min: MIB,
            wait_ms: 10_000,
            contended_bytes_per_second_min: 32 * 1024,
            contended_grace_ms: 5_000,
        }
    }
}

impl Options {
    /// The largest body that can be read into memory.
    pub fn body_bytes_max(&self) -> usize {
        self.memory_bytes_max - self.small_pool_bytes()
    }

    pub(crate) fn small_pool_bytes(&self) -> usize {
        self.memory_bytes_max / 8
    }
}

fn memory_bytes<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<usize, D::Error> {
    let value = usize::deserialize(deserializer)?;
    if value < MIB {
        return Err(serde::de::Error::custom(format!(
            "memory_bytes_max is {value}, and must be at least {MIB}"
        )));
    }
    Ok(value)
}
