//! An outside system in memory: partitions of JSON items, each with an owner and a position; a place for dead letters; and an output.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytestring::ByteString;
use functions_contract::suite::{ReaderFactory, SinkFactory, SourceFactory};
use functions_contract::{
    AfterFailure, AppSettings, Batch, BindingContext, BindingError, BindingSpec, Connector, Direction,
    ItemOrigin, KeyClaim, KeysInFlight, Reader, Settle, Settlement, Sink, Source, SourceBacklog,
    SourceDelivery, Value,
};
use serde_json::{Map, Value as Json, json};
use tokio::sync::Notify;

http_messages::error_table! {
    SYSTEM_ERRORS;

    SYSTEM_FAILED = {
        code: "feed-failed",
        statuses: [],
        fault: Upstream,
        retry: Later,
        happened: "The system failed.",
        why: "A test let it fail.",
        action: "None.",
    }
}

/// The system; all clones share it.
#[derive(Clone, Default)]
pub(crate) struct Feed {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Default)]
struct State {
    partitions: [Partition; PARTITIONS],
    owner: Option<u64>,
    opened: u64,
    written: Vec<(Map<String, Json>, Value)>,
    dead: Vec<(String, String)>,
    /// The text of the last batch.
    last_batch: Option<ByteString>,
    /// The error of the next open or write.
    failures: Vec<BindingError>,
    /// The error of the next settlement.
    settle_failures: Vec<BindingError>,
    after_failure: Option<AfterFailure>,
    renew_every: Option<Duration>,
    renewals: usize,
    /// The error of the next renewal.
    renew_failures: Vec<BindingError>,
}

#[derive(Default)]
struct Partition {
    items: Vec<(String, Option<ItemOrigin>)>,
    completed: usize,
    /// How often the items after `completed` were handed out.
    deliveries: u32,
}

const ITEMS_MAX: usize = 3;
pub(crate) const PARTITIONS: usize = 3;

impl Feed {
    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.shared.state.lock().expect("no test panics with the lock")
    }

    pub(crate) fn push(&self, item: &Json, origin: Option<ItemOrigin>) {
        self.push_to(0, item, origin);
    }

    pub(crate) fn push_to(&self, partition: usize, item: &Json, origin: Option<ItemOrigin>) {
        self.state().partitions[partition].items.push((item.to_string(), origin));
        self.shared.changed.notify_waiters();
    }

    pub(crate) fn fail_next(&self, why: &str) {
        self.state().failures.push(away(why));
    }

    /// Makes the next open report a missing source.
    pub(crate) fn absent_next(&self, why: &str) {
        self.state().failures.push(BindingError::Absent(why.to_owned()));
    }

    /// Makes the next settlement fail.
    pub(crate) fn fail_settlement(&self, error: BindingError) {
        self.state().settle_failures.push(error);
    }

    pub(crate) fn set_after_failure(&self, after_failure: AfterFailure) {
        self.state().after_failure = Some(after_failure);
    }

    /// Gives deliveries a lock that the host has to renew; the renewals fail with these errors first.
    pub(crate) fn lock_deliveries(&self, renew_every: Duration, failures: Vec<BindingError>) {
        let mut state = self.state();
        state.renew_every = Some(renew_every);
        state.renew_failures = failures;
    }

    pub(crate) fn written(&self) -> Vec<(Map<String, Json>, Value)> {
        self.state().written.clone()
    }

    /// The dead-lettered items with their reasons.
    pub(crate) fn dead(&self) -> Vec<(String, String)> {
        self.state().dead.clone()
    }

    /// Waits until this many items are completed.
    pub(crate) async fn completed(&self, count: usize) {
        let is_completed = |state: &State| {
            state.partitions.iter().map(|partition| partition.completed).sum::<usize>() >= count
        };
        self.until(is_completed).await;
    }

    /// Waits until deliveries were renewed this many times.
    pub(crate) async fn renewed(&self, count: usize) {
        self.until(|state| state.renewals >= count).await;
    }

    async fn until(&self, holds: impl Fn(&State) -> bool) {
        let wait = async {
            loop {
                let changed = self.shared.changed.notified();
                tokio::pin!(changed);
                changed.as_mut().enable();
                if holds(&self.state()) {
                    return;
                }
                changed.await;
            }
        };
        tokio::time::timeout(crate::fake::PATIENCE, wait).await.expect("it happens in time");
    }

    pub(crate) fn last_batch(&self) -> Option<ByteString> {
        self.state().last_batch.clone()
    }

    pub(crate) fn is_owned(&self) -> bool {
        self.state().owner.is_some()
    }
}

pub(crate) fn away(why: &str) -> BindingError {
    BindingError::System { error: &SYSTEM_FAILED, what: why.to_owned(), retryable: true, cause: None }
}

struct FeedSource {
    feed: Feed,
    me: u64,
    in_flight: KeysInFlight,
}

impl FeedSource {
    /// The next items of a partition that has no unsettled delivery.
    fn take(&self, state: &mut State) -> Option<SourceDelivery> {
        if *state.owner.get_or_insert(self.me) != self.me {
            return None;
        }
        let (after_failure, renew_every) = (state.after_failure, state.renew_every);
        for (index, partition) in state.partitions.iter_mut().enumerate() {
            let start = partition.completed;
            if start == partition.items.len() {
                continue;
            }
            let key = index.to_string();
            let Some(claim) = self.in_flight.claim(&key) else { continue };
            partition.deliveries += 1;
            let end = partition.items.len().min(start + ITEMS_MAX);
            let items = &partition.items[start..end];
            let texts: Vec<&str> = items.iter().map(|(text, _)| text.as_str()).collect();
            let text = ByteString::from(format!("[{}]", texts.join(",")));
            let batch = Batch {
                data: Value::Text(text.clone()),
                metadata: vec![("Source".to_owned(), Value::Text("feed".into()))],
                item_count: items.len(),
                origins: items.iter().filter_map(|(_, origin)| *origin).collect(),
                reason: "New changes on the feed".to_owned(),
            };
            let settle = Items { feed: self.feed.clone(), partition: index, end, claim };
            let delivery = SourceDelivery {
                ordering_key: Some(key),
                delivery_count: Some(partition.deliveries),
                after_failure: after_failure.unwrap_or(AfterFailure::Complete),
                renew_every,
                ..SourceDelivery::new(batch, format!("{index}-{end}"), settle)
            };
            state.last_batch = Some(text);
            return Some(delivery);
        }
        None
    }
}

/// An unsettled delivery: the items of a partition up to `end`.
struct Items {
    feed: Feed,
    partition: usize,
    end: usize,
    claim: KeyClaim,
}

#[async_trait::async_trait]
impl Settle for Items {
    async fn renew(&mut self) -> Result<(), BindingError> {
        let mut state = self.feed.state();
        state.renewals += 1;
        let failure = state.renew_failures.pop();
        drop(state);
        self.feed.shared.changed.notify_waiters();
        failure.map_or(Ok(()), Err)
    }

    async fn settle(self: Box<Self>, settlement: Settlement) -> Result<(), BindingError> {
        let mut guard = self.feed.state();
        let state = &mut *guard;
        if let Some(error) = state.settle_failures.pop() {
            return Err(error);
        }
        let partition = &mut state.partitions[self.partition];
        if let Settlement::DeadLetter { reason } = &settlement {
            let items = partition.items[partition.completed..self.end].iter();
            state.dead.extend(items.map(|(text, _)| (text.clone(), reason.clone())));
        }
        if settlement != Settlement::Abandon {
            partition.completed = self.end;
            partition.deliveries = 0;
        }
        drop(guard);
        drop(self.claim);
        self.feed.shared.changed.notify_waiters();
        Ok(())
    }
}

#[async_trait::async_trait]
impl Source for FeedSource {
    fn in_flight_max(&self) -> usize {
        PARTITIONS
    }

    async fn next(&mut self) -> Result<SourceDelivery, BindingError> {
        loop {
            let changed = self.feed.shared.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if let Some(delivery) = self.take(&mut self.feed.state()) {
                return Ok(delivery);
            }
            tokio::select! {
                () = changed => {}
                () = self.in_flight.released() => {}
            }
        }
    }

    async fn backlog(&mut self) -> Result<SourceBacklog, BindingError> {
        let state = self.feed.state();
        let waiting = state.partitions.iter().map(|partition| partition.items.len() - partition.completed);
        Ok(SourceBacklog { items: waiting.sum::<usize>() as u64, oldest: None })
    }

    async fn close(self: Box<Self>) {}
}

impl Drop for FeedSource {
    fn drop(&mut self) {
        let mut state = self.feed.state();
        if state.owner == Some(self.me) {
            state.owner = None;
        }
        drop(state);
        self.feed.shared.changed.notify_waiters();
    }
}

#[async_trait::async_trait]
impl Sink for Feed {
    async fn write(&self, context: &BindingContext<'_>, items: Vec<Value>) -> Result<(), BindingError> {
        let mut state = self.state();
        if let Some(error) = state.failures.pop() {
            return Err(error);
        }
        for item in items {
            if matches!(item, Value::Bytes(_)) {
                return Err(BindingError::Value("bytes are not taken".to_owned()));
            }
            state.written.push((context.properties.clone(), item));
        }
        Ok(())
    }
}

#[async_trait::async_trait]
impl Reader for Feed {
    async fn read(&self, context: &BindingContext<'_>) -> Result<Value, BindingError> {
        if context.properties.contains_key("sqlQuery") {
            // The values of a query are parameters from the binding data.
            return Ok(Value::Json(Json::Object(context.binding_data.clone()).to_string().into()));
        }
        let id = context.properties.get("id").and_then(Json::as_str).unwrap_or_default();
        let found = id.parse::<usize>().ok().and_then(|at| self.state().partitions[0].items.get(at).cloned());
        Ok(found.map_or(Value::Null, |(text, _)| Value::Json(text.into())))
    }
}

#[async_trait::async_trait]
impl Connector for Feed {
    fn kinds(&self) -> &'static [(&'static str, Direction)] {
        &[("feedTrigger", Direction::In), ("feed", Direction::In), ("feed", Direction::Out)]
    }

    async fn source(&self, _: &BindingSpec, _: &dyn AppSettings) -> Result<Box<dyn Source>, BindingError> {
        if let Some(error) = self.state().failures.pop() {
            return Err(error);
        }
        Ok(self.open().await)
    }

    async fn reader(&self, _: &BindingSpec, _: &dyn AppSettings) -> Result<Arc<dyn Reader>, BindingError> {
        Ok(Arc::new(self.clone()))
    }

    async fn sink(&self, spec: &BindingSpec, _: &dyn AppSettings) -> Result<Arc<dyn Sink>, BindingError> {
        match spec.text("refuse") {
            Some(why) => Err(BindingError::Declaration(why.to_owned())),
            None => Ok(Arc::new(self.clone())),
        }
    }
}

#[async_trait::async_trait]
impl SourceFactory for Feed {
    async fn open(&self) -> Box<dyn Source> {
        let mut state = self.state();
        state.opened += 1;
        Box::new(FeedSource { feed: self.clone(), me: state.opened, in_flight: KeysInFlight::default() })
    }

    async fn put(&self, key: usize, number: u64) {
        self.push_to(key, &json!(number), None);
    }

    fn keys(&self) -> usize {
        PARTITIONS
    }

    async fn dead_letters(&self) -> Option<Vec<(u64, String)>> {
        let number = |(text, reason): (String, String)| (text.parse().expect("a number"), reason);
        Some(self.dead().into_iter().map(number).collect())
    }

    fn numbers(&self, batch: &Batch) -> Vec<u64> {
        let Value::Text(text) = &batch.data else { panic!("text") };
        serde_json::from_str(text).expect("numbers")
    }

    fn items_max(&self) -> usize {
        ITEMS_MAX
    }

    async fn expire_leases(&self) {}
}

#[async_trait::async_trait]
impl SinkFactory for Feed {
    async fn sink(&self) -> Arc<dyn Sink> {
        Arc::new(self.clone())
    }

    fn properties(&self) -> Map<String, Json> {
        Map::new()
    }

    fn item(&self, number: u64) -> Value {
        Value::Json(number.to_string().into())
    }

    fn bad_item(&self) -> Option<Value> {
        Some(Value::Bytes(bytes::Bytes::new()))
    }

    async fn accepted(&self) -> Vec<u64> {
        let number = |(_, value): (_, Value)| match value {
            Value::Json(text) => text.parse().expect("a number"),
            other => panic!("{other:?}"),
        };
        self.written().into_iter().map(number).collect()
    }
}

#[async_trait::async_trait]
impl ReaderFactory for Feed {
    async fn reader(&self) -> Arc<dyn Reader> {
        Arc::new(self.clone())
    }

    async fn present(&self) -> (Map<String, Json>, Value) {
        self.push(&json!({"a": 1}), None);
        (Map::from_iter([("id".to_owned(), json!("0"))]), Value::Json("{\"a\":1}".into()))
    }

    async fn absent(&self) -> Option<Map<String, Json>> {
        Some(Map::from_iter([("id".to_owned(), json!("7"))]))
    }
}
