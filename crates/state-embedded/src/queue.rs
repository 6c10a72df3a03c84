//! [`Queue`]: a bounded queue from many tasks to one thread that pops everything that is in it.
//!
//! Not a general channel: the consumer is a thread that blocks; it needs batches (group commit) and a deadline (expiry).
//! When the queue is full, tasks wait without blocking their thread.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard};
use std::time::Instant;

use tokio::sync::Semaphore;

pub(crate) struct Queue<T> {
    state: Mutex<State<T>>,
    filled: Condvar,
    capacity: Semaphore,
    weight_max: usize,
}

struct State<T> {
    items: VecDeque<(T, u32)>,
    /// Whether the consumer sleeps; a push to a busy consumer then costs no wake-up.
    sleeping: bool,
    closed: bool,
}

/// The queue accepts nothing more.
#[derive(Debug)]
pub(crate) struct Closed;

/// The result of [`Queue::pop_all`].
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Popped {
    /// At least one item was moved into the list.
    Items,
    /// The deadline passed first.
    Deadline,
    /// The queue is closed and empty.
    Closed,
}

impl<T> Queue<T> {
    /// A queue whose items weigh at most `weight_max` together; see [`Queue::push`].
    pub(crate) fn new(weight_max: usize) -> Self {
        let weight_max = weight_max.clamp(1, Semaphore::MAX_PERMITS.min(u32::MAX as usize));
        let state = State { items: VecDeque::new(), sleeping: false, closed: false };
        Self {
            state: Mutex::new(state),
            filled: Condvar::new(),
            capacity: Semaphore::new(weight_max),
            weight_max,
        }
    }

    /// Adds an item, after waiting for capacity for its weight. An item heavier than `weight_max` counts as `weight_max`.
    pub(crate) async fn push(&self, item: T, weight: usize) -> Result<(), Closed> {
        let weight = u32::try_from(weight.clamp(1, self.weight_max)).expect("the maximum fits 32 bits");
        self.capacity.acquire_many(weight).await.map_err(|_| Closed)?.forget();
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

    /// Moves all items to the end of `into`; waits for the first item until `deadline`.
    pub(crate) fn pop_all(&self, into: &mut Vec<T>, deadline: Option<Instant>) -> Popped {
        let mut state = self.lock();
        while state.items.is_empty() {
            if state.closed {
                return Popped::Closed;
            }
            state.sleeping = true;
            match deadline {
                None => state = self.filled.wait(state).expect("no thread panics with the queue's lock"),
                Some(deadline) => {
                    let left = deadline.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        state.sleeping = false;
                        return Popped::Deadline;
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
        self.move_items(state, into);
        Popped::Items
    }

    /// Moves all items to the end of `into`, without waiting.
    pub(crate) fn pop_present(&self, into: &mut Vec<T>) {
        let state = self.lock();
        self.move_items(state, into);
    }

    /// Rejects further items; those in the queue can still be popped.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
        self.capacity.close();
        self.filled.notify_one();
    }

    /// Whether the queue is closed.
    pub(crate) fn is_closed(&self) -> bool {
        self.lock().closed
    }

    fn move_items(&self, mut state: MutexGuard<'_, State<T>>, into: &mut Vec<T>) {
        let items = std::mem::take(&mut state.items);
        drop(state);
        let weight: usize = items.iter().map(|(_, weight)| *weight as usize).sum();
        into.extend(items.into_iter().map(|(item, _)| item));
        self.capacity.add_permits(weight);
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
    async fn a_push_to_a_full_queue_waits_for_a_pop() {
        let queue = Arc::new(Queue::new(2));
        queue.push('a', 1).await.expect("open");
        queue.push('b', 1).await.expect("open");
        let mut third = Box::pin(queue.push('c', 100));
        let early = tokio::time::timeout(Duration::ZERO, &mut third).await;
        assert!(early.is_err(), "the queue is full");
        let mut popped = Vec::new();
        assert_eq!(queue.pop_all(&mut popped, None), Popped::Items);
        third.await.expect("the queue has capacity");
        queue.pop_present(&mut popped);
        assert_eq!(popped, ['a', 'b', 'c']);
    }

    #[tokio::test]
    async fn items_of_a_closed_queue_can_be_popped() {
        let queue = Queue::new(2);
        queue.push('a', 1).await.expect("open");
        queue.close();
        assert!(queue.push('b', 1).await.is_err());
        let mut popped = Vec::new();
        assert_eq!(queue.pop_all(&mut popped, None), Popped::Items);
        assert_eq!(queue.pop_all(&mut popped, None), Popped::Closed);
        assert_eq!(popped, ['a']);
    }

    #[test]
    fn pop_all_returns_at_its_deadline() {
        let queue: Queue<()> = Queue::new(1);
        let deadline = Instant::now() + Duration::from_millis(1);
        assert_eq!(queue.pop_all(&mut Vec::new(), Some(deadline)), Popped::Deadline);
    }
}
