//! Items: create, upsert, read, replace, patch, delete, batches, conditions, keys, time to live, unique keys.

use serde_json::{Value, json};

use crate::client::{Answer, Client};

const CONTAINER: &str = r#"{"id":"c","partitionKey":{"paths":["/pk"],"kind":"Hash","version":2}}"#;
const DOCS: &str = "/dbs/d/colls/c/docs";

/// Sends each line (`METHOD /path [headers] | body`) and compares `status substatus` of the responses.
async fn check(definition: &str, script: &[(&str, &str)]) -> Client {
    let client = Client::with_container(definition).await;
    run(&client, script).await;
    client
}

async fn run(client: &Client, script: &[(&str, &str)]) {
    for (line, expected) in script {
        let (head, body) = line.split_once(" | ").unwrap_or((line, ""));
        let answer = client.send(&head.replace("DOCS", DOCS), body).await;
        let found = format!("{} {}", answer.status, answer.header("x-ms-substatus"));
        assert_eq!(found.trim(), *expected, "{line}\n{}", answer.body);
        if answer.status >= 400 {
            assert!(answer.json()["message"].is_string() && answer.json()["code"].is_string(), "{line}");
        }
    }
}

async fn get(client: &Client, id: &str, key: &str) -> Answer {
    client.send(&format!("GET {DOCS}/{id} x-ms-documentdb-partitionkey: {key}"), "").await
}

#[tokio::test]
async fn an_item_is_created_read_replaced_and_deleted() {
    check(
        CONTAINER,
        &[
            (r#"POST DOCS x-ms-documentdb-partitionkey: ["x"] | {"id":"1","pk":"x"}"#, "201"),
            (r#"POST DOCS x-ms-documentdb-partitionkey: ["x"] | {"id":"1","pk":"x"}"#, "409"),
            (r#"POST DOCS/ x-ms-documentdb-is-upsert: True | {"id":"1","pk":"x","n":2}"#, "200"),
            (r#"POST DOCS x-ms-documentdb-is-upsert: true | {"id":"2","pk":"x"}"#, "201"),
            (r#"PUT DOCS/1 x-ms-documentdb-partitionkey: ["x"] | {"id":"1","pk":"x","n":3}"#, "200"),
            (r#"PUT DOCS/1 x-ms-documentdb-partitionkey: ["x"] | {"id":"2","pk":"x"}"#, "409"),
            (r#"PUT DOCS/1 x-ms-documentdb-partitionkey: ["x"] | {"id":"1","pk":"y"}"#, "400 1001"),
            (r#"PUT DOCS/9 x-ms-documentdb-partitionkey: ["x"] | {"id":"9","pk":"x"}"#, "404"),
            (r#"GET DOCS/1 x-ms-documentdb-partitionkey: ["y"]"#, "404"),
            ("GET DOCS/1", "400"),
            (r#"DELETE DOCS/1/ x-ms-documentdb-partitionkey: ["x"]"#, "204"),
            (r#"DELETE DOCS/1 x-ms-documentdb-partitionkey: ["x"]"#, "404"),
            (r#"GET DOCS/1 x-ms-documentdb-partitionkey: ["x"]"#, "404"),
        ],
    )
    .await;
}

#[tokio::test]
async fn a_response_has_the_item_and_its_system_properties() {
    let client = Client::with_container(CONTAINER).await;
    let sent = r#"{"id":"a b","pk":"x","big":9007199254740993,"f":1.0,"_etag":"mine","_ts":1}"#;
    let made = client.send(&format!("POST {DOCS}"), sent).await;
    let item = made.json();
    assert_eq!(item["_rid"], "AQAAAYAAAAEBAAAAAAAAAA==");
    assert_eq!(item["_self"], "dbs/AQAAAQ==/colls/AQAAAYAAAAE=/docs/AQAAAYAAAAEBAAAAAAAAAA==/");
    assert_eq!(item["_ts"], crate::client::START);
    assert_eq!(item["_etag"].as_str(), Some(made.header("etag")));
    assert_eq!(made.header("x-ms-session-token"), "0:-1#1");
    assert_eq!(made.header("x-ms-content-path"), "AQAAAYAAAAE=");
    assert_eq!(made.header("x-ms-alt-content-path"), "dbs/d/colls/c");
    assert!(made.body.starts_with(r#"{"id":"a b","pk":"x","big":9007199254740993,"f":1.0,"_rid""#));
    // The same item by name and by resource ids; 304 if the client already has it.
    assert_eq!(get(&client, "a%20b", r#"["x"]"#).await.body, made.body);
    let path = "/dbs/AQAAAQ==/colls/AQAAAYAAAAE=/docs/AQAAAYAAAAEBAAAAAAAAAA==/";
    let by_rid = client.send(&format!("GET {path} x-ms-documentdb-partitionkey: [\"x\"]"), "").await;
    assert_eq!(by_rid.body, made.body);
    let line = format!(
        "GET {DOCS}/a%20b x-ms-documentdb-partitionkey: [\"x\"]; if-none-match: {}",
        made.header("etag")
    );
    let unchanged = client.send(&line, "").await;
    assert_eq!((unchanged.status, unchanged.body.as_str()), (304, ""));
    let minimal = client.send(&format!("POST {DOCS} prefer: return=minimal"), r#"{"id":"m","pk":"x"}"#).await;
    assert_eq!((minimal.status, minimal.body.as_str(), minimal.header("etag").is_empty()), (201, "", false));
}

#[tokio::test]
async fn a_write_with_an_old_etag_is_rejected() {
    let client = Client::with_container(CONTAINER).await;
    let first = client.send(&format!("POST {DOCS}"), r#"{"id":"1","pk":"x"}"#).await;
    let guarded = |verb: &str, etag: &str| {
        format!("{verb} {DOCS}/1 x-ms-documentdb-partitionkey: [\"x\"]; if-match: {etag}")
    };
    let changed = client.send(&guarded("PUT", first.header("etag")), r#"{"id":"1","pk":"x","n":1}"#).await;
    assert_eq!(changed.status, 200);
    assert_ne!(changed.header("etag"), first.header("etag"));
    let stale = client.send(&guarded("PUT", first.header("etag")), r#"{"id":"1","pk":"x","n":2}"#).await;
    assert_eq!((stale.status, stale.json()["code"].as_str()), (412, Some("PreconditionFailed")));
    assert_eq!(client.send(&guarded("DELETE", first.header("etag")), "").await.status, 412);
    assert_eq!(client.send(&guarded("PUT", "*"), r#"{"id":"1","pk":"x","n":3}"#).await.status, 200);
    let upsert = format!("POST {DOCS} x-ms-documentdb-is-upsert: true; if-match: \"stale\"");
    assert_eq!(client.send(&upsert, r#"{"id":"1","pk":"x"}"#).await.status, 412);
    assert_eq!(client.send(&upsert, r#"{"id":"new","pk":"x"}"#).await.status, 201);
    assert_eq!(get(&client, "1", r#"["x"]"#).await.json()["n"], 3);
}

#[tokio::test]
async fn different_partition_keys_have_separate_items() {
    check(
        CONTAINER,
        &[
            (r#"POST DOCS x-ms-documentdb-partitionkey: [{}] | {"id":"1","v":"none"}"#, "201"),
            (r#"POST DOCS x-ms-documentdb-partitionkey: [null] | {"id":"1","pk":null}"#, "201"),
            (r#"POST DOCS x-ms-documentdb-partitionkey: [5.0] | {"id":"1","pk":5}"#, "201"),
            (r#"POST DOCS x-ms-documentdb-partitionkey: ["\u00e9"] | {"id":"1","pk":"é"}"#, "201"),
            (r#"GET DOCS/1 x-ms-documentdb-partitionkey: [{}]"#, "200"),
            (r#"GET DOCS/1 x-ms-documentdb-partitionkey: [5]"#, "200"),
            (r#"GET DOCS/1 x-ms-documentdb-partitionkey: ["5"]"#, "404"),
            (r#"POST DOCS x-ms-documentdb-partitionkey: ["x"] | {"id":"1","pk":"y"}"#, "400 1001"),
            (r#"POST DOCS x-ms-documentdb-partitionkey: [null] | {"id":"2"}"#, "400 1001"),
            (r#"POST DOCS x-ms-documentdb-partitionkey: ["a","b"] | {"id":"2","pk":"a"}"#, "400"),
            (r#"POST DOCS x-ms-documentdb-partitionkey: nonsense | {"id":"2","pk":"a"}"#, "400"),
            (r#"POST DOCS | {"id":"2","pk":{"a":1}}"#, "400"),
        ],
    )
    .await;
    let hierarchical = r#"{"id":"c","partitionKey":{"paths":["/t","/u"],"kind":"MultiHash","version":2}}"#;
    let client = check(
        hierarchical,
        &[
            (r#"POST DOCS x-ms-documentdb-partitionkey: ["a","b"] | {"id":"1","t":"a","u":"b"}"#, "201"),
            (r#"POST DOCS x-ms-documentdb-partitionkey: ["a",{}] | {"id":"2","t":"a"}"#, "201"),
            (r#"POST DOCS x-ms-documentdb-partitionkey: ["ab","b"] | {"id":"3","t":"ab","u":"b"}"#, "201"),
            (r#"GET DOCS/1 x-ms-documentdb-partitionkey: ["a"]"#, "400"),
        ],
    )
    .await;
    let prefix = client.send(&format!("GET {DOCS} x-ms-documentdb-partitionkey: [\"a\"]"), "").await;
    assert_eq!(prefix.ids(), "1 2");
}

#[tokio::test]
async fn patches_are_atomic() {
    let client = Client::with_container(CONTAINER).await;
    let item = json!({"id": "1", "pk": "x", "n": 1, "list": [1, 2], "a": {"b": 1}});
    client.send(&format!("POST {DOCS}"), &item.to_string()).await;
    let patch = async |body: Value| {
        let line = format!("PATCH {DOCS}/1 x-ms-documentdb-partitionkey: [\"x\"]");
        client.send(&line, &body.to_string()).await
    };
    let changed = patch(json!([
        {"op": "incr", "path": "/n", "value": 2},
        {"op": "add", "path": "/list/0", "value": 0},
        {"op": "add", "path": "/list/-", "value": 3},
        {"op": "set", "path": "/new", "value": true},
        {"op": "move", "from": "/a/b", "path": "/c"},
        {"op": "remove", "path": "/a"},
    ]))
    .await;
    assert_eq!(changed.status, 200, "{}", changed.body);
    let shown = changed.json();
    assert_eq!((&shown["n"], &shown["list"], &shown["c"]), (&json!(3), &json!([0, 1, 2, 3]), &json!(1)));
    assert_eq!(shown.get("a"), None);
    for (body, status) in [
        (
            json!([{"op": "set", "path": "/n", "value": 9}, {"op": "replace", "path": "/none", "value": 1}]),
            400,
        ),
        (json!([{"op": "set", "path": "/pk", "value": "y"}]), 400),
        (json!([{"op": "set", "path": "/id", "value": "y"}]), 400),
        (json!([{"op": "set", "path": "/_ts", "value": 1}]), 400),
        (json!([{"op": "incr", "path": "/list", "value": 1}]), 400),
        (
            json!({"condition": "from c where c.n = 4", "operations": [{"op": "incr", "path": "/n", "value": 1}]}),
            412,
        ),
        (
            json!({"condition": "from c where whoops(", "operations": [{"op": "incr", "path": "/n", "value": 1}]}),
            400,
        ),
        (
            json!({"condition": "from c where c.n = 3", "operations": [{"op": "incr", "path": "/n", "value": 1}]}),
            200,
        ),
        (json!([]), 400),
    ] {
        let answer = patch(body.clone()).await;
        assert_eq!(answer.status, status, "{body} {}", answer.body);
    }
    assert_eq!(get(&client, "1", r#"["x"]"#).await.json()["n"], 4);
}

#[tokio::test]
async fn batches_are_atomic() {
    let client = Client::with_container(CONTAINER).await;
    let batch = async |operations: Value| {
        let line = format!(
            "POST {DOCS} x-ms-cosmos-is-batch-request: true; x-ms-cosmos-batch-atomic: True; x-ms-documentdb-partitionkey: [\"x\"]"
        );
        client.send(&line, &operations.to_string()).await
    };
    let statuses = |answer: &Answer| -> Vec<u64> {
        answer
            .json()
            .as_array()
            .expect("an array")
            .iter()
            .filter_map(|it| it["statusCode"].as_u64())
            .collect()
    };
    let good = batch(json!([
        {"operationType": "Create", "resourceBody": {"id": "1", "pk": "x"}},
        {"operationType": "Upsert", "resourceBody": {"id": "2", "pk": "x"}},
        {"operationType": "Read", "id": "1"},
        {"operationType": "Patch", "id": "1", "resourceBody": {"operations": [{"op": "set", "path": "/n", "value": 1}]}},
        {"operationType": "Delete", "id": "2"},
    ]))
    .await;
    assert_eq!((good.status, statuses(&good)), (200, vec![201, 201, 200, 200, 204]));
    let bad = batch(json!([
        {"operationType": "Create", "resourceBody": {"id": "3", "pk": "x"}},
        {"operationType": "Create", "resourceBody": {"id": "1", "pk": "x"}},
        {"operationType": "Delete", "id": "1"},
    ]))
    .await;
    assert_eq!((bad.status, statuses(&bad)), (207, vec![424, 409, 424]));
    assert_eq!(client.send(&format!("GET {DOCS}"), "").await.ids(), "1");
    // One transaction is one position of the feed, and the page size does not split it.
    batch(json!([
        {"operationType": "Create", "resourceBody": {"id": "4", "pk": "x"}},
        {"operationType": "Create", "resourceBody": {"id": "5", "pk": "x"}},
    ]))
    .await;
    let feed = async |headers: &str| {
        client.send(&format!("GET {DOCS} a-im: Incremental Feed; {headers}"), "").await.ids()
    };
    assert_eq!(feed("x-ms-max-item-count: 2").await, "1 4 5");
    assert_eq!(feed("x-ms-max-item-count: 1").await, "1");
    assert_eq!(feed("x-ms-max-item-count: 1; if-none-match: \"1\"").await, "4 5");
}

#[tokio::test]
async fn expired_items_are_not_returned() {
    let definition = r#"{"id":"c","partitionKey":{"paths":["/pk"]},"defaultTtl":100}"#;
    let client = Client::with_container(definition).await;
    for item in [
        r#"{"id":"short","pk":"x","ttl":10}"#,
        r#"{"id":"default","pk":"x"}"#,
        r#"{"id":"forever","pk":"x","ttl":-1}"#,
    ] {
        assert_eq!(client.send(&format!("POST {DOCS}"), item).await.status, 201);
    }
    assert_eq!(client.send(&format!("POST {DOCS}"), r#"{"id":"bad","pk":"x","ttl":0}"#).await.status, 400);
    client.pass(10);
    assert_eq!(get(&client, "short", r#"["x"]"#).await.status, 404);
    assert_eq!(client.query("SELECT VALUE c.id FROM c").await, "\"default\"\n\"forever\"");
    let feed = client.send(&format!("GET {DOCS} a-im: Incremental Feed"), "").await;
    assert_eq!(feed.ids(), "default forever");
    // Its id is free, and the new item's time to live starts now.
    assert_eq!(client.send(&format!("POST {DOCS}"), r#"{"id":"short","pk":"x","ttl":10}"#).await.status, 201);
    // Removing the container's default restores no removed item and keeps the existing ones.
    let off = r#"{"id":"c","partitionKey":{"paths":["/pk"]}}"#;
    assert_eq!(client.send("PUT /dbs/d/colls/c", off).await.status, 200);
    client.pass(1000);
    assert_eq!(get(&client, "short", r#"["x"]"#).await.status, 200);
}

#[tokio::test]
async fn unique_keys_are_enforced_within_a_partition() {
    let definition = r#"{"id":"c","partitionKey":{"paths":["/pk"]},"uniqueKeyPolicy":{"uniqueKeys":[{"paths":["/mail"]}]}}"#;
    check(
        definition,
        &[
            (r#"POST DOCS | {"id":"1","pk":"x","mail":"a"}"#, "201"),
            (r#"POST DOCS | {"id":"2","pk":"x","mail":"a"}"#, "409"),
            (r#"POST DOCS | {"id":"2","pk":"y","mail":"a"}"#, "201"),
            (r#"POST DOCS | {"id":"3","pk":"x"}"#, "201"),
            (r#"POST DOCS | {"id":"4","pk":"x","mail":null}"#, "409"),
            (r#"PUT DOCS/3 x-ms-documentdb-partitionkey: ["x"] | {"id":"3","pk":"x","mail":"a"}"#, "409"),
            (
                r#"PUT DOCS/1 x-ms-documentdb-partitionkey: ["x"] | {"id":"1","pk":"x","mail":"a","n":1}"#,
                "200",
            ),
        ],
    )
    .await;
}

#[tokio::test]
async fn deleting_a_partition_deletes_all_its_items() {
    let client = check(
        CONTAINER,
        &[
            (r#"POST DOCS | {"id":"1","pk":"x"}"#, "201"),
            (r#"POST DOCS | {"id":"2","pk":"x"}"#, "201"),
            (r#"POST DOCS | {"id":"1","pk":"y"}"#, "201"),
        ],
    )
    .await;
    let operation = "POST /dbs/d/colls/c/operations/partitionkeydelete";
    assert_eq!(client.send(operation, "").await.status, 400, "nobody says which");
    let line = format!("{operation} x-ms-documentdb-partitionkey: [\"x\"]");
    assert_eq!(client.send(&line, "").await.status, 200);
    assert_eq!(client.query("SELECT VALUE c.pk FROM c").await, "\"y\"");
    assert_eq!(get(&client, "2", r#"["x"]"#).await.status, 404);
}
