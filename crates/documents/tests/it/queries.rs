//! Queries: semantics, paging, errors.

use serde_json::json;

use crate::client::Client;

const CONTAINER: &str = r#"{"id":"c","partitionKey":{"paths":["/pk"]}}"#;
const DOCS: &str = "/dbs/d/colls/c/docs";

async fn with_items() -> Client {
    let client = Client::with_container(CONTAINER).await;
    for item in [
        r#"{"id":"1","pk":"x","n":3,"s":"beta","tags":["a","b"],"o":{"v":1}}"#,
        r#"{"id":"2","pk":"x","n":1,"s":"Alpha","done":true}"#,
        r#"{"id":"3","pk":"y","n":null,"s":"gamma","value":7}"#,
        r#"{"id":"4","pk":"y","s":"delta","done":false}"#,
        r#"{"id":"5","pk":"z","n":"2"}"#,
    ] {
        assert_eq!(client.send(&format!("POST {DOCS}"), item).await.status, 201);
    }
    client
}

#[tokio::test]
async fn conditions_use_three_valued_logic() {
    let client = with_items().await;
    for (condition, ids) in [
        ("c.n = 3", "1"),
        ("c.n = 3.0", "1"),
        ("c.n != 3", "2 3 5"),
        ("c.n = null", "3"),
        ("c.n > 0", "1 2"),
        ("c.n >= 1 AND c.n <= 3", "1 2"),
        ("NOT c.n = 3", "2 3 5"),
        ("NOT (c.n = 3)", "2 3 5"),
        ("c.n = 3 OR c.missing = 1", "1"),
        ("NOT (c.n = 3 OR c.missing = 1)", ""),
        ("c.missing = 1 AND false", ""),
        ("NOT (c.missing = 1 AND false)", "1 2 3 4 5"),
        ("c.n IN (1, 3, '2')", "1 2 5"),
        ("c.n NOT IN (1, 3)", "3 5"),
        ("c.id NOT IN ('1', '2', '3')", "4 5"),
        ("c.n BETWEEN 1 AND 2", "2"),
        ("c.n NOT BETWEEN 1 AND 2", "1"),
        ("IS_DEFINED(c.n)", "1 2 3 5"),
        ("NOT is_defined(c.n)", "4"),
        ("IS_NULL(c.n)", "3"),
        ("IS_NUMBER(c.n) AND c.n % 2 = 1", "1 2"),
        ("STARTSWITH(c.s, 'al')", ""),
        ("STARTSWITH(c.s, 'al', true)", "2"),
        ("CONTAINS(c.s, 'lt') OR ENDSWITH(c.s, 'ma')", "3 4"),
        ("ARRAY_CONTAINS(c.tags, 'b')", "1"),
        ("c.tags[1] = \"b\"", "1"),
        ("c.o = {'v': 1}", "1"),
        ("c[\"o\"][\"v\"] + 1 = 2", "1"),
        ("c.done", "2"),
        ("c.done ? true : c.n = 3", "1 2"),
        ("(c.n ?? 9) = 9", "4"),
        ("c['value'] = 7 and c.value = 7", "3"),
        ("c.pk || c.id = 'x1'", "1"),
        ("c._ts > 0 AND c._etag = c._etag", "1 2 3 4 5"),
        ("true -- and false", "1 2 3 4 5"),
    ] {
        let found = client.query(&format!("SELECT VALUE c.id FROM c WHERE {condition}")).await;
        assert_eq!(found.replace('"', "").replace('\n', " "), ids, "{condition}");
    }
}

/// The values of `v` by id: 0 has none, then null, true, 1, "1", [1], {"a":1}.
async fn with_values_of_every_type() -> Client {
    let client = Client::with_container(CONTAINER).await;
    let values = ["null", "true", "1", r#""1""#, "[1]", r#"{"a":1}"#];
    let bodies = values.iter().zip(1..).map(|(value, id)| format!(r#"{{"id":"{id}","pk":"x","v":{value}}}"#));
    for body in std::iter::once(r#"{"id":"0","pk":"x"}"#.to_owned()).chain(bodies) {
        assert_eq!(client.send(&format!("POST {DOCS}"), &body).await.status, 201);
    }
    client
}

#[tokio::test]
async fn values_of_different_types_are_unequal_and_have_no_order() {
    let client = with_values_of_every_type().await;
    for (condition, ids) in [
        // LINQ's `x.V != null`.
        ("c.v != null", "2 3 4 5 6"),
        ("c.v <> null", "2 3 4 5 6"),
        ("NOT (c.v = null)", "2 3 4 5 6"),
        ("c.v = null", "1"),
        ("null != c.v", "2 3 4 5 6"),
        ("c.v = 1", "3"),
        ("c.v != 1", "1 2 4 5 6"),
        ("c.v != '1'", "1 2 3 5 6"),
        ("c.v != true", "1 3 4 5 6"),
        ("c.v = [1]", "5"),
        ("c.v != [1]", "1 2 3 4 6"),
        ("c.v != ['1']", "1 2 3 4 5 6"),
        ("c.v = {'a': 1}", "6"),
        ("c.v != {'a': 1}", "1 2 3 4 5"),
        ("c.v != {'a': null}", "1 2 3 4 5 6"),
        // A missing element or property is undefined.
        ("c.v[0] = 1", "5"),
        ("c.v[0] != '1'", "5"),
        ("c.v[1] != null", ""),
        ("c.v.a != null", "6"),
        ("c['v']['a'] != 'x'", "6"),
        // Undefined on either side gives undefined, and so does NOT of it.
        ("c.v = undefined", ""),
        ("c.v != undefined", ""),
        ("NOT (c.v != undefined)", ""),
        ("c.none != null", ""),
        ("NOT (c.none = null)", ""),
        ("c.v IN (1, '1', null)", "1 3 4"),
        ("c.v NOT IN (1, '1', null)", "2 5 6"),
        ("NOT (c.v IN (1, [1]))", "1 2 4 6"),
        ("c.v IN (1, c.none)", "3"),
        ("c.v NOT IN (1, c.none)", ""),
        ("ARRAY_CONTAINS([1, null], c.v)", "1 3"),
        ("NOT ARRAY_CONTAINS([1, null], c.v)", "2 4 5 6"),
        // Only booleans, numbers and strings are ordered.
        ("c.v > 0", "3"),
        ("NOT (c.v > 0)", ""),
        ("c.v <= '1'", "4"),
        ("c.v >= null", ""),
        ("NOT (c.v < [2])", ""),
        ("c.v BETWEEN 0 AND 2", "3"),
        ("c.v NOT BETWEEN 5 AND 6", "3"),
        ("c.v NOT BETWEEN 5 AND 'z'", "3"),
        ("c.v != 1 AND c.v != '1'", "1 2 5 6"),
        ("c.v != null OR c.none = 1", "2 3 4 5 6"),
    ] {
        let found = client.query(&format!("SELECT VALUE c.id FROM c WHERE {condition}")).await;
        assert_eq!(found.replace('"', "").replace('\n', " "), ids, "{condition}");
    }
    let shown = client.query("SELECT c.id, c.v = '1' AS e, c.v != '1' AS u, c.v < '2' AS l FROM c").await;
    assert_eq!(
        shown.lines().collect::<Vec<_>>(),
        [
            r#"{"id":"0"}"#,
            r#"{"id":"1","e":false,"u":true}"#,
            r#"{"id":"2","e":false,"u":true}"#,
            r#"{"id":"3","e":false,"u":true}"#,
            r#"{"id":"4","e":true,"u":false,"l":true}"#,
            r#"{"id":"5","e":false,"u":true}"#,
            r#"{"id":"6","e":false,"u":true}"#,
        ]
    );
}

#[tokio::test]
async fn projections_omit_undefined_values() {
    let client = with_items().await;
    for (sql, rows) in [
        (
            "SELECT c.n, c.s AS name FROM c WHERE c.id IN ('1','4')",
            "{\"n\":3,\"name\":\"beta\"}\n{\"name\":\"delta\"}",
        ),
        ("SELECT c.missing FROM c WHERE c.id = '1'", "{}"),
        ("SELECT VALUE c.n FROM c", "3\n1\nnull\n\"2\""),
        ("SELECT c.n + 1, c.id, LOWER(c.s) FROM c WHERE c.id = '2'", r#"{"$1":2,"id":"2","$2":"alpha"}"#),
        ("SELECT VALUE {a: c.n, b: [c.id, c.none]} FROM c WHERE c.id = '1'", r#"{"a":3,"b":["1"]}"#),
        ("SELECT r.o.v FROM root r WHERE r.id = '1'", r#"{"v":1}"#),
        ("SELECT VALUE COUNT(1) FROM c", "5"),
        (
            "SELECT COUNT(c.n) AS n, MIN(c.s) AS low, MAX(c.s) AS high FROM c",
            r#"{"n":4,"low":"Alpha","high":"gamma"}"#,
        ),
        ("SELECT VALUE SUM(c.n) FROM c WHERE c.pk = 'x'", "4"),
        ("SELECT VALUE SUM(c.n) FROM c", ""),
        ("SELECT VALUE AVG(c.n) FROM c WHERE c.pk = 'x'", "2"),
        ("SELECT VALUE COUNT(1) FROM c WHERE false", "0"),
        ("SELECT TOP 2 VALUE c.id FROM c", "\"1\"\n\"2\""),
        ("SELECT VALUE c.id FROM c OFFSET 1 LIMIT 2", "\"2\"\n\"3\""),
        ("SELECT VALUE c.id FROM c ORDER BY c.n", "\"4\"\n\"3\"\n\"2\"\n\"1\"\n\"5\""),
        ("SELECT VALUE c.id FROM c ORDER BY c.pk DESC, c.s ASC OFFSET 1 LIMIT 3", "\"4\"\n\"3\"\n\"2\""),
        ("SELECT VALUE 1", "1\n1\n1\n1\n1"),
    ] {
        assert_eq!(client.query(sql).await, rows, "{sql}");
    }
}

#[tokio::test]
async fn parameters_are_allowed_wherever_a_value_is() {
    let client = with_items().await;
    let body = json!({
        "query": "SELECT TOP @top VALUE c.id FROM c WHERE c.n IN (@a, @b) OR ARRAY_CONTAINS(@list, c.id)",
        "parameters": [
            {"name": "@top", "value": 2}, {"name": "@a", "value": 1}, {"name": "@b", "value": null},
            {"name": "@list", "value": ["5"]},
        ],
    });
    let line = format!("POST {DOCS} content-type: application/query+json");
    assert_eq!(client.send(&line, &body.to_string()).await.rows(), ["2", "3"]);
    let missing = json!({"query": "SELECT * FROM c WHERE c.id = @id", "parameters": []});
    let answer = client.send(&line, &missing.to_string()).await;
    assert!(answer.status == 400 && answer.error().contains("'@id' has no value"), "{}", answer.body);
}

#[tokio::test]
async fn pages_have_the_requested_size_and_no_gaps() {
    let client = with_items().await;
    for (sql, expected) in [
        ("SELECT * FROM c", "1 2|3 4|5"),
        ("SELECT * FROM c WHERE c.pk != 'x'", "3 4|5"),
        ("SELECT * FROM c ORDER BY c.n", "4 3|2 1|5"),
        ("SELECT * FROM c ORDER BY c.pk DESC", "5 3|4 1|2"),
        ("SELECT * FROM c ORDER BY c.n OFFSET 1 LIMIT 3", "3 2|1"),
        ("SELECT TOP 4 * FROM c", "1 2|3 4"),
        ("SELECT * FROM c OFFSET 3 LIMIT 9", "4 5"),
    ] {
        let mut pages = Vec::new();
        let mut continuation = String::new();
        loop {
            let line =
                format!("POST {DOCS} x-ms-documentdb-isquery: True; x-ms-max-item-count: 2{continuation}");
            let page = client.send(&line, &json!({ "query": sql }).to_string()).await;
            assert_eq!(page.status, 200, "{}", page.body);
            pages.push(page.ids());
            assert_eq!(page.header("x-ms-item-count"), page.rows().len().to_string());
            if page.header("x-ms-continuation").is_empty() {
                break;
            }
            continuation = format!("; x-ms-continuation: {}", page.header("x-ms-continuation"));
        }
        assert_eq!(pages.join("|"), expected, "{sql}");
    }
    let line = format!("POST {DOCS} x-ms-documentdb-isquery: True; x-ms-continuation: nonsense");
    assert_eq!(client.send(&line, r#"{"query":"SELECT * FROM c"}"#).await.status, 400);
    let list = client.send(&format!("GET {DOCS} x-ms-max-item-count: 3"), "").await;
    assert_eq!((list.ids().as_str(), list.header("x-ms-continuation").is_empty()), ("1 2 3", false));
}

#[tokio::test]
async fn sort_values_too_long_for_a_continuation_can_be_paged() {
    let client = Client::with_container(CONTAINER).await;
    for (id, letter) in [("1", "c"), ("2", "a"), ("3", "b")] {
        let item = json!({"id": id, "pk": "x", "s": letter.repeat(5000)});
        client.send(&format!("POST {DOCS}"), &item.to_string()).await;
    }
    let mut ids = Vec::new();
    let mut continuation = String::new();
    for _ in 0..3 {
        let line = format!("POST {DOCS} x-ms-documentdb-isquery: True; x-ms-max-item-count: 1{continuation}");
        let page = client.send(&line, r#"{"query":"SELECT * FROM c ORDER BY c.s"}"#).await;
        ids.push(page.ids());
        let token = page.header("x-ms-continuation");
        assert!(token.len() <= 1024);
        continuation = format!("; x-ms-continuation: {token}");
    }
    assert_eq!((ids.join(" ").as_str(), continuation.as_str()), ("2 3 1", "; x-ms-continuation: "));
}

#[tokio::test]
async fn unsupported_sql_is_rejected_with_its_position() {
    let client = with_items().await;
    for (sql, start, error) in [
        ("SELECT DISTINCT c.pk FROM c", 7, "DISTINCT is not supported by this service yet."),
        ("SELECT * FROM c JOIN t IN c.tags", 16, "JOIN is not supported by this service yet."),
        ("SELECT c.pk FROM c GROUP BY c.pk", 19, "GROUP BY is not supported by this service yet."),
        ("SELECT * FROM c WHERE c.s LIKE 'a%'", 26, "LIKE is not supported by this service yet."),
        ("SELECT * FROM c WHERE EXISTS(SELECT VALUE 1)", 22, "EXISTS is not supported by this service yet."),
        ("SELECT VALUE udf.f(c) FROM c", 13, "A user-defined function is not supported by this service yet."),
        (
            "SELECT * FROM c WHERE ST_AREA(c) > 1",
            22,
            "The function 'ST_AREA' is unknown or not supported by this service.",
        ),
        ("SELECT * FROM c WHERE r0.x = 1", 22, "Identifier 'r0' could not be resolved."),
        ("SELECT * FROM c WHERE", 21, "Syntax error, unexpected end-of-file."),
        ("SELECT * FROM c WHERE c.x = #", 28, "Syntax error, incorrect syntax near '#'."),
        ("DELETE FROM c", 0, "Syntax error, incorrect syntax near 'DELETE'."),
        ("SELECT * FROM c WHERE c.x = 'open", 28, "Syntax error, incorrect syntax near ''open'."),
        (
            "SELECT c.id, COUNT(1) FROM c",
            7,
            "'c' beside an aggregate needs GROUP BY, which this service does not support yet.",
        ),
    ] {
        let line = format!("POST {DOCS} x-ms-documentdb-isquery: True");
        let answer = client.send(&line, &json!({ "query": sql }).to_string()).await;
        assert_eq!((answer.status, answer.error().as_str()), (400, error), "{sql}");
        let location = format!("\\\"start\\\":{start},");
        assert!(answer.body.contains(&location), "{sql} {}", answer.body);
    }
}

#[tokio::test]
async fn deep_and_long_queries_are_rejected_or_run() {
    let client = with_items().await;
    let long = format!("SELECT VALUE c.id FROM c WHERE c.id = '1'{}", " OR c.id = '2'".repeat(5000));
    assert_eq!(client.query(&long).await, "\"1\"\n\"2\"");
    for hostile in [
        format!("SELECT VALUE {}1{} FROM c", "(".repeat(20_000), ")".repeat(20_000)),
        format!("SELECT VALUE {}1 FROM c", "-".repeat(20_001).replace("--", "- -")),
        format!("SELECT VALUE 1{} FROM c", "+1".repeat(20_000)),
        format!("SELECT VALUE c{} FROM c", ".a".repeat(20_000)),
        format!("SELECT VALUE {}true FROM c", "NOT ".repeat(20_000)),
        format!("SELECT VALUE {}1{} FROM c", "[".repeat(20_000), "]".repeat(20_000)),
        format!("SELECT VALUE {}1 FROM c", "true ? 1 : ".repeat(20_000)),
    ] {
        let answer = client.query(&hostile).await;
        assert!(answer.starts_with("400 "), "{} {answer}", &hostile[..40]);
    }
    assert_eq!(client.query("SELECT VALUE COUNT(1) FROM c").await, "5");
}

#[tokio::test]
async fn query_plans_return_the_original_query() {
    let client = with_items().await;
    // Python's plan requests differ from a create only by this header.
    let line = format!("POST {DOCS} x-ms-cosmos-is-query-plan-request: True; content-type: application/json");
    let plan = client.send(&line, r#"{"query":"SELECT VALUE COUNT(1) FROM c"}"#).await.json();
    assert_eq!(plan["queryInfo"]["hasSelectValue"], true);
    assert_eq!(plan["queryInfo"]["aggregates"], json!([]));
    assert_eq!(plan["queryRanges"][0]["max"], "FF");
    let bad = client.send(&line, r#"{"query":"SELECT FROM"}"#).await;
    assert!(
        bad.status == 400 && bad.error().starts_with("Gateway Failed to Retrieve Query Plan"),
        "{}",
        bad.body
    );
}

#[tokio::test]
async fn string_array_and_time_functions_return_their_values() {
    let client = with_items().await;
    for (expression, value) in [
        ("IS_STRING(c.s)", "true"),
        ("IS_STRING(c.none)", "false"),
        ("IS_BOOL(c.n)", "false"),
        ("IS_ARRAY(c.tags)", "true"),
        ("IS_OBJECT(c.o)", "true"),
        ("IS_PRIMITIVE(c.n)", "true"),
        ("IS_PRIMITIVE(c.o)", "false"),
        ("StringEquals(c.s, 'BETA')", "false"),
        ("StringEquals(c.s, 'BETA', true)", "true"),
        ("ARRAY_LENGTH(c.tags)", "2"),
        ("ARRAY_LENGTH(c.s)", ""),
        ("LENGTH(c.s)", "4"),
        ("UPPER(c.s)", "\"BETA\""),
        ("CONCAT(c.s, '-', c.id)", "\"beta-1\""),
        ("CONCAT(c.s, c.n)", ""),
        ("GetCurrentTimestamp() = c._ts * 1000", "true"),
    ] {
        let found = client.query(&format!("SELECT VALUE {expression} FROM c WHERE c.id = '1'")).await;
        assert_eq!(found, value, "{expression}");
    }
}

#[tokio::test]
async fn query_metrics_count_the_returned_items() {
    let client = with_items().await;
    let line = format!("POST {DOCS} x-ms-documentdb-isquery: True");
    let query = r#"{"query":"SELECT * FROM c WHERE c.pk = 'x'"}"#;
    assert_eq!(client.send(&line, query).await.header("x-ms-documentdb-query-metrics"), "");
    let asked = format!("{line}; x-ms-documentdb-populatequerymetrics: true");
    let answer = client.send(&asked, query).await;
    let metrics = answer.header("x-ms-documentdb-query-metrics");
    assert!(metrics.split(';').any(|pair| pair == "outputDocumentCount=2"), "{metrics}");
    assert!(
        metrics
            .split(';')
            .all(|pair| pair.split_once('=').is_some_and(|(_, value)| value.parse::<f64>().is_ok()))
    );
}
