//! StreamLimits the number of logs of groups: beyond it, a new log replaces an empty one.

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

    /// Makes place for the logs that a batch goes to, in the order in which they are named. Answers what keeps them from being
    /// removed, and the logs for which there is no place.
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

    /// Makes sure that a log is there.
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
                "as many groups keep messages as realtime.history_groups_max allows; messages to further groups are sent \
                 and not kept until the messages of one group have expired"
            );
        }
    }

    /// Removes logs that hold nothing, first the log and then its entry on the list, so that none is forgotten.
    async fn remove(&mut self, names: Vec<Name>) {
        let remove = async |name: &Name| {
            self.journal.remove(&self.instance, name).await.map_err(|error| error.to_string())?;
            let deleted = self.registry.delete(&self.instance, &key(name), Expect::Anything).await;
            deleted.map(|_| ()).map_err(|error| error.to_string())
        };
        let outcomes = join_all(names.iter().map(remove)).await;
        for (name, outcome) in names.iter().zip(outcomes) {
            if let Err(error) = outcome {
                tracing::warn!(journal = %name, error, "an empty log could not be removed; it is tried again");
                // It is empty, so that no limit of its matters before it is used again.
                let limits = StreamLimits { is_group: true, messages_max: 1, lifetime: Duration::ZERO };
                self.streams.put_back(name, limits);
            }
        }
        self.count_groups();
    }
}
