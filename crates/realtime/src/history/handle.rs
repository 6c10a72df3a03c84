//! [`History`]: the handle to the recorder, and the engine's history contract on it.

use std::sync::Arc;

use state::{Instance, Name};
use tokio::sync::{Semaphore, mpsc, oneshot};

use super::names::logged_group;
use super::options::Rule;
use super::requests::{AppendRequest, OpenError, OpenRequest};
use super::streams::InUse;
use realtime_engine::{GroupName, HistoryLog, Hub, Publish, PublishError, Target};

/// Messages that may wait for the recorder.
pub(super) const APPENDS_MAX: usize = 1024;

/// Bytes of messages that may wait for the recorder, and bytes of one permit.
pub(super) const BYTES_MAX: usize = 32 * 1024 * 1024;
pub(super) const PERMIT_BYTES: usize = 1024;

/// Stores messages to the hubs and groups that a rule names.
#[derive(Debug)]
pub(crate) struct History {
    pub(super) rules: Arc<[Rule]>,
    pub(super) appends: mpsc::Sender<AppendRequest>,
    pub(super) opens: mpsc::Sender<OpenRequest>,
    /// One permit for each [`PERMIT_BYTES`] of messages that wait.
    pub(super) permits: Arc<Semaphore>,
    pub(super) instance: Instance,
}

impl History {
    /// The first rule for messages to a group, or to the whole hub.
    pub(super) fn rule_of(&self, hub: &Hub, group: Option<&GroupName>) -> Option<usize> {
        if hub.instance() != &self.instance {
            return None;
        }
        self.rules.iter().position(|rule| rule.matches(hub, group))
    }

    /// Creates a log unless it exists. It is not removed while the returned guard lives.
    pub(super) async fn open(&self, name: &Name, rule: usize) -> Result<InUse, OpenError> {
        let (reply, opened) = oneshot::channel();
        let request = OpenRequest { name: name.clone(), rule, reply };
        self.opens.send(request).await.map_err(|_| OpenError::Stopped)?;
        opened.await.map_err(|_| OpenError::Stopped)?
    }

    fn rule(&self, hub: &Hub, target: &Target) -> Option<usize> {
        self.rule_of(hub, logged_group(target)?)
    }

    fn append_request(
        &self,
        publish: Publish,
        done: Option<oneshot::Sender<Result<(), PublishError>>>,
    ) -> Option<AppendRequest> {
        let rule = self.rule(&publish.hub, &publish.target)?;
        Some(AppendRequest { publish, rule, done, permit: None })
    }
}

/// The number of permits that a message needs.
fn permits(publish: &Publish) -> u32 {
    let bytes = publish.message.bytes().min(BYTES_MAX - PERMIT_BYTES);
    u32::try_from(bytes / PERMIT_BYTES + 1).unwrap_or(u32::MAX)
}

#[async_trait::async_trait]
impl HistoryLog for History {
    fn has_history(&self, hub: &Hub, target: &Target) -> bool {
        self.rule(hub, target).is_some()
    }

    async fn publish(&self, publish: Publish) -> Result<(), PublishError> {
        let permits = permits(&publish);
        let permit =
            Arc::clone(&self.permits).acquire_many_owned(permits).await.map_err(|_| PublishError::Stopped)?;
        let (done, appended) = oneshot::channel();
        let mut request = self.append_request(publish, Some(done)).ok_or(PublishError::Stopped)?;
        request.permit = Some(permit);
        self.appends.send(request).await.map_err(|_| PublishError::Stopped)?;
        appended.await.map_err(|_| PublishError::Stopped)?
    }

    fn try_publish(&self, publish: Publish) -> Result<(), PublishError> {
        let permits = permits(&publish);
        let permit =
            Arc::clone(&self.permits).try_acquire_many_owned(permits).map_err(|_| PublishError::Busy)?;
        let mut request = self.append_request(publish, None).ok_or(PublishError::Stopped)?;
        request.permit = Some(permit);
        self.appends.try_send(request).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => PublishError::Busy,
            mpsc::error::TrySendError::Closed(_) => PublishError::Stopped,
        })
    }
}
