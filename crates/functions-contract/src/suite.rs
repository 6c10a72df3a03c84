//! The contract suites of [`Source`](crate::Source), [`PushTrigger`](crate::PushTrigger), [`Reader`] and [`Sink`]: an implementation
//! runs its suite in its own tests.
//!
//! Each suite takes a factory that knows the system behind it. A failing suite panics with the number of the guarantee
//! that does not hold.
//!
//! Not its concern: what is special about one system; the connector's own tests cover that.
//! Know these first: [`SourceFactory`], [`check_source`], [`check_push`], [`check_sink`], [`check_reader`].

mod push;
mod source;

use std::sync::Arc;

use serde_json::{Map, Value as Json};
use trace::TraceContext;

use crate::{BindingContext, Reader, Sink, Value};

pub use push::{PushFactory, PushOutcome, check_push};
pub use source::{SourceFactory, check_source};

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
