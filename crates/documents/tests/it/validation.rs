//! Resource ids in paths, items that get another id, and bodies that the service rejects or completes.

use serde_json::{Value, json};

use crate::client::{Answer, Client};

const CONTAINER: &str = r#"{"id":"c","partitionKey":{"paths":["/pk"],"version":2}}"#;
const DOCS: &str = "/dbs/d/colls/c/docs";
const KEY: &str = "x-ms-documentdb-partitionkey: [\"x\"]";

async fn batch(client: &Client, key: &str, operations: Value) -> Answer {
    let line = format!(
        "POST {DOCS} x-ms-cosmos-is-batch-request: true; x-ms-cosmos-batch-atomic: true; x-ms-documentdb-partitionkey: {key}"
    );
    client.send(&line, &operations.to_string()).await
}

#[tokio::test]
async fn every_method_finds_an_item_by_its_resource_id() {
    let client = Client::with_container(CONTAINER).await;
    let made = client.send(&format!("POST {DOCS}"), r#"{"id":"1","pk":"x","n":1}"#).await.json();
    let path = format!("/{}", made["_self"].as_str().expect("a link"));
    let other = "x-ms-documentdb-partitionkey: [\"y\"]";
    let patch = r#"[{"op":"incr","path":"/n","value":5}]"#;
    let verbs = [("GET", ""), ("PUT", r#"{"id":"1","pk":"x","n":2}"#), ("PATCH", patch), ("DELETE", "")];
    for (verb, body) in verbs {
        // With another key the item does not exist, for any method.
        let elsewhere = client.send(&format!("{verb} {path} {other}"), &body.replace("\"x\"", "\"y\"")).await;
        assert_eq!(elsewhere.status, 404, "{verb} {}", elsewhere.body);
        let stale = client.send(&format!("{verb} {path} {KEY}; if-match: \"stale\""), body).await;
        let expected = if verb == "GET" { 200 } else { 412 };
        assert_eq!(stale.status, expected, "{verb} {}", stale.body);
        let answer = client.send(&format!("{verb} {path} {KEY}"), body).await;
        assert_eq!(answer.status, if verb == "DELETE" { 204 } else { 200 }, "{verb} {}", answer.body);
        if verb == "PATCH" {
            assert_eq!((&answer.json()["n"], &answer.json()["_rid"]), (&json!(7), &made["_rid"]));
        }
    }
    for (verb, body) in verbs {
        assert_eq!(client.send(&format!("{verb} {path} {KEY}"), body).await.status, 404, "{verb}");
    }
    // An item whose id looks like a resource id is found by its id.
    let second = client.send(&format!("POST {DOCS}"), r#"{"id":"2","pk":"x"}"#).await.json();
    let looks_alike = json!({"id": second["_rid"], "pk": "x", "n": "mine"});
    assert_eq!(client.send(&format!("POST {DOCS}"), &looks_alike.to_string()).await.status, 201);
    let path = format!("{DOCS}/{}", second["_rid"].as_str().expect("a rid"));
    assert_eq!(client.send(&format!("GET {path} {KEY}"), "").await.json()["n"], "mine");
    // A resource id of another container is not valid here.
    client.send("POST /dbs/d/colls", r#"{"id":"other","partitionKey":{"paths":["/pk"]}}"#).await;
    let foreign = format!("/dbs/d/colls/other/docs/{}", second["_rid"].as_str().expect("a rid"));
    assert_eq!(client.send(&format!("DELETE {foreign} {KEY}"), "").await.status, 404);
}

#[tokio::test]
async fn every_method_finds_databases_and_containers_by_resource_id() {
    let client = Client::with_container(CONTAINER).await;
    let container = client.send("GET /dbs/d/colls/c", "").await.json();
    let link = format!("/{}", container["_self"].as_str().expect("a link"));
    for (verb, path, body, status) in [
        ("GET", link.as_str(), "", 200),
        ("PUT", &link, CONTAINER, 200),
        ("GET", &format!("{link}docs/"), "", 200),
        ("GET", &format!("{link}pkranges"), "", 200),
        ("POST", &format!("{link}docs"), r#"{"id":"1","pk":"x"}"#, 201),
        ("DELETE", &link, "", 204),
        ("GET", &link, "", 404),
    ] {
        assert_eq!(client.send(&format!("{verb} {path}"), body).await.status, status, "{verb} {path}");
    }
}

#[tokio::test]
async fn a_replace_with_another_id_renames_the_item() {
    let client = Client::with_container(CONTAINER).await;
    let made = client.send(&format!("POST {DOCS}"), r#"{"id":"old","pk":"x"}"#).await.json();
    client.send(&format!("POST {DOCS}"), r#"{"id":"taken","pk":"x"}"#).await;
    client.send(&format!("POST {DOCS}"), r#"{"id":"new","pk":"y"}"#).await;
    let put = async |id: &str, body: &str| client.send(&format!("PUT {DOCS}/{id} {KEY}"), body).await;
    assert_eq!(put("old", r#"{"id":"taken","pk":"x"}"#).await.status, 409);
    assert_eq!(put("old", r#"{"id":"a/b","pk":"x"}"#).await.status, 400);
    assert_eq!(put("old", r#"{"id":"new","pk":"y"}"#).await.status, 400, "the key cannot change");
    let renamed = put("old", r#"{"id":"new","pk":"x","n":1}"#).await;
    assert_eq!(renamed.status, 200, "{}", renamed.body);
    assert_eq!((&renamed.json()["id"], &renamed.json()["_rid"]), (&json!("new"), &made["_rid"]));
    assert_eq!(client.send(&format!("GET {DOCS}/old {KEY}"), "").await.status, 404);
    assert_eq!(client.send(&format!("GET {DOCS}/new {KEY}"), "").await.json()["n"], 1);
    assert_eq!(put("old", r#"{"id":"old","pk":"x"}"#).await.status, 404);
    let in_batch = json!([
        {"operationType": "Replace", "id": "new", "resourceBody": {"id": "newer", "pk": "x"}},
        {"operationType": "Create", "resourceBody": {"id": "new", "pk": "x"}},
    ]);
    assert_eq!(batch(&client, "[\"x\"]", in_batch).await.status, 200);
    let feed = client.send(&format!("GET {DOCS} a-im: Incremental Feed"), "").await;
    assert_eq!(feed.ids(), "taken new newer new");
}

#[tokio::test]
async fn an_item_can_be_renamed_to_the_id_of_an_expired_item() {
    let client =
        Client::with_container(r#"{"id":"c","partitionKey":{"paths":["/pk"]},"defaultTtl":-1}"#).await;
    for item in [r#"{"id":"a","pk":"x"}"#, r#"{"id":"b","pk":"x","ttl":10}"#] {
        assert_eq!(client.send(&format!("POST {DOCS}"), item).await.status, 201);
    }
    let rename = format!("PUT {DOCS}/a {KEY}");
    assert_eq!(client.send(&rename, r#"{"id":"b","pk":"x"}"#).await.status, 409);
    client.pass(10);
    assert_eq!(client.send(&rename, r#"{"id":"b","pk":"x"}"#).await.status, 200);
    assert_eq!(client.query("SELECT VALUE c.id FROM c").await, "\"b\"");
}

#[tokio::test]
async fn invalid_values_are_400_for_an_item_and_for_a_batch() {
    let client = Client::with_container(CONTAINER).await;
    client.send(&format!("POST {DOCS}"), r#"{"id":"there","pk":"x"}"#).await;
    for (item, error) in [
        (json!({"id": "1", "pk": "x", "ttl": null}), "The input ttl 'null' is invalid."),
        (json!({"id": "1", "pk": {"a": 1}}), "holds an array or object"),
        (json!({"id": "1", "pk": ["x"]}), "holds an array or object"),
        (json!({"pk": "x"}), "needs an id"),
    ] {
        let alone = client.send(&format!("POST {DOCS}"), &item.to_string()).await;
        assert!(alone.status == 400 && alone.error().contains(error), "{item} {}", alone.body);
        let operations = json!([
            {"operationType": "Create", "resourceBody": {"id": "beside", "pk": "x"}},
            {"operationType": "Upsert", "resourceBody": item},
        ]);
        let whole = batch(&client, "[\"x\"]", operations).await;
        assert!(whole.status == 400 && whole.error().contains(error), "{item} {}", whole.body);
        assert!(whole.error().starts_with("Operation 1 of the batch: "), "{}", whole.body);
    }
    let null = r#"[{"op":"set","path":"/ttl","value":null}]"#;
    assert_eq!(client.send(&format!("PATCH {DOCS}/there {KEY}"), null).await.status, 400);
    let read = json!([{"operationType": "Read", "id": "there"}]);
    for key in ["[{\"a\":1}]", "[\"x\",\"y\"]", "[]", "x"] {
        assert_eq!(batch(&client, key, read.clone()).await.status, 400, "{key}");
    }
    assert_eq!(client.query("SELECT VALUE c.id FROM c").await, "\"there\"");

    let hierarchical = r#"{"id":"h","partitionKey":{"paths":["/t","/u"],"kind":"MultiHash","version":2}}"#;
    assert_eq!(client.send("POST /dbs/d/colls", hierarchical).await.status, 201);
    let line = "POST /dbs/d/colls/h/docs x-ms-cosmos-is-batch-request: true; x-ms-cosmos-batch-atomic: true; x-ms-documentdb-partitionkey: ";
    let create = r#"[{"operationType":"Create","resourceBody":{"id":"1","t":"a","u":"b"}}]"#;
    let incomplete = client.send(&format!("{line}[\"a\"]"), create).await;
    assert!(incomplete.status == 400 && incomplete.error().contains("1 values"), "{}", incomplete.body);
    assert_eq!(client.send(&format!("{line}[\"a\",\"b\"]"), create).await.status, 200);
}

#[tokio::test]
async fn an_indexing_policy_is_returned_with_defaults() {
    let client = Client::new();
    client.send("POST /dbs", r#"{"id":"d"}"#).await;
    let all = json!([{"path": "/*"}]);
    let etag = json!({"path": "/\"_etag\"/?"});
    let full = json!({"indexingMode": "consistent", "automatic": true, "includedPaths": all, "excludedPaths": [etag]});
    for (given, expected) in [
        (Value::Null, full.clone()),
        (json!({}), full.clone()),
        (full.clone(), full.clone()),
        (json!({"includedPaths": [], "excludedPaths": []}), full.clone()),
        (
            json!({"indexingMode": "consistent", "excludedPaths": [{"path": "/big/*"}], "compositeIndexes": []}),
            json!({
                "indexingMode": "consistent", "automatic": true, "includedPaths": all, "compositeIndexes": [],
                "excludedPaths": [{"path": "/big/*"}, etag],
            }),
        ),
        (
            json!({"includedPaths": [{"path": "/a/?"}], "excludedPaths": [{"path": "/*"}]}),
            json!({
                "indexingMode": "consistent", "automatic": true, "includedPaths": [{"path": "/a/?"}],
                "excludedPaths": [{"path": "/*"}, etag],
            }),
        ),
        (
            json!({"indexingMode": "none", "automatic": false}),
            json!({"indexingMode": "none", "automatic": false, "includedPaths": [], "excludedPaths": []}),
        ),
    ] {
        let body = json!({"id": "c", "partitionKey": {"paths": ["/pk"]}, "indexingPolicy": given});
        let made = client.send("POST /dbs/d/colls", &body.to_string()).await;
        assert_eq!((made.status, &made.json()["indexingPolicy"]), (201, &expected), "{given}");
        assert_eq!(client.send("PUT /dbs/d/colls/c", &made.body).await.json()["indexingPolicy"], expected);
        assert_eq!(client.send("DELETE /dbs/d/colls/c", "").await.status, 204);
    }
    for wrong in [json!([]), json!({"excludedPaths": "x"}), json!({"includedPaths": 1})] {
        let body = json!({"id": "c", "partitionKey": {"paths": ["/pk"]}, "indexingPolicy": wrong});
        assert_eq!(client.send("POST /dbs/d/colls", &body.to_string()).await.status, 400, "{wrong}");
    }
}

#[tokio::test]
async fn a_database_created_with_throughput_has_an_offer() {
    let client = Client::new();
    assert_eq!(client.send("POST /dbs", r#"{"id":"without"}"#).await.status, 201);
    let made = client.send("POST /dbs x-ms-offer-throughput: 1000", r#"{"id":"d"}"#).await.json();
    let offers = async || client.send("GET /offers", "").await.json()["Offers"].clone();
    let all = offers().await;
    assert_eq!(all.as_array().map(Vec::len), Some(1), "{all}");
    assert_eq!((&all[0]["resource"], &all[0]["offerResourceId"]), (&made["_self"], &made["_rid"]));
    assert_eq!(all[0]["content"], json!({"offerThroughput": 1000}));
    let line = format!("PUT /{}", all[0]["_self"].as_str().expect("a link"));
    let content = json!({"offerThroughput": 2000, "offerAutopilotSettings": {"maxThroughput": 4000}});
    let changed = client.send(&line, &json!({"content": content}).to_string()).await;
    assert_eq!((changed.status, &changed.json()["content"]), (200, &content));
    client.send("POST /dbs/d/colls", CONTAINER).await;
    let query =
        r#"{"query":"SELECT VALUE r.offerResourceId FROM root r WHERE r.content.offerThroughput = 2000"}"#;
    let found = client.send("POST /offers x-ms-documentdb-isquery: true", query).await.json();
    assert_eq!(found["Offers"], json!([made["_rid"]]));
    assert_eq!(client.send("DELETE /dbs/d", "").await.status, 204);
    assert_eq!(offers().await, json!([]));
}
