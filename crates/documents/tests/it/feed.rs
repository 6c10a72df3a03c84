//! The change feed, its hints and its origins.

use documents::FeedOrigins;

use crate::client::{Answer, Client};

const CONTAINER: &str = r#"{"id":"c","partitionKey":{"paths":["/pk"]}}"#;
const DOCS: &str = "/dbs/d/colls/c/docs";

async fn feed(client: &Client, headers: &str) -> Answer {
    client.send(&format!("GET {DOCS} a-im: Incremental Feed{headers}"), "").await
}

async fn put(client: &Client, id: &str) {
    let line = format!("POST {DOCS} x-ms-documentdb-is-upsert: true");
    let answer = client.send(&line, &format!(r#"{{"id":"{id}","pk":"x"}}"#)).await;
    assert!(answer.status < 300, "{}", answer.body);
}

#[tokio::test]
async fn the_feed_has_each_item_once_at_its_latest_version() {
    let client = Client::with_container(CONTAINER).await;
    for id in ["a", "b", "a", "c"] {
        put(&client, id).await;
    }
    let first = feed(&client, "; x-ms-max-item-count: 2").await;
    assert_eq!((first.status, first.ids().as_str(), first.header("etag")), (200, "b a", "\"3\""));
    assert_eq!(first.rows()[0]["_lsn"], 2);
    assert_eq!(first.header("x-ms-session-token"), "0:-1#4");
    let second = feed(&client, "; x-ms-max-item-count: 2; if-none-match: \"3\"").await;
    assert_eq!((second.ids().as_str(), second.header("etag")), ("c", "\"4\""));
    let end = feed(&client, "; if-none-match: \"4\"").await;
    assert_eq!((end.status, end.body.as_str(), end.header("etag")), (304, "", "\"4\""));
    assert_eq!(end.header("x-ms-session-token"), "0:-1#4");
    // .NET's iterator parses it, and throws if it is missing.
    assert_eq!((first.header("x-ms-item-count"), end.header("x-ms-item-count")), ("2", "0"));
    // A delete is not in the feed, but it moves the position.
    client.send(&format!("DELETE {DOCS}/b x-ms-documentdb-partitionkey: [\"x\"]"), "").await;
    let after = feed(&client, "; if-none-match: \"4\"").await;
    assert_eq!((after.status, after.header("etag")), (304, "\"5\""));
    assert_eq!(feed(&client, "").await.ids(), "a c");
}

#[tokio::test]
async fn the_feed_begins_at_the_requested_position() {
    let client = Client::with_container(CONTAINER).await;
    put(&client, "old").await;
    client.pass(60);
    let now = feed(&client, "; if-none-match: *").await;
    assert_eq!((now.status, now.header("etag")), (304, "\"1\""));
    put(&client, "new").await;
    assert_eq!(feed(&client, &format!("; if-none-match: {}", now.header("etag"))).await.ids(), "new");
    let since = "; if-modified-since: Fri, 20 Nov 2026 21:37:21 GMT";
    assert_eq!(feed(&client, since).await.ids(), "new");
    // An etag has precedence over a date, which Python keeps sending.
    assert_eq!(feed(&client, &format!("{since}; if-none-match: \"2\"")).await.status, 304);
    assert_eq!(feed(&client, "; x-ms-documentdb-partitionkey: [\"y\"]").await.status, 304);
    assert_eq!(feed(&client, "; x-ms-documentdb-partitionkeyrangeid: 0").await.ids(), "old new");
    let gone = feed(&client, "; x-ms-documentdb-partitionkeyrangeid: 7").await;
    assert_eq!((gone.status, gone.header("x-ms-substatus")), (410, "1002"));
    assert_eq!(feed(&client, "; if-none-match: \"x\"").await.status, 400);
    let all = client.send(&format!("GET {DOCS} a-im: Full-Fidelity Feed"), "").await;
    assert!(all.status == 400 && all.error().contains("not supported"), "{}", all.body);
}

#[tokio::test]
async fn a_feed_can_separate_items_and_metadata() {
    let client = Client::with_container(CONTAINER).await;
    put(&client, "a").await;
    put(&client, "b").await;
    let format = "; x-ms-cosmos-changefeed-wire-format-version: 2021-09-15";
    let answer = feed(&client, format).await;
    let item = client.send(&format!("GET {DOCS}/b x-ms-documentdb-partitionkey: [\"x\"]"), "").await.json();
    assert_eq!(
        answer.rows()[1],
        serde_json::json!({"current": item, "metadata": {"lsn": 2, "crts": crate::client::START}})
    );
    assert_eq!((answer.rows().len(), answer.header("etag")), (2, "\"2\""));
    assert_eq!(feed(&client, &format!("{format}; if-none-match: \"2\"")).await.status, 304);
    let unknown = feed(&client, "; x-ms-cosmos-changefeed-wire-format-version: 1999-01-01").await;
    assert!(unknown.status == 400 && unknown.error().contains("1999-01-01"), "{}", unknown.body);
}

#[tokio::test]
async fn a_feed_can_be_limited_to_a_range_of_effective_keys() {
    let definition = r#"{"id":"c","partitionKey":{"paths":["/pk"],"version":2}}"#;
    let client = Client::with_container(definition).await;
    put(&client, "of x").await;
    client.send(&format!("POST {DOCS}"), r#"{"id":"of five","pk":5}"#).await;
    let range = |start: &str, end: &str| {
        format!(
            "; x-ms-read-key-type: EffectivePartitionKeyRange; x-ms-start-epk: {start}; x-ms-end-epk: {end}"
        )
    };
    // This is how Python reads the feed of the single key "x".
    let single = range("11E3F358618BE9AA5BAFF4C7C74F0716", "11E3F358618BE9AA5BAFF4C7C74F0717");
    assert_eq!(feed(&client, &single).await.ids(), "of x");
    assert_eq!(feed(&client, &range("11E3F358618BE9AA5BAFF4C7C74F0717", "FF")).await.ids(), "of five");
    let full = "; x-ms-read-key-type: EffectivePartitionKeyRange";
    assert_eq!(feed(&client, full).await.ids(), "of x of five");
}

#[tokio::test]
async fn partition_key_ranges_end_with_a_304() {
    let client = Client::with_container(CONTAINER).await;
    let line = "GET /dbs/d/colls/c/pkranges/ a-im: Incremental Feed; x-ms-max-item-count: -1";
    let first = client.send(line, "").await;
    let range = &first.json()["PartitionKeyRanges"][0];
    assert_eq!((range["id"].as_str(), range["maxExclusive"].as_str()), (Some("0"), Some("FF")));
    let again = client.send(&format!("{line}; if-none-match: {}", first.header("etag")), "").await;
    assert_eq!((again.status, again.header("etag")), (304, first.header("etag")));
    assert_eq!((first.header("x-ms-item-count"), again.header("x-ms-item-count")), ("1", "0"));
}

#[tokio::test]
async fn a_write_notifies_subscribers_and_its_trace_continues() {
    let client = Client::with_container(CONTAINER).await;
    let mut hint = client.handle.watch("d", "c");
    let traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let line = format!("POST {DOCS} traceparent: {traceparent}");
    let made = client.send(&line, r#"{"id":"1","pk":"x"}"#).await;
    hint.changed().await.expect("the sender lives as long as it has followers");
    assert_eq!(*hint.borrow(), 1);

    let span = trace::TraceContext::parse(made.header("traceparent")).expect("a traceparent");
    let spans = client.tracer.trace(span.trace_id);
    assert_eq!(spans.len(), 1);
    assert_eq!((spans[0].name, spans[0].context), ("documents.write", span));
    let attribute =
        |name| spans[0].attributes.iter().find(|(key, _)| *key == name).map(|(_, value)| value.as_str());
    assert_eq!(
        (attribute("container"), attribute("id"), attribute("status")),
        (Some("c"), Some("1"), Some("201"))
    );

    let answer = feed(&client, "").await;
    let origins = answer.response.extensions().get::<FeedOrigins>().expect("the caller is in process");
    assert_eq!(origins.0.iter().map(|origin| (origin.0, origin.1)).collect::<Vec<_>>(), [(1, span)]);
    assert!(!answer.body.contains("traceparent"));
}
