//! The contract suites of the functions host, on the document service itself.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;

use functions_contract::suite::{
    ReaderFactory, SinkFactory, SourceFactory, check_reader, check_sink, check_source,
};
use functions_contract::{Batch, Connector as _, Direction, Reader, Sink, Source, Value};
use http::{Method, Request, Response};
use http_body_util::{BodyExt as _, Full};
use http_messages::{Body, BoxError};
use serde_json::{Map, Value as Json, json};
use tower::ServiceExt as _;

use crate::embedded::{Process, names};
use crate::trigger::{Settings, spec};

const ITEMS_MAX: usize = 3;

struct Suite {
    process: Process,
    /// Deleted on drop.
    _folder: tempfile::TempDir,
}

impl Suite {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let process = Process::start(folder.path(), false);
        ask(&process, Method::POST, "/dbs", json!({"id": "my data"})).await;
        let container =
            json!({"id": "cards & more", "partitionKey": {"paths": ["/kind"], "kind": "Hash", "version": 2}});
        ask(&process, Method::POST, "/dbs/my%20data/colls", container).await;
        Self { process, _folder: folder }
    }

    async fn drain(self) {
        self.process.drain().await;
    }
}

/// The numbers in the documents of a batch.
fn numbers(text: &str) -> Vec<u64> {
    let documents: Vec<Json> = serde_json::from_str(text).unwrap();
    documents.iter().map(|document| document["number"].as_u64().unwrap()).collect()
}

fn document(number: u64) -> Json {
    json!({"id": format!("item-{number}"), "kind": "card", "number": number})
}

#[async_trait::async_trait]
impl SourceFactory for Suite {
    async fn open(&self) -> Box<dyn Source> {
        // The interval is that at which another source acquires a lease that was released.
        let properties = json!({"maxItemsPerInvocation": ITEMS_MAX, "leaseAcquireInterval": 50});
        self.process.trigger(properties).await
    }

    async fn put(&self, _: usize, number: u64) {
        self.process.write(document(number)).await;
    }

    fn numbers(&self, batch: &Batch) -> Vec<u64> {
        let Value::Text(text) = &batch.data else { panic!("a batch is text") };
        numbers(text)
    }

    fn items_max(&self) -> usize {
        ITEMS_MAX
    }

    async fn expire_leases(&self) {
        // A source of this process or of an earlier one of this host that did not close is known to be gone.
    }
}

#[async_trait::async_trait]
impl SinkFactory for Suite {
    async fn sink(&self) -> Arc<dyn Sink> {
        let spec = spec("cosmosDB", Direction::Out, names());
        self.process.connector.sink(&spec, &Settings).await.unwrap()
    }

    fn properties(&self) -> Map<String, Json> {
        names().as_object().unwrap().clone()
    }

    fn item(&self, number: u64) -> Value {
        Value::Json(document(number).to_string().into())
    }

    fn bad_item(&self) -> Option<Value> {
        Some(Value::Text("no document".into()))
    }

    async fn accepted(&self) -> Vec<u64> {
        let query = json!({"sqlQuery": "SELECT * FROM c"});
        let Value::Json(text) = self.process.read(query, json!({})).await else { panic!("rows are JSON") };
        numbers(&text)
    }
}

#[async_trait::async_trait]
impl ReaderFactory for Suite {
    async fn reader(&self) -> Arc<dyn Reader> {
        let mut properties = names();
        properties["id"] = "{id}".into();
        let spec = spec("cosmosDB", Direction::In, properties);
        self.process.connector.reader(&spec, &Settings).await.unwrap()
    }

    async fn present(&self) -> (Map<String, Json>, Value) {
        self.process.write(document(1)).await;
        let stored = stored(&self.process, "item-1").await;
        (by_id("item-1"), Value::Json(stored.into()))
    }

    async fn absent(&self) -> Option<Map<String, Json>> {
        Some(by_id("item-2"))
    }
}

fn by_id(id: &str) -> Map<String, Json> {
    let mut properties = names();
    properties["id"] = id.into();
    properties["partitionKey"] = "card".into();
    properties.as_object().unwrap().clone()
}

/// A document as the service stores it.
async fn stored(process: &Process, id: &str) -> String {
    ask(process, Method::GET, &format!("/dbs/my%20data/colls/cards%20%26%20more/docs/{id}"), Json::Null).await
}

/// Sends a request to the service directly, without the code under test.
async fn ask(process: &Process, method: Method, path: &str, body: Json) -> String {
    let body = if body.is_null() { Full::default() } else { Full::from(body.to_string()) };
    let body = Body::new(body.map_err(|never| -> BoxError { match never {} }));
    let request = Request::builder()
        .method(method)
        .uri(format!("http://localhost{path}"))
        .header("x-ms-documentdb-partitionkey", r#"["card"]"#)
        .extension(identity::Principal::InProcess { name: "test" })
        .body(body)
        .unwrap();
    let answer = process.service.clone().oneshot(request);
    // Boxed, because the compiler cannot prove `Send` through nested futures over boxed errors.
    let answer: Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>> = Box::pin(answer);
    let response = answer.await.unwrap();
    assert!(response.status().is_success(), "{path}: {}", response.status());
    String::from_utf8(response.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap()
}

#[tokio::test]
async fn the_trigger_keeps_the_guarantees_of_a_source() {
    let suite = Suite::new().await;
    check_source(&suite).await;
    suite.drain().await;
}

#[tokio::test]
async fn the_output_keeps_the_guarantees_of_a_sink() {
    let suite = Suite::new().await;
    check_sink(&suite).await;
    suite.drain().await;
}

#[tokio::test]
async fn the_input_keeps_the_guarantees_of_a_reader() {
    let suite = Suite::new().await;
    check_reader(&suite).await;
    suite.drain().await;
}
