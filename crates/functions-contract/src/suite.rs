//! The contract suites of [`Source`], [`PushTrigger`](crate::PushTrigger), [`Reader`] and [`Sink`]: an implementation runs its suite in its own tests.
//!
//! Each suite takes a factory that knows the system behind it. A failing suite panics with the number of the guarantee
//! that does not hold.
//!
//! Not its concern: what is special about one system; the connector's own tests cover that.
//! Know these first: [`SourceFactory`], [`check_source`], [`check_push`], [`check_sink`], [`check_reader`].

mod push;

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value as Json};
use tokio::time::timeout;
use trace::TraceContext;

use crate::{Batch, BindingContext, BindingError, Reader, Sink, Source, Value};

pub use push::{PushFactory, PushOutcome, check_push};

/// The longest wait for a batch that must come.
const WAIT_MAX: Duration = Duration::from_secs(30);

/// A trigger under test, with a way to create items for it. No item may be waiting at the start.
#[async_trait::async_trait]
pub trait SourceFactory: Send + Sync {
    /// Opens the same trigger for another owner each time. Must not wait until the previous owner has closed it.
    async fn open(&self) -> Box<dyn Source>;

    /// Creates one item that contains this number; returns when the system has accepted it.
    async fn put(&self, number: u64);

    /// The numbers in a batch, in its order.
    fn numbers(&self, batch: &Batch) -> Vec<u64>;

    /// The most items that the trigger asks for in a batch; from 2 to 9.
    fn items_max(&self) -> usize;

    /// Makes the lease of an owner that did not close expire: by moving a clock, or by waiting.
    async fn expire_leases(&self);

    /// How long the suite checks that a source hands out nothing; a faulty source must have handed out a batch by then.
    fn quiet(&self) -> Duration {
        Duration::from_millis(300)
    }
}

/// Checks the guarantees of [`Source`] one after the other, on one trigger.
pub async fn check_source(factory: &dyn SourceFactory) {
    let mut next_number = 0;
    in_order_and_bounded(factory, &mut next_number).await;
    abandoned_comes_again(factory, &mut next_number).await;
    completed_is_durable(factory, &mut next_number).await;
    survives_a_crash(factory, &mut next_number).await;
    one_owner(factory, &mut next_number).await;
    cancel_safe(factory, &mut next_number).await;
}

async fn next(source: &mut Box<dyn Source>, what: &str) -> Batch {
    let batch = timeout(WAIT_MAX, source.next())
        .await
        .unwrap_or_else(|_| panic!("{what}: no batch came within {WAIT_MAX:?}"));
    batch.unwrap_or_else(|error| panic!("{what}: {error:?}"))
}

async fn complete(source: &mut Box<dyn Source>, batch: &Batch, what: &str) {
    source.complete(batch).await.unwrap_or_else(|error| panic!("{what}: complete: {error:?}"));
}

/// Creates `count` items and returns their numbers.
async fn put(factory: &dyn SourceFactory, next_number: &mut u64, count: usize) -> Vec<u64> {
    let mut numbers = Vec::new();
    for _ in 0..count {
        factory.put(*next_number).await;
        numbers.push(*next_number);
        *next_number += 1;
    }
    numbers
}

/// Completes batches until `expected.len()` items came, and compares their numbers.
async fn expect(factory: &dyn SourceFactory, source: &mut Box<dyn Source>, expected: &[u64], what: &str) {
    let mut seen = Vec::new();
    while seen.len() < expected.len() {
        let batch = next(source, what).await;
        let numbers = factory.numbers(&batch);
        assert_eq!(numbers.len(), batch.item_count, "{what}: item_count is the number of items");
        assert!(!numbers.is_empty(), "{what}: a batch has items");
        assert!(numbers.len() <= factory.items_max(), "6 (bounded): {} items in a batch", numbers.len());
        assert!(batch.origins.len() <= Batch::ORIGINS_MAX, "{what}: origins are bounded");
        seen.extend(numbers);
        complete(source, &batch, what).await;
    }
    assert_eq!(seen, expected, "{what}");
}

async fn in_order_and_bounded(factory: &dyn SourceFactory, next_number: &mut u64) {
    let mut source = factory.open().await;
    let numbers = put(factory, next_number, factory.items_max() * 2 + 1).await;
    expect(factory, &mut source, &numbers, "1 (in order)").await;
    let lag = source.lag().await.unwrap_or_else(|error| panic!("lag: {error:?}"));
    assert_eq!(lag.items, 0, "no item waits when all are completed");
    source.close().await;
}

async fn abandoned_comes_again(factory: &dyn SourceFactory, next_number: &mut u64) {
    let what = "2 (at least once, after abandon)";
    let mut source = factory.open().await;
    let numbers = put(factory, next_number, 2).await;
    let batch = next(&mut source, what).await;
    source.abandon(batch).await.unwrap_or_else(|error| panic!("{what}: abandon: {error:?}"));
    expect(factory, &mut source, &numbers, what).await;
    source.close().await;
}

async fn completed_is_durable(factory: &dyn SourceFactory, next_number: &mut u64) {
    let what = "3 (completed is durable)";
    let mut source = factory.open().await;
    let first = put(factory, next_number, 2).await;
    expect(factory, &mut source, &first, what).await;
    source.close().await;
    let second = put(factory, next_number, 2).await;
    let mut source = factory.open().await;
    expect(factory, &mut source, &second, what).await;
    source.close().await;
}

async fn survives_a_crash(factory: &dyn SourceFactory, next_number: &mut u64) {
    let what = "2 (at least once, after a crash)";
    let mut source = factory.open().await;
    let numbers = put(factory, next_number, 2).await;
    drop(next(&mut source, what).await);
    drop(source);
    factory.expire_leases().await;
    let mut source = factory.open().await;
    expect(factory, &mut source, &numbers, what).await;
    source.close().await;
}

async fn one_owner(factory: &dyn SourceFactory, next_number: &mut u64) {
    let what = "4 (one owner)";
    let mut first = factory.open().await;
    let numbers = put(factory, next_number, 1).await;
    let batch = next(&mut first, what).await;
    assert_eq!(factory.numbers(&batch), numbers, "{what}");
    let mut second = factory.open().await;
    match timeout(factory.quiet(), second.next()).await {
        Err(_) | Ok(Err(BindingError::System { .. } | BindingError::Absent(_))) => {}
        Ok(other) => panic!("{what}: the second owner got {other:?}"),
    }
    complete(&mut first, &batch, what).await;
    first.close().await;
    second.close().await;
}

async fn cancel_safe(factory: &dyn SourceFactory, next_number: &mut u64) {
    let what = "5 (cancel-safe)";
    let mut source = factory.open().await;
    for _ in 0..3 {
        let cancelled = timeout(Duration::from_millis(1), source.next()).await;
        assert!(cancelled.is_err(), "{what}: nothing is waiting yet");
    }
    let numbers = put(factory, next_number, 3).await;
    let mut seen = Vec::new();
    while seen.len() < numbers.len() {
        // Cancels `next` at several points of its work.
        for limit_us in [0, 50, 500] {
            if let Ok(batch) = timeout(Duration::from_micros(limit_us), source.next()).await {
                let batch = batch.unwrap_or_else(|error| panic!("{what}: {error:?}"));
                seen.extend(factory.numbers(&batch));
                complete(&mut source, &batch, what).await;
            }
        }
        if seen.len() < numbers.len() {
            let batch = next(&mut source, what).await;
            seen.extend(factory.numbers(&batch));
            complete(&mut source, &batch, what).await;
        }
    }
    assert_eq!(seen, numbers, "{what}");
    source.close().await;
}

/// An output under test.
#[async_trait::async_trait]
pub trait SinkFactory: Send + Sync {
    /// Creates the sink.
    async fn sink(&self) -> Arc<dyn Sink>;

    /// The binding's resolved properties.
    fn properties(&self) -> Map<String, Json>;

    /// A value that contains this number.
    fn item(&self, number: u64) -> Value;

    /// A value that the system rejects; `None` if it accepts every value.
    fn bad_item(&self) -> Option<Value>;

    /// The numbers that the system has accepted so far, in the order of acceptance.
    async fn accepted(&self) -> Vec<u64>;
}

/// Checks the guarantees of [`Sink`].
pub async fn check_sink(factory: &dyn SinkFactory) {
    let sink = factory.sink().await;
    let properties = factory.properties();
    let data = Map::new();
    let context = context(&properties, &data);
    let before = factory.accepted().await;
    assert!(before.is_empty(), "the system is empty at the start");
    let written = sink.write(&context, vec![factory.item(1)]).await;
    written.unwrap_or_else(|error| panic!("1 (accepted): {error:?}"));
    assert_eq!(factory.accepted().await, [1], "1 (accepted): one item");
    let written = sink.write(&context, [2, 3, 4].map(|number| factory.item(number)).into()).await;
    written.unwrap_or_else(|error| panic!("1 (accepted): {error:?}"));
    assert_eq!(factory.accepted().await, [1, 2, 3, 4], "1 (accepted): in order");
    if let Some(bad) = factory.bad_item() {
        let rejected = sink.write(&context, vec![bad]).await;
        assert!(rejected.is_err(), "2 (rejected): a value that the system cannot accept is an error");
        assert_eq!(factory.accepted().await, [1, 2, 3, 4], "2 (rejected): nothing was written");
        let written = sink.write(&context, vec![factory.item(5)]).await;
        written
            .unwrap_or_else(|error| panic!("2 (rejected): the sink works after a rejected write: {error:?}"));
    }
}

/// An input under test.
#[async_trait::async_trait]
pub trait ReaderFactory: Send + Sync {
    /// Creates the reader.
    async fn reader(&self) -> Arc<dyn Reader>;

    /// Resolved properties that name something that exists, and its value.
    async fn present(&self) -> (Map<String, Json>, Value);

    /// Resolved properties that name something that does not exist; `None` if the system has no such case.
    async fn absent(&self) -> Option<Map<String, Json>>;
}

/// Checks the guarantees of [`Reader`].
pub async fn check_reader(factory: &dyn ReaderFactory) {
    let reader = factory.reader().await;
    let data = Map::new();
    let (properties, expected) = factory.present().await;
    for _ in 0..2 {
        let value = reader.read(&context(&properties, &data)).await;
        let value = value.unwrap_or_else(|error| panic!("an existing value can be read: {error:?}"));
        assert_eq!(value, expected, "every read returns the existing value");
    }
    if let Some(properties) = factory.absent().await {
        let value = reader.read(&context(&properties, &data)).await;
        let value = value.unwrap_or_else(|error| panic!("an absent value is not an error: {error:?}"));
        assert_eq!(value, Value::Null, "an absent value is null");
    }
}

fn context<'a>(properties: &'a Map<String, Json>, binding_data: &'a Map<String, Json>) -> BindingContext<'a> {
    BindingContext {
        invocation_id: "suite",
        properties,
        binding_data,
        origin: None,
        trace: TraceContext::root(),
    }
}
