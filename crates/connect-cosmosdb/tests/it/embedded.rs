//! The bindings over the document service of this workspace: in process, and signed as for a remote account.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use connect_cosmosdb::{AccountTransport, CosmosDb, Options};
use functions_contract::{
    BindingContext, BindingError, Connector as _, Direction, Source, SourceDelivery, Value,
};
use http_body_util::BodyExt as _;
use identity::Principal;
use identity::master_key::MasterKey;
use serde_json::{Value as Json, json};
use trace::{TraceContext, Tracer};

use crate::trigger::{Settings, spec};

const KEY: &str = "c2VjcmV0";

/// A document service with its connector; it can be opened again in the same folder.
pub(crate) struct Process {
    pub(crate) service: documents::Service,
    handle: documents::Handle,
    pub(crate) connector: CosmosDb,
    tracer: Tracer,
}

impl Process {
    pub(crate) fn start(folder: &Path, remote: bool) -> Self {
        let options = documents::Options {
            data_dir: folder.to_owned(),
            primary_key: Some(KEY.to_owned()),
            ..documents::Options::default()
        };
        let tracer = Tracer::new(1000);
        let mut registry = prometheus_client::registry::Registry::default();
        let (service, handle) = documents::Service::open(options, tracer.clone(), &mut registry).unwrap();
        let hints = handle.hints();
        let account = service.clone();
        let resolver = move |_: &identity::CosmosConnectionString| {
            if remote {
                return Ok(AccountTransport::signed(account.clone(), MasterKey::parse(KEY).unwrap()));
            }
            let hints = hints.clone();
            let transport =
                AccountTransport::in_process(account.clone(), Principal::InProcess { name: "test" });
            Ok(transport
                .with_hints(Arc::new(move |database, container| {
                    Some(hints.subscribe(&format!("dbs/{database}/colls/{container}")))
                }))
                .with_origins(Arc::new(|extensions| {
                    let origins = extensions.get::<documents::FeedOrigins>();
                    origins.map(|origins| origins.0.clone()).unwrap_or_default()
                })))
        };
        let options = Options { instance: "host".to_owned(), ..Options::default() };
        Self {
            service,
            handle,
            connector: CosmosDb::new(Arc::new(resolver), options, http_messages::Budget::default()),
            tracer,
        }
    }

    /// Writes through an output binding; returns the trace of the write.
    pub(crate) async fn write(&self, documents: Json) -> TraceContext {
        let properties = names();
        let mut declared = properties.clone();
        declared["createIfNotExists"] = true.into();
        declared["partitionKey"] = "/kind".into();
        let spec = spec("cosmosDB", Direction::Out, declared);
        let sink = self.connector.sink(&spec, &Settings).await.unwrap();
        let context = BindingContext {
            invocation_id: "1",
            properties: properties.as_object().unwrap(),
            binding_data: &serde_json::Map::new(),
            origin: None,
            trace: TraceContext::root(),
        };
        sink.write(&context, vec![Value::Json(documents.to_string().into())]).await.unwrap();
        context.trace
    }

    pub(crate) async fn read(&self, extra: Json, data: Json) -> Value {
        let mut properties = names();
        properties.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        let spec = spec("cosmosDB", Direction::In, properties.clone());
        let reader = self.connector.reader(&spec, &Settings).await.unwrap();
        let context = BindingContext {
            invocation_id: "1",
            properties: properties.as_object().unwrap(),
            binding_data: data.as_object().unwrap(),
            origin: None,
            trace: TraceContext::root(),
        };
        reader.read(&context).await.unwrap()
    }

    async fn drop_container(&self) {
        let request = http::Request::delete("/dbs/my%20data/colls/cards%20%26%20more");
        let body = http_body_util::Empty::new().map_err(|never| match never {}).boxed_unsync();
        let mut request = request.body(body).unwrap();
        request.extensions_mut().insert(Principal::InProcess { name: "test" });
        let answer = tower::Service::call(&mut self.service.clone(), request).await.unwrap();
        assert_eq!(answer.status(), 204);
    }

    pub(crate) async fn drain(&self) {
        self.handle.drain().await;
    }

    pub(crate) async fn trigger(&self, extra: Json) -> Box<dyn Source> {
        let mut properties = names();
        let more = json!({
            "startFromBeginning": true, "createLeaseContainerIfNotExists": true, "feedPollDelay": 50,
        });
        for part in [more, extra] {
            properties.as_object_mut().unwrap().extend(part.as_object().unwrap().clone());
        }
        let spec = spec("cosmosDBTrigger", Direction::In, properties);
        self.connector.source(&spec, &Settings).await.unwrap()
    }
}

/// Names that are encoded in a path and decoded in a signature.
pub(crate) fn names() -> Json {
    json!({"databaseName": "my data", "containerName": "cards & more"})
}

async fn next(source: &mut dyn Source) -> SourceDelivery {
    tokio::time::timeout(Duration::from_secs(20), source.next()).await.expect("a batch comes").unwrap()
}

fn ids(delivery: &SourceDelivery) -> Vec<String> {
    let Value::Text(text) = &delivery.batch.data else { panic!("a batch is text") };
    let documents: Vec<Json> = serde_json::from_str(text).unwrap();
    documents.iter().map(|document| document["id"].as_str().unwrap().to_owned()).collect()
}

async fn whole_way(remote: bool) {
    let folder = tempfile::tempdir().unwrap();
    let process = Process::start(folder.path(), remote);
    process.write(json!([{"id": "a", "kind": "card"}, {"id": "ä-b", "kind": "card"}])).await;
    let found = process.read(json!({"id": "a", "partitionKey": "card"}), json!({})).await;
    let Value::Json(text) = found else { panic!("{found:?} is no document") };
    assert!(text.contains(r#""kind":"card""#), "{text}");
    let query = json!({"sqlQuery": "SELECT VALUE c.id FROM c WHERE c.id = {wanted}"});
    assert_eq!(process.read(query, json!({"wanted": "a"})).await, Value::Json(r#"["a"]"#.to_owned().into()));

    let mut source = process.trigger(json!({})).await;
    let batch = next(source.as_mut()).await;
    assert_eq!(ids(&batch), ["a", "ä-b"]);
    assert_eq!(source.backlog().await.unwrap().items, 2);
    batch.complete().await.unwrap();
    assert_eq!(source.backlog().await.unwrap().items, 0);
    process.write(json!({"id": "c", "kind": "card"})).await;
    let batch = next(source.as_mut()).await;
    assert_eq!(ids(&batch), ["c"]);

    // The process ends before it completes a batch; the next process gets the batch again at once.
    drop(source);
    process.drain().await;
    drop(process);
    let process = Process::start(folder.path(), remote);
    let mut source = process.trigger(json!({})).await;
    let batch = next(source.as_mut()).await;
    assert_eq!(ids(&batch), ["c"]);
    batch.complete().await.unwrap();
    source.close().await;
    process.drain().await;
}

/// The text of an item is copied twice from the database to the trigger: from its row, and into the response of the feed. The batch
/// is a slice of that response.
#[tokio::test]
async fn a_batch_is_a_slice_of_the_feed_response() {
    let folder = tempfile::tempdir().unwrap();
    let process = Process::start(folder.path(), false);
    process.write(json!([{"id": "a", "kind": "card"}, {"id": "b", "kind": "card"}])).await;
    let bodies = Arc::new(Mutex::new(Vec::new()));
    let (account, seen) = (process.service.clone(), Arc::clone(&bodies));
    let recording = tower::service_fn(move |request| {
        let (mut account, seen) = (account.clone(), Arc::clone(&seen));
        async move {
            let response = tower::Service::call(&mut account, request).await?;
            let (head, body) = response.into_parts();
            let body = body.collect().await.expect("a body in memory").to_bytes();
            seen.lock().expect("no panic").push(body.clone());
            Ok::<_, http_messages::BoxError>(http::Response::from_parts(head, http_messages::full(body)))
        }
    });
    let principal = Principal::InProcess { name: "test" };
    let transport = AccountTransport::in_process(recording, principal);
    let resolver = move |_: &identity::CosmosConnectionString| Ok(transport.clone());
    let options = Options { instance: "recorded".to_owned(), ..Options::default() };
    let budget = http_messages::Budget::default();
    let mut properties = names();
    let more = json!({"startFromBeginning": true, "createLeaseContainerIfNotExists": true});
    properties.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let spec = spec("cosmosDBTrigger", Direction::In, properties);
    let connector = CosmosDb::new(Arc::new(resolver), options, budget);
    let mut source = connector.source(&spec, &Settings).await.unwrap();
    let batch = next(source.as_mut()).await;
    assert_eq!(ids(&batch), ["a", "b"]);
    let Value::Text(text) = &batch.batch.data else { panic!("a batch is text") };
    let is_slice = |body: &bytes::Bytes| body.as_ptr_range().contains(&text.as_ptr());
    assert!(bodies.lock().expect("no panic").iter().any(is_slice), "the batch was copied");
    source.close().await;
    process.drain().await;
}

#[tokio::test]
async fn items_travel_from_output_to_trigger_in_process() {
    whole_way(false).await;
}

#[tokio::test]
async fn items_travel_from_output_to_trigger_over_a_remote_account() {
    whole_way(true).await;
}

/// The next batch; repeated while the container is missing, as the host does.
async fn next_again(source: &mut dyn Source) -> SourceDelivery {
    let again = async {
        loop {
            match source.next().await {
                Ok(batch) => return batch,
                Err(BindingError::Absent(_)) => tokio::task::yield_now().await,
                Err(error) => panic!("{error}"),
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(20), again).await.expect("a batch comes")
}

/// A function starts "from now" before its container exists; then the container is created, deleted and created again.
async fn created_while_listening(remote: bool) {
    let folder = tempfile::tempdir().unwrap();
    let process = Process::start(folder.path(), remote);
    let mut source = process.trigger(json!({"startFromBeginning": false})).await;
    assert!(source.next().await.is_err(), "the container is missing");
    for round in 0..2 {
        let mut missed: BTreeSet<String> = (0..20).map(|n| format!("{round}-{n}")).collect();
        let write = async {
            for id in missed.clone() {
                process.write(json!({"id": id, "kind": "card"})).await;
            }
        };
        let ((), first) = tokio::join!(write, next_again(source.as_mut()));
        let mut batch = first;
        loop {
            for id in ids(&batch) {
                assert!(missed.remove(&id), "{id} is of this container, and comes once");
            }
            batch.complete().await.unwrap();
            if missed.is_empty() {
                break;
            }
            batch = next(source.as_mut()).await;
        }
        process.drop_container().await;
    }
    source.close().await;
    process.drain().await;
}

#[tokio::test]
async fn no_change_of_a_container_created_while_listening_is_lost_in_process() {
    created_while_listening(false).await;
}

#[tokio::test]
async fn no_change_of_a_container_created_while_listening_is_lost_on_a_remote_account() {
    created_while_listening(true).await;
}

#[tokio::test]
async fn a_batch_contains_the_traces_of_its_writes() {
    let folder = tempfile::tempdir().unwrap();
    let process = Process::start(folder.path(), false);
    let first = process.write(json!({"id": "a", "kind": "card"})).await;
    let second = process.write(json!({"id": "b", "kind": "card"})).await;
    let mut source = process.trigger(json!({})).await;
    let batch = next(source.as_mut()).await;
    let traces: Vec<_> = batch.batch.origins.iter().map(|origin| origin.trace.trace_id).collect();
    assert_eq!(traces, [first.trace_id, second.trace_id]);
    let write = process.tracer.trace(first.trace_id);
    assert_eq!(write.iter().map(|span| span.name).collect::<Vec<_>>(), ["documents.write"]);
    assert_eq!(batch.batch.origins[0].trace.span_id, write[0].context.span_id);
    source.close().await;
    process.drain().await;
}
