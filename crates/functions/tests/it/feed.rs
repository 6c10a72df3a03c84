//! An outside system in memory: a feed of JSON items with an owner and a position, and an output.

use std::sync::{Arc, Mutex};

use bytestring::ByteString;
use functions_contract::suite::{ReaderFactory, SinkFactory, SourceFactory};
use functions_contract::{
    AppSettings, Batch, BindingContext, BindingError, BindingSpec, Connector, Direction, ItemOrigin, Lag,
    Reader, Sink, Source, Value,
};
use serde_json::{Map, Value as Json, json};
use tokio::sync::Notify;

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
    items: Vec<(String, Option<ItemOrigin>)>,
    completed: usize,
    owner: Option<u64>,
    opened: u64,
    written: Vec<(Map<String, Json>, Value)>,
    /// The text of the last batch.
    last_batch: Option<ByteString>,
    /// The error of the next open or write.
    failures: Vec<BindingError>,
}

const ITEMS_MAX: usize = 3;

impl Feed {
    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.shared.state.lock().expect("no test panics with the lock")
    }

    pub(crate) fn push(&self, item: &Json, origin: Option<ItemOrigin>) {
        self.state().items.push((item.to_string(), origin));
        self.shared.changed.notify_waiters();
    }

    pub(crate) fn fail_next(&self, why: &str) {
        let error = BindingError::System { what: why.to_owned(), retryable: true, cause: None };
        self.state().failures.push(error);
    }

    /// Makes the next open report a missing source.
    pub(crate) fn absent_next(&self, why: &str) {
        self.state().failures.push(BindingError::Absent(why.to_owned()));
    }

    pub(crate) fn written(&self) -> Vec<(Map<String, Json>, Value)> {
        self.state().written.clone()
    }

    /// Waits until this many items are completed.
    pub(crate) async fn completed(&self, count: usize) {
        let wait = async {
            loop {
                let changed = self.shared.changed.notified();
                tokio::pin!(changed);
                changed.as_mut().enable();
                if self.state().completed >= count {
                    return;
                }
                changed.await;
            }
        };
        tokio::time::timeout(crate::fake::PATIENCE, wait).await.expect("the items are completed in time");
    }

    pub(crate) fn last_batch(&self) -> Option<ByteString> {
        self.state().last_batch.clone()
    }

    pub(crate) fn is_owned(&self) -> bool {
        self.state().owner.is_some()
    }
}

struct FeedSource {
    feed: Feed,
    me: u64,
}

#[async_trait::async_trait]
impl Source for FeedSource {
    async fn next(&mut self) -> Result<Batch, BindingError> {
        loop {
            let changed = self.feed.shared.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            {
                let mut state = self.feed.state();
                let owner = *state.owner.get_or_insert(self.me);
                let start = state.completed;
                if owner == self.me && start < state.items.len() {
                    let end = state.items.len().min(start + ITEMS_MAX);
                    let items = &state.items[start..end];
                    let texts: Vec<&str> = items.iter().map(|(text, _)| text.as_str()).collect();
                    let text = ByteString::from(format!("[{}]", texts.join(",")));
                    let (count, origins) =
                        (items.len(), items.iter().filter_map(|(_, origin)| *origin).collect());
                    state.last_batch = Some(text.clone());
                    return Ok(Batch {
                        position: end.to_string(),
                        data: Value::Text(text),
                        metadata: vec![("Source".to_owned(), Value::Text("feed".into()))],
                        item_count: count,
                        origins,
                        reason: "New changes on the feed".to_owned(),
                    });
                }
            }
            changed.await;
        }
    }

    async fn complete(&mut self, batch: &Batch) -> Result<(), BindingError> {
        self.feed.state().completed = batch.position.parse().expect("a position of ours");
        self.feed.shared.changed.notify_waiters();
        Ok(())
    }

    async fn abandon(&mut self, _: Batch) -> Result<(), BindingError> {
        Ok(())
    }

    async fn lag(&mut self) -> Result<Lag, BindingError> {
        let state = self.feed.state();
        Ok(Lag { items: (state.items.len() - state.completed) as u64 })
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
        let found = id.parse::<usize>().ok().and_then(|at| self.state().items.get(at).cloned());
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
        Box::new(FeedSource { feed: self.clone(), me: state.opened })
    }

    async fn put(&self, number: u64) {
        self.push(&json!(number), None);
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
