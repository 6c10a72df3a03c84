//! The required state of the registry: a model of its keys and leases, in plain maps. Pure.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use anyhow::{Result, bail, ensure};
use state::{Durability, Expect, Grant, KeyEntry, Version};

/// Within this distance of the expiry, the model makes no statement on whether a key has expired.
const NEAR: Duration = Duration::from_millis(1);

/// A value that was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Written {
    pub(super) value: u64,
    /// `None` if the result of the write is unknown.
    pub(super) version: Option<Version>,
    pub(super) durability: Durability,
    pub(super) expires_at: Option<SystemTime>,
}

/// All keys.
#[derive(Debug, Default)]
pub(super) struct KeyModel {
    now: BTreeMap<String, Written>,
    /// The values that interrupted writes may have left, until the next start shows the actual one.
    unsure: BTreeMap<String, Vec<Option<Written>>>,
    highest: Version0,
}

/// The highest returned version.
#[derive(Debug)]
struct Version0(Version);

impl Default for Version0 {
    fn default() -> Self {
        Self(Version(0))
    }
}

impl Written {
    /// Whether it exists at a time; `None` too near to its expiry.
    fn is_there(&self, now: SystemTime) -> Option<bool> {
        let Some(at) = self.expires_at else { return Some(true) };
        let distance = at.duration_since(now).unwrap_or_else(|error| error.duration());
        (distance > NEAR).then_some(at > now)
    }
}

impl KeyModel {
    /// The version that a writer may expect; `None` if it is unknown.
    pub(super) fn version(&self, key: &str, now: SystemTime) -> Option<Option<Version>> {
        match self.now.get(key) {
            None => Some(None),
            Some(written) => written.is_there(now).map(|there| written.version.filter(|_| there)),
        }
    }

    pub(super) fn highest(&self) -> Version {
        self.highest.0
    }

    /// A write was acknowledged; `after` is the highest returned version when it started.
    pub(super) fn put(&mut self, key: &str, written: Written, after: Version) -> Result<()> {
        let version = written.version.expect("whoever is told, is told the version");
        ensure!(version > after, "the write of {key} got {version:?}, not after {after:?}");
        self.highest.0 = self.highest.0.max(version);
        self.now.insert(key.to_owned(), written);
        self.unsure.remove(key);
        Ok(())
    }

    pub(super) fn deleted(&mut self, key: &str) {
        self.now.remove(key);
        self.unsure.remove(key);
    }

    /// A write was interrupted or failed: after the next start the key may have the state `left`.
    pub(super) fn unsure(&mut self, key: &str, left: Option<Written>) {
        self.unsure.entry(key.to_owned()).or_default().push(left);
    }

    /// Whether a write with this expectation must succeed; `None` if that is unknown.
    pub(super) fn is_expected(&self, key: &str, expect: Expect, now: SystemTime) -> Option<bool> {
        let version = self.version(key, now)?;
        Some(match expect {
            Expect::Anything => true,
            Expect::Absent => version.is_none(),
            Expect::At(expected) => version == Some(expected),
        })
    }

    /// The result of reading a key.
    pub(super) fn read(
        &self,
        key: &str,
        found: Option<&KeyEntry>,
        value: Option<u64>,
        now: SystemTime,
    ) -> Result<()> {
        let there = self.now.get(key).and_then(|written| {
            // Too near to the expiry: any result is correct.
            let there = written.is_there(now).unwrap_or(found.is_some());
            there.then_some(written)
        });
        let expected = there.map(|written| (written.value, written.version));
        let found = found.map(|entry| (value.unwrap_or(u64::MAX), Some(entry.version)));
        ensure!(expected == found, "key {key} is {found:?} and was written as {expected:?}");
        Ok(())
    }

    /// The process has ended: session keys are gone.
    pub(super) fn restart(&mut self) {
        for left in self.unsure.values_mut() {
            left.iter_mut().for_each(|left| *left = left.take().filter(is_durable));
        }
        self.now.retain(|_, written| is_durable(written));
    }

    /// After a start: the state of a key. It may be that of an interrupted write.
    pub(super) fn audit(
        &mut self,
        key: &str,
        found: Option<&KeyEntry>,
        value: Option<u64>,
        now: SystemTime,
    ) -> Result<()> {
        let Some(candidates) = self.unsure.remove(key) else { return self.read(key, found, value, now) };
        if self.read(key, found, value, now).is_ok() {
            return Ok(());
        }
        for candidate in candidates {
            let Some(candidate) = candidate else {
                if found.is_none() {
                    self.now.remove(key);
                    return Ok(());
                }
                continue;
            };
            let is_it = candidate.is_there(now).unwrap_or(found.is_some());
            if is_it && value == Some(candidate.value) {
                let version = found.map(|entry| entry.version);
                self.highest.0 = self.highest.0.max(version.unwrap_or(Version(0)));
                self.now.insert(key.to_owned(), Written { version, ..candidate });
                return Ok(());
            }
            if !is_it && found.is_none() {
                self.now.insert(key.to_owned(), candidate);
                return Ok(());
            }
        }
        bail!("key {key} is {value:?} ({found:?}), which nobody wrote there last")
    }
}

fn is_durable(written: &Written) -> bool {
    written.durability == Durability::Durable
}

/// One lease.
#[derive(Debug, Default)]
pub(super) struct LeaseModel {
    pub(super) grant: Option<Grant>,
    /// The highest returned fence.
    fence: u64,
    /// Whether an interrupted call may have changed its owner.
    pub(super) is_unsure: bool,
}

impl LeaseModel {
    /// An owner got the response at `now` that it has the lease.
    pub(super) fn granted(&mut self, grant: Grant, now: SystemTime) -> Result<()> {
        if let Some(held) = self.grant.as_ref().filter(|_| !self.is_unsure) {
            if held.expires_at > now + NEAR {
                ensure!(held.owner == grant.owner, "{} got the lease that {} holds", grant.owner, held.owner);
                ensure!(held.fence == grant.fence, "the fence changed under its owner");
            }
            if held.owner != grant.owner {
                ensure!(grant.fence > held.fence, "a new owner got the fence of the last one");
            }
        }
        ensure!(grant.fence.0 >= self.fence, "fence {:?} comes after {}", grant.fence, self.fence);
        self.fence = grant.fence.0;
        self.grant = Some(grant);
        self.is_unsure = false;
        Ok(())
    }
}
