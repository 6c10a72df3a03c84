//! [`LeaseRenewer`]: a task that acquires, renews and advances the leases of one source, also while a function runs.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;

use crate::decide::{LeaseHolder, leases_to_acquire};
use crate::error::RequestError;
use crate::lease::{EpkRange, LeaseDocument, LeaseOwner};
use crate::lease_store::{LeaseStore, LeaseWrite};

/// Attempts to acquire a lease that changes concurrently; after that, the next interval tries again.
const ACQUIRE_ATTEMPTS: u32 = 3;

/// The intervals of the lease tasks, as `leaseAcquireInterval`, `leaseRenewInterval` and `leaseExpirationInterval` set them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LeaseIntervals {
    pub(crate) acquire: Duration,
    pub(crate) renew: Duration,
    pub(crate) expiry: Duration,
}

/// A lease that the source holds: a part of the feed that it may read now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HeldLease {
    pub(crate) token: String,
    pub(crate) epk_range: Option<EpkRange>,
    pub(crate) continuation: Option<String>,
    /// Whether the feed is read from its beginning if there is no continuation.
    pub(crate) from_beginning: bool,
}

/// Why a checkpoint was not written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CheckpointError {
    /// The lease went to another host, which hands the batch out again.
    #[error("lease {0} is no longer held")]
    Lost(String),
    /// The lease container did not accept it.
    #[error(transparent)]
    Request(#[from] RequestError),
}

/// The task's handle. Dropping it ends the task without releasing the leases; [`LeaseRenewer::close`] releases them.
#[derive(Debug)]
pub(crate) struct LeaseRenewer {
    commands: mpsc::Sender<RenewerCommand>,
    held: watch::Receiver<Arc<[HeldLease]>>,
    task: JoinHandle<()>,
}

/// Stores positions through the task; after its end, every position counts as lost. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Checkpoints(mpsc::Sender<RenewerCommand>);

#[derive(Debug)]
enum RenewerCommand {
    Checkpoint { token: String, continuation: String, reply: oneshot::Sender<Result<(), CheckpointError>> },
    Split { token: String, reply: oneshot::Sender<Result<bool, RequestError>> },
    Close { reply: oneshot::Sender<()> },
}

/// A lease that this source owns, and when it was last renewed.
struct OwnedLease {
    lease: LeaseDocument,
    renewed_at: Instant,
}

/// The state of the task.
struct RenewerTask {
    store: LeaseStore,
    intervals: LeaseIntervals,
    owned: BTreeMap<String, OwnedLease>,
    held: watch::Sender<Arc<[HeldLease]>>,
}

impl LeaseRenewer {
    /// Acquires leases once, then starts the task that renews them.
    pub(crate) async fn start(store: LeaseStore, intervals: LeaseIntervals) -> Result<Self, RequestError> {
        let (held_sender, held) = watch::channel(Arc::from([]));
        let mut task = RenewerTask { store, intervals, owned: BTreeMap::new(), held: held_sender };
        task.acquire().await?;
        let (commands, inbox) = mpsc::channel(4);
        Ok(Self { commands, held, task: tokio::spawn(task.run(inbox)) })
    }

    /// The leases that are held now.
    pub(crate) fn held(&mut self) -> Arc<[HeldLease]> {
        self.held.borrow_and_update().clone()
    }

    /// A lease with its current position, if it is held now.
    pub(crate) fn part(&self, token: &str) -> Option<HeldLease> {
        self.held.borrow().iter().find(|held| held.token == token).cloned()
    }

    /// Waits until the held leases change, or until the task has ended.
    pub(crate) async fn changed(&mut self) {
        // An error means that the task has ended, which `has_ended` reports.
        let _ = self.held.changed().await;
    }

    /// Whether the task ended without `close`: the leases are lost then, and the source must be opened again.
    pub(crate) fn has_ended(&self) -> bool {
        self.held.has_changed().is_err()
    }

    /// Stores positions of the source; for deliveries, which are settled apart from the source.
    pub(crate) fn checkpoints(&self) -> Checkpoints {
        Checkpoints(self.commands.clone())
    }

    /// Stores a position as [`Checkpoints::store`] does.
    pub(crate) async fn checkpoint(&self, token: &str, continuation: &str) -> Result<(), CheckpointError> {
        self.checkpoints().store(token, continuation).await
    }

    /// Replaces the lease of a partition that was split by the leases of its children; `false` if it was not split.
    pub(crate) async fn split(&self, token: &str) -> Result<bool, RequestError> {
        let (reply, answer) = oneshot::channel();
        if self.commands.send(RenewerCommand::Split { token: token.to_owned(), reply }).await.is_err() {
            return Ok(false);
        }
        answer.await.unwrap_or(Ok(false))
    }

    /// Releases the leases and ends the task.
    pub(crate) async fn close(mut self) {
        let (reply, closed) = oneshot::channel();
        if self.commands.send(RenewerCommand::Close { reply }).await.is_ok() {
            // An error means that the task has ended already.
            let _ = closed.await;
        }
        let _ = (&mut self.task).await;
    }
}

impl Checkpoints {
    /// Stores the position of a part of the feed. Once this returns `Ok`, no host starts before it.
    pub(crate) async fn store(&self, token: &str, continuation: &str) -> Result<(), CheckpointError> {
        let (reply, answer) = oneshot::channel();
        let (token, continuation) = (token.to_owned(), continuation.to_owned());
        let lost = CheckpointError::Lost(token.clone());
        if self.0.send(RenewerCommand::Checkpoint { token, continuation, reply }).await.is_err() {
            return Err(lost);
        }
        answer.await.unwrap_or(Err(lost))
    }
}

impl Drop for LeaseRenewer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl RenewerTask {
    async fn run(mut self, mut inbox: mpsc::Receiver<RenewerCommand>) {
        let mut acquire_at = tokio::time::Instant::now() + self.intervals.acquire;
        let mut renew_at = tokio::time::Instant::now() + self.intervals.renew;
        loop {
            tokio::select! {
                command = inbox.recv() => match command {
                    None => return,
                    Some(RenewerCommand::Close { reply }) => {
                        self.release().await;
                        let _ = reply.send(());
                        return;
                    }
                    Some(RenewerCommand::Checkpoint { token, continuation, reply }) => {
                        let _ = reply.send(self.advance(&token, &continuation).await);
                    }
                    Some(RenewerCommand::Split { token, reply }) => {
                        let _ = reply.send(self.split(&token).await);
                    }
                },
                () = tokio::time::sleep_until(acquire_at) => {
                    if let Err(error) = self.acquire().await {
                        tracing::warn!(prefix = self.store.prefix(), %error, "leases could not be listed");
                    }
                    acquire_at = tokio::time::Instant::now() + self.intervals.acquire;
                }
                () = tokio::time::sleep_until(renew_at) => {
                    self.renew().await;
                    renew_at = tokio::time::Instant::now() + self.intervals.renew;
                }
            }
        }
    }

    /// Lists all leases and acquires those that this source should own.
    async fn acquire(&mut self) -> Result<(), RequestError> {
        let leases = self.store.list().await?;
        let now = SystemTime::now();
        let holders: Vec<_> = leases.iter().map(|lease| self.holder(lease, now)).collect();
        for index in leases_to_acquire(&holders) {
            self.acquire_one(leases[index].clone(), holders[index].clone()).await?;
        }
        self.publish();
        Ok(())
    }

    /// Tries to acquire one lease. If another source was faster, it keeps the lease. A conflict with ourselves or with a source
    /// that is gone is retried: a write whose response we did not receive may have been accepted.
    async fn acquire_one(&mut self, mut lease: LeaseDocument, seen: LeaseHolder) -> Result<(), RequestError> {
        for _ in 0..ACQUIRE_ATTEMPTS {
            let now = SystemTime::now();
            match self.store.replace(lease.held_by(Some(self.store.owner()), now)).await? {
                LeaseWrite::Written(lease) => {
                    tracing::debug!(lease = lease.id(), owner = %self.store.owner(), "lease acquired");
                    self.own(lease);
                    return Ok(());
                }
                LeaseWrite::Conflict(Some(current)) if self.holder(&current, now) == seen => lease = current,
                LeaseWrite::Conflict(_) => return Ok(()),
            }
        }
        Ok(())
    }

    fn holder(&self, lease: &LeaseDocument, now: SystemTime) -> LeaseHolder {
        let Some(owner) = lease.owner() else { return LeaseHolder::Free };
        if owner == self.store.owner().to_string() {
            // Ours by name, but not in `owned`: an earlier attempt was cancelled.
            let known = self.owned.contains_key(lease.token());
            return if known { LeaseHolder::ThisSource } else { LeaseHolder::Free };
        }
        let gone = LeaseOwner::parse(owner).is_some_and(|owner| self.store.is_gone(&owner));
        if gone || lease.expired(now, self.intervals.expiry) {
            return LeaseHolder::Free;
        }
        LeaseHolder::OtherSource(owner.to_owned())
    }

    async fn renew(&mut self) {
        let tokens: Vec<String> = self.owned.keys().cloned().collect();
        for token in tokens {
            let owner = self.store.owner().clone();
            match self.change(&token, |lease| lease.held_by(Some(&owner), SystemTime::now())).await {
                Ok(()) => {}
                Err(CheckpointError::Lost(_)) => {
                    tracing::info!(lease = token, owner = %owner, "lease went to another host");
                }
                Err(CheckpointError::Request(error)) => {
                    tracing::warn!(lease = token, %error, "lease could not be renewed");
                    self.drop_if_expired(&token);
                }
            }
        }
        self.publish();
    }

    async fn advance(&mut self, token: &str, continuation: &str) -> Result<(), CheckpointError> {
        let result = self.change(token, |lease| lease.advanced_to(continuation, SystemTime::now())).await;
        self.publish();
        result
    }

    /// Writes a change of an owned lease; a lease that another host owns now is removed from `owned`.
    async fn change(
        &mut self,
        token: &str,
        change: impl Fn(&LeaseDocument) -> LeaseDocument,
    ) -> Result<(), CheckpointError> {
        let lost = || CheckpointError::Lost(token.to_owned());
        let mut lease = self.owned.get(token).ok_or_else(lost)?.lease.clone();
        // Two attempts suffice: an earlier write of ours may have been accepted without a response, and no other host
        // writes a lease that we own.
        for _ in 0..2 {
            match self.store.replace(change(&lease)).await? {
                LeaseWrite::Written(lease) => {
                    self.own(lease);
                    return Ok(());
                }
                LeaseWrite::Conflict(Some(current))
                    if current.owner() == Some(&self.store.owner().to_string()) =>
                {
                    lease = current;
                }
                LeaseWrite::Conflict(_) => break,
            }
        }
        self.owned.remove(token);
        Err(lost())
    }

    /// A partition was split: its children continue at its position (410, sub-status 1002 and 1007).
    async fn split(&mut self, token: &str) -> Result<bool, RequestError> {
        let Some(owned_lease) = self.owned.get(token) else { return Ok(false) };
        let lease = owned_lease.lease.clone();
        if !self.store.replace_by_children(&lease).await? {
            return Ok(false);
        }
        self.owned.remove(token);
        self.acquire().await?;
        Ok(true)
    }

    async fn release(&mut self) {
        for owned_lease in std::mem::take(&mut self.owned).into_values() {
            let free = owned_lease.lease.held_by(None, SystemTime::now());
            if let Err(error) = self.store.replace(free).await {
                tracing::debug!(lease = owned_lease.lease.id(), %error, "lease could not be released; it will expire");
            }
        }
        self.publish();
    }

    fn own(&mut self, lease: LeaseDocument) {
        let token = lease.token().to_owned();
        self.owned.insert(token, OwnedLease { lease, renewed_at: Instant::now() });
    }

    fn drop_if_expired(&mut self, token: &str) {
        let expiry = self.intervals.expiry;
        if self.owned.get(token).is_some_and(|owned_lease| owned_lease.renewed_at.elapsed() > expiry) {
            self.owned.remove(token);
        }
    }

    /// Publishes the held leases to the source, if they changed.
    fn publish(&self) {
        let held: Arc<[HeldLease]> = self
            .owned
            .values()
            .map(|owned_lease| HeldLease {
                token: owned_lease.lease.token().to_owned(),
                epk_range: owned_lease.lease.epk_range(),
                continuation: owned_lease.lease.continuation().map(str::to_owned),
                from_beginning: owned_lease.lease.begins_at_start(),
            })
            .collect();
        self.held.send_if_modified(|current| {
            let changed = **current != *held;
            *current = held;
            changed
        });
    }
}
