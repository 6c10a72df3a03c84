//! Counts the copies of a document's text between the database and the trigger. A binary of its own, because its allocator counts the
//! allocations of the whole process.

use std::alloc::System;
use std::sync::Arc;
use std::time::Duration;

use connect_cosmosdb::{AccountTransport, CosmosDb, Options};
use functions_contract::{
    AppSettings, BindingContext, BindingSpec, Connector as _, Direction, Source, SourceDelivery, Value,
};
use identity::Principal;
use serde_json::{Value as Json, json};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use trace::{TraceContext, Tracer};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// The size of the document's text, which is far above all else that is allocated for one read of the feed.
const TEXT_BYTES: usize = 1 << 20;

/// What a read of the feed allocates besides the text: requests, responses, leases, spans.
const OTHER_BYTES: usize = TEXT_BYTES / 4;

struct Settings;

impl AppSettings for Settings {
    fn setting(&self, name: &str) -> Option<String> {
        (name == "Cosmos").then(|| "AccountEndpoint=http://localhost:8081/;AccountKey=c2VjcmV0;".to_owned())
    }

    fn host_id(&self) -> &str {
        "host"
    }
}

fn spec(kind: &str, direction: Direction, more: Json) -> BindingSpec {
    let mut properties = json!({"databaseName": "demo", "containerName": "cards", "connection": "Cosmos"});
    let (Json::Object(own), Json::Object(more)) = (&mut properties, more) else { panic!("two objects") };
    own.extend(more);
    let properties = own.clone();
    BindingSpec {
        function: "changed".to_owned(),
        name: "documents".to_owned(),
        kind: kind.to_owned(),
        direction,
        properties,
    }
}

async fn next(source: &mut dyn Source) -> SourceDelivery {
    let next = tokio::time::timeout(Duration::from_secs(20), source.next());
    next.await.expect("a batch arrives in time").expect("the feed can be read")
}

async fn write(connector: &CosmosDb, document: Json) {
    let properties = json!({"createIfNotExists": true, "partitionKey": "/kind"});
    let spec = spec("cosmosDB", Direction::Out, properties);
    let sink = connector.sink(&spec, &Settings).await.expect("the declaration is valid");
    let context = BindingContext {
        invocation_id: "1",
        properties: &spec.properties,
        binding_data: &serde_json::Map::new(),
        origin: None,
        trace: TraceContext::root(),
    };
    sink.write(&context, vec![Value::Json(document.to_string().into())])
        .await
        .expect("the document is written");
}

/// One copy from the row of the database into the item's text, and one from there into the response of the feed; the batch is a slice of
/// the response. From the batch to the frame of the worker the text is shared, as tests of `functions` and `worker-protocol` show.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_document_is_copied_twice_from_the_database_to_the_trigger() {
    let folder = tempfile::tempdir().expect("a folder can be created");
    let options = documents::Options {
        data_dir: folder.path().to_owned(),
        primary_key: Some("c2VjcmV0".to_owned()),
        ..documents::Options::default()
    };
    let mut registry = prometheus_client::registry::Registry::default();
    let (service, handle) =
        documents::Service::open(options, Tracer::new(100), &mut registry).expect("the folder is empty");
    let resolver = move |_: &identity::CosmosConnectionString| {
        Ok(AccountTransport::in_process(service.clone(), Principal::InProcess { name: "test" }))
    };
    let options = Options { instance: "host".to_owned(), ..Options::default() };
    let connector = CosmosDb::new(Arc::new(resolver), options, http_messages::Budget::default());

    // The first batch opens leases, connections and caches.
    write(&connector, json!({"id": "small", "kind": "card"})).await;
    let more = json!({"startFromBeginning": true, "createLeaseContainerIfNotExists": true});
    let trigger = spec("cosmosDBTrigger", Direction::In, more);
    let mut source = connector.source(&trigger, &Settings).await.expect("the declaration is valid");
    next(source.as_mut()).await.complete().await.expect("the position can be stored");
    write(&connector, json!({"id": "large", "kind": "card", "text": "x".repeat(TEXT_BYTES)})).await;

    let region = Region::new(ALLOCATOR);
    let delivery = next(source.as_mut()).await;
    let allocated = region.change();
    let allocated = allocated.bytes_allocated + usize::try_from(allocated.bytes_reallocated).unwrap_or(0);

    let Value::Text(text) = &delivery.batch.data else { panic!("a batch is text") };
    assert!(text.len() > TEXT_BYTES);
    assert!(allocated >= 2 * TEXT_BYTES, "the allocations of the document are counted: {allocated}");
    assert!(allocated <= 2 * TEXT_BYTES + OTHER_BYTES, "{allocated} bytes were allocated");
    delivery.complete().await.expect("the position can be stored");
    source.close().await;
    handle.drain().await;
}
