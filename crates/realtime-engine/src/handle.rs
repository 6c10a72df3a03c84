//! [`EngineHandle`]: how the rest of the process talks to the shards. [`EngineJoin`]: how it ends them.
//!
//! Here: admission, publishing, groups, closing. `wake.rs` has the queue of a shard, `client.rs` what concerns one client whose app
//! server or upstream answers, `streams.rs` what is sent in streams, `lists.rs` who is there.

mod client;
mod lists;
mod streams;
mod wake;

use std::collections::HashMap;
use std::sync::atomic::{AtomicU16, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::oneshot;
use trace::Tracer;

pub use self::streams::StreamOf;
use self::wake::{Reserved, When, reserve};
pub(crate) use self::wake::{ShardSender, ShardWaker};
use super::command::{Changed, Command, Work};
use super::id::{self, ShardId};
use super::span::SendSpan;
use super::{
    Admission, Closing, ConnectionId, ConnectionToken, GroupName, Hub, Keeper, Kept, Lifetime, Link,
    Membership, NodeId, Options, Publish, Target, UserId,
};

/// Talks to the shards; cheap to clone.
#[derive(Clone, Debug)]
pub struct EngineHandle(Arc<Shared>);

/// Owns the shards' threads.
#[derive(Debug)]
pub struct EngineJoin {
    handle: EngineHandle,
    threads: Vec<ShardThread>,
}

/// Names for a connection that is about to be: both lead to the same shard.
#[derive(Clone, Copy, Debug)]
pub struct Issued {
    /// The public name.
    pub connection: ConnectionId,
    /// The secret of its client.
    pub token: ConnectionToken,
}

/// Why a socket was not taken.
#[derive(Debug, thiserror::Error)]
pub enum AttachError {
    /// [`Options::connections_max`](super::Options::connections_max) is reached.
    #[error("the engine holds as many connections as it may: {connections_max}")]
    Full {
        /// The bound.
        connections_max: u32,
    },
    /// The hub has as many connections as it may.
    #[error("the hub holds as many connections as it may: {connections_max}")]
    HubFull {
        /// The bound.
        connections_max: u32,
    },
    /// The connection id was issued by another node, or for a shard that does not exist.
    #[error("connection {0} belongs to another node")]
    Foreign(ConnectionId),
    /// The engine is draining or has ended.
    #[error("the engine is shutting down")]
    Stopped,
}

/// Why a publish was not taken. Nobody got it.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// A shard's command queue is full; try again, or wait with [`EngineHandle::publish`].
    #[error("a shard has as many commands waiting as it may")]
    Busy,
    /// The hub or group keeps its messages, and this one could not be kept.
    #[error("the message could not be kept: {0}")]
    NotKept(Arc<str>),
    /// The engine has ended.
    #[error("the engine has been shut down")]
    Stopped,
}

/// The engine has ended, so there is nothing left to ask.
#[derive(Debug, thiserror::Error)]
#[error("the engine has been shut down")]
pub struct Stopped;

impl From<Stopped> for PublishError {
    fn from(_: Stopped) -> Self {
        Self::Stopped
    }
}

/// Why a connection did not join a group.
#[derive(Debug, thiserror::Error)]
pub enum GroupError {
    /// [`Options::connection_groups_max`](super::Options::connection_groups_max) is reached.
    #[error("the connection is in as many groups as it may be")]
    TooMany,
    /// The engine has ended.
    #[error("the engine has been shut down")]
    Stopped,
}

impl From<Stopped> for GroupError {
    fn from(_: Stopped) -> Self {
        Self::Stopped
    }
}

/// Why a user's membership was not changed.
#[derive(Debug, thiserror::Error)]
pub enum UserGroupError {
    /// [`Options::user_groups_max`](super::Options::user_groups_max) is reached.
    #[error("the engine remembers as many memberships of users as it may")]
    Full,
    /// The engine has ended.
    #[error("the engine has been shut down")]
    Stopped,
}

#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) node: NodeId,
    pub(crate) connections_max: u32,
    /// Sockets handed to shards and not yet given up by them.
    pub(crate) connections: Arc<AtomicU32>,
    pub(crate) hub_counts: Arc<HubCounts>,
    pub(crate) outlet_bytes: prometheus_client::metrics::gauge::Gauge,
    pub(crate) next_shard: AtomicU16,
    pub(crate) shards: Vec<ShardSender>,
    pub(crate) tracer: Tracer,
    pub(crate) keeper: OnceLock<Arc<dyn Keeper>>,
}

/// How many connections each hub has, where that is limited.
#[derive(Debug)]
pub(crate) struct HubCounts {
    options: Options,
    is_limited: bool,
    counts: Mutex<HashMap<Hub, u32>>,
}

#[derive(Debug)]
pub(crate) struct ShardThread {
    pub(crate) ended: oneshot::Receiver<()>,
    pub(crate) thread: std::thread::JoinHandle<()>,
}

impl HubCounts {
    pub(crate) fn new(options: &Options) -> Self {
        let is_limited = options.hub_connections_max.is_some()
            || options.hubs.values().any(|hub| hub.connections_max.is_some());
        Self { options: options.clone(), is_limited, counts: Mutex::default() }
    }

    fn limit(&self, hub: &Hub) -> Option<u32> {
        let own = self.options.hubs.get(hub.name()).and_then(|hub| hub.connections_max);
        own.or(self.options.hub_connections_max).map(std::num::NonZeroU32::get)
    }

    /// Whether a hub has no place left.
    fn is_full(&self, hub: &Hub) -> Option<u32> {
        let limit = self.is_limited.then(|| self.limit(hub)).flatten()?;
        let counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        (counts.get(hub).is_some_and(|count| *count >= limit)).then_some(limit)
    }

    /// Takes a place in a hub, or says how many it has.
    fn take(&self, hub: &Hub) -> Result<(), u32> {
        if !self.is_limited {
            return Ok(());
        }
        let limit = self.limit(hub).unwrap_or(u32::MAX);
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(hub.clone()).or_default();
        if *count >= limit {
            return Err(limit);
        }
        *count += 1;
        Ok(())
    }

    /// Gives a place back.
    pub(crate) fn release(&self, hub: &Hub) {
        if !self.is_limited {
            return;
        }
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(hub) {
            *count -= 1;
            if *count == 0 {
                counts.remove(hub);
            }
        }
    }
}

impl EngineHandle {
    pub(crate) fn new(shared: Shared) -> Self {
        Self(Arc::new(shared))
    }

    /// Names for a new connection. Shards take turns.
    pub fn issue(&self) -> Issued {
        let count = u16::try_from(self.0.shards.len()).expect("options count shards in 16 bits");
        let shard = ShardId(self.0.next_shard.fetch_add(1, Ordering::Relaxed) % count);
        let (connection, token) = id::draw_both(self.0.node, shard);
        Issued { connection, token }
    }

    /// Whether a socket offered now would be refused for want of a place, so that its client can be told in HTTP.
    pub fn is_full(&self) -> bool {
        self.0.connections.load(Ordering::Acquire) >= self.0.connections_max
    }

    /// How many connections a hub may have, if it has that many.
    pub fn hub_is_full(&self, hub: &Hub) -> Option<u32> {
        self.0.hub_counts.is_full(hub)
    }

    /// Hands a client over: a socket after the answer 101 has been written to it, or an outlet. Waits while the shard's queue is
    /// full.
    ///
    /// # Errors
    ///
    /// If there is no place for it. Then the socket is closed.
    pub async fn attach(&self, link: Link, admission: Admission) -> Result<(), AttachError> {
        let Some(shard) = self.shard_of(admission.connection) else {
            return Err(AttachError::Foreign(admission.connection));
        };
        let place = Place::take(&self.0, admission.hub.clone())?;
        let command = Command::Attach(Box::new(link), Box::new(admission));
        shard.send(command).await.map_err(|Stopped| AttachError::Stopped)?;
        // From here the shard gives the place back, when the connection ends.
        place.keep();
        Ok(())
    }

    /// Sends a message, or says that it would have to wait. Messages that one caller publishes one after the other reach
    /// each receiver in that order.
    pub fn try_publish(&self, publish: Publish) -> Result<(), PublishError> {
        match self.keeper(&publish) {
            Some(keeper) => keeper.try_publish(publish),
            None => self.try_send(publish),
        }
    }

    fn try_send(&self, publish: Publish) -> Result<(), PublishError> {
        let shards = self.shards_of(&publish.target);
        // First a place in each queue, then the message: it reaches all shards or none.
        let mut permits = Vec::with_capacity(shards.len());
        for shard in shards {
            permits.push(shard.try_reserve().map_err(|error| match error {
                TrySendError::Full(()) => PublishError::Busy,
                TrySendError::Closed(()) => PublishError::Stopped,
            })?);
        }
        self.hand_out(publish, None, permits);
        Ok(())
    }

    /// Sends a message; waits while a shard's queue is full. Same order as [`EngineHandle::try_publish`]. If the future is
    /// dropped before it ends, nobody gets the message. Shards are woken once the tasks that are ready now have run, so that
    /// many that publish at the same time wake them once; see [`EngineHandle::try_publish`] for callers that are alone.
    pub async fn publish(&self, publish: Publish) -> Result<(), PublishError> {
        match self.keeper(&publish) {
            Some(keeper) => keeper.publish(publish).await,
            None => Ok(self.send(publish, None).await?),
        }
    }

    /// Sends a message that is kept already; for the [`Keeper`].
    ///
    /// # Errors
    ///
    /// If the engine has ended.
    pub async fn publish_kept(&self, publish: Publish, kept: Kept) -> Result<(), Stopped> {
        self.send(publish, Some(kept)).await
    }

    /// Sends a message that the [`Keeper`] took and cannot keep.
    ///
    /// # Errors
    ///
    /// If the engine has ended.
    pub async fn publish_unkept(&self, publish: Publish) -> Result<(), Stopped> {
        self.send(publish, None).await
    }

    /// From now on, messages that `keeper` keeps go through it. Only the first one counts.
    pub fn keep_with(&self, keeper: Arc<dyn Keeper>) {
        // There is one start, and it sets one keeper.
        let _ = self.0.keeper.set(keeper);
    }

    fn keeper(&self, publish: &Publish) -> Option<&Arc<dyn Keeper>> {
        self.0.keeper.get().filter(|keeper| keeper.keeps(&publish.hub, &publish.target))
    }

    async fn send(&self, publish: Publish, kept: Option<Kept>) -> Result<(), Stopped> {
        let shards = self.shards_of(&publish.target);
        let permits = reserve(shards, When::Soon).await?;
        self.hand_out(publish, kept, permits);
        Ok(())
    }

    fn hand_out(&self, publish: Publish, kept: Option<Kept>, permits: Vec<Reserved<'_>>) {
        let Publish { hub, target, mut excluded, excluded_users, message, trace } = publish;
        // Shards search in it for each receiver.
        excluded.sort_unstable();
        let span = trace.map(|parent| SendSpan::start(&self.0.tracer, parent));
        let work = Arc::new(Work { hub, target, excluded, excluded_users, message, kept, span });
        for permit in permits {
            permit.send(Command::Publish(Arc::clone(&work)));
        }
    }

    /// Puts a connection into a group or takes it out. Says whether the connection exists.
    ///
    /// # Errors
    ///
    /// If it is in as many groups as it may be, or the engine has ended.
    pub async fn change_connection(
        &self,
        hub: &Hub,
        connection: ConnectionId,
        group: &GroupName,
        membership: Membership,
    ) -> Result<bool, GroupError> {
        let (hub, group) = (hub.clone(), group.clone());
        let ask = |changed| Command::ChangeConnection { hub, connection, group, membership, changed };
        match self.ask_owner(connection, ask).await? {
            Changed::Done => Ok(true),
            Changed::NoConnection => Ok(false),
            Changed::TooMany => Err(GroupError::TooMany),
        }
    }

    /// Takes a connection out of all its groups. Says whether the connection exists.
    pub async fn leave_all_groups(&self, hub: &Hub, connection: ConnectionId) -> Result<bool, Stopped> {
        let hub = hub.clone();
        self.ask_owner(connection, |found| Command::LeaveAllGroups { hub, connection, found }).await
    }

    /// Puts a user into a group or takes it out: all its connections, those of now and, by its `lifetime`, those to come. Kept in
    /// memory here; whoever wants it to outlive the process keeps it, and says it again at the next start.
    pub async fn change_user(
        &self,
        hub: &Hub,
        user: &UserId,
        group: &GroupName,
        membership: Membership,
        lifetime: Lifetime,
    ) -> Result<(), UserGroupError> {
        let ask = |taken| {
            let (hub, user, group) = (hub.clone(), user.clone(), group.clone());
            Command::ChangeUser { hub, user, group, membership, lifetime, taken }
        };
        let answers = self.ask_all(ask).await.map_err(|Stopped| UserGroupError::Stopped)?;
        if answers.into_iter().all(|taken| taken) { Ok(()) } else { Err(UserGroupError::Full) }
    }

    /// Takes a user, with all its connections, out of all its groups.
    pub async fn user_leaves_all_groups(&self, hub: &Hub, user: &UserId) -> Result<(), Stopped> {
        let ask = |done| Command::UserLeavesAllGroups { hub: hub.clone(), user: user.clone(), done };
        self.ask_all(ask).await.map(|_| ())
    }

    /// Closes connections. Says how many there were.
    pub async fn close(
        &self,
        hub: &Hub,
        target: &Target,
        excluded: &[ConnectionId],
        closing: &Closing,
    ) -> Result<u32, Stopped> {
        let excluded: Arc<[ConnectionId]> = excluded.into();
        let ask = |closed| Command::Close {
            hub: hub.clone(),
            target: target.clone(),
            excluded: Arc::clone(&excluded),
            closing: closing.clone(),
            closed,
        };
        if let Target::Connection(connection) = target {
            return self.ask_owner(*connection, ask).await;
        }
        Ok(self.ask_all(ask).await?.into_iter().sum())
    }

    /// Asks the shard that owns a connection. A connection of another node is not here, so the answer is the default.
    async fn ask_owner<T: Default>(
        &self,
        connection: ConnectionId,
        command: impl FnOnce(oneshot::Sender<T>) -> Command,
    ) -> Result<T, Stopped> {
        let Some(shard) = self.shard_of(connection) else { return Ok(T::default()) };
        let (sender, answer) = oneshot::channel();
        shard.send(command(sender)).await?;
        answer.await.map_err(|_| Stopped)
    }

    async fn ask_all<T>(&self, command: impl Fn(oneshot::Sender<T>) -> Command) -> Result<Vec<T>, Stopped> {
        let mut answers = Vec::with_capacity(self.0.shards.len());
        for shard in &self.0.shards {
            let (sender, answer) = oneshot::channel();
            shard.send(command(sender)).await?;
            answers.push(answer);
        }
        let mut values = Vec::with_capacity(answers.len());
        for answer in answers {
            values.push(answer.await.map_err(|_| Stopped)?);
        }
        Ok(values)
    }

    fn shard_of(&self, connection: ConnectionId) -> Option<&ShardSender> {
        if connection.node() != self.0.node {
            return None;
        }
        self.0.shards.get(usize::from(connection.shard().0))
    }

    /// The shards that may hold receivers.
    fn shards_of(&self, target: &Target) -> &[ShardSender] {
        let Target::Connection(connection) = target else { return &self.0.shards };
        self.shard_of(*connection).map_or(&[], std::slice::from_ref)
    }
}

impl EngineJoin {
    /// Ends the engine: tells every client to connect again (Close with `allowReconnect`), waits for them to go, and cuts
    /// those that have not gone after `cut_after`. Returns when all threads have ended.
    pub async fn drain(self, cut_after: Duration) {
        for shard in &self.handle.0.shards {
            // A shard that has already ended needs no telling.
            let _ = shard.send(Command::Drain { cut_after }).await;
        }
        for ShardThread { ended, thread } in self.threads {
            // The sender is dropped at the thread's very end, so the join that follows does not block.
            let _ = ended.await;
            if thread.join().is_err() {
                tracing::error!("a shard's thread panicked");
            }
        }
    }

    pub(crate) fn new(handle: EngineHandle, threads: Vec<ShardThread>) -> Self {
        Self { handle, threads }
    }
}

/// One of the connections that the engine may hold; given back on drop unless kept.
struct Place<'a>(Option<(&'a Shared, Hub)>);

impl<'a> Place<'a> {
    fn take(shared: &'a Shared, hub: Hub) -> Result<Self, AttachError> {
        let connections_max = shared.connections_max;
        shared.hub_counts.take(&hub).map_err(|connections_max| AttachError::HubFull { connections_max })?;
        let taken = shared.connections.fetch_update(Ordering::AcqRel, Ordering::Acquire, |count| {
            (count < connections_max).then_some(count + 1)
        });
        if taken.is_err() {
            shared.hub_counts.release(&hub);
            return Err(AttachError::Full { connections_max });
        }
        Ok(Self(Some((shared, hub))))
    }

    fn keep(mut self) {
        self.0 = None;
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        if let Some((shared, hub)) = &self.0 {
            shared.connections.fetch_sub(1, Ordering::AcqRel);
            shared.hub_counts.release(hub);
        }
    }
}
