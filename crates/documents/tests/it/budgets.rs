//! Budgets of queries, callers that disconnect, and reads that must not wait for queries.

use std::collections::BTreeSet;
use std::time::Duration;

use documents::Options;
use futures_util::FutureExt;
use serde_json::{Value, json};

use crate::client::{Answer, Client};

const CONTAINER: &str = r#"{"id":"c","partitionKey":{"paths":["/pk"],"version":2}}"#;
const DOCS: &str = "/dbs/d/colls/c/docs";
const QUERY: &str = "x-ms-documentdb-isquery: True; x-ms-documentdb-populatequerymetrics: true";

async fn with_items(count: usize, change: impl FnOnce(&mut Options)) -> Client {
    with_items_of(count, 1, change).await
}

/// Items whose property `s` is the number's text, repeated.
async fn with_items_of(count: usize, times: usize, change: impl FnOnce(&mut Options)) -> Client {
    let client = Client::with(change);
    client.container(CONTAINER).await;
    for start in (0..count).step_by(100) {
        for pk in ["even", "odd"] {
            let parity = usize::from(pk == "odd");
            let items = (start..count.min(start + 100)).filter(|n| n % 2 == parity);
            let operations: Vec<Value> = items
                .map(|n| {
                    let item = json!({"id": format!("i{n}"), "pk": pk, "n": (n * 7919) % count, "s": n.to_string().repeat(times)});
                    json!({"operationType": "Create", "resourceBody": item})
                })
                .collect();
            if operations.is_empty() {
                continue;
            }
            let line = format!(
                "POST {DOCS} x-ms-cosmos-is-batch-request: True; x-ms-cosmos-batch-atomic: True; x-ms-documentdb-partitionkey: [\"{pk}\"]"
            );
            assert_eq!(client.send(&line, &json!(operations).to_string()).await.status, 200);
        }
    }
    client
}

async fn page(client: &Client, sql: &str, headers: &str, continuation: &str) -> Answer {
    let continuation = match continuation {
        "" => String::new(),
        token => format!("; x-ms-continuation: {token}"),
    };
    let line = format!("POST {DOCS} {QUERY}{headers}{continuation}");
    client.send(&line, &json!({ "query": sql }).to_string()).await
}

/// All rows of a query, its number of pages, and the most rows that one page scanned.
async fn all(client: &Client, sql: &str, headers: &str) -> (Vec<Value>, usize, u64) {
    let (mut rows, mut pages, mut most) = (Vec::new(), 0, 0);
    let mut continuation = String::new();
    loop {
        let answer = page(client, sql, headers, &continuation).await;
        assert_eq!(answer.status, 200, "{sql}: {}", answer.body);
        rows.extend(answer.rows());
        pages += 1;
        most = most.max(looked_at(&answer));
        continuation = answer.header("x-ms-continuation").to_owned();
        assert!(continuation.len() <= 8 * 1024);
        if continuation.is_empty() {
            return (rows, pages, most);
        }
        assert!(pages < 10_000, "{sql} makes no progress");
    }
}

fn looked_at(answer: &Answer) -> u64 {
    let metrics = answer.header("x-ms-documentdb-query-metrics");
    let count = metrics.split(';').find_map(|pair| pair.strip_prefix("retrievedDocumentCount="));
    count.and_then(|count| count.parse().ok()).expect("the metrics count the rows")
}

fn metric(client: &Client, name: &str) -> u64 {
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &client.registry).expect("metrics encode");
    let line = text.lines().find(|line| line.starts_with(name) && line.contains(' '));
    line.and_then(|line| line.rsplit(' ').next()?.parse().ok()).unwrap_or(0)
}

#[tokio::test]
async fn a_query_with_small_budgets_gives_the_same_rows_in_more_pages() {
    let free = with_items(230, |_| {}).await;
    let tight = with_items(230, |options| options.query_rows_max = 10).await;
    for sql in [
        "SELECT * FROM c",
        "SELECT VALUE c.id FROM c WHERE c.n = 3",
        "SELECT VALUE c.id FROM c WHERE false",
        "SELECT TOP 7 VALUE c.id FROM c WHERE c.pk = 'odd'",
        "SELECT VALUE c.id FROM c OFFSET 120 LIMIT 30",
        "SELECT VALUE c.n FROM c ORDER BY c.n",
        "SELECT VALUE c.n FROM c WHERE c.pk = 'odd' ORDER BY c.n DESC",
        "SELECT VALUE c.id FROM c ORDER BY c.pk, c.s DESC",
        "SELECT VALUE c.n FROM c ORDER BY c.n OFFSET 20 LIMIT 150",
        "SELECT TOP 5 VALUE c.n FROM c ORDER BY c.n",
        "SELECT VALUE COUNT(1) FROM c",
        "SELECT COUNT(1) AS n, SUM(c.n) AS sum, AVG(c.n) AS mean, MIN(c.s) AS low, MAX(c.s) AS high FROM c",
        "SELECT VALUE MIN(c.missing) FROM c",
        "SELECT VALUE SUM(c.n) FROM c WHERE c.pk = 'even'",
    ] {
        for headers in ["", "; x-ms-max-item-count: 3", "; x-ms-documentdb-partitionkey: [\"odd\"]"] {
            let (expected, ..) = all(&free, sql, headers).await;
            let (rows, pages, most) = all(&tight, sql, headers).await;
            let bare = |rows: Vec<Value>| -> Vec<Value> { rows.into_iter().map(without_times).collect() };
            assert_eq!(bare(rows), bare(expected), "{sql} {headers}");
            assert!(most <= 10, "{sql} {headers}: a page looked at {most} rows");
            assert!(pages >= 2, "{sql} {headers}: one page");
        }
    }
    assert!(metric(&tight, "documents_query_pages_cut_total") > 100);
    assert_eq!(metric(&free, "documents_query_pages_cut_total"), 0);
}

fn without_times(mut row: Value) -> Value {
    if let Some(row) = row.as_object_mut() {
        row.remove("_ts");
    }
    row
}

#[tokio::test]
async fn rows_that_change_between_two_requests_of_a_sorted_scan_are_not_lost() {
    let client = with_items(60, |options| options.query_rows_max = 10).await;
    let sql = "SELECT c.id, c.n FROM c ORDER BY c.n";
    let (mut seen, mut continuation, mut requests) = (BTreeSet::new(), String::new(), 0);
    loop {
        let answer = page(&client, sql, "; x-ms-max-item-count: 4", &continuation).await;
        seen.extend(answer.rows().iter().map(|row| row["id"].as_str().expect("an id").to_owned()));
        continuation = answer.header("x-ms-continuation").to_owned();
        if continuation.is_empty() {
            break;
        }
        requests += 1;
        if requests % 6 == 3 && requests < 40 {
            // A row that is among the first rows so far moves behind all others.
            let moved = json!({"id": "i0", "pk": "even", "n": 1000 + requests});
            let line = format!("POST {DOCS} x-ms-documentdb-is-upsert: true");
            assert_eq!(client.send(&line, &moved.to_string()).await.status, 200);
        }
        assert!(requests < 1000);
    }
    assert_eq!(seen.len(), 60, "{seen:?}");
}

#[tokio::test]
async fn a_query_of_ten_thousand_terms_has_bounded_pages() {
    let client = with_items(300, |options| options.query_steps_max = 2_000_000).await;
    let terms: Vec<String> = (0..9_999).map(|n| format!("c.none={n}")).collect();
    let sql = format!("SELECT VALUE c.id FROM c WHERE {}", terms.join(" OR "));
    let (rows, pages, most) = all(&client, &sql, "").await;
    assert_eq!((rows.len(), pages > 2, most < 100), (0, true, true), "{pages} pages, {most} rows");
    // One item costs as much as a page may cost, or more: continuing would never end.
    let small = with_items(3, |options| options.query_steps_max = 1000).await;
    let answer = page(&small, &sql, "", "").await;
    assert!(answer.status == 400 && answer.error().contains("1000 steps"), "{}", answer.body);
}

#[tokio::test]
async fn queries_with_too_many_terms_are_rejected_before_they_run() {
    let client = with_items(1, |_| {}).await;
    for (condition, error) in [
        (vec!["1=0"; 10_002].join(" OR "), "maximum number of 'OR' operators. The allowed limit is 10000"),
        (vec!["1=1"; 10_002].join(" AND "), "maximum number of 'AND' operators. The allowed limit is 10000"),
        (
            format!("1 IN ({})", vec!["1"; 16_001].join(",")),
            "values in an 'IN' list. The allowed limit is 16000",
        ),
        (format!("ARRAY_LENGTH([{}]) = 1", vec!["1"; 110_000].join(",")), "number of operands"),
    ] {
        let answer = page(&client, &format!("SELECT * FROM c WHERE {condition}"), "", "").await;
        assert!(answer.status == 400 && answer.error().contains(error), "{}", answer.body);
    }
    let many = format!("SELECT VALUE COUNT(1) FROM c WHERE 1 IN ({})", vec!["1"; 16_000].join(","));
    assert_eq!(page(&client, &many, "", "").await.rows(), [1]);
}

#[tokio::test]
async fn a_query_that_builds_too_many_bytes_from_one_item_is_rejected() {
    let client = with_items(1, |_| {}).await;
    let large = json!({"id": "large", "pk": "x", "s": "x".repeat(1_000_000)});
    assert_eq!(client.send(&format!("POST {DOCS}"), &large.to_string()).await.status, 201);
    for select in [
        format!("VALUE [{}]", vec!["c.s"; 20_000].join(",")),
        format!("VALUE LENGTH(CONCAT({}))", vec!["c.s"; 40].join(",")),
        format!("VALUE ARRAY_LENGTH([{}])", vec!["UPPER(c.s)"; 20_000].join(",")),
        (0..5000).map(|n| format!("c.s AS a{n}")).collect::<Vec<_>>().join(","),
    ] {
        let answer = page(&client, &format!("SELECT {select} FROM c WHERE c.id = 'large'"), "", "").await;
        assert!(answer.status == 400 && answer.error().contains("build more than"), "{}", answer.body);
    }
    // All uses of a parameter share its value.
    let terms = vec!["c.s = @p"; 9000].join(" OR ");
    let query = json!({
        "query": format!("SELECT VALUE c.id FROM c WHERE {terms}"),
        "parameters": [{"name": "@p", "value": "y".repeat(1_500_000)}],
    });
    let answer = client.send(&format!("POST {DOCS} {QUERY}"), &query.to_string()).await;
    assert_eq!((answer.status, answer.rows().len()), (200, 0));
}

#[tokio::test]
async fn a_condition_of_a_patch_has_a_budget() {
    let client = with_items(1, |_| {}).await;
    let large = json!({"id": "large", "pk": "x", "n": 1, "s": "x".repeat(1_000_000)});
    assert_eq!(client.send(&format!("POST {DOCS}"), &large.to_string()).await.status, 201);
    let line = format!("PATCH {DOCS}/large x-ms-documentdb-partitionkey: [\"x\"]");
    let operations = json!([{"op": "incr", "path": "/n", "value": 1}]);
    let condition = format!("from c where {}", vec!["CONTAINS(c.s, 'y')"; 1000].join(" OR "));
    let patch = json!({"condition": condition, "operations": operations}).to_string();
    let answer = client.send(&line, &patch).await;
    assert!(answer.status == 400 && answer.error().contains("200000 steps"), "{}", answer.body);
    let long =
        json!({"condition": format!("from c where {}", "1=1 AND ".repeat(9000)), "operations": operations});
    assert!(client.send(&line, &long.to_string()).await.error().contains("at most 65536"));
    let fine = json!({"condition": "from c where c.n = 1", "operations": operations}).to_string();
    assert_eq!(client.send(&line, &fine).await.json()["n"], 2);
}

/// A query that takes minutes over [`LARGE`] items.
fn endless() -> String {
    let terms = vec!["CONTAINS(c.s, 'no', true)"; 9000].join(" OR ");
    json!({ "query": format!("SELECT VALUE COUNT(1) FROM c WHERE {terms}") }).to_string()
}

/// Number of items, and how often their text is repeated.
const LARGE: (usize, usize) = (400, 6000);

fn without_limits(options: &mut Options) {
    options.query_ms_max = 3_600_000;
    options.query_steps_max = u64::MAX;
    options.query_rows_max = u64::MAX;
}

#[tokio::test(flavor = "multi_thread")]
async fn queries_of_disconnected_clients_end() {
    let client = with_items_of(LARGE.0, LARGE.1, without_limits).await;
    let before = metric(&client, "documents_query_rows_total");
    let mut calls: Vec<_> =
        (0..40).map(|_| client.start(&format!("POST {DOCS} {QUERY}"), &endless())).collect();
    for call in &mut calls {
        assert!(call.now_or_never().is_none(), "the query cannot have ended");
    }
    drop(calls);
    let ended = async {
        while metric(&client, "documents_reads_abandoned_total{lane=\"Scan\"}") < 40 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(120), ended).await.expect("abandoned queries end");
    let rows = metric(&client, "documents_query_rows_total") - before;
    assert!(rows < LARGE.0 as u64, "the queries went on to look at {rows} rows");
    assert_eq!(metric(&client, "documents_read_queue_requests{lane=\"Scan\"}"), 0);
    assert_eq!(metric(&client, "documents_reads_abandoned_total{lane=\"Point\"}"), 0);
    assert_eq!(client.query("SELECT VALUE COUNT(1) FROM c").await, LARGE.0.to_string());
}

#[tokio::test(flavor = "multi_thread")]
async fn point_reads_writes_and_feeds_do_not_wait_for_queries() {
    let client = with_items_of(LARGE.0, LARGE.1, without_limits).await;
    let mut calls: Vec<_> =
        (0..8).map(|_| Box::pin(client.start(&format!("POST {DOCS} {QUERY}"), &endless()))).collect();
    for call in &mut calls {
        assert!(call.now_or_never().is_none(), "the query cannot have ended");
    }
    for n in (0..LARGE.0).step_by(40) {
        let line = format!("GET {DOCS}/i{n} x-ms-documentdb-partitionkey: [\"even\"]");
        assert_eq!(client.send(&line, "").await.status, 200);
    }
    let item = r#"{"id":"new","pk":"x"}"#;
    assert_eq!(client.send(&format!("POST {DOCS}"), item).await.status, 201);
    let feed = client.send(&format!("GET {DOCS} a-im: Incremental Feed; x-ms-max-item-count: 1"), "").await;
    assert_eq!(feed.status, 200);
    assert_eq!(client.send("GET /dbs/d/colls/c", "").await.status, 200);
    assert_eq!(client.send("GET /dbs/d/colls/c/pkranges", "").await.status, 200);
    for call in &mut calls {
        assert!(call.now_or_never().is_none(), "all queries are still there: nothing waited for one");
    }
}

#[tokio::test]
async fn a_feed_with_a_small_budget_gives_the_same_items_in_more_pages() {
    let client = with_items(230, |options| options.query_rows_max = 10).await;
    for (scope, count) in [
        ("", 230),
        ("; x-ms-documentdb-partitionkey: [\"odd\"]", 115),
        ("; x-ms-documentdb-partitionkey: [\"none\"]", 0),
        ("; x-ms-start-epk: 00; x-ms-end-epk: 01", 0),
    ] {
        let (mut ids, mut after, mut requests) = (BTreeSet::new(), String::new(), 0);
        loop {
            let line = format!("GET {DOCS} a-im: Incremental Feed; x-ms-max-item-count: 1000{scope}{after}");
            let answer = client.send(&line, "").await;
            after = format!("; if-none-match: {}", answer.header("etag"));
            if answer.status == 304 {
                break;
            }
            assert_eq!(answer.status, 200, "{}", answer.body);
            ids.extend(answer.rows().iter().map(|row| row["id"].to_string()));
            requests += 1;
            assert!(requests < 100, "{scope}: no progress");
        }
        assert_eq!(ids.len(), count, "{scope}");
        assert!(requests >= 3, "{scope}: {requests} requests");
        // From here on, only new changes.
        assert_eq!(
            client.send(&format!("GET {DOCS} a-im: Incremental Feed{scope}{after}"), "").await.status,
            304
        );
    }
}

#[tokio::test]
async fn invalid_continuations_are_rejected() {
    use base64::Engine as _;
    let client = with_items(5, |_| {}).await;
    let token = |value: Value| base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(value.to_string());
    let max = u64::MAX;
    for (sql, value, status) in [
        ("SELECT * FROM c", json!({"n": max, "t": max, "s": max}), 200),
        ("SELECT * FROM c", json!({"n": 0, "t": max, "s": 0}), 200),
        ("SELECT * FROM c ORDER BY c.n", json!({"n": 0, "s": 0, "t": max, "k": [[1]]}), 200),
        (
            "SELECT * FROM c ORDER BY c.n",
            json!({"n": 0, "s": 0, "t": 0, "o": {"n": max, "r": [max, max]}}),
            200,
        ),
        ("SELECT * FROM c ORDER BY c.n", json!({"o": {"n": 0, "r": vec![1; 1001]}}), 400),
        ("SELECT * FROM c ORDER BY c.n", json!({"s": max}), 400),
        ("SELECT VALUE COUNT(1) FROM c", json!({"a": [{"c": max, "t": max, "s": false}]}), 200),
        (
            "SELECT VALUE COUNT(1) FROM c",
            json!({"a": [{"c": 1, "t": 0, "s": false}, {"c": 1, "t": 0, "s": true}]}),
            400,
        ),
    ] {
        let answer = page(&client, sql, "", &token(value)).await;
        assert_eq!(answer.status, status, "{sql} {}", answer.body);
    }
}
