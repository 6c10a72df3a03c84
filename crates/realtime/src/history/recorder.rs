//! [`Recorder`]: the task that appends messages to their logs and then publishes them. `admission.rs` limits the number of logs.

mod admission;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use futures_util::future::join_all;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use serde::{Deserialize, Serialize};
use state::{Durability, Expect, Instance, Journal, Name, Offset, Position, Record, Registry, RegistryError};
use supervision::Unit;
use tokio::sync::{mpsc, oneshot};

use super::names::{LIST, is_of_group, journal_name, key, logged_group};
use super::options::{HistoryError, Rule};
use super::requests::{AT, AppendRequest, Dependencies, OpenRequest};
use super::streams::{StreamLimits, Streams, Trim};
use realtime_engine::{EngineHandle, Publish, PublishError, StreamPosition};

/// Most messages that share one flush.
const BATCH_MAX: usize = 256;

/// Interval at which old messages are removed.
const SWEEP_EVERY: Duration = Duration::from_secs(5);

/// Entries of the list of logs that are read at a time.
const PAGE: usize = 256;

pub(super) struct Recorder {
    engine: EngineHandle,
    instance: Instance,
    journal: Arc<dyn Journal>,
    registry: Arc<dyn Registry>,
    rules: Arc<[Rule]>,
    streams: Streams,
    has_warned: bool,
    kept: Counter,
    failures: Counter,
    groups: Gauge,
    rejections: Counter,
}

/// The entry of a log in the list, so that it is found and trimmed after a restart.
#[derive(Serialize, Deserialize)]
struct Listed {
    journal: String,
    messages_max: u64,
    lifetime_s: u64,
}

/// The result of an append to one log: the position of the first message.
type Appended = Result<Position, PublishError>;

impl Recorder {
    pub(super) fn new(
        dependencies: Dependencies,
        metrics: &mut prometheus_client::registry::Registry,
    ) -> Self {
        let Dependencies { rules, groups_max, instance, journal, registry, engine } = dependencies;
        let (kept, failures) = (Counter::default(), Counter::default());
        let (groups, rejections) = (Gauge::default(), Counter::default());
        metrics.register("realtime_history_kept", "Messages that were stored", kept.clone());
        let help = "Messages that could not be stored, and were not sent";
        metrics.register("realtime_history_failures", help, failures.clone());
        metrics.register("realtime_history_groups", "Groups with a log", groups.clone());
        let help = "Messages that were not stored and clients that could not follow, because history_groups_max was reached";
        metrics.register("realtime_history_group_refusals", help, rejections.clone());
        let (streams, has_warned) = (Streams::new(groups_max), false);
        Self {
            engine,
            instance,
            journal,
            registry,
            rules,
            streams,
            has_warned,
            kept,
            failures,
            groups,
            rejections,
        }
    }

    /// Loads the logs of earlier processes. The age of their messages is measured from now, because the time of each is not
    /// stored in the list.
    pub(super) async fn load(mut self) -> Result<Self, HistoryError> {
        let mut after = None;
        loop {
            let page = self.registry.list(&self.instance, LIST, after.as_ref(), PAGE).await?;
            let Some(last) = page.last() else {
                self.count_groups();
                return Ok(self);
            };
            after = Some(last.key.clone());
            for entry in &page {
                let Ok(listed) = serde_json::from_slice::<Listed>(&entry.value) else { continue };
                let Ok(name) = Name::new(&listed.journal) else { continue };
                let info = self.journal.info(&self.instance, &name).await?;
                let limits = StreamLimits {
                    is_group: is_of_group(&name),
                    messages_max: listed.messages_max,
                    lifetime: Duration::from_secs(listed.lifetime_s),
                };
                self.streams.load(&name, limits, info.first.0, info.next.0, SystemTime::now());
            }
        }
    }

    pub(super) async fn run(
        mut self,
        mut jobs: mpsc::Receiver<AppendRequest>,
        mut openings: mpsc::Receiver<OpenRequest>,
        mut stop: oneshot::Receiver<()>,
        unit: Unit,
    ) {
        let mut sweep = tokio::time::interval(SWEEP_EVERY);
        sweep.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut batch = Vec::with_capacity(BATCH_MAX);
        let mut is_stopping = false;
        loop {
            unit.fault_point();
            tokio::select! {
                count = jobs.recv_many(&mut batch, BATCH_MAX) => {
                    if count == 0 {
                        return;
                    }
                    self.append_batch(std::mem::take(&mut batch)).await;
                }
                Some(opening) = openings.recv() => {
                    let opened = self.open(&opening.name, opening.rule).await;
                    // The caller may have stopped waiting.
                    let _ = opening.reply.send(opened);
                }
                _ = sweep.tick() => {
                    for trim in self.streams.too_old(SystemTime::now()) {
                        self.trim(&trim).await;
                    }
                }
                // New publishers receive an error; messages that wait are stored and sent.
                _ = &mut stop, if !is_stopping => {
                    is_stopping = true;
                    jobs.close();
                }
            }
        }
    }

    /// Stores a batch, and sends it in order.
    async fn append_batch(&mut self, jobs: Vec<AppendRequest>) {
        let at = SystemTime::now();
        let mut names: Vec<Name> = Vec::new();
        let mut batches: HashMap<Name, (usize, Vec<Record>)> = HashMap::new();
        for job in &jobs {
            let group = logged_group(&job.publish.target).flatten();
            let name = journal_name(&job.publish.hub, group);
            let (_, records) = batches.entry(name.clone()).or_insert_with(|| (job.rule, Vec::new()));
            records.push(record(&job.publish, at));
            names.push(name);
        }
        let (_in_use, refused) = self.admit(&names, &batches).await;
        batches.retain(|name, _| !refused.contains(name));
        let appended = batches.into_iter().map(|(name, (rule, records))| self.append(name, rule, records));
        let mut appended: HashMap<Name, Appended> = join_all(appended).await.into_iter().collect();
        for (name, outcome) in &appended {
            if let Ok(position) = outcome {
                let count = names.iter().filter(|other| *other == name).count() as u64;
                self.streams.set_listed(name);
                self.streams.add(name, position.offset.0 + count, at);
            }
        }
        for (job, name) in jobs.into_iter().zip(&names) {
            let result = match appended.get_mut(name) {
                Some(Ok(position)) => {
                    let kept = StreamPosition { epoch: position.epoch.0, offset: position.offset.0 };
                    position.offset.0 += 1;
                    self.kept.inc();
                    self.engine.publish_recorded(job.publish, kept).await.map_err(Into::into)
                }
                Some(Err(PublishError::NotRecorded(why))) => {
                    self.failures.inc();
                    Err(PublishError::NotRecorded(Arc::clone(why)))
                }
                None if refused.contains(name) => {
                    self.rejections.inc();
                    self.engine.publish_unrecorded(job.publish).await.map_err(Into::into)
                }
                _ => Err(PublishError::Stopped),
            };
            drop(job.permit);
            if let Some(done) = job.done {
                // The publisher may have stopped waiting.
                let _ = done.send(result);
            }
        }
        let mut seen = HashSet::new();
        for name in names {
            if seen.insert(name.clone())
                && let Some(trim) = self.streams.too_many(&name)
            {
                self.trim(&trim).await;
            }
        }
    }

    /// Appends to one log. The log is added to the list first, so that it is found after a crash.
    async fn append(&self, name: Name, rule: usize, records: Vec<Record>) -> (Name, Appended) {
        let not_kept = |error: String| {
            tracing::error!(journal = %name, error, "messages could not be stored");
            PublishError::NotRecorded(error.into())
        };
        if !self.streams.is_listed(&name)
            && let Err(error) = self.list(&name, self.limits(&name, rule)).await
        {
            let error = not_kept(error.to_string());
            return (name, Err(error));
        }
        match self.journal.append(&self.instance, &name, records).await {
            Ok(position) => (name, Ok(position)),
            Err(error) => {
                let error = not_kept(error.to_string());
                (name, Err(error))
            }
        }
    }

    async fn list(&self, name: &Name, limits: StreamLimits) -> Result<(), RegistryError> {
        let listed = Listed {
            journal: name.as_str().to_owned(),
            messages_max: limits.messages_max,
            lifetime_s: limits.lifetime.as_secs(),
        };
        let value = Bytes::from(serde_json::to_vec(&listed).expect("strings and numbers serialize to JSON"));
        self.registry
            .put(&self.instance, &key(name), value, Expect::Anything, Durability::Durable, None)
            .await?;
        Ok(())
    }

    async fn trim(&self, trim: &Trim) {
        let trimmed = async {
            let info =
                self.journal.info(&self.instance, &trim.name).await.map_err(|error| error.to_string())?;
            let below = Position { epoch: info.epoch, offset: Offset(trim.below) };
            self.journal.trim(&self.instance, &trim.name, below).await.map_err(|error| error.to_string())?;
            Ok::<(), String>(())
        };
        if let Err(error) = trimmed.await {
            // It uses space until the next sweep. Readers check the rule too, so no expired message is sent.
            tracing::warn!(journal = %trim.name, error, "old messages could not be removed");
        }
    }
}

fn record(publish: &Publish, at: SystemTime) -> Record {
    let mut record = publish.message.to_record().unwrap_or_else(|| Record::new(Bytes::new()));
    let at_ms = at.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
    record.headers.push((AT.to_owned(), at_ms.to_string().into()));
    record
}
