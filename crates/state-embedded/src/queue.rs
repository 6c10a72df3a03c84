//! [`Queue`]: a bounded queue from many tasks to one thread that takes whatever is there at once.
//!
//! Not a general channel: the taker is a thread that blocks, and it wants batches (group commit) and a deadline
//! (expiry). A full queue makes the tasks wait, without blocking their thread.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard};
use std::time::Instant;

use tokio::sync::Semaphore;

pub(crate) struct Queue<T> {
    state: Mutex<State<T>>,
    filled: Condvar,
    room: Semaphore,
    weight_max: usize,
}

struct State<T> {
    items: VecDeque<(T, u32)>,
    /// Whether the taker sleeps, so that a push to a busy taker costs no wake-up.
    sleeping: bool,
    closed: bool,
}

/// The queue takes nothing more.
#[derive(Debug)]
pub(crate) struct Closed;

/// What [`Queue::take`] found.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Taken {
    /// At least one item was put into the list.
    Items,
    /// The deadline passed first.
    Deadline,
    /// Closed, and everything was taken before.
    Closed,
}

impl<T> Queue<T> {
    /// A queue that holds items of at most `weight_max` together; see [`Queue::push`].
    pub(crate) fn new(weight_max: usize) -> Self {
        let weight_max = weight_max.clamp(1, Semaphore::MAX_PERMITS.min(u32::MAX as usize));
        let state = State { items: VecDeque::new(), sleeping: false, closed: false };
        Self {
            state: Mutex::new(state),
            filled: Condvar::new(),
            room: Semaphore::new(weight_max),
            weight_max,
        }
    }

    /// Puts an item in, once there is room for its weight (a heavier one than the queue counts as a full queue).
    pub(crate) async fn push(&self, item: T, weight: usize) -> Result<(), Closed> {
        let weight = u32::try_from(weight.clamp(1, self.weight_max)).expect("the maximum fits 32 bits");
        self.room.acquire_many(weight).await.map_err(|_| Closed)?.forget();
        let mut state = self.lock();
        if state.closed {
            return Err(Closed);
        }
        state.items.push_back((item, weight));
        if std::mem::take(&mut state.sleeping) {
            drop(state);
            self.filled.notify_one();
        }
        Ok(())
    }

    /// Moves what is there to the end of `into`, waiting for the first item until `deadline`.
    pub(crate) fn take(&self, into: &mut Vec<T>, deadline: Option<Instant>) -> Taken {
        let mut state = self.lock();
        while state.items.is_empty() {
            if state.closed {
                return Taken::Closed;
            }
            state.sleeping = true;
            match deadline {
                None => state = self.filled.wait(state).expect("no thread panics with the queue's lock"),
                Some(deadline) => {
                    let left = deadline.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        state.sleeping = false;
                        return Taken::Deadline;
                    }
                    state = self
                        .filled
                        .wait_timeout(state, left)
                        .expect("no thread panics with the queue's lock")
                        .0;
                }
            }
        }
        state.sleeping = false;
        self.move_out(state, into);
        Taken::Items
    }

    /// Moves what is there now to the end of `into`, without waiting.
    pub(crate) fn take_present(&self, into: &mut Vec<T>) {
        let state = self.lock();
        self.move_out(state, into);
    }

    /// Refuses further items; those that are in it are still taken.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
        self.room.close();
        self.filled.notify_one();
    }

    /// Whether the queue refuses items.
    pub(crate) fn is_closed(&self) -> bool {
        self.lock().closed
    }

    fn move_out(&self, mut state: MutexGuard<'_, State<T>>, into: &mut Vec<T>) {
        let items = std::mem::take(&mut state.items);
        drop(state);
        let weight: usize = items.iter().map(|(_, weight)| *weight as usize).sum();
        into.extend(items.into_iter().map(|(item, _)| item));
        self.room.add_permits(weight);
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().expect("no thread panics with the queue's lock")
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn a_full_queue_makes_the_pusher_wait_for_the_taker() {
        let queue = Arc::new(Queue::new(2));
        queue.push('a', 1).await.expect("open");
        queue.push('b', 1).await.expect("open");
        let mut third = Box::pin(queue.push('c', 100));
        let early = tokio::time::timeout(Duration::ZERO, &mut third).await;
        assert!(early.is_err(), "there is no room");
        let mut taken = Vec::new();
        assert_eq!(queue.take(&mut taken, None), Taken::Items);
        third.await.expect("there is room now");
        queue.take_present(&mut taken);
        assert_eq!(taken, ['a', 'b', 'c']);
    }

    #[tokio::test]
    async fn a_closed_queue_gives_out_what_it_has() {
        let queue = Queue::new(2);
        queue.push('a', 1).await.expect("open");
        queue.close();
        assert!(queue.push('b', 1).await.is_err());
        let mut taken = Vec::new();
        assert_eq!(queue.take(&mut taken, None), Taken::Items);
        assert_eq!(queue.take(&mut taken, None), Taken::Closed);
        assert_eq!(taken, ['a']);
    }

    #[test]
    fn a_deadline_ends_the_wait() {
        let queue: Queue<()> = Queue::new(1);
        let deadline = Instant::now() + Duration::from_millis(1);
        assert_eq!(queue.take(&mut Vec::new(), Some(deadline)), Taken::Deadline);
    }
}
