//! Everything except items: credentials, definitions, offers, bad input.

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use http_messages::{Budget, BufferedBody};
use identity::master_key::{MasterKey, SignedParts, sign};

use crate::client::{Client, request};

const CONTAINER: &str = r#"{"id":"c","partitionKey":{"paths":["/pk"]}}"#;
const DATE: &str = "Fri, 20 Nov 2026 21:36:21 GMT";

async fn status(client: &Client, line: &str, body: &str) -> String {
    let answer = client.send(line, body).await;
    let found = format!("{} {}", answer.status, answer.header("x-ms-substatus"));
    if answer.status >= 400 {
        assert!(answer.json()["message"].is_string(), "{line}");
    }
    found.trim().to_owned()
}

#[tokio::test]
async fn requests_without_a_valid_signature_are_rejected() {
    let client = Client::with_container(CONTAINER).await;
    let unsigned = client.send_request(request("GET /dbs/d", "")).await;
    assert_eq!((unsigned.status, unsigned.json()["code"].as_str()), (401, Some("Unauthorized")));
    let key = MasterKey::parse(identity::DEVELOPMENT_COSMOS_KEY).expect("a good key");
    let signed = |path: &str| sign(&key, &SignedParts { verb: "get", path, ms_date: DATE, date: "" });
    let send = async |path: &str, authorization: String| {
        let line = format!("GET {path} authorization: {authorization}; x-ms-date: {DATE}");
        client.send_request(request(&line, "")).await.status
    };
    assert_eq!(send("/dbs/d", signed("/dbs/d")).await, 200);
    assert_eq!(send("/dbs/d", signed("/dbs/e")).await, 401);
    assert_eq!(send("/", signed("/")).await, 200);
    let locked = Client::with(|options| options.development_key = false);
    let line = format!("GET / authorization: {}; x-ms-date: {DATE}", signed("/"));
    assert_eq!(locked.send_request(request(&line, "")).await.status, 401);
    let entra = client.send_request(request("GET / authorization: type=aad&ver=1.0&sig=x.y.z", "")).await;
    assert!(entra.status == 401 && entra.error().contains("Entra"), "{}", entra.body);
}

#[tokio::test]
async fn an_invalid_or_too_old_signature_date_is_rejected() {
    let key = MasterKey::parse(identity::DEVELOPMENT_COSMOS_KEY).expect("a good key");
    let send = async |client: &Client, date: &str| {
        let signed = sign(&key, &SignedParts { verb: "get", path: "/", ms_date: date, date: "" });
        let line = format!("GET / authorization: {signed}; x-ms-date: {date}");
        let answer = client.send_request(request(&line, "")).await;
        (answer.status, answer.json()["code"].as_str().unwrap_or_default().to_owned())
    };
    let limited = Client::with(|options| options.signature_age_max_s = Some(900.try_into().unwrap()));
    assert_eq!(send(&limited, "Sun, 01 Nov 2020 08:00:00 GMT").await, (403, "Forbidden".to_owned()));
    assert_eq!(send(&limited, "Sat, 01 Nov 2070 08:00:00 GMT").await, (403, "Forbidden".to_owned()));
    let unlimited = Client::new();
    assert_eq!(send(&unlimited, "Sun, 01 Nov 2020 08:00:00 GMT").await, (200, String::new()));
    for client in [&limited, &unlimited] {
        assert_eq!(send(client, "once").await, (401, "Unauthorized".to_owned()));
    }
}

#[tokio::test]
async fn the_account_has_the_address_of_the_request() {
    let client = Client::new();
    let account = client.send("GET /", "").await.json();
    assert_eq!(account["writableLocations"][0]["databaseAccountEndpoint"], "http://localhost:8081/");
    assert_ne!(account["id"], "localhost");
    assert!(account["queryEngineConfiguration"].is_string());
    assert_eq!(account["addresses"], serde_json::Value::Null, "there is no direct mode");
    let public = Client::with(|options| options.public_url = Some("https://docs.example/".to_owned()));
    let account = public.send("GET /", "").await.json();
    assert_eq!(account["readableLocations"][0]["databaseAccountEndpoint"], "https://docs.example/");
}

#[tokio::test]
async fn databases_and_containers_are_created_and_deleted() {
    let client = Client::new();
    for (line, body, expected) in [
        ("GET /dbs/d", "", "404"),
        ("POST /dbs", r#"{"id":"d"}"#, "201"),
        ("POST /dbs", r#"{"id":"d"}"#, "409"),
        ("POST /dbs", r#"{"id":"a/b"}"#, "400"),
        ("POST /dbs", r#"{}"#, "400"),
        ("GET /dbs/d/", "", "200"),
        ("GET /dbs/AQAAAQ==", "", "200"),
        ("GET /dbs/d/colls/c", "", "404"),
        ("POST /dbs/x/colls", CONTAINER, "404 1003"),
        ("POST /dbs/d/colls", r#"{"id":"c"}"#, "400"),
        ("POST /dbs/d/colls", CONTAINER, "201"),
        ("POST /dbs/d/colls", CONTAINER, "409"),
        ("PUT /dbs/d/colls/c", r#"{"id":"c","partitionKey":{"paths":["/pk"]},"defaultTtl":-1}"#, "200"),
        ("PUT /dbs/d/colls/c", r#"{"id":"c","partitionKey":{"paths":["/other"]}}"#, "400"),
        ("PUT /dbs/d/colls/c", r#"{"id":"x","partitionKey":{"paths":["/pk"]}}"#, "400"),
        (
            "PUT /dbs/d/colls/c",
            r#"{"id":"c","partitionKey":{"paths":["/pk"]},"uniqueKeyPolicy":{"uniqueKeys":[{"paths":["/a"]}]}}"#,
            "400",
        ),
        ("PUT /dbs/d/colls/c if-match: \"stale\"", r#"{"id":"c","partitionKey":{"paths":["/pk"]}}"#, "412"),
        ("POST /dbs/d/colls/c/docs", r#"{"id":"1","pk":"x"}"#, "201"),
        ("POST /dbs/d/colls/none/docs", r#"{"id":"1","pk":"x"}"#, "404 1003"),
        ("GET /dbs/d/colls/c/docs x-ms-cosmos-intended-collection-rid: AQAAAYAAAAI=", "", "400 1024"),
        ("DELETE /dbs/d/colls/c", "", "204"),
        ("POST /dbs/d/colls", CONTAINER, "201"),
        ("DELETE /dbs/d", "", "204"),
        ("DELETE /dbs/d", "", "404"),
        ("GET /dbs/d/colls/c", "", "404"),
    ] {
        assert_eq!(status(&client, line, body).await, expected, "{line} {body}");
    }
}

#[tokio::test]
async fn a_container_created_again_has_another_resource_id() {
    let client = Client::with_container(CONTAINER).await;
    let first = client.send("GET /dbs/d/colls/c x-ms-documentdb-populatequotainfo: true", "").await;
    assert!(first.header("x-ms-resource-usage").starts_with("documentsCount=0;"));
    assert_eq!(first.json()["indexingPolicy"]["indexingMode"], "consistent");
    client.send("POST /dbs/d/colls/c/docs", r#"{"id":"1","pk":"x"}"#).await;
    client.send("DELETE /dbs/d/colls/c", "").await;
    client.send("POST /dbs/d/colls", CONTAINER).await;
    let second = client.send("GET /dbs/d/colls/c", "").await.json();
    assert_ne!(first.json()["_rid"], second["_rid"]);
    assert_eq!(client.send("GET /dbs/d/colls/c/docs", "").await.ids(), "");
    let query = r#"{"query":"SELECT VALUE r.id FROM root r WHERE r.id = 'c'"}"#;
    let found = client.send("POST /dbs/d/colls x-ms-documentdb-isquery: true", query).await.json();
    assert_eq!(found["DocumentCollections"], serde_json::json!(["c"]));
}

#[tokio::test]
async fn a_container_response_names_its_database() {
    let client = Client::new();
    assert_eq!(client.send("POST /dbs", r#"{"id":"my d"}"#).await.status, 201);
    let definition = r#"{"id":"c","partitionKey":{"paths":["/pk"],"version":"V2"}}"#;
    let made = client.send("POST /dbs/my%20d/colls", definition).await;
    let read = client.send("GET /dbs/my%20d/colls/c", "").await;
    let replaced = client.send("PUT /dbs/my%20d/colls/c", definition).await;
    for answer in [&made, &read, &replaced] {
        assert!(answer.status < 300, "{}", answer.body);
        assert_eq!(answer.header("x-ms-alt-content-path"), "dbs/my%20d");
        assert_eq!(answer.header("x-ms-content-path"), "AQAAAQ==");
        assert_eq!(answer.header("x-ms-session-token"), "0:-1#0");
        // Java writes the version as a string.
        assert_eq!(answer.json()["partitionKey"]["version"], 2);
    }
    let ranges = client.send("GET /dbs/my%20d/colls/c/pkranges", "").await;
    assert_eq!(ranges.header("x-ms-alt-content-path"), "dbs/my%20d/colls/c");
    let wrong = r#"{"id":"w","partitionKey":{"paths":["/pk"],"version":"V9"}}"#;
    assert!(status(&client, "POST /dbs/my%20d/colls", wrong).await.starts_with("400"));
}

#[tokio::test]
async fn offers_can_be_read_and_replaced() {
    let client = Client::new();
    client.send("POST /dbs", r#"{"id":"d"}"#).await;
    client.send("POST /dbs/d/colls x-ms-offer-throughput: 700", CONTAINER).await;
    let container = client.send("GET /dbs/d/colls/c", "").await.json();
    let body = serde_json::json!({
        "query": "SELECT * FROM root r WHERE r.resource=@link",
        "parameters": [{"name": "@link", "value": container["_self"]}],
    });
    let found = client.send("POST /offers x-ms-documentdb-isquery: True", &body.to_string()).await.json();
    let mut offer = found["Offers"][0].clone();
    assert_eq!(offer["content"]["offerThroughput"], 700);
    offer["content"]["offerThroughput"] = 900.into();
    let line = format!("PUT /offers/{}/", offer["_rid"].as_str().expect("a rid"));
    assert_eq!(client.send(&line, &offer.to_string()).await.json()["content"]["offerThroughput"], 900);
}

#[tokio::test]
async fn invalid_input_is_rejected_with_the_cause() {
    let client = Client::with_container(CONTAINER).await;
    const DOCS: &str = "POST /dbs/d/colls/c/docs";
    let deep = format!(r#"{{"id":"1","pk":"x","v":{}1{}}}"#, "[".repeat(200), "]".repeat(200));
    let large = format!(r#"{{"id":"1","pk":"x","v":"{}"}}"#, "v".repeat(3 << 20));
    let huge = format!(r#"{{"id":"1","pk":"x","v":"{}"}}"#, "v".repeat(5 << 20));
    let long_id = format!(r#"{{"id":"{}","pk":"x"}}"#, "i".repeat(1024));
    for (line, body, expected) in [
        (DOCS, "{", "400"),
        (DOCS, "[1]", "400"),
        (DOCS, "", "400"),
        (DOCS, r#"{"pk":"x"}"#, "400"),
        (DOCS, r#"{"id":1,"pk":"x"}"#, "400"),
        (DOCS, r#"{"id":"a?b","pk":"x"}"#, "400"),
        (DOCS, &deep, "400"),
        (DOCS, &large, "413"),
        (DOCS, &huge, "413"),
        (DOCS, &long_id, "400"),
        ("GET /dbs/d/colls/c/docs x-ms-max-item-count: many", "", "400"),
        ("GET /dbs/d/colls/c/docs x-ms-consistency-level: Strong", "", "400"),
        ("GET /dbs/d/colls/c/docs x-ms-start-epk: 11", "", "400"),
        ("POST /dbs/d/colls/c/docs x-ms-documentdb-pre-trigger-include: t", "{}", "400"),
        ("POST /dbs/d/colls/c/docs x-ms-documentdb-isquery: true", "{}", "400"),
        ("POST /dbs/d/colls/c/docs x-ms-cosmos-is-batch-request: true", "[]", "400"),
        ("GET /dbs/d/colls/c/sprocs", "", "200"),
        ("POST /dbs/d/colls/c/sprocs", r#"{"id":"s","body":"x"}"#, "400"),
        ("GET /dbs/d/users", "", "200"),
        ("GET /addresses", "", "400"),
        ("GET /nowhere", "", "404"),
        ("PATCH /dbs/d/colls/c", "", "405"),
        ("PUT /dbs", "", "405"),
    ] {
        assert_eq!(status(&client, line, body).await, expected, "{line} {}", &body[..body.len().min(60)]);
    }
}

#[tokio::test]
async fn web_pages_of_loopback_origins_are_allowed_by_cors() {
    let client = Client::new();
    let answer = client.send_request(request("OPTIONS /dbs origin: http://localhost:8080", "")).await;
    assert_eq!((answer.status, answer.header("access-control-allow-origin")), (204, "http://localhost:8080"));
    let answer = client.send_request(request("OPTIONS /dbs origin: https://example.com", "")).await;
    assert_eq!(answer.header("access-control-allow-origin"), "");
}

#[tokio::test]
async fn unsupported_features_are_rejected_by_name() {
    let client = Client::with_container(CONTAINER).await;
    for (path, key) in [
        ("/dbs/d/colls/c/sprocs", "StoredProcedures"),
        ("/dbs/d/colls/c/triggers", "Triggers"),
        ("/dbs/d/colls/c/udfs", "UserDefinedFunctions"),
        ("/dbs/d/colls/c/conflicts", "Conflicts"),
        ("/dbs/d/users", "Users"),
    ] {
        let list = client.send(&format!("GET {path}"), "").await.json();
        assert_eq!(list[key], serde_json::json!([]), "{path}");
    }
    const BATCH: &str = "POST /dbs/d/colls/c/docs x-ms-cosmos-is-batch-request: true";
    let atomic = format!("{BATCH}; x-ms-cosmos-batch-atomic: true");
    // The first byte of .NET's format begins no JSON text.
    let mut binary = request(&atomic, "");
    let bytes = Bytes::from_static(b"\x81\xf0\xd8");
    *binary.body_mut() = Full::new(bytes).map_err(|never| match never {}).boxed_unsync();
    binary.extensions_mut().insert(identity::Principal::InProcess { name: "test" });
    let answer = client.send_request(binary).await;
    assert!(answer.status == 400 && answer.error().contains("HybridRow"), "{}", answer.body);
    for (line, body, status, word) in [
        (BATCH, "[]", 400, "bulk"),
        ("POST /dbs/d/users", r#"{"id":"u"}"#, 400, "users"),
        ("POST /dbs/d/colls/c/udfs", r#"{"id":"f","body":"x"}"#, 400, "JavaScript"),
        ("GET /dbs/d/clientencryptionkeys/k", "", 404, "encryption key"),
    ] {
        let answer = client.send(line, body).await;
        assert_eq!(answer.status, status, "{line} {}", answer.body);
        assert!(answer.error().contains(word), "{line} {}", answer.body);
    }
}

#[tokio::test]
async fn a_client_in_direct_mode_is_refused_with_a_hint_at_gateway_mode() {
    let client = Client::with_container(CONTAINER).await;
    // The request of .NET, which signs it for the item that it will read.
    let question = "/addresses/?$resolveFor=dbs%2fd%2fcolls%2fc%2fdocs&$filter=protocol%20eq%20rntbd&$partitionKeyRangeIds=0";
    for line in [
        format!("GET {question}"),
        format!("GET /{question} authorization: type%3dmaster%26ver%3d1.0%26sig%3dAAAA; x-ms-date: {DATE}"),
        "GET /addresses authorization: nonsense; x-ms-consistency-level: Strong".to_owned(),
    ] {
        let answer = client.send_request(request(&line, "")).await;
        assert_eq!((answer.status, answer.json()["code"].as_str()), (400, Some("BadRequest")), "{line}");
        assert!(answer.error().contains("no direct mode: set ConnectionMode.Gateway"), "{}", answer.body);
    }
    let elsewhere = client.send_request(request("GET /dbs/d/colls/c/docs/addresses", "")).await;
    assert_eq!(elsewhere.status, 401, "an item of that name is asked for with a signature");
}

#[tokio::test]
async fn limits_of_batches_patches_and_queries_are_enforced() {
    let client = Client::with_container(CONTAINER).await;
    const DOCS: &str = "/dbs/d/colls/c/docs";
    let batch = format!(
        "POST {DOCS} x-ms-cosmos-is-batch-request: true; x-ms-cosmos-batch-atomic: true; x-ms-documentdb-partitionkey: [\"x\"]"
    );
    let creates = |count: usize, padding: usize| {
        let padding = "p".repeat(padding);
        let one = |id| serde_json::json!({"operationType": "Create", "resourceBody": {"id": format!("{id}"), "pk": "x", "p": padding}});
        serde_json::Value::Array((0..count).map(one).collect()).to_string()
    };
    let patch = format!("PATCH {DOCS}/0 x-ms-documentdb-partitionkey: [\"x\"]");
    let increments = |count: usize| {
        let one = serde_json::json!({"op": "incr", "path": "/n", "value": 1});
        serde_json::Value::Array(vec![one; count]).to_string()
    };
    let query = format!("POST {DOCS} x-ms-documentdb-isquery: true");
    let long = |bytes: usize| {
        let sql = "SELECT VALUE c.n FROM c WHERE c.id = '0'";
        serde_json::json!({"query": sql.to_owned() + &" ".repeat(bytes - sql.len())}).to_string()
    };
    for (line, body, expected) in [
        (&batch, creates(101, 0), "400"),
        (&batch, creates(3, 1 << 20), "413"),
        (&batch, creates(100, 0), "200"),
        (&patch, increments(11), "400"),
        (&patch, increments(10), "200"),
        (&query, long((256 << 10) + 1), "400"),
        (&query, long(256 << 10), "200"),
    ] {
        assert_eq!(status(&client, line, &body).await, expected, "{line}");
    }
    assert_eq!(client.query("SELECT VALUE c.n FROM c WHERE c.id = '0'").await, "10");
}

#[tokio::test]
async fn both_account_keys_are_accepted() {
    let (first, second) = ("Zmlyc3Q=", "c2Vjb25k");
    let client = Client::with(|options| {
        options.development_key = false;
        options.primary_key = Some(first.to_owned());
        options.secondary_key = Some(second.to_owned());
    });
    for (key, expected) in [(first, 200), (second, 200), ("dGhpcmQ=", 401)] {
        let key = MasterKey::parse(key).expect("base64");
        let signed = sign(&key, &SignedParts { verb: "get", path: "/", ms_date: DATE, date: "" });
        let line = format!("GET / authorization: {signed}; x-ms-date: {DATE}");
        assert_eq!(client.send_request(request(&line, "")).await.status, expected);
    }
}

/// A body memory budget that is used up while the second value exists.
async fn exhausted_budget() -> (Budget, Vec<BufferedBody>) {
    let options = http_messages::Options {
        memory_bytes_max: 1024 * 1024,
        wait_ms: 20,
        ..http_messages::Options::default()
    };
    let bodies = Budget::new(options, &std::env::temp_dir(), http_messages::Metrics::default());
    let mut held = Vec::new();
    for _ in 0..2 {
        let mut taken = Full::new(Bytes::from(vec![0; http_messages::SMALL_BYTES]));
        held.push(bodies.read(&mut taken, http_messages::SMALL_BYTES).await.expect("there is room"));
    }
    (bodies, held)
}

#[tokio::test]
async fn a_body_that_exceeds_the_memory_budget_is_throttled() {
    let (bodies, held) = exhausted_budget().await;
    let client = Client::new().with_bodies(bodies);
    let refused = client.send("POST /dbs", r#"{"id":"d"}"#).await;
    // SDKs wait this long and try again.
    assert_eq!((refused.status, refused.header("x-ms-substatus")), (429, "3200"));
    assert_eq!((refused.header("x-ms-retry-after-ms"), refused.header("retry-after")), ("5000", "5"));
    assert!(refused.error().contains("this body does not fit. Nothing was done."), "{}", refused.error());
    drop(held);
    assert_eq!(client.send("POST /dbs", r#"{"id":"d"}"#).await.status, 201);
}
