//! The suite of [`Source`].

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::timeout;

use crate::{Batch, BindingError, Source, SourceDelivery};

/// The longest wait for a delivery that must come.
const WAIT_MAX: Duration = Duration::from_secs(30);

/// The most deliveries that the suite leaves unsettled at a time.
const UNSETTLED_MAX: usize = 3;

/// A trigger under test, with a way to create items for it. No item may be waiting at the start.
#[async_trait::async_trait]
pub trait SourceFactory: Send + Sync {
    /// Opens the same trigger for another owner each time. Must not wait until the previous owner has closed it.
    async fn open(&self) -> Box<dyn Source>;

    /// Creates one item that contains this number; returns when the system has accepted it. `key` is below
    /// [`SourceFactory::keys`]; items of one key have one ordering key, those of two keys have two.
    async fn put(&self, key: usize, number: u64);

    /// The numbers in a batch, in its order.
    fn numbers(&self, batch: &Batch) -> Vec<u64>;

    /// The most items that the trigger asks for in a batch; from 1 to 9.
    fn items_max(&self) -> usize;

    /// How many ordering keys the factory can create items for; 0 if deliveries have no order.
    fn keys(&self) -> usize {
        1
    }

    /// Makes the locks and leases of an owner that did not close expire: by moving a clock, or by waiting.
    async fn expire_leases(&self);

    /// The dead-lettered numbers, each with its reason; `None` if the system has no place for them.
    async fn dead_letters(&self) -> Option<Vec<(u64, String)>> {
        None
    }

    /// How long the suite checks that a source hands out nothing; a faulty source must have handed out a delivery by then.
    fn quiet(&self) -> Duration {
        Duration::from_millis(300)
    }
}

/// Checks the guarantees of [`Source`] one after the other, on one trigger.
pub async fn check_source(factory: &dyn SourceFactory) {
    let mut suite = Suite { factory, created: BTreeMap::new() };
    suite.in_order_and_bounded().await;
    suite.in_parallel().await;
    suite.a_result_for_each().await;
    suite.dead_lettered_does_not_come_again().await;
    suite.completed_is_durable().await;
    suite.survives_a_crash_between_two_results().await;
    suite.one_owner().await;
    suite.handed_over_without_a_gap().await;
    suite.renewed_stays_with_its_owner().await;
    suite.cancel_safe().await;
}

struct Suite<'a> {
    factory: &'a dyn SourceFactory,
    /// The created numbers with their keys.
    created: BTreeMap<u64, usize>,
}

impl Suite<'_> {
    /// Creates `count` items for each key, in turn, and returns their numbers.
    async fn put(&mut self, count: usize) -> Vec<u64> {
        let mut numbers = Vec::new();
        for _ in 0..count {
            for key in 0..self.factory.keys().max(1) {
                let number = self.created.len() as u64;
                self.factory.put(key, number).await;
                self.created.insert(number, key);
                numbers.push(number);
            }
        }
        numbers
    }

    /// How many deliveries can be unsettled at a time.
    fn unsettled_max(&self, source: &dyn Source) -> usize {
        let keys = match self.factory.keys() {
            0 => UNSETTLED_MAX,
            keys => keys.min(UNSETTLED_MAX),
        };
        source.in_flight_max().min(keys)
    }

    /// The numbers of a delivery, whose form it checks.
    fn numbers(&self, delivery: &SourceDelivery, what: &str) -> Vec<u64> {
        let batch = &delivery.batch;
        let numbers = self.factory.numbers(batch);
        assert_eq!(numbers.len(), batch.item_count, "{what}: item_count is the number of items");
        assert!(!numbers.is_empty(), "{what}: a batch has items");
        assert!(numbers.len() <= self.factory.items_max(), "6 (bounded): {} items in a batch", numbers.len());
        assert!(batch.origins.len() <= Batch::ORIGINS_MAX, "{what}: origins are bounded");
        assert!(!delivery.id.is_empty(), "{what}: a delivery has an id");
        let is_ordered = self.factory.keys() > 0;
        assert_eq!(
            delivery.ordering_key.is_some(),
            is_ordered,
            "{what}: a delivery has a key if it has an order"
        );
        let keys: Vec<_> = numbers.iter().map(|number| self.created[number]).collect();
        assert!(
            !is_ordered || keys.iter().all(|key| *key == keys[0]),
            "{what}: a batch has items of one key"
        );
        numbers
    }

    /// Completes deliveries until all `expected` numbers came, each once, and those of each key in order.
    async fn expect(&self, source: &mut Box<dyn Source>, expected: &[u64], what: &str) {
        let mut seen = Vec::new();
        while seen.len() < expected.len() {
            let delivery = next(source, what).await;
            seen.extend(self.numbers(&delivery, what));
            complete(delivery, what).await;
        }
        self.same(seen, expected, what);
    }

    /// Compares numbers: in the order of each key, or without order if there is no key.
    fn same(&self, seen: Vec<u64>, expected: &[u64], what: &str) {
        let by_key = |numbers: &[u64]| {
            let mut by_key: BTreeMap<usize, Vec<u64>> = BTreeMap::new();
            for number in numbers {
                by_key.entry(self.created[number]).or_default().push(*number);
            }
            if self.factory.keys() == 0 {
                by_key.values_mut().for_each(|numbers| numbers.sort_unstable());
            }
            by_key
        };
        assert_eq!(by_key(&seen), by_key(expected), "{what}");
    }

    async fn nothing_comes(&self, source: &mut Box<dyn Source>, what: &str) {
        match timeout(self.factory.quiet(), source.next()).await {
            Err(_) | Ok(Err(BindingError::System { .. } | BindingError::Absent(_))) => {}
            Ok(other) => panic!("{what}: the source handed out {other:?}"),
        }
    }

    async fn in_order_and_bounded(&mut self) {
        let mut source = self.factory.open().await;
        let numbers = self.put(self.factory.items_max() * 2 + 1).await;
        let before = backlog(&mut source).await.items;
        assert!(before >= numbers.len() as u64, "backlog: {before} of {} waiting items", numbers.len());
        self.expect(&mut source, &numbers, "1 (in order)").await;
        let after = backlog(&mut source).await;
        assert_eq!((after.items, after.oldest), (0, None), "backlog: no item waits when all are completed");
        source.close().await;
    }

    async fn in_parallel(&mut self) {
        let what = "1 (deliveries of other keys do not wait)";
        let mut source = self.factory.open().await;
        let count = self.unsettled_max(source.as_ref());
        let numbers = self.put(self.factory.items_max() * (count + 1)).await;
        let mut unsettled = Vec::new();
        for _ in 0..count {
            unsettled.push(next(&mut source, what).await);
        }
        if self.factory.keys() == count {
            self.nothing_comes(&mut source, "1 (one delivery of a key at a time)").await;
        }
        let mut seen = Vec::new();
        for delivery in &unsettled {
            seen.extend(self.numbers(delivery, what));
        }
        for delivery in unsettled.into_iter().rev() {
            complete(delivery, what).await;
        }
        while seen.len() < numbers.len() {
            let delivery = next(&mut source, what).await;
            seen.extend(self.numbers(&delivery, what));
            complete(delivery, what).await;
        }
        self.same(seen, &numbers, what);
        source.close().await;
    }

    async fn a_result_for_each(&mut self) {
        let what = "2 and 3 (a result for each delivery)";
        let mut source = self.factory.open().await;
        let is_parallel = self.unsettled_max(source.as_ref()) > 1;
        let numbers = self.put(self.factory.items_max() * 2).await;
        let first = next(&mut source, what).await;
        let completed = self.numbers(&first, what);
        let second = if is_parallel {
            let second = next(&mut source, what).await;
            complete(first, what).await;
            second
        } else {
            complete(first, what).await;
            next(&mut source, what).await
        };
        let (abandoned, count) = (self.numbers(&second, what), second.delivery_count);
        abandon(second, what).await;
        let mut rest: Vec<u64> =
            numbers.iter().copied().filter(|number| !completed.contains(number)).collect();
        let mut seen = Vec::new();
        while seen.len() < rest.len() {
            let delivery = next(&mut source, what).await;
            let numbers = self.numbers(&delivery, what);
            if let Some(again) =
                delivery.delivery_count.filter(|_| numbers.iter().any(|n| abandoned.contains(n)))
            {
                assert!(Some(again) > count, "{what}: the delivery count is {again} after {count:?}");
            }
            seen.extend(numbers);
            complete(delivery, what).await;
        }
        self.same(std::mem::take(&mut seen), &std::mem::take(&mut rest), what);
        source.close().await;
    }

    async fn dead_lettered_does_not_come_again(&mut self) {
        let what = "3 (dead-lettered)";
        let Some(before) = self.factory.dead_letters().await else { return };
        let mut source = self.factory.open().await;
        let numbers = self.put(2).await;
        let delivery = next(&mut source, what).await;
        let bad = self.numbers(&delivery, what);
        let settled = delivery.dead_letter("cannot be parsed").await;
        settled.unwrap_or_else(|error| panic!("{what}: dead-letter: {error:?}"));
        let rest: Vec<u64> = numbers.iter().copied().filter(|number| !bad.contains(number)).collect();
        self.expect(&mut source, &rest, what).await;
        source.close().await;
        let mut dead = self.factory.dead_letters().await.expect("it had a place for them before");
        let dead = dead.split_off(before.len());
        let expected: Vec<_> = bad.iter().map(|number| (*number, "cannot be parsed".to_owned())).collect();
        assert_eq!(dead, expected, "{what}: the items are where the system keeps them, with the reason");
        let mut source = self.factory.open().await;
        self.nothing_comes(&mut source, what).await;
        source.close().await;
    }

    async fn completed_is_durable(&mut self) {
        let what = "3 (completed is durable)";
        let mut source = self.factory.open().await;
        let first = self.put(2).await;
        self.expect(&mut source, &first, what).await;
        source.close().await;
        let second = self.put(2).await;
        let mut source = self.factory.open().await;
        self.expect(&mut source, &second, what).await;
        source.close().await;
    }

    async fn survives_a_crash_between_two_results(&mut self) {
        let what = "2 (at least once, after a crash between two results)";
        let mut source = self.factory.open().await;
        let is_parallel = self.unsettled_max(source.as_ref()) > 1;
        let mut waiting = self.put(self.factory.items_max() * 2).await;
        let first = next(&mut source, what).await;
        let completed = self.numbers(&first, what);
        let unsettled = if is_parallel { Some(next(&mut source, what).await) } else { None };
        complete(first, what).await;
        drop((unsettled, source));
        self.factory.expire_leases().await;
        waiting.retain(|number| !completed.contains(number));
        let mut source = self.factory.open().await;
        self.expect(&mut source, &waiting, what).await;
        self.nothing_comes(&mut source, what).await;
        source.close().await;
    }

    async fn one_owner(&mut self) {
        let what = "4 (one owner)";
        let mut first = self.factory.open().await;
        let numbers = self.put(1).await;
        let mut unsettled = Vec::new();
        let mut seen = Vec::new();
        while seen.len() < numbers.len() && unsettled.len() < self.unsettled_max(first.as_ref()) {
            let delivery = next(&mut first, what).await;
            seen.extend(self.numbers(&delivery, what));
            unsettled.push(delivery);
        }
        let mut second = self.factory.open().await;
        if seen.len() == numbers.len() {
            self.nothing_comes(&mut second, what).await;
        }
        for delivery in unsettled {
            complete(delivery, what).await;
        }
        let rest: Vec<u64> = numbers.iter().copied().filter(|number| !seen.contains(number)).collect();
        self.expect(&mut first, &rest, what).await;
        first.close().await;
        second.close().await;
    }

    /// A reload: the next owner is opened before the last one has settled and closed.
    async fn handed_over_without_a_gap(&mut self) {
        let what = "4 (handed over without a gap)";
        let mut first = self.factory.open().await;
        let numbers = self.put(self.factory.items_max() * 2).await;
        let unsettled = next(&mut first, what).await;
        let mut seen = self.numbers(&unsettled, what);
        let mut second = self.factory.open().await;
        let early = async {
            while let Ok(Ok(delivery)) = timeout(self.factory.quiet(), second.next()).await {
                seen.extend(self.numbers(&delivery, what));
                complete(delivery, what).await;
            }
        };
        early.await;
        complete(unsettled, what).await;
        first.close().await;
        while seen.len() < numbers.len() {
            let delivery = next(&mut second, what).await;
            seen.extend(self.numbers(&delivery, what));
            complete(delivery, what).await;
        }
        self.same(seen, &numbers, what);
        self.nothing_comes(&mut second, what).await;
        second.close().await;
    }

    async fn renewed_stays_with_its_owner(&mut self) {
        let what = "7 (renewable)";
        let mut first = self.factory.open().await;
        let numbers = self.put(1).await;
        let mut delivery = next(&mut first, what).await;
        let held = self.numbers(&delivery, what);
        let mut second = self.factory.open().await;
        let mut seen = Vec::new();
        if let Some(every) = delivery.renew_every {
            // Several times longer than the lock would last without renewal.
            for _ in 0..10 {
                if let Ok(other) = timeout(every, second.next()).await {
                    let other = other.unwrap_or_else(|error| panic!("{what}: {error:?}"));
                    seen.extend(self.numbers(&other, what));
                    complete(other, what).await;
                }
                delivery.settle.renew().await.unwrap_or_else(|error| panic!("{what}: renew: {error:?}"));
            }
        }
        assert!(held.iter().all(|number| !seen.contains(number)), "{what}: a renewed item was handed out");
        complete(delivery, what).await;
        let rest: Vec<u64> = numbers
            .iter()
            .copied()
            .filter(|number| !held.contains(number) && !seen.contains(number))
            .collect();
        self.expect(&mut first, &rest, what).await;
        first.close().await;
        second.close().await;
    }

    async fn cancel_safe(&mut self) {
        let what = "5 (cancel-safe)";
        let mut source = self.factory.open().await;
        for _ in 0..3 {
            let cancelled = timeout(Duration::from_millis(1), source.next()).await;
            assert!(cancelled.is_err(), "{what}: nothing is waiting yet");
        }
        let numbers = self.put(3).await;
        let mut seen = Vec::new();
        while seen.len() < numbers.len() {
            // Cancels `next` at several points of its work.
            for limit_us in [0, 50, 500] {
                if let Ok(delivery) = timeout(Duration::from_micros(limit_us), source.next()).await {
                    let delivery = delivery.unwrap_or_else(|error| panic!("{what}: {error:?}"));
                    seen.extend(self.numbers(&delivery, what));
                    complete(delivery, what).await;
                }
            }
            if seen.len() < numbers.len() {
                let delivery = next(&mut source, what).await;
                seen.extend(self.numbers(&delivery, what));
                complete(delivery, what).await;
            }
        }
        self.same(seen, &numbers, what);
        source.close().await;
    }
}

async fn next(source: &mut Box<dyn Source>, what: &str) -> SourceDelivery {
    let delivery = timeout(WAIT_MAX, source.next())
        .await
        .unwrap_or_else(|_| panic!("{what}: no delivery came within {WAIT_MAX:?}"));
    delivery.unwrap_or_else(|error| panic!("{what}: {error:?}"))
}

async fn backlog(source: &mut Box<dyn Source>) -> crate::SourceBacklog {
    source.backlog().await.unwrap_or_else(|error| panic!("backlog: {error:?}"))
}

async fn complete(delivery: SourceDelivery, what: &str) {
    delivery.complete().await.unwrap_or_else(|error| panic!("{what}: complete: {error:?}"));
}

async fn abandon(delivery: SourceDelivery, what: &str) {
    delivery.abandon().await.unwrap_or_else(|error| panic!("{what}: abandon: {error:?}"));
}
