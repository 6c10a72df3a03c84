//! The queue of a shard, and how the shard is woken for commands.
//!
//! Putting a command into the queue and waking the shard is one call ([`ShardSender::send`], [`Reserved::send`]). [`WakeState`]
//! decides whether a call wakes the shard's thread: once for all commands that the shard has not read yet, and for published
//! messages once for all that are published while the runtime runs the tasks that are ready ([`WakeTime::Soon`]).

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Wake};

use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

use super::Stopped;
use crate::command::ShardCommand;

/// The sender's half of a shard's queue.
#[derive(Debug)]
pub(crate) struct ShardSender {
    commands: mpsc::Sender<ShardCommand>,
    waker: Arc<ShardWaker>,
}

/// A permit to put one command into a shard's queue.
#[derive(Debug)]
pub(super) struct Reserved<'a> {
    permit: mpsc::Permit<'a, ShardCommand>,
    waker: &'a Arc<ShardWaker>,
    when: WakeTime,
}

/// When a shard is woken for a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WakeTime {
    /// At once.
    Now,
    /// When the runtime has run the tasks that are ready now; outside a runtime at once. Requests that arrive together wake the
    /// shard once: on a shared processor, waking it for each would cost two thread switches per message; elsewhere this saves
    /// system calls.
    Soon,
}

/// Wakes the thread of one shard.
#[derive(Debug)]
pub(crate) struct ShardWaker {
    waker: mio::Waker,
    state: WakeState,
}

/// Which pending wake-ups a shard has, as a set of bits. Each method is one operation of a sender or of the shard. A command that
/// is in the queue before the operation is read by the shard after the wake-up that the operation requests or relies on.
#[derive(Debug, Default)]
struct WakeState(AtomicU8);

/// The shard's thread was woken, and has not read its queue since.
const WOKEN: u8 = 1;
/// A runtime will wake the shard soon, unless the runtime ends before.
const PROMISED: u8 = 2;

/// Waits in a runtime's list of tasks that have yielded, without a task: the runtime wakes its entries when no other task is
/// ready.
struct DeferredWake(Arc<ShardWaker>);

impl WakeState {
    /// Called with a command in the queue. Returns whether to wake the shard.
    fn wake_now(&self) -> bool {
        self.0.fetch_or(WOKEN, Ordering::AcqRel) & WOKEN == 0
    }

    /// Called with a command in the queue. Returns whether to promise a wake-up, because none is pending.
    fn wake_soon(&self) -> bool {
        self.0.fetch_or(PROMISED, Ordering::AcqRel) == 0
    }

    /// A promise is due. Returns whether to wake the shard, because it has not read its queue since the promise.
    fn wake_if_promised(&self) -> bool {
        self.0.load(Ordering::Acquire) & PROMISED != 0 && self.wake_now()
    }

    /// Called before the shard reads its queue. Promises are cleared too, so that a promise whose runtime has ended delays
    /// commands no longer than until the shard's next turn. An exchange, not a store, so that the command of a sender that came
    /// before is read.
    fn reset(&self) {
        self.0.swap(0, Ordering::AcqRel);
    }
}

impl ShardWaker {
    pub(crate) fn new(waker: mio::Waker) -> Arc<Self> {
        Arc::new(Self { waker, state: WakeState::default() })
    }

    /// Called by the shard before it reads its queue: later commands wake it again.
    pub(crate) fn reset(&self) {
        self.state.reset();
    }

    fn wake(self: &Arc<Self>, when: WakeTime) {
        match when {
            WakeTime::Now if self.state.wake_now() => self.wake_thread(),
            WakeTime::Soon if self.state.wake_soon() => {
                let promise = Arc::new(DeferredWake(Arc::clone(self))).into();
                // Passes the promise to the runtime; nothing waits here. Outside a runtime it is woken at once.
                let _ = pin!(tokio::task::yield_now()).poll(&mut Context::from_waker(&promise));
            }
            WakeTime::Now | WakeTime::Soon => {}
        }
    }

    fn wake_thread(&self) {
        if let Err(error) = self.waker.wake() {
            tracing::error!(%error, "a shard cannot be woken");
        }
    }
}

impl Wake for DeferredWake {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if self.0.state.wake_if_promised() {
            self.0.wake_thread();
        }
    }
}

impl ShardSender {
    pub(crate) fn new(commands: mpsc::Sender<ShardCommand>, waker: Arc<ShardWaker>) -> Self {
        Self { commands, waker }
    }

    /// Sends a command and wakes the shard. Waits while the queue is full.
    pub(super) async fn send(&self, command: ShardCommand) -> Result<(), Stopped> {
        self.reserve(WakeTime::Now).await?.send(command);
        Ok(())
    }

    /// As [`ShardSender::send`], if the queue is not full.
    pub(super) fn try_send(&self, command: ShardCommand) -> Result<(), TrySendError<()>> {
        self.try_reserve()?.send(command);
        Ok(())
    }

    /// A permit for a command that wakes the shard at once.
    pub(super) fn try_reserve(&self) -> Result<Reserved<'_>, TrySendError<()>> {
        let permit = self.commands.try_reserve()?;
        Ok(Reserved { permit, waker: &self.waker, when: WakeTime::Now })
    }

    async fn reserve(&self, when: WakeTime) -> Result<Reserved<'_>, Stopped> {
        let mut permit = pin!(self.commands.reserve());
        let wake_and_poll = |context: &mut Context<'_>| {
            let polled = Pin::as_mut(&mut permit).poll(context);
            if polled.is_pending() {
                // With a full queue, do not wait for a promise whose runtime may have ended.
                self.waker.wake(WakeTime::Now);
            }
            polled
        };
        let permit = std::future::poll_fn(wake_and_poll).await.map_err(|_| Stopped)?;
        Ok(Reserved { permit, waker: &self.waker, when })
    }
}

impl Reserved<'_> {
    /// Puts the command into the queue and wakes the shard.
    pub(super) fn send(self, command: ShardCommand) {
        self.permit.send(command);
        self.waker.wake(self.when);
    }
}

/// A permit in the queue of each shard, so that a message reaches all of them or none.
pub(super) async fn reserve(shards: &[ShardSender], when: WakeTime) -> Result<Vec<Reserved<'_>>, Stopped> {
    let mut reserved = Vec::with_capacity(shards.len());
    for shard in shards {
        reserved.push(shard.reserve(when).await?);
    }
    Ok(reserved)
}

#[cfg(test)]
mod tests {
    use std::task::Poll;
    use std::time::Duration;

    use mio::{Events, Token, Waker};

    use super::*;
    use Step::{Due, Look, Now, Soon};

    /// An operation, with the expected result: whether to wake the shard, or to promise it.
    #[derive(Clone, Copy, Debug)]
    enum Step {
        Now(bool),
        Soon(bool),
        Due(bool),
        Look,
    }

    const CASES: &[(&str, &[Step])] = &[
        ("commands wake the shard once until it looks", &[Now(true), Now(false), Look, Now(true)]),
        ("messages promise once, and the promise wakes", &[Soon(true), Soon(false), Due(true), Look]),
        (
            "a promise after the shard has looked is a new one",
            &[Soon(true), Due(true), Look, Soon(true), Due(true)],
        ),
        ("a message for a shard that is woken already needs no promise", &[Now(true), Soon(false), Look]),
        ("a command does not wait for a promise", &[Soon(true), Now(true), Due(false)]),
        ("a promise is not needed once the shard has looked", &[Soon(true), Look, Due(false)]),
        (
            "of two promises the first wakes for both",
            &[Soon(true), Look, Soon(true), Due(true), Due(false), Look, Due(false)],
        ),
        (
            "a promise that is never kept ends when the shard looks",
            &[Soon(true), Soon(false), Look, Soon(true)],
        ),
        ("nor does it hold up a command", &[Soon(true), Now(true), Look, Soon(true)]),
    ];

    #[test]
    fn each_operation_wakes_the_shard_or_defers_the_wake() {
        for (name, steps) in CASES {
            let state = WakeState::default();
            for (number, step) in steps.iter().enumerate() {
                let (expected, actual) = match *step {
                    Now(expected) => (expected, state.wake_now()),
                    Soon(expected) => (expected, state.wake_soon()),
                    Due(expected) => (expected, state.wake_if_promised()),
                    Look => (false, {
                        state.reset();
                        false
                    }),
                };
                assert_eq!(actual, expected, "{name}: step {number}, {step:?}");
            }
        }
    }

    fn shard(poll: &mio::Poll) -> (ShardSender, mpsc::Receiver<ShardCommand>) {
        let waker = Waker::new(poll.registry(), Token(0)).unwrap();
        let (commands, queue) = mpsc::channel(1);
        (ShardSender::new(commands, ShardWaker::new(waker)), queue)
    }

    fn is_woken(poll: &mut mio::Poll) -> bool {
        let mut events = Events::with_capacity(1);
        poll.poll(&mut events, Some(Duration::ZERO)).unwrap();
        !events.is_empty()
    }

    #[tokio::test]
    async fn messages_sent_together_wake_the_shard_once_no_other_task_is_ready() {
        let mut poll = mio::Poll::new().unwrap();
        let (shard, _queue) = shard(&poll);
        shard.waker.wake(WakeTime::Soon);
        shard.waker.wake(WakeTime::Soon);
        assert!(!is_woken(&mut poll));
        tokio::task::yield_now().await;
        assert!(is_woken(&mut poll));
    }

    #[test]
    fn outside_a_runtime_the_shard_is_woken_at_once() {
        let mut poll = mio::Poll::new().unwrap();
        let (shard, _queue) = shard(&poll);
        shard.waker.wake(WakeTime::Soon);
        assert!(is_woken(&mut poll));
    }

    #[test]
    fn a_full_queue_wakes_the_shard_if_the_runtime_of_a_promise_has_ended() {
        let mut poll = mio::Poll::new().unwrap();
        let (shard, mut queue) = shard(&poll);
        let forget = || ShardCommand::Drain { cut_after: Duration::ZERO };
        let runtime = || tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime().block_on(async { shard.reserve(WakeTime::Soon).await.unwrap().send(forget()) });
        assert!(!is_woken(&mut poll), "this runtime has ended before it was out of tasks");
        runtime().block_on(async {
            let mut next = pin!(shard.reserve(WakeTime::Soon));
            let polled = std::future::poll_fn(|context| Poll::Ready(next.as_mut().poll(context))).await;
            assert!(polled.is_pending());
            assert!(is_woken(&mut poll));
            assert!(queue.try_recv().is_ok());
            next.await.unwrap().send(forget());
        });
    }
}
