//! History: a hub or a group may keep its last messages, so that a client that comes back gets what it missed, in order, also
//! after this process was killed.
//!
//! Not its concern: who receives what (`engine`), how clients ask (`methods`).
//!
//! A message is durable before anybody gets it, and gets its position (the epoch of the log, and its number). One task keeps
//! what comes from all publishers: what waits while one group is being flushed makes up the next, so that the flush costs each
//! message little, and messages reach the shards in the order of their positions.
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

use self::recorder::{Job, Recorder};
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
    room: Arc<Semaphore>,
    instance: Instance,
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
    rules: Arc<[Rule]>,
    instance: Instance,
    journal: Arc<dyn Journal>,
    registry: Arc<dyn state::Registry>,
    engine: &EngineHandle,
    supervisor: &Supervisor,
    metrics: &mut prometheus_client::registry::Registry,
) -> Result<Option<Join>, HistoryError> {
    if rules.is_empty() {
        return Ok(None);
    }
    let (jobs, queue) = mpsc::channel(JOBS_MAX);
    let room = Arc::new(Semaphore::new(BYTES_MAX / PERMIT_BYTES));
    let recorder =
        Recorder::new(engine.clone(), instance.clone(), journal, registry, Arc::clone(&rules), metrics);
    let recorder = recorder.load().await?;
    let (stop, stopped) = oneshot::channel();
    let supervisor = supervisor.clone();
    let task = tokio::spawn(async move {
        // What it gives is that it ended, of which the supervisor has been told.
        let _ = supervisor.essential("history", |unit| recorder.run(queue, stopped, unit)).await;
    });
    engine.keep_with(Arc::new(History { rules, jobs, room, instance }));
    Ok(Some(Join { stop, recorder: task }))
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

impl History {
    fn rule(&self, hub: &Hub, target: &Target) -> Option<usize> {
        if hub.instance() != &self.instance {
            return None;
        }
        let group = kept_group(target)?;
        self.rules.iter().position(|rule| rule.covers(hub, group))
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
