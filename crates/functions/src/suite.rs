//! The contract suites of [`Source`], [`Reader`] and [`Sink`]: whoever implements one runs its suite in its own tests.
//!
//! Each suite takes a factory that knows the system behind it. A suite panics, as tests do, with the number of the
//! guarantee that does not hold.
//!
//! Not its concern: what is special about one system; its own tests show that.
//! Know these first: [`SourceFactory`], [`check_source`], [`check_sink`], [`check_reader`].

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value as Json};
use tokio::time::timeout;
use trace::TraceContext;

use crate::contract::{Batch, BindingError, Call, Reader, Sink, Source, Value};

/// Longest that the suites wait for something that must come.
const PATIENCE: Duration = Duration::from_secs(30);

/// A trigger under test, with a way to make items for it. Nothing must be waiting at the start.
#[async_trait::async_trait]
pub trait SourceFactory: Send + Sync {
    /// Opens the same trigger as before, for another owner each time. Must not wait until the previous owner is gone.
    async fn open(&self) -> Box<dyn Source>;

    /// Makes one item that carries this number; returns when the system has accepted it.
    async fn put(&self, number: u64);

    /// The numbers that a batch carries, in its order.
    fn numbers(&self, batch: &Batch) -> Vec<u64>;

    /// Most items that the trigger asks for in a batch; at least 2 and less than 10.
    fn items_max(&self) -> usize;

    /// Lets the lease of an owner that vanished without closing expire: by moving a clock, or by waiting.
    async fn expire_leases(&self);

    /// How long to watch that a source hands out nothing. Long enough that a wrong one would have done so.
    fn quiet(&self) -> Duration {
        Duration::from_millis(300)
    }
}

/// Checks the guarantees of [`Source`], one after the other, on one trigger.
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
    let batch = timeout(PATIENCE, source.next()).await.unwrap_or_else(|_| panic!("{what}: no batch came"));
    batch.unwrap_or_else(|error| panic!("{what}: {error:?}"))
}

async fn complete(source: &mut Box<dyn Source>, batch: &Batch, what: &str) {
    source.complete(batch).await.unwrap_or_else(|error| panic!("{what}: complete: {error:?}"));
}

/// Puts `count` items and gives their numbers.
async fn put(factory: &dyn SourceFactory, next_number: &mut u64, count: usize) -> Vec<u64> {
    let mut numbers = Vec::new();
    for _ in 0..count {
        factory.put(*next_number).await;
        numbers.push(*next_number);
        *next_number += 1;
    }
    numbers
}

/// Takes batches until as many items came as there are in `expected`, and compares.
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
    assert_eq!(lag.items, 0, "nothing waits when all is completed");
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
        // Cut off again and again, in the middle of whatever `next` does.
        for patience_us in [0, 50, 500] {
            if let Ok(batch) = timeout(Duration::from_micros(patience_us), source.next()).await {
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
    /// Makes the sink.
    async fn sink(&self) -> Arc<dyn Sink>;

    /// The binding's resolved properties.
    fn properties(&self) -> Map<String, Json>;

    /// A value that carries this number.
    fn item(&self, number: u64) -> Value;

    /// A value that the system cannot take, if there is such a thing.
    fn bad_item(&self) -> Option<Value>;

    /// The numbers that the system has accepted until now, in the order of their acceptance.
    async fn accepted(&self) -> Vec<u64>;
}

/// Checks the guarantees of [`Sink`].
pub async fn check_sink(factory: &dyn SinkFactory) {
    let sink = factory.sink().await;
    let properties = factory.properties();
    let data = Map::new();
    let call = call(&properties, &data);
    let before = factory.accepted().await;
    assert!(before.is_empty(), "the system is empty at first");
    let written = sink.write(&call, vec![factory.item(1)]).await;
    written.unwrap_or_else(|error| panic!("1 (accepted): {error:?}"));
    assert_eq!(factory.accepted().await, [1], "1 (accepted): one item");
    let written = sink.write(&call, [2, 3, 4].map(|number| factory.item(number)).into()).await;
    written.unwrap_or_else(|error| panic!("1 (accepted): {error:?}"));
    assert_eq!(factory.accepted().await, [1, 2, 3, 4], "1 (accepted): in order");
    if let Some(bad) = factory.bad_item() {
        let refused = sink.write(&call, vec![bad]).await;
        assert!(refused.is_err(), "2 (refused): a value that the system cannot take is an error");
        assert_eq!(factory.accepted().await, [1, 2, 3, 4], "2 (refused): nothing came of it");
        let written = sink.write(&call, vec![factory.item(5)]).await;
        written.unwrap_or_else(|error| panic!("2 (refused): the sink goes on after a refusal: {error:?}"));
    }
}

/// An input under test.
#[async_trait::async_trait]
pub trait ReaderFactory: Send + Sync {
    /// Makes the reader.
    async fn reader(&self) -> Arc<dyn Reader>;

    /// Resolved properties that name something that is there, and its value.
    async fn present(&self) -> (Map<String, Json>, Value);

    /// Resolved properties that name something that is not there, if that can be.
    async fn absent(&self) -> Option<Map<String, Json>>;
}

/// Checks what [`Reader`] promises.
pub async fn check_reader(factory: &dyn ReaderFactory) {
    let reader = factory.reader().await;
    let data = Map::new();
    let (properties, expected) = factory.present().await;
    for _ in 0..2 {
        let value = reader.read(&call(&properties, &data)).await;
        let value = value.unwrap_or_else(|error| panic!("what is there can be read: {error:?}"));
        assert_eq!(value, expected, "what is there is read as it is, each time");
    }
    if let Some(properties) = factory.absent().await {
        let value = reader.read(&call(&properties, &data)).await;
        let value = value.unwrap_or_else(|error| panic!("what is not there is no error: {error:?}"));
        assert_eq!(value, Value::Null, "what is not there is null");
    }
}

fn call<'a>(properties: &'a Map<String, Json>, binding_data: &'a Map<String, Json>) -> Call<'a> {
    Call { invocation_id: "suite", properties, binding_data, origin: None, trace: TraceContext::root() }
}
