//! [`UsageStore`]: the counts in the registry, one key for each function and day.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use jiff::ToSpan;
use jiff::civil::Date;
use state::{Durability, Expect, Instance, Key, KeyEntry, Registry, RegistryError, Version};
use tokio::sync::Mutex;

use super::day::{DayUsage, Hour, UsageCounts};
use super::meter::FunctionMeter;
use super::report::{UsageQuery, UsageReport};

/// Keys are `usage/<day>/<function>`, so that a list is in the order of days.
const PREFIX: &str = "usage/";

/// Keys that are read at a time.
const PAGE_KEYS: usize = 200;

/// Attempts to write a key that another host of the app writes too.
const ATTEMPTS_MAX: u32 = 5;

pub(super) struct UsageStore {
    registry: Arc<dyn Registry>,
    instance: Instance,
    days_max: u32,
    state: Mutex<WriteState>,
}

#[derive(Default)]
struct WriteState {
    /// The days that are being written, as they were last stored.
    days: HashMap<Key, (Version, DayUsage)>,
    /// The day on which old days were removed.
    pruned_on: Option<Date>,
}

impl UsageStore {
    pub(super) fn new(registry: Arc<dyn Registry>, instance: Instance, days_max: u32) -> Self {
        Self { registry, instance, days_max, state: Mutex::default() }
    }

    /// Writes the counts of the meters to an hour. What cannot be written stays in its meter.
    pub(super) async fn write(
        &self,
        meters: &[(String, Arc<FunctionMeter>)],
        hour: Hour,
    ) -> Result<(), RegistryError> {
        let mut state = self.state.lock().await;
        let mut result = Ok(());
        for (function, meter) in meters {
            let counts = meter.remove();
            if counts == UsageCounts::default() {
                continue;
            }
            if let Err(error) = self.add(&mut state, function, hour, counts).await {
                meter.add(counts);
                result = Err(error);
            }
        }
        if result.is_ok() && state.pruned_on != Some(hour.day) {
            self.prune(hour.day).await?;
            state.pruned_on = Some(hour.day);
            state.days.retain(|key, _| key.as_str() >= day_prefix(hour.day).as_str());
        }
        result
    }

    async fn add(
        &self,
        state: &mut WriteState,
        function: &str,
        hour: Hour,
        counts: UsageCounts,
    ) -> Result<(), RegistryError> {
        let key = Key::new(format!("{}{function}", day_prefix(hour.day)))
            .expect("a function's name is short and has no control characters");
        let mut last = None;
        for _ in 0..ATTEMPTS_MAX {
            let known = match state.days.remove(&key) {
                Some(known) => Some(known),
                None => match self.registry.get(&self.instance, &key).await? {
                    Some(entry) => Some((entry.version, parse(&entry)?)),
                    None => None,
                },
            };
            let (expect, mut day) = match known {
                Some((version, day)) => (Expect::At(version), day),
                None => (Expect::Absent, DayUsage::default()),
            };
            day.add(hour.hour, counts);
            let value = Bytes::from(serde_json::to_vec(&day).expect("numbers are JSON"));
            let put = self.registry.put(&self.instance, &key, value, expect, Durability::Durable, None).await;
            match put {
                Ok(version) => {
                    state.days.insert(key, (version, day));
                    return Ok(());
                }
                Err(conflict @ RegistryError::Conflict { .. }) => last = Some(conflict),
                Err(error) => return Err(error),
            }
        }
        last.map_or(Ok(()), Err)
    }

    /// Removes days that are older than the limit.
    async fn prune(&self, today: Date) -> Result<(), RegistryError> {
        let Ok(oldest) = today.checked_sub(i64::from(self.days_max).days()) else { return Ok(()) };
        let end = day_prefix(oldest);
        let mut after = None;
        loop {
            let page = self.registry.list(&self.instance, PREFIX, after.as_ref(), PAGE_KEYS).await?;
            let old = page.iter().filter(|entry| entry.key.as_str() < end.as_str());
            let old: Vec<&Key> = old.map(|entry| &entry.key).collect();
            for key in &old {
                self.registry.delete(&self.instance, key, Expect::Anything).await?;
            }
            if old.len() < PAGE_KEYS {
                return Ok(());
            }
            after = page.last().map(|entry| entry.key.clone());
        }
    }

    /// Adds the stored counts of a query's time to a report.
    pub(super) async fn read(
        &self,
        query: &UsageQuery,
        report: &mut UsageReport,
    ) -> Result<(), RegistryError> {
        // No counts are between a meter and the registry meanwhile.
        let _state = self.state.lock().await;
        let (first, last) = query.days();
        let mut after = Key::new(day_prefix(first)).ok();
        loop {
            let page = self.registry.list(&self.instance, PREFIX, after.as_ref(), PAGE_KEYS).await?;
            for entry in &page {
                let Some((day, function)) = day_and_function(&entry.key) else { continue };
                if day > last {
                    return Ok(());
                }
                for (hour, counts) in parse(entry)?.hours {
                    report.add(function, Hour { day, hour }, &counts);
                }
            }
            if page.len() < PAGE_KEYS {
                return Ok(());
            }
            after = page.last().map(|entry| entry.key.clone());
        }
    }
}

fn day_prefix(day: Date) -> String {
    format!("{PREFIX}{day}/")
}

fn day_and_function(key: &Key) -> Option<(Date, &str)> {
    let (day, function) = key.as_str().strip_prefix(PREFIX)?.split_once('/')?;
    Some((day.parse().ok()?, function))
}

/// The counts of a stored day.
///
/// # Errors
///
/// If a newer version of this program wrote them in another form: they must not be replaced.
fn parse(entry: &KeyEntry) -> Result<DayUsage, RegistryError> {
    match serde_json::from_slice::<DayUsage>(&entry.value) {
        Ok(day) if day.version <= DayUsage::VERSION => Ok(day),
        _ => Err(RegistryError::Backend(Box::new(UnknownForm { key: entry.key.to_string() }))),
    }
}

/// A stored day has a form of a newer version.
#[derive(Debug, thiserror::Error)]
#[error("the key {key} was written by a newer version of this program; start that version")]
struct UnknownForm {
    key: String,
}
