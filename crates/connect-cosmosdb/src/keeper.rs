//! [`Keeper`]: a task that takes, renews and advances the leases of one source, also while a function runs.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;

use crate::decide::{Holder, leases_to_take};
use crate::error::RequestError;
use crate::lease::{Hashes, Lease, Owner};

mod store;

pub(crate) use store::{Change, LeaseStore, Siblings, SourceNumber};

/// How often a lease is tried that changes under our hands, before the next turn looks at it again.
const TAKE_ATTEMPTS: u32 = 3;

/// How often leases are looked at.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Intervals {
    pub(crate) acquire: Duration,
    pub(crate) renew: Duration,
    pub(crate) expiry: Duration,
}

/// A part of the feed that the source may read now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Held {
    pub(crate) token: String,
    pub(crate) hashes: Option<Hashes>,
    pub(crate) continuation: Option<String>,
    /// Whether the feed is read from its beginning while there is no continuation.
    pub(crate) from_beginning: bool,
}

/// Why a checkpoint was not written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CheckpointError {
    /// The lease went to another host, which hands the batch out again.
    #[error("lease {0} is no longer held")]
    Lost(String),
    /// The lease container did not take it.
    #[error(transparent)]
    Request(#[from] RequestError),
}

/// The task's handle. Dropping it ends the task without giving the leases back; [`Keeper::close`] gives them back.
#[derive(Debug)]
pub(crate) struct Keeper {
    commands: mpsc::Sender<Command>,
    held: watch::Receiver<Arc<[Held]>>,
    task: JoinHandle<()>,
}

enum Command {
    Checkpoint { token: String, continuation: String, reply: oneshot::Sender<Result<(), CheckpointError>> },
    Split { token: String, reply: oneshot::Sender<Result<bool, RequestError>> },
    Close { reply: oneshot::Sender<()> },
}

/// A lease that is held, and since when it is safe to say so.
struct Tenure {
    lease: Lease,
    renewed_at: Instant,
}

/// What the task owns.
struct Task {
    store: LeaseStore,
    intervals: Intervals,
    tenures: BTreeMap<String, Tenure>,
    held: watch::Sender<Arc<[Held]>>,
}

impl Keeper {
    /// Takes what can be had at once, then keeps it.
    pub(crate) async fn start(store: LeaseStore, intervals: Intervals) -> Result<Self, RequestError> {
        let (held_sender, held) = watch::channel(Arc::from([]));
        let mut task = Task { store, intervals, tenures: BTreeMap::new(), held: held_sender };
        task.acquire().await?;
        let (commands, inbox) = mpsc::channel(4);
        Ok(Self { commands, held, task: tokio::spawn(task.run(inbox)) })
    }

    /// What may be read now.
    pub(crate) fn held(&mut self) -> Arc<[Held]> {
        self.held.borrow_and_update().clone()
    }

    /// Waits until what may be read is different, or until nobody keeps it any more.
    pub(crate) async fn changed(&mut self) {
        // An error means that the task is gone, which `has_ended` tells.
        let _ = self.held.changed().await;
    }

    /// Whether the task that renews the leases is gone although nobody closed it: then they are lost, and the source must be opened
    /// again.
    pub(crate) fn has_ended(&self) -> bool {
        self.held.has_changed().is_err()
    }

    /// Records how far the source came. Once this returns `Ok`, no host starts before that point.
    pub(crate) async fn checkpoint(&self, token: &str, continuation: &str) -> Result<(), CheckpointError> {
        let (reply, answer) = oneshot::channel();
        let (token, continuation) = (token.to_owned(), continuation.to_owned());
        let lost = CheckpointError::Lost(token.clone());
        if self.commands.send(Command::Checkpoint { token, continuation, reply }).await.is_err() {
            return Err(lost);
        }
        answer.await.unwrap_or(Err(lost))
    }

    /// Replaces the lease of a partition that was split by leases of its parts; whether there are any.
    pub(crate) async fn split(&self, token: &str) -> Result<bool, RequestError> {
        let (reply, answer) = oneshot::channel();
        if self.commands.send(Command::Split { token: token.to_owned(), reply }).await.is_err() {
            return Ok(false);
        }
        answer.await.unwrap_or(Ok(false))
    }

    /// Gives the leases back and ends the task.
    pub(crate) async fn close(mut self) {
        let (reply, closed) = oneshot::channel();
        if self.commands.send(Command::Close { reply }).await.is_ok() {
            // An error means that the task has ended already.
            let _ = closed.await;
        }
        let _ = (&mut self.task).await;
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Task {
    async fn run(mut self, mut inbox: mpsc::Receiver<Command>) {
        let mut acquire_at = tokio::time::Instant::now() + self.intervals.acquire;
        let mut renew_at = tokio::time::Instant::now() + self.intervals.renew;
        loop {
            tokio::select! {
                command = inbox.recv() => match command {
                    None => return,
                    Some(Command::Close { reply }) => {
                        self.release().await;
                        let _ = reply.send(());
                        return;
                    }
                    Some(Command::Checkpoint { token, continuation, reply }) => {
                        let _ = reply.send(self.advance(&token, &continuation).await);
                    }
                    Some(Command::Split { token, reply }) => {
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

    /// Lists all leases and takes those that this source should have.
    async fn acquire(&mut self) -> Result<(), RequestError> {
        let leases = self.store.list().await?;
        let now = SystemTime::now();
        let holders: Vec<_> = leases.iter().map(|lease| self.holder(lease, now)).collect();
        for index in leases_to_take(&holders) {
            self.take(leases[index].clone(), holders[index].clone()).await?;
        }
        self.publish();
        Ok(())
    }

    /// Tries to take one lease. Whoever was faster has it, unless that was ourselves or a source that is gone: a write that
    /// was cut off on our side may still have been carried out.
    async fn take(&mut self, mut lease: Lease, seen: Holder) -> Result<(), RequestError> {
        for _ in 0..TAKE_ATTEMPTS {
            let now = SystemTime::now();
            match self.store.replace(lease.held_by(Some(self.store.owner()), now)).await? {
                Change::Made(lease) => {
                    tracing::debug!(lease = lease.id(), owner = %self.store.owner(), "lease taken");
                    self.keep(lease);
                    return Ok(());
                }
                Change::Refused(Some(current)) if self.holder(&current, now) == seen => lease = current,
                Change::Refused(_) => return Ok(()),
            }
        }
        Ok(())
    }

    fn holder(&self, lease: &Lease, now: SystemTime) -> Holder {
        let Some(owner) = lease.owner() else { return Holder::Nobody };
        if owner == self.store.owner().to_string() {
            // Ours by name, but we do not know it: an earlier attempt was cancelled in the middle.
            let known = self.tenures.contains_key(lease.token());
            return if known { Holder::Me } else { Holder::Nobody };
        }
        let gone = Owner::parse(owner).is_some_and(|owner| self.store.has_gone(&owner));
        if gone || lease.expired(now, self.intervals.expiry) {
            return Holder::Nobody;
        }
        Holder::Other(owner.to_owned())
    }

    async fn renew(&mut self) {
        let tokens: Vec<String> = self.tenures.keys().cloned().collect();
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

    /// Writes a change of a held lease; if the lease is found to be another's, it is forgotten.
    async fn change(&mut self, token: &str, change: impl Fn(&Lease) -> Lease) -> Result<(), CheckpointError> {
        let lost = || CheckpointError::Lost(token.to_owned());
        let mut lease = self.tenures.get(token).ok_or_else(lost)?.lease.clone();
        // Twice is enough: our own write may have been accepted without our hearing of it, nobody else writes a lease
        // that we hold.
        for _ in 0..2 {
            match self.store.replace(change(&lease)).await? {
                Change::Made(lease) => {
                    self.keep(lease);
                    return Ok(());
                }
                Change::Refused(Some(current))
                    if current.owner() == Some(&self.store.owner().to_string()) =>
                {
                    lease = current;
                }
                Change::Refused(_) => break,
            }
        }
        self.tenures.remove(token);
        Err(lost())
    }

    /// A partition was split: its parts continue where it stood (410, sub-status 1002 and 1007).
    async fn split(&mut self, token: &str) -> Result<bool, RequestError> {
        let Some(tenure) = self.tenures.get(token) else { return Ok(false) };
        let lease = tenure.lease.clone();
        if !self.store.replace_by_children(&lease).await? {
            return Ok(false);
        }
        self.tenures.remove(token);
        self.acquire().await?;
        Ok(true)
    }

    async fn release(&mut self) {
        for tenure in std::mem::take(&mut self.tenures).into_values() {
            let free = tenure.lease.held_by(None, SystemTime::now());
            if let Err(error) = self.store.replace(free).await {
                tracing::debug!(lease = tenure.lease.id(), %error, "lease could not be given back; it will expire");
            }
        }
        self.publish();
    }

    fn keep(&mut self, lease: Lease) {
        let token = lease.token().to_owned();
        self.tenures.insert(token, Tenure { lease, renewed_at: Instant::now() });
    }

    fn drop_if_expired(&mut self, token: &str) {
        let expiry = self.intervals.expiry;
        if self.tenures.get(token).is_some_and(|tenure| tenure.renewed_at.elapsed() > expiry) {
            self.tenures.remove(token);
        }
    }

    /// Tells the source what it may read, if that has changed.
    fn publish(&self) {
        let held: Arc<[Held]> = self
            .tenures
            .values()
            .map(|tenure| Held {
                token: tenure.lease.token().to_owned(),
                hashes: tenure.lease.hashes(),
                continuation: tenure.lease.continuation().map(str::to_owned),
                from_beginning: tenure.lease.begins_at_start(),
            })
            .collect();
        self.held.send_if_modified(|current| {
            let changed = **current != *held;
            *current = held;
            changed
        });
    }
}
