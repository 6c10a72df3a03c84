//! The options of the connector, each by what it changes.

use std::num::{NonZeroU32, NonZeroU64, NonZeroUsize};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use connect_cosmosdb::{AccountTransport, CosmosDb, Options};
use functions_contract::{BindingContext, BindingError, Connector as _, Direction, Value};
use http::{Request, Response};
use http_messages::{Body, BoxError};
use identity::master_key::MasterKey;
use serde_json::{Map, json};
use tokio::sync::Notify;
use tower::service_fn;
use trace::TraceContext;

use crate::fake::Fake;
use crate::trigger::{Settings, account, connector_with, ids, next, spec, trigger};

async fn rows(connector: &CosmosDb) -> Result<Value, BindingError> {
    let spec = spec("cosmosDB", Direction::In, json!({}));
    let reader = connector.reader(&spec, &Settings).await?;
    let context = BindingContext {
        invocation_id: "1",
        properties: &spec.properties,
        binding_data: &Map::new(),
        origin: None,
        trace: TraceContext::root(),
    };
    reader.read(&context).await
}

fn account_with_items(count: usize) -> Fake {
    let fake = account();
    for number in 0..count {
        fake.put("demo", "cards", json!({"id": number.to_string()}));
    }
    fake
}

#[tokio::test]
async fn a_query_with_more_rows_than_query_rows_max_fails_and_names_the_option() {
    let fake = account_with_items(3);
    let options = |rows| Options { query_rows_max: NonZeroUsize::new(rows).unwrap(), ..Options::default() };
    rows(&connector_with(&fake, options(3))).await.unwrap();
    let error = rows(&connector_with(&fake, options(2))).await.unwrap_err().to_string();
    let expected = "has more than 2 rows; restrict it, or raise connect.cosmosdb.query_rows_max";
    assert!(error.contains(expected), "{error}");
}

#[tokio::test]
async fn queries_ask_for_pages_of_query_page_rows() {
    let fake = account_with_items(1);
    rows(&connector_with(&fake, Options::default())).await.unwrap();
    let options = Options { query_page_rows: NonZeroU32::new(7), ..Options::default() };
    rows(&connector_with(&fake, options)).await.unwrap();
    assert_eq!(fake.with(|account| account.page_sizes.clone()), ["-1", "7"]);
}

#[tokio::test]
async fn a_trigger_without_a_batch_size_uses_items_per_invocation_max() {
    let fake = account_with_items(5);
    let options = Options { items_per_invocation_max: NonZeroU32::new(2).unwrap(), ..Options::default() };
    let host = connector_with(&fake, options);
    let mut source = host.source(&trigger(json!({"startFromBeginning": true})), &Settings).await.unwrap();
    assert_eq!(ids(&next(source.as_mut()).await), ["0", "1"]);
    source.close().await;
    let properties =
        json!({"startFromBeginning": true, "maxItemsPerInvocation": 3, "leaseContainerPrefix": "own"});
    let mut source = host.source(&trigger(properties), &Settings).await.unwrap();
    assert_eq!(ids(&next(source.as_mut()).await), ["0", "1", "2"], "the declaration wins");
    source.close().await;
}

#[tokio::test]
async fn an_expired_lease_is_acquired_after_the_configured_intervals() {
    let fake = account_with_items(1);
    let short = |instance: &str| Options {
        instance: instance.to_owned(),
        lease_acquire_interval_ms: NonZeroU64::new(20).unwrap(),
        lease_renew_interval_ms: NonZeroU64::new(50).unwrap(),
        lease_expiration_interval_ms: NonZeroU64::new(100).unwrap(),
        ..Options::default()
    };
    let declaration = trigger(json!({"startFromBeginning": true}));
    let first = connector_with(&fake, short("first"));
    let mut source = first.source(&declaration, &Settings).await.unwrap();
    assert_eq!(ids(&next(source.as_mut()).await), ["0"]);
    // It ends without releasing its lease, so that another host has to wait for the expiration.
    drop(source);
    let second = connector_with(&fake, short("second"));
    let mut source = second.source(&declaration, &Settings).await.unwrap();
    assert_eq!(ids(&next(source.as_mut()).await), ["0"], "within seconds, and not after a minute");
    source.close().await;
}

/// A connector to an account of another host, whose responses wait for `release`; counts the requests that are open.
fn remote(fake: &Fake, options: Options) -> (CosmosDb, Arc<Notify>, Arc<(AtomicUsize, AtomicUsize)>) {
    let (release, open) = (Arc::new(Notify::new()), Arc::new((AtomicUsize::new(0), AtomicUsize::new(0))));
    let (account, held, counted) = (fake.clone(), Arc::clone(&release), Arc::clone(&open));
    let resolver = Arc::new(move |_: &identity::CosmosConnectionString| {
        let (account, held, counted) = (account.clone(), Arc::clone(&held), Arc::clone(&counted));
        let service = service_fn(move |request: Request<Body>| {
            let (mut account, held, counted) = (account.clone(), Arc::clone(&held), Arc::clone(&counted));
            async move {
                let now = counted.0.fetch_add(1, Ordering::SeqCst) + 1;
                counted.1.fetch_max(now, Ordering::SeqCst);
                held.notified().await;
                counted.0.fetch_sub(1, Ordering::SeqCst);
                let response = tower::Service::call(&mut account, request).await;
                response.map_err(|never| -> BoxError { match never {} }) as Result<Response<Body>, BoxError>
            }
        });
        Ok(AccountTransport::signed(service, MasterKey::parse("c2VjcmV0").unwrap()))
    });
    (CosmosDb::new(resolver, options, http_messages::Budget::default()), release, open)
}

#[tokio::test]
async fn requests_beyond_requests_max_wait_for_one_that_ends() {
    let options = Options { requests_max: NonZeroUsize::new(2), ..Options::default() };
    let (connector, release, open) = remote(&account_with_items(1), options);
    let connector = Arc::new(connector);
    let mut reads = tokio::task::JoinSet::new();
    for _ in 0..5 {
        let connector = Arc::clone(&connector);
        reads.spawn(async move { rows(&connector).await });
    }
    // Enough time for all requests to be sent if they did not wait.
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert_eq!(open.0.load(Ordering::SeqCst), 2);
    let mut read = 0;
    while read < 5 {
        tokio::select! {
            Some(rows) = reads.join_next() => { rows.unwrap().unwrap(); read += 1; }
            () = tokio::task::yield_now() => release.notify_one(),
        }
    }
    assert_eq!(open.1.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn a_response_that_exceeds_request_timeout_ms_fails_the_request() {
    let options = Options { request_timeout_ms: NonZeroU64::new(20), ..Options::default() };
    let (connector, _release, _) = remote(&account_with_items(1), options);
    let error = tokio::time::timeout(Duration::from_secs(10), rows(&connector)).await.unwrap().unwrap_err();
    let text = error.to_string();
    let expected = "had no complete response within 20 ms (connect.cosmosdb.request_timeout_ms)";
    assert!(text.contains(expected), "{text}");
}
