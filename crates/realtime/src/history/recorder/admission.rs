//! Limits the number of logs of groups: at the limit, a new log replaces an empty one.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use futures_util::future::join_all;
use state::{Expect, Name, Record};

use super::Recorder;
use crate::history::names::{is_of_group, key};
use crate::history::requests::OpenError;
use crate::history::streams::{InUse, StreamLimits, TooManyStreams};

impl Recorder {
    pub(super) fn limits(&self, name: &Name, rule: usize) -> StreamLimits {
        let rule = &self.rules[rule];
        StreamLimits {
            is_group: is_of_group(name),
            messages_max: rule.messages.get().into(),
            lifetime: Duration::from_secs(rule.seconds.get()),
        }
    }

    pub(super) fn count_groups(&self) {
        self.groups.set(i64::try_from(self.streams.groups()).unwrap_or(i64::MAX));
    }

    /// Admits the logs that a batch needs, in the order in which they are named. Returns guards that prevent their removal, and
    /// the logs that were not admitted.
    pub(super) async fn admit(
        &mut self,
        names: &[Name],
        batches: &HashMap<Name, (usize, Vec<Record>)>,
    ) -> (Vec<InUse>, HashSet<Name>) {
        let (mut in_use, mut refused, mut removed) = (Vec::new(), HashSet::new(), Vec::new());
        let mut new = Vec::new();
        for (name, (rule, _)) in batches {
            let limits = self.limits(name, *rule);
            match self.streams.find(name, limits) {
                Some(found) => in_use.push(found),
                None => new.push((name, limits)),
            }
        }
        new.sort_by_cached_key(|(name, _)| names.iter().position(|other| other == *name));
        for (name, limits) in new {
            match self.streams.admit(name, limits) {
                Ok((made, instead_of)) => {
                    in_use.push(made);
                    removed.extend(instead_of);
                }
                Err(TooManyStreams) => {
                    self.warn_once();
                    refused.insert(name.clone());
                }
            }
        }
        self.remove(removed).await;
        (in_use, refused)
    }

    /// Creates a log unless it exists.
    pub(super) async fn open(&mut self, name: &Name, rule: usize) -> Result<InUse, OpenError> {
        let limits = self.limits(name, rule);
        let in_use = match self.streams.find(name, limits) {
            Some(found) => found,
            None => {
                let admitted = self.streams.admit(name, limits).map_err(|TooManyStreams| {
                    self.rejections.inc();
                    OpenError::Full
                });
                let (made, instead_of) = admitted.inspect_err(|_| self.warn_once())?;
                self.remove(instead_of).await;
                made
            }
        };
        if !self.streams.is_listed(name) {
            self.list(name, limits).await?;
            self.journal.info(&self.instance, name).await?;
            self.streams.set_listed(name);
        }
        Ok(in_use)
    }

    fn warn_once(&mut self) {
        if !std::mem::replace(&mut self.has_warned, true) {
            let groups = self.streams.groups();
            tracing::warn!(
                groups,
                "the number of groups with stored messages has reached realtime.history_groups_max; messages to further groups are sent \
                 and not kept until the messages of one group have expired"
            );
        }
    }

    /// Removes empty logs: the log first and then its entry in the list, so that a crash leaves no unlisted log.
    async fn remove(&mut self, names: Vec<Name>) {
        let remove = async |name: &Name| {
            self.journal.remove(&self.instance, name).await.map_err(|error| error.to_string())?;
            let deleted = self.registry.delete(&self.instance, &key(name), Expect::Anything).await;
            deleted.map(|_| ()).map_err(|error| error.to_string())
        };
        let outcomes = join_all(names.iter().map(remove)).await;
        for (name, outcome) in names.iter().zip(outcomes) {
            if let Err(error) = outcome {
                tracing::warn!(journal = %name, error, "an empty log could not be removed; the removal is retried");
                // It is empty, so its limits do not matter until it is used again.
                let limits = StreamLimits { is_group: true, messages_max: 1, lifetime: Duration::ZERO };
                self.streams.put_back(name, limits);
            }
        }
        self.count_groups();
    }
}
