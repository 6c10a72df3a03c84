//! `cosmosDBTrigger`.

use std::sync::Arc;
use std::time::Duration;

use connect_cosmosdb::{AccountTransport, CosmosDb, Options};
use functions_contract::{
    AppSettings, BindingError, BindingSpec, Connector as _, Direction, Source, SourceDelivery, Value,
};
use http::Method;
use identity::Principal;
use serde_json::{Value as Json, json};

use crate::fake::{ChangeOrigins, Fake};

pub(crate) struct Settings;

impl AppSettings for Settings {
    fn setting(&self, name: &str) -> Option<String> {
        let value = match name {
            "Cosmos" => "AccountEndpoint=http://localhost:8081/;AccountKey=c2VjcmV0;",
            "Wrong" => "AccountEndpoint=http://localhost:8081/",
            "Managed__accountEndpoint" => "https://account.example",
            _ => return None,
        };
        Some(value.to_owned())
    }

    fn host_id(&self) -> &str {
        "host"
    }
}

/// A connector of one host that sends its requests to `fake`.
pub(crate) fn connector(fake: &Fake, instance: &str) -> CosmosDb {
    connector_with(fake, Options { instance: instance.to_owned(), ..Options::default() })
}

/// A connector with these options that sends its requests to `fake`.
pub(crate) fn connector_with(fake: &Fake, options: Options) -> CosmosDb {
    let fake = fake.clone();
    let resolver = Arc::new(move |_: &identity::CosmosConnectionString| {
        let hint = fake.clone();
        let principal = Principal::InProcess { name: "test" };
        let transport = AccountTransport::in_process(fake.clone(), principal)
            .with_hints(Arc::new(move |_, _| Some(hint.hint())))
            .with_origins(Arc::new(|extensions| {
                extensions.get::<ChangeOrigins>().map(|origins| origins.0.clone()).unwrap_or_default()
            }));
        Ok(transport)
    });
    CosmosDb::new(resolver, options, http_messages::Budget::default())
}

pub(crate) fn spec(kind: &str, direction: Direction, properties: Json) -> BindingSpec {
    let Json::Object(mut properties) = properties else { panic!("properties are an object") };
    for (name, value) in [("databaseName", "demo"), ("containerName", "cards"), ("connection", "Cosmos")] {
        properties.entry(name).or_insert(value.into());
    }
    BindingSpec {
        function: "changed".to_owned(),
        name: "documents".to_owned(),
        kind: kind.to_owned(),
        direction,
        properties,
    }
}

pub(crate) fn trigger(properties: Json) -> BindingSpec {
    let mut spec = spec("cosmosDBTrigger", Direction::In, properties);
    spec.properties.entry("createLeaseContainerIfNotExists").or_insert(true.into());
    spec
}

async fn open(connector: &CosmosDb, properties: Json) -> Box<dyn Source> {
    connector.source(&trigger(properties), &Settings).await.unwrap()
}

pub(crate) fn account() -> Fake {
    let fake = Fake::new();
    fake.create_container("demo", "cards", "/id");
    fake
}

pub(crate) fn ids(delivery: &SourceDelivery) -> Vec<String> {
    let batch = &delivery.batch;
    let Value::Text(text) = &batch.data else { panic!("a batch is text") };
    let documents: Vec<Json> = serde_json::from_str(text).unwrap();
    assert_eq!(batch.item_count, documents.len());
    documents.iter().map(|document| document["id"].as_str().unwrap().to_owned()).collect()
}

pub(crate) async fn next(source: &mut dyn Source) -> SourceDelivery {
    tokio::time::timeout(Duration::from_secs(10), source.next()).await.expect("a batch comes").unwrap()
}

/// Whether the source hands out nothing within the wait.
async fn has_nothing(source: &mut dyn Source) -> bool {
    tokio::time::timeout(Duration::from_millis(100), source.next()).await.is_err()
}

fn lease(fake: &Fake) -> Json {
    let found = fake.documents("demo", "leases").into_iter().find(|document| document["LeaseToken"] == "0");
    found.expect("there is a lease")
}

#[tokio::test]
async fn changes_come_in_order_and_a_completed_batch_does_not_come_again() {
    let fake = account();
    for id in ["a", "b", "c"] {
        fake.put("demo", "cards", json!({"id": id}));
    }
    let properties = json!({"startFromBeginning": true, "maxItemsPerInvocation": 2});
    let host = connector(&fake, "one");
    let mut source = open(&host, properties.clone()).await;
    let batch = next(source.as_mut()).await;
    assert_eq!(ids(&batch), ["a", "b"]);
    assert!(batch.batch.reason.starts_with("New changes on container cards at 2"), "{}", batch.batch.reason);
    assert_eq!(source.backlog().await.unwrap().items, 3);
    batch.complete().await.unwrap();
    assert_eq!(source.backlog().await.unwrap().items, 1);
    assert_eq!(lease(&fake)["ContinuationToken"], "\"2\"");

    // The next process continues there, without waiting until the lease of the dead one expires.
    drop(source);
    let restarted = connector(&fake, "one");
    let mut source = open(&restarted, properties).await;
    let batch = next(source.as_mut()).await;
    assert_eq!(ids(&batch), ["c"]);
    batch.complete().await.unwrap();
    assert!(has_nothing(source.as_mut()).await);
    source.close().await;
    assert_eq!(lease(&fake)["Owner"], Json::Null);
}

#[tokio::test]
async fn a_waiting_source_reads_at_once_after_a_hint() {
    let fake = account();
    // The next poll is an hour away.
    let mut source = open(&connector(&fake, "one"), json!({"feedPollDelay": 3_600_000})).await;
    let (batch, ()) = tokio::join!(next(source.as_mut()), async {
        while fake.documents("demo", "leases").iter().all(|lease| lease["ContinuationToken"].is_null()) {
            tokio::task::yield_now().await;
        }
        fake.put("demo", "cards", json!({"id": "new"}));
    });
    assert_eq!(ids(&batch), ["new"]);
}

#[tokio::test]
async fn a_start_from_now_keeps_its_position_after_a_crash() {
    let fake = account();
    fake.put("demo", "cards", json!({"id": "old"}));
    let mut source = open(&connector(&fake, "one"), json!({})).await;
    assert!(has_nothing(source.as_mut()).await);
    drop(source);
    fake.put("demo", "cards", json!({"id": "while away"}));
    let mut source = open(&connector(&fake, "one"), json!({})).await;
    assert_eq!(ids(&next(source.as_mut()).await), ["while away"]);
}

#[tokio::test]
async fn a_batch_that_was_not_completed_is_delivered_again() {
    let fake = account();
    fake.put("demo", "cards", json!({"id": "a"}));
    let host = connector(&fake, "one");
    let mut source = open(&host, json!({"startFromBeginning": true})).await;
    let batch = next(source.as_mut()).await;
    let id = batch.id.clone();
    batch.abandon().await.unwrap();
    let again = next(source.as_mut()).await;
    assert_eq!((ids(&again), &again.id), (vec!["a".to_owned()], &id));
    // The source is dropped without close; the next one of the same process does not wait until the lease expires.
    drop(source);
    let mut source = open(&host, json!({"startFromBeginning": true})).await;
    assert_eq!(ids(&next(source.as_mut()).await), ["a"]);
}

#[tokio::test]
async fn two_sources_never_read_at_the_same_time() {
    let fake = account();
    fake.put("demo", "cards", json!({"id": "a"}));
    let properties = json!({"startFromBeginning": true, "leaseAcquireInterval": 20, "feedPollDelay": 20});
    let (one, two) = (connector(&fake, "one"), connector(&fake, "two"));
    let mut first = open(&one, properties.clone()).await;
    let batch = next(first.as_mut()).await;
    for host in [&one, &two] {
        let mut second = open(host, properties.clone()).await;
        assert!(has_nothing(second.as_mut()).await);
    }
    batch.complete().await.unwrap();
    fake.put("demo", "cards", json!({"id": "b"}));
    let mut second = open(&two, properties).await;
    assert!(has_nothing(second.as_mut()).await);
    // A released lease moves before its expiry.
    first.close().await;
    assert_eq!(ids(&next(second.as_mut()).await), ["b"]);
}

#[tokio::test]
async fn a_lost_lease_is_an_error_of_the_checkpoint() {
    let fake = account();
    fake.put("demo", "cards", json!({"id": "a"}));
    let mut source = open(&connector(&fake, "one"), json!({"startFromBeginning": true})).await;
    let batch = next(source.as_mut()).await;
    let mut stolen = lease(&fake);
    stolen["Owner"] = "somebody else".into();
    fake.put("demo", "leases", stolen);
    let error = batch.complete().await.unwrap_err();
    assert_eq!(error.to_string(), "another host acquired the lease 0 and hands the batch out again");
    assert_eq!(lease(&fake)["ContinuationToken"], Json::Null);
    assert!(has_nothing(source.as_mut()).await);
}

#[tokio::test]
async fn a_lease_is_renewed_while_a_function_runs() {
    let fake = account();
    fake.put("demo", "cards", json!({"id": "a"}));
    let properties = json!({"startFromBeginning": true, "leaseRenewInterval": 10});
    let mut source = open(&connector(&fake, "one"), properties).await;
    let batch = next(source.as_mut()).await;
    let before = lease(&fake)["timestamp"].clone();
    while lease(&fake)["timestamp"] == before {
        tokio::task::yield_now().await;
    }
    batch.complete().await.unwrap();
    assert_eq!(lease(&fake)["ContinuationToken"], "\"1\"");
}

#[tokio::test]
async fn a_source_whose_lease_task_panics_fails_and_the_next_one_continues_at_its_position() {
    let fake = account();
    fake.put("demo", "cards", json!({"id": "a"}));
    let properties = json!({"startFromBeginning": true, "leaseRenewInterval": 10});
    let host = connector(&fake, "one");
    let mut source = open(&host, properties.clone()).await;
    let first = next(source.as_mut()).await;
    first.complete().await.unwrap();
    fake.put("demo", "cards", json!({"id": "b"}));
    let second = next(source.as_mut()).await;
    // The next renewal happens while the function runs.
    fake.with(|account| account.panics_at = Some(Method::PUT));
    while fake.with(|account| account.panics_at.is_some()) {
        tokio::task::yield_now().await;
    }
    let rejected = second.complete().await.unwrap_err();
    assert!(rejected.to_string().contains("another host acquired the lease"), "{rejected}");
    let error =
        tokio::time::timeout(Duration::from_secs(10), source.next()).await.expect("in time").unwrap_err();
    assert!(matches!(error, BindingError::System { retryable: true, .. }), "{error}");
    assert!(
        error.to_string().contains("the task that renews the leases ended because of a defect"),
        "{error}"
    );
    // After such an error, the host closes the source and opens it again. No change is lost, and no completed batch comes
    // again.
    source.close().await;
    let mut source = open(&host, properties).await;
    let again = next(source.as_mut()).await;
    assert_eq!(ids(&again), ["b"]);
    again.complete().await.unwrap();
    assert_eq!(lease(&fake)["ContinuationToken"], "\"2\"");
}

#[tokio::test]
async fn an_expired_lease_of_another_host_is_acquired() {
    let fake = account();
    fake.put("demo", "cards", json!({"id": "a"}));
    let mut source = open(&connector(&fake, "one"), json!({"startFromBeginning": true})).await;
    next(source.as_mut()).await;
    drop(source);
    let mut abandoned = lease(&fake);
    abandoned["timestamp"] = "2020-01-01T00:00:00.0000000Z".into();
    fake.put("demo", "leases", abandoned);
    let mut source = open(&connector(&fake, "two"), json!({"startFromBeginning": true})).await;
    assert_eq!(ids(&next(source.as_mut()).await), ["a"]);
}

#[tokio::test]
async fn a_missing_container_is_reported_and_then_awaited() {
    let fake = Fake::new();
    let host = connector(&fake, "one");
    let properties = json!({"startFromBeginning": true, "feedPollDelay": 3_600_000});
    let mut source = open(&host, properties.clone()).await;
    let error = source.next().await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "container 'cards' in database 'demo', which function 'changed' listens to, does not exist; the trigger \
        waits for it: create it, or correct databaseName and containerName"
    );
    assert!(matches!(error, BindingError::Absent(_)));
    let mut source = open(&host, properties).await;
    let (batch, ()) = tokio::join!(next(source.as_mut()), async {
        // The second request for the container shows that the first poll is over.
        while fake.with(|account| account.requests.len()) < 2 {
            tokio::task::yield_now().await;
        }
        fake.create_container("demo", "cards", "/id");
        fake.put("demo", "cards", json!({"id": "first"}));
    });
    assert_eq!(ids(&batch), ["first"]);
}

#[tokio::test]
async fn a_container_created_again_is_read_from_its_beginning() {
    let fake = account();
    for id in ["a", "b"] {
        fake.put("demo", "cards", json!({"id": id}));
    }
    let mut source = open(&connector(&fake, "one"), json!({"startFromBeginning": true})).await;
    let batch = next(source.as_mut()).await;
    batch.complete().await.unwrap();
    fake.drop_container("demo", "cards");
    fake.create_container("demo", "cards", "/id");
    fake.put("demo", "cards", json!({"id": "new"}));
    assert_eq!(ids(&next(source.as_mut()).await), ["new"]);
}

#[tokio::test]
async fn a_container_created_while_the_function_listens_is_read_from_its_beginning() {
    let fake = Fake::new();
    let host = connector(&fake, "one");
    // Without startFromBeginning; the host retries with the same source.
    let mut source = open(&host, json!({"feedPollDelay": 20})).await;
    assert!(matches!(source.next().await, Err(BindingError::Absent(_))));
    fake.create_container("demo", "cards", "/id");
    for id in ["first", "second"] {
        fake.put("demo", "cards", json!({"id": id}));
    }
    let batch = next(source.as_mut()).await;
    assert_eq!(ids(&batch), ["first", "second"]);
    assert_eq!(source.backlog().await.unwrap().items, 2);
    // After a crash before the first checkpoint, the lease still contains where the feed begins.
    assert_eq!(lease(&fake)["properties"], json!({"chappe.start": "beginning"}));
    drop(source);
    let mut source = open(&connector(&fake, "one"), json!({"feedPollDelay": 20})).await;
    let batch = next(source.as_mut()).await;
    assert_eq!(ids(&batch), ["first", "second"]);
    batch.complete().await.unwrap();
    assert!(has_nothing(source.as_mut()).await);
}

#[tokio::test]
async fn a_container_created_again_while_the_function_runs_is_read_from_its_beginning() {
    let fake = account();
    fake.put("demo", "cards", json!({"id": "old"}));
    let mut source = open(&connector(&fake, "one"), json!({"feedPollDelay": 20})).await;
    assert!(has_nothing(source.as_mut()).await, "what was there before does not count");
    for round in 0..2 {
        fake.drop_container("demo", "cards");
        if round == 1 {
            assert!(matches!(source.next().await, Err(BindingError::Absent(_))), "the gap was noticed");
        }
        fake.create_container("demo", "cards", "/id");
        let id = format!("early {round}");
        fake.put("demo", "cards", json!({"id": id}));
        let batch = next(source.as_mut()).await;
        assert_eq!(ids(&batch), [id]);
        batch.complete().await.unwrap();
    }
}

#[tokio::test]
async fn a_start_time_applies_to_a_container_created_while_listening() {
    let fake = Fake::new();
    let host = connector(&fake, "one");
    let properties = json!({"feedPollDelay": 20, "startFromTime": "2020-01-01T00:00:00Z"});
    let mut source = open(&host, properties).await;
    assert!(matches!(source.next().await, Err(BindingError::Absent(_))));
    fake.create_container("demo", "cards", "/id");
    fake.put("demo", "cards", json!({"id": "a"}));
    assert_eq!(ids(&next(source.as_mut()).await), ["a"]);
    let dated = fake.with(|account| account.dated_feeds);
    assert!(dated > 0, "the feed was asked for by time");
}

#[tokio::test]
async fn the_children_of_a_split_partition_continue_at_its_position() {
    let fake = account();
    fake.put("demo", "cards", json!({"id": "a"}));
    let mut source = open(&connector(&fake, "one"), json!({"startFromBeginning": true})).await;
    let batch = next(source.as_mut()).await;
    batch.complete().await.unwrap();
    fake.split("demo", "cards");
    fake.put("demo", "cards", json!({"id": "b"}));
    assert_eq!(ids(&next(source.as_mut()).await), ["b"]);
    let tokens: Vec<_> = fake
        .documents("demo", "leases")
        .iter()
        .filter_map(|lease| lease["LeaseToken"].as_str().map(str::to_owned))
        .collect();
    assert_eq!(tokens, ["1", "2"]);
}

#[tokio::test]
async fn each_part_of_the_feed_is_an_ordering_key_whose_pages_are_settled_apart() {
    let fake = account();
    let properties = json!({"startFromBeginning": true, "maxItemsPerInvocation": 1, "feedPollDelay": 20});
    let host = connector(&fake, "one");
    let mut source = open(&host, properties.clone()).await;
    assert!(has_nothing(source.as_mut()).await);
    fake.split("demo", "cards");
    for id in ["a", "b"] {
        fake.put("demo", "cards", json!({"id": id}));
    }
    fake.copy_to_every_range("demo", "cards");
    let first = next(source.as_mut()).await;
    let second = next(source.as_mut()).await;
    let keys = [&first, &second].map(|delivery| delivery.ordering_key.clone().unwrap());
    assert_eq!(std::collections::BTreeSet::from(keys.clone()), ["1", "2"].map(str::to_owned).into());
    assert_eq!((ids(&first), ids(&second)), (vec!["a".to_owned()], vec!["a".to_owned()]));
    assert!(has_nothing(source.as_mut()).await, "both parts have an unsettled page");
    second.complete().await.unwrap();
    let third = next(source.as_mut()).await;
    assert_eq!((third.ordering_key.as_ref(), ids(&third)), (Some(&keys[1]), vec!["b".to_owned()]));
    first.abandon().await.unwrap();
    let again = next(source.as_mut()).await;
    assert_eq!((again.ordering_key.as_ref(), ids(&again)), (Some(&keys[0]), vec!["a".to_owned()]));
    // A crash between the results: the unsettled pages of both parts come again, and only they.
    drop((again, third, source));
    let mut source = open(&host, properties).await;
    let mut seen = Vec::new();
    for _ in 0..2 {
        let delivery = next(source.as_mut()).await;
        seen.push((delivery.ordering_key.clone().unwrap(), ids(&delivery).remove(0), delivery));
    }
    seen.sort_by(|one, other| one.0.cmp(&other.0));
    let mut expected = [(keys[0].clone(), "a"), (keys[1].clone(), "b")];
    expected.sort();
    for ((key, id, _), (expected_key, expected_id)) in seen.iter().zip(&expected) {
        assert_eq!((key, id.as_str()), (expected_key, *expected_id));
    }
}

#[tokio::test]
async fn lease_documents_are_those_of_the_dotnet_sdk() {
    let fake = account();
    let mut source = open(&connector(&fake, "one"), json!({"leaseContainerPrefix": "mine-"})).await;
    assert!(has_nothing(source.as_mut()).await);
    let ids: Vec<_> = fake
        .documents("demo", "leases")
        .iter()
        .map(|document| document["id"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(ids, ["mine-localhost_dbrid_rid1..0", "mine-localhost_dbrid_rid1.info"]);
    let mut lease = lease(&fake);
    let owner = lease["Owner"].take();
    assert!(owner.as_str().is_some_and(|owner| owner.starts_with("one.")), "{owner}");
    lease["timestamp"].take();
    assert_eq!(
        lease,
        json!({
            "id": "mine-localhost_dbrid_rid1..0", "partitionKey": "mine-localhost_dbrid_rid1..0", "version": 0,
            "LeaseToken": "0",
            "FeedRange": {"Range": {"min": "", "max": "FF", "isMinInclusive": true, "isMaxInclusive": false}},
            "Owner": null, "ContinuationToken": "\"0\"", "properties": {}, "timestamp": null,
            "Mode": "Incremental Feed", "_lsn": lease["_lsn"], "_etag": lease["_etag"],
        })
    );
}

#[tokio::test]
async fn an_invalid_declaration_is_rejected_with_its_property_and_reason() {
    let fake = account();
    let host = connector(&fake, "one");
    let check = async |properties: Json, expected: &str| {
        let error =
            host.source(&trigger(properties), &Settings).await.err().expect("the declaration is wrong");
        assert!(matches!(error, BindingError::Declaration(_)));
        let text = error.to_string();
        let prefix = "function 'changed', cosmosDBTrigger 'documents': property ";
        assert_eq!(text.strip_prefix(prefix), Some(expected), "{text}");
    };
    check(json!({"databaseName": ""}), "'databaseName' is missing; set it").await;
    check(
        json!({"connection": "Nowhere"}),
        "'connection' names the setting 'Nowhere', which does not exist; set it to AccountEndpoint=…;AccountKey=…;",
    )
    .await;
    check(
        json!({"connection": "Wrong"}),
        "'connection' names the setting 'Wrong': the connection string has no 'AccountKey='",
    )
    .await;
    check(
        json!({"connection": "Managed"}),
        "'connection' names Managed__accountEndpoint: identity-based connections are not supported yet; set Managed to \
         a connection string with an account key",
    )
    .await;
    check(
        json!({"leaseContainerName": "cards"}),
        "'leaseContainerName' is the monitored container itself, so that every checkpoint would be a change; name another \
         container",
    )
    .await;
    check(json!({"maxItemsPerInvocation": "0"}), "'maxItemsPerInvocation' must be a positive number").await;
    check(json!({"feedPollDelay": "soon"}), "'feedPollDelay' must be a whole number").await;
    check(
        json!({"startFromTime": "yesterday"}),
        "'startFromTime' must be a time in UTC such as 2026-11-20T21:36:21Z",
    )
    .await;
}

#[tokio::test]
async fn a_lease_container_is_created_only_on_request() {
    let fake = account();
    let properties = json!({"createLeaseContainerIfNotExists": false});
    let mut source = open(&connector(&fake, "one"), properties).await;
    assert_eq!(
        source.next().await.unwrap_err().to_string(),
        "the lease container demo/leases of function 'changed' does not exist; create it with partition key /id, or \
         set createLeaseContainerIfNotExists"
    );
}
