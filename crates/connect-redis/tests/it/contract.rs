//! The contract suites of the functions host.

use std::sync::Arc;
use std::time::Duration;

use connect_redis::Redis;
use functions_contract::suite::{
    ReaderFactory, SinkFactory, SourceFactory, check_reader, check_sink, check_source,
};
use functions_contract::{Batch, Connector as _, Direction, Reader, Sink, Source, Value};
use serde_json::{Map, Value as Json, json};

use crate::server::{Server, connector, open, spec, text};

/// The lock of entries of another host: long enough for what the suite does without renewing.
const LOCK_MS: u64 = 2000;

struct Trigger {
    server: Server,
    kind: &'static str,
    is_batched: bool,
    /// The host of all sources; without it, each source is one of another host.
    host: Option<Redis>,
}

impl Trigger {
    fn new(kind: &'static str, is_batched: bool, one_host: bool) -> Self {
        let host = one_host.then(|| connector("host", LOCK_MS));
        Self { server: Server::start(&[]), kind, is_batched, host }
    }
}

#[async_trait::async_trait]
impl SourceFactory for Trigger {
    async fn open(&self) -> Box<dyn Source> {
        let cardinality = if self.is_batched { "many" } else { "one" };
        let properties = json!({"key": "numbers", "maxBatchSize": 3, "cardinality": cardinality});
        let settings = self.server.settings();
        match &self.host {
            Some(host) => open(host, &settings, self.kind, properties).await,
            None => {
                let host = connector(&uuid::Uuid::new_v4().to_string(), LOCK_MS);
                open(&host, &settings, self.kind, properties).await
            }
        }
    }

    async fn put(&self, _: usize, number: u64) {
        let mut client = self.server.client().await;
        let command = if self.kind == "redisListTrigger" {
            redis::cmd("RPUSH").arg("numbers").arg(number).clone()
        } else {
            redis::cmd("XADD").arg("numbers").arg("*").arg("number").arg(number).clone()
        };
        command.exec_async(&mut client).await.unwrap();
    }

    fn numbers(&self, batch: &Batch) -> Vec<u64> {
        let values = match &batch.data {
            Value::Many(values) => values.clone(),
            one => vec![one.clone()],
        };
        let number = |value: &Value| match serde_json::from_str(&text(value)).unwrap() {
            Json::Number(number) => number.as_u64().unwrap(),
            entry => entry["Values"]["number"].as_str().unwrap().parse().unwrap(),
        };
        values.iter().map(number).collect()
    }

    fn items_max(&self) -> usize {
        if self.is_batched { 3 } else { 1 }
    }

    fn keys(&self) -> usize {
        0
    }

    async fn expire_leases(&self) {
        if self.host.is_none() {
            tokio::time::sleep(Duration::from_millis(LOCK_MS + 100)).await;
        }
    }
}

#[tokio::test]
async fn the_list_trigger_keeps_the_guarantees_of_a_source() {
    check_source(&Trigger::new("redisListTrigger", false, true)).await;
}

#[tokio::test]
async fn the_list_trigger_with_batches_keeps_the_guarantees_of_a_source() {
    check_source(&Trigger::new("redisListTrigger", true, true)).await;
}

#[tokio::test]
async fn the_list_trigger_of_several_hosts_keeps_the_guarantees_of_a_source() {
    check_source(&Trigger::new("redisListTrigger", false, false)).await;
}

#[tokio::test]
async fn the_stream_trigger_keeps_the_guarantees_of_a_source() {
    check_source(&Trigger::new("redisStreamTrigger", false, true)).await;
}

#[tokio::test]
async fn the_stream_trigger_with_batches_keeps_the_guarantees_of_a_source() {
    check_source(&Trigger::new("redisStreamTrigger", true, true)).await;
}

#[tokio::test]
async fn the_stream_trigger_of_several_hosts_keeps_the_guarantees_of_a_source() {
    check_source(&Trigger::new("redisStreamTrigger", false, false)).await;
}

struct Bindings {
    server: Server,
    host: Redis,
}

impl Bindings {
    fn new() -> Self {
        Self { server: Server::start(&[]), host: connector("host", LOCK_MS) }
    }
}

fn command(text: &str) -> Json {
    json!({"command": text})
}

#[async_trait::async_trait]
impl SinkFactory for Bindings {
    async fn sink(&self) -> Arc<dyn Sink> {
        let spec = spec("redis", Direction::Out, command("RPUSH"));
        self.host.sink(&spec, &self.server.settings()).await.unwrap()
    }

    fn properties(&self) -> Map<String, Json> {
        command("RPUSH").as_object().unwrap().clone()
    }

    fn item(&self, number: u64) -> Value {
        Value::Text(format!("numbers {number}").into())
    }

    fn bad_item(&self) -> Option<Value> {
        Some(Value::Text("no-value".into()))
    }

    async fn accepted(&self) -> Vec<u64> {
        let mut client = self.server.client().await;
        redis::cmd("LRANGE").arg("numbers").arg(0).arg(-1).query_async(&mut client).await.unwrap()
    }
}

#[async_trait::async_trait]
impl ReaderFactory for Bindings {
    async fn reader(&self) -> Arc<dyn Reader> {
        let spec = spec("redis", Direction::In, command("GET {key}"));
        self.host.reader(&spec, &self.server.settings()).await.unwrap()
    }

    async fn present(&self) -> (Map<String, Json>, Value) {
        let mut client = self.server.client().await;
        redis::cmd("SET").arg("known").arg("text").exec_async(&mut client).await.unwrap();
        (command("GET known").as_object().unwrap().clone(), Value::Text("text".into()))
    }

    async fn absent(&self) -> Option<Map<String, Json>> {
        Some(command("GET unknown").as_object().unwrap().clone())
    }
}

#[tokio::test]
async fn the_output_keeps_the_guarantees_of_a_sink() {
    check_sink(&Bindings::new()).await;
}

#[tokio::test]
async fn the_input_keeps_the_guarantees_of_a_reader() {
    check_reader(&Bindings::new()).await;
}
