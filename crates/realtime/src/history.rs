//! History: a hub or a group may keep its last messages, so that a client that comes back gets what it missed, in order, also
//! after this process was killed.
//!
//! Not its concern: who receives what (`engine`), how clients ask (`methods`).
//!
//! A message is durable before anybody gets it, and gets its position (the epoch of the log, and its number). One task keeps
//! what comes from all publishers: what waits while one group is being flushed makes up the next, so that the flush costs each
//! message little, and messages reach the shards in the order of their positions.
//!
//! Each hub and each group has a log of its own. Whoever may name groups could make as many as it likes, so their number is
//! bounded: a new one takes the place of one that holds nothing any more, and where there is none, the group's messages are sent
//! and not kept.
//!
//! Know these first: [`Rule`] (what is kept), [`History`] (the [`Keeper`]). Start reading at `recorder.rs`; `replay.rs` brings a
//! client up to date.

mod options;
mod recorder;
mod replay;
mod streams;

use std::sync::Arc;

use state::{Instance, Journal, Name};
use supervision::Supervisor;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::task::JoinHandle;

pub use options::{HistoryError, Rule};
pub(crate) use replay::Replay;

use self::recorder::{Job, OpenError, Opening, Recorder};
use self::streams::InUse;
use crate::Options;
use crate::engine::{EngineHandle, GroupName, Hub, Keeper, Publish, PublishError, Target};

/// Messages that wait to be kept.
const JOBS_MAX: usize = 1024;

/// Bytes of messages that wait to be kept, in units of a permit.
const BYTES_MAX: usize = 32 * 1024 * 1024;
const PERMIT_BYTES: usize = 1024;

/// Keeps messages by rules.
#[derive(Debug)]
pub(crate) struct History {
    rules: Arc<[Rule]>,
    jobs: mpsc::Sender<Job>,
    openings: mpsc::Sender<Opening>,
    room: Arc<Semaphore>,
    instance: Instance,
}

/// Clients that wait for a log that they want to follow.
const OPENINGS_MAX: usize = 256;

/// What the task works with.
pub(crate) struct Parts {
    rules: Arc<[Rule]>,
    /// Logs of groups that there may be.
    groups_max: usize,
    instance: Instance,
    journal: Arc<dyn Journal>,
    registry: Arc<dyn state::Registry>,
    engine: EngineHandle,
}

impl Parts {
    pub(crate) fn new(
        options: &Options,
        instance: Instance,
        journal: Arc<dyn Journal>,
        registry: Arc<dyn state::Registry>,
        engine: EngineHandle,
    ) -> Self {
        let (rules, groups_max) = (options.history.clone().into(), options.history_groups_max);
        Self { rules, groups_max, instance, journal, registry, engine }
    }
}

/// Owns the task that keeps messages.
#[derive(Debug)]
pub(crate) struct Join {
    stop: oneshot::Sender<()>,
    recorder: JoinHandle<()>,
}

/// Begins to keep messages of the engine by rules; `None` where there are none.
///
/// # Errors
///
/// If what was kept before cannot be read.
pub(crate) async fn start(
    parts: Parts,
    supervisor: &Supervisor,
    metrics: &mut prometheus_client::registry::Registry,
) -> Result<Option<(Arc<History>, Join)>, HistoryError> {
    if parts.rules.is_empty() {
        return Ok(None);
    }
    let (rules, instance, engine) = (Arc::clone(&parts.rules), parts.instance.clone(), parts.engine.clone());
    let (jobs, queue) = mpsc::channel(JOBS_MAX);
    let (openings, opened) = mpsc::channel(OPENINGS_MAX);
    let room = Arc::new(Semaphore::new(BYTES_MAX / PERMIT_BYTES));
    let recorder = Recorder::new(parts, metrics).load().await?;
    let (stop, stopped) = oneshot::channel();
    let supervisor = supervisor.clone();
    let task = tokio::spawn(async move {
        // What it gives is that it ended, of which the supervisor has been told.
        let _ = supervisor.essential("history", |unit| recorder.run(queue, opened, stopped, unit)).await;
    });
    let history = Arc::new(History { rules, jobs, openings, room, instance });
    engine.keep_with(Arc::clone(&history) as Arc<dyn Keeper>);
    Ok(Some((history, Join { stop, recorder: task })))
}

impl Join {
    /// Keeps and sends what waits, and ends.
    pub(crate) async fn drain(self) {
        // Fails only if the task has ended already.
        let _ = self.stop.send(());
        if self.recorder.await.is_err() {
            tracing::error!("the task that keeps messages panicked");
        }
    }
}

/// The group that a target is, as far as something can be kept for it: none is the hub itself.
fn kept_group(target: &Target) -> Option<Option<&GroupName>> {
    match target {
        Target::All => Some(None),
        Target::Group(group) => Some(Some(group)),
        Target::User(_) | Target::Connection(_) => None,
    }
}

/// The journal of a hub or of a group.
fn journal_name(hub: &Hub, group: Option<&GroupName>) -> Name {
    let name = match group {
        None => format!("history/{}", hub.name()),
        Some(group) => {
            // A group's name may be longer than that of a journal, and hold what that may not.
            let digest = ring::digest::digest(&ring::digest::SHA256, group.as_str().as_bytes());
            let hex: String = digest.as_ref()[..16].iter().map(|byte| format!("{byte:02x}")).collect();
            format!("history/{}/{hex}", hub.name())
        }
    };
    Name::new(&name).expect("a hub's name and digits are the name of a journal")
}

/// Whether a journal is that of a group.
fn is_of_group(name: &Name) -> bool {
    let digits = name.as_str().strip_prefix("history/").and_then(|name| name.rsplit_once('/'));
    digits
        .is_some_and(|(_, digits)| digits.len() == 32 && digits.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

impl History {
    /// The rule by which messages to a group, or to the whole hub, are kept.
    fn rule_of(&self, hub: &Hub, group: Option<&GroupName>) -> Option<usize> {
        if hub.instance() != &self.instance {
            return None;
        }
        self.rules.iter().position(|rule| rule.covers(hub, group))
    }

    /// Makes sure that there is a log, for as long as the answer is held.
    async fn open(&self, name: &Name, rule: usize) -> Result<InUse, OpenError> {
        let (reply, opened) = oneshot::channel();
        let opening = Opening { name: name.clone(), rule, reply };
        self.openings.send(opening).await.map_err(|_| OpenError::Stopped)?;
        opened.await.map_err(|_| OpenError::Stopped)?
    }

    fn rule(&self, hub: &Hub, target: &Target) -> Option<usize> {
        self.rule_of(hub, kept_group(target)?)
    }

    fn job(&self, publish: Publish, done: Option<oneshot::Sender<Result<(), PublishError>>>) -> Option<Job> {
        let rule = self.rule(&publish.hub, &publish.target)?;
        Some(Job { publish, rule, done, room: None })
    }
}

/// How many permits a message takes.
fn permits(publish: &Publish) -> u32 {
    let bytes = publish.message.bytes().min(BYTES_MAX - PERMIT_BYTES);
    u32::try_from(bytes / PERMIT_BYTES + 1).unwrap_or(u32::MAX)
}

#[async_trait::async_trait]
impl Keeper for History {
    fn keeps(&self, hub: &Hub, target: &Target) -> bool {
        self.rule(hub, target).is_some()
    }

    async fn publish(&self, publish: Publish) -> Result<(), PublishError> {
        let permits = permits(&publish);
        let room =
            Arc::clone(&self.room).acquire_many_owned(permits).await.map_err(|_| PublishError::Stopped)?;
        let (done, kept) = oneshot::channel();
        let mut job = self.job(publish, Some(done)).ok_or(PublishError::Stopped)?;
        job.room = Some(room);
        self.jobs.send(job).await.map_err(|_| PublishError::Stopped)?;
        kept.await.map_err(|_| PublishError::Stopped)?
    }

    fn try_publish(&self, publish: Publish) -> Result<(), PublishError> {
        let permits = permits(&publish);
        let room = Arc::clone(&self.room).try_acquire_many_owned(permits).map_err(|_| PublishError::Busy)?;
        let mut job = self.job(publish, None).ok_or(PublishError::Stopped)?;
        job.room = Some(room);
        self.jobs.try_send(job).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => PublishError::Busy,
            mpsc::error::TrySendError::Closed(_) => PublishError::Stopped,
        })
    }
}
