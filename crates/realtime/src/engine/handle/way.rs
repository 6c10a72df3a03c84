//! The way into a shard: its queue, and the [`Alarm`] by which it learns that the queue holds something.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Wake};

use tokio::sync::mpsc;

use super::Stopped;
use crate::engine::command::Command;

/// The way into one shard.
#[derive(Debug)]
pub(crate) struct ShardSender {
    pub(super) commands: mpsc::Sender<Command>,
    alarm: Arc<Alarm>,
    /// Whether somebody is about to ring.
    promised: Arc<AtomicBool>,
}

/// Wakes a shard at most once for all commands that it has not looked at yet.
#[derive(Debug)]
pub(crate) struct Alarm {
    pub(crate) waker: mio::Waker,
    pub(crate) rung: AtomicBool,
}

/// Rings when the last reference to it is dropped, woken or not.
struct Promise {
    alarm: Arc<Alarm>,
    promised: Arc<AtomicBool>,
}

impl Alarm {
    fn ring(&self) {
        if !self.rung.swap(true, Ordering::AcqRel)
            && let Err(error) = self.waker.wake()
        {
            tracing::error!(%error, "a shard cannot be woken");
        }
    }
}

impl ShardSender {
    pub(crate) fn new(commands: mpsc::Sender<Command>, alarm: Arc<Alarm>) -> Self {
        Self { commands, alarm, promised: Arc::default() }
    }

    pub(super) async fn send(&self, command: Command) -> Result<(), Stopped> {
        self.commands.send(command).await.map_err(|_| Stopped)?;
        self.ring();
        Ok(())
    }

    /// Wakes the shard for a command that is in its queue.
    pub(super) fn ring(&self) {
        self.alarm.ring();
    }

    /// As [`ShardSender::ring`], once the runtime has run the tasks that are ready now: many requests that came together wake the
    /// shard once. Where it shares their processor, waking it for each would cost two changes of threads a message; elsewhere it
    /// saves the system calls. Whoever calls [`ShardSender::ring`] meanwhile waits for nobody.
    pub(super) fn ring_soon(&self) {
        if self.promised.swap(true, Ordering::AcqRel) {
            // That promise is kept for this command too.
            return;
        }
        let (alarm, promised) = (Arc::clone(&self.alarm), Arc::clone(&self.promised));
        let promise = Arc::new(Promise { alarm, promised }).into();
        // The runtime keeps the waker of whoever yields until it looks for new events. Nobody waits here: the waker's end is what
        // counts, and it comes whatever the runtime does with it. Outside of a runtime it comes at once.
        let _ = pin!(tokio::task::yield_now()).poll(&mut Context::from_waker(&promise));
    }
}

impl Wake for Promise {
    fn wake(self: Arc<Self>) {}
}

impl Drop for Promise {
    fn drop(&mut self) {
        // First the flag, then the alarm: what is put in afterwards is promised anew. An exchange, not a store, so that whoever
        // found the flag still set has its command in the queue before the shard is woken.
        self.promised.swap(false, Ordering::AcqRel);
        self.alarm.ring();
    }
}

/// A place in the queue of each shard, so that a message reaches all of them or none.
pub(super) async fn reserve(shards: &[ShardSender]) -> Result<Vec<mpsc::Permit<'_, Command>>, Stopped> {
    let mut permits = Vec::with_capacity(shards.len());
    for shard in shards {
        permits.push(shard.commands.reserve().await.map_err(|_| Stopped)?);
    }
    Ok(permits)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use mio::{Events, Poll, Token, Waker};

    use super::*;

    fn shard(poll: &Poll) -> ShardSender {
        let waker = Waker::new(poll.registry(), Token(0)).unwrap();
        let alarm = Arc::new(Alarm { waker, rung: AtomicBool::new(false) });
        ShardSender::new(mpsc::channel(1).0, alarm)
    }

    fn is_rung(poll: &mut Poll) -> bool {
        let mut events = Events::with_capacity(1);
        poll.poll(&mut events, Some(Duration::ZERO)).unwrap();
        !events.is_empty()
    }

    #[tokio::test]
    async fn whoever_publishes_together_rings_once_and_afterwards() {
        let mut poll = Poll::new().unwrap();
        let shard = shard(&poll);
        shard.ring_soon();
        shard.ring_soon();
        assert!(!is_rung(&mut poll));
        tokio::task::yield_now().await;
        assert!(is_rung(&mut poll));
        // The next promise is a new one, also before the shard has looked.
        shard.ring_soon();
        assert!(shard.promised.load(Ordering::Acquire));
        tokio::task::yield_now().await;
        assert!(!shard.promised.load(Ordering::Acquire));
    }

    #[tokio::test]
    async fn a_promise_holds_nobody_else_up() {
        let mut poll = Poll::new().unwrap();
        let shard = shard(&poll);
        shard.ring_soon();
        shard.ring();
        assert!(is_rung(&mut poll));
    }

    #[test]
    fn a_promise_is_kept_without_a_runtime_and_when_it_ends() {
        let mut poll = Poll::new().unwrap();
        let shard = shard(&poll);
        shard.ring_soon();
        assert!(is_rung(&mut poll));
        shard.alarm.rung.store(false, Ordering::Release);
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async { shard.ring_soon() });
        drop(runtime);
        assert!(is_rung(&mut poll));
    }
}
