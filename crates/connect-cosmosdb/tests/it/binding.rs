//! The `cosmosDB` input and output bindings.

use std::sync::Arc;

use connect_cosmosdb::{AccountTransport, CosmosDb, Options};
use functions_contract::{BindingContext, BindingError, Connector as _, Direction, Reader, Sink, Value};
use identity::master_key::MasterKey;
use serde_json::{Map, Value as Json, json};
use trace::TraceContext;

use crate::fake::Fake;
use crate::trigger::{Settings, connector, spec};

async fn reader(fake: &Fake, properties: &Json) -> Arc<dyn Reader> {
    let spec = spec("cosmosDB", Direction::In, properties.clone());
    connector(fake, "one").reader(&spec, &Settings).await.unwrap()
}

async fn sink(fake: &Fake, properties: &Json) -> Arc<dyn Sink> {
    let spec = spec("cosmosDB", Direction::Out, properties.clone());
    connector(fake, "one").sink(&spec, &Settings).await.unwrap()
}

/// The context of an invocation with these resolved properties, and with the names that every test uses.
fn with_context<R>(properties: &Json, data: &Json, act: impl FnOnce(&BindingContext<'_>) -> R) -> R {
    let mut resolved = json!({"databaseName": "demo", "containerName": "cards"});
    resolved.as_object_mut().unwrap().extend(properties.as_object().unwrap().clone());
    let data: Map<String, Json> = data.as_object().unwrap().clone();
    act(&BindingContext {
        invocation_id: "1",
        properties: resolved.as_object().unwrap(),
        binding_data: &data,
        origin: None,
        trace: TraceContext::root(),
    })
}

fn block<R>(future: impl Future<Output = R>) -> R {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

fn read(fake: &Fake, properties: Json, data: Json) -> Result<Value, BindingError> {
    with_context(&properties, &data, |context| {
        block(async { reader(fake, &properties).await.read(context).await })
    })
}

fn write(fake: &Fake, properties: Json, items: Vec<Value>) -> Result<(), BindingError> {
    with_context(&properties, &json!({}), |context| {
        block(async { sink(fake, &properties).await.write(context, items).await })
    })
}

fn account() -> Fake {
    let fake = Fake::new();
    fake.create_container("demo", "cards", "/id");
    fake
}

fn json_of(value: Value) -> Json {
    let Value::Json(text) = value else { panic!("{value:?} is not JSON") };
    serde_json::from_str(&text).unwrap()
}

#[test]
fn a_document_is_read_by_its_id() {
    let fake = account();
    fake.put("demo", "cards", json!({"id": "a b", "text": "hello"}));
    let found = read(&fake, json!({"id": "a b", "partitionKey": "a b"}), json!({})).unwrap();
    assert_eq!(json_of(found)["text"], "hello");
    assert_eq!(read(&fake, json!({"id": "none"}), json!({})).unwrap(), Value::Null);
    // A missing container is a missing document, as in the Azure Functions extension.
    assert_eq!(read(&Fake::new(), json!({"id": "none"}), json!({})).unwrap(), Value::Null);
}

#[test]
fn a_query_returns_all_rows_and_passes_values_as_parameters() {
    let fake = account();
    for id in ["x1", "x2", "y1"] {
        fake.put("demo", "cards", json!({"id": id}));
    }
    let query = json!({"sqlQuery": "SELECT * FROM c WHERE STARTSWITH(c.id, {prefix})"});
    let rows = json_of(read(&fake, query.clone(), json!({"prefix": "x"})).unwrap());
    assert_eq!(rows.as_array().unwrap().len(), 2);
    let rows = json_of(read(&fake, query.clone(), json!({"prefix": "z"})).unwrap());
    assert_eq!(rows, json!([]));
    let error = read(&fake, query, json!({})).unwrap_err().to_string();
    assert_eq!(
        error,
        "sqlQuery needs {prefix}, which neither the trigger nor the request provides; correct the name, or send the value"
    );
}

#[test]
fn each_document_is_created_or_replaced() {
    let fake = account();
    fake.put("demo", "cards", json!({"id": "a", "text": "old"}));
    let items = vec![
        Value::Json(r#"[{"id":"a","text":"new"},{"id":"b"}]"#.to_owned().into()),
        Value::Text(r#"{"text":"no id"}"#.to_owned().into()),
        Value::Null,
    ];
    write(&fake, json!({}), items).unwrap();
    let documents = fake.documents("demo", "cards");
    assert_eq!(documents.len(), 3);
    assert!(documents.iter().any(|document| document["text"] == "new"));
    assert!(documents.iter().all(|document| document["id"].is_string()));
}

#[test]
fn a_missing_container_is_created_only_with_create_if_not_exists() {
    let fake = Fake::new();
    let document = || vec![Value::Json(r#"{"id":"a","kind":"card"}"#.to_owned().into())];
    assert_eq!(
        write(&fake, json!({}), document()).unwrap_err().to_string(),
        "container 'cards' in database 'demo', to which function 'changed' writes, does not exist; create it, or set \
         createIfNotExists and partitionKey"
    );
    write(&fake, json!({"createIfNotExists": true, "partitionKey": "/kind"}), document()).unwrap();
    assert_eq!(fake.documents("demo", "cards").len(), 1);
}

#[test]
fn a_container_created_again_with_another_partition_key_is_read_again() {
    let fake = account();
    let properties = json!({});
    with_context(&properties, &json!({}), |context| {
        block(async {
            let sink = sink(&fake, &properties).await;
            let document = || vec![Value::Json(r#"{"id":"a","kind":"card"}"#.to_owned().into())];
            sink.write(context, document()).await.unwrap();
            fake.create_container("demo", "cards", "/kind");
            sink.write(context, document()).await.unwrap();
        });
    });
    assert_eq!(fake.documents("demo", "cards").len(), 1);
}

#[test]
fn an_item_that_is_not_an_object_is_rejected_before_anything_is_written() {
    let fake = account();
    for (item, what) in [
        (Value::Text("hello".into()), "text that is not JSON"),
        (Value::Integer(5), "a number"),
        (Value::Json("true".into()), "a plain value"),
        (Value::Json(r#"[{"id":"b"},5]"#.to_owned().into()), "an array with values that are not objects"),
    ] {
        let items = vec![Value::Json(r#"{"id":"a"}"#.to_owned().into()), item];
        let error = write(&fake, json!({}), items).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!(
                "function 'changed' returned {what} for its cosmosDB output; return a JSON object or an array of JSON objects"
            )
        );
    }
    assert_eq!(fake.documents("demo", "cards").len(), 0);
}

#[test]
fn a_throttled_request_is_repeated() {
    let fake = account();
    fake.with(|account| account.throttled = 3);
    write(&fake, json!({}), vec![Value::Json(r#"{"id":"a"}"#.to_owned().into())]).unwrap();
    assert_eq!(fake.documents("demo", "cards").len(), 1);
    fake.with(|account| account.throttled = u32::MAX);
    let error = write(&fake, json!({}), vec![Value::Json(r#"{"id":"a"}"#.to_owned().into())]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "GET /dbs/demo/colls/cards returned 429 Too Many Requests (sub-status 0): slow down"
    );
    assert!(matches!(error, BindingError::System { retryable: true, .. }));
}

#[test]
fn a_remote_account_receives_signed_requests() {
    let fake = Fake::new();
    fake.create_container("my data", "cards & more", "/id");
    fake.with(|account| account.key = Some(MasterKey::parse("c2VjcmV0").unwrap()));
    let over_the_wire = |key: &'static str| {
        let fake = fake.clone();
        let resolver = move |_: &identity::CosmosConnectionString| {
            Ok(AccountTransport::signed(fake.clone(), MasterKey::parse(key).unwrap()))
        };
        CosmosDb::new(Arc::new(resolver), Options::default(), http_messages::Budget::default())
    };
    let properties = json!({"databaseName": "my data", "containerName": "cards & more"});
    let write = |connector: &CosmosDb| {
        with_context(&properties, &json!({}), |context| {
            block(async {
                let spec = spec("cosmosDB", Direction::Out, properties.clone());
                let sink = connector.sink(&spec, &Settings).await.unwrap();
                sink.write(context, vec![Value::Json(r#"{"id":"a"}"#.to_owned().into())]).await
            })
        })
    };
    write(&over_the_wire("c2VjcmV0")).unwrap();
    let error = write(&over_the_wire("d3Jvbmc=")).unwrap_err();
    assert!(error.to_string().contains("401 Unauthorized"), "{error}");
    assert!(matches!(error, BindingError::System { retryable: false, .. }));
}
