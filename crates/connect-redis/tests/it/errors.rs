//! The errors that users see.

use functions_contract::{BindingError, Connector as _, Direction};
use serde_json::{Value as Json, json};

use crate::server::{PATIENCE, Server, Settings, connector, next, open, spec, text};

async fn failure(settings: &Settings, kind: &str, properties: Json) -> BindingError {
    let mut source = open(&connector("host", 30_000), settings, kind, properties).await;
    tokio::time::timeout(PATIENCE, source.next()).await.expect("it fails in time").unwrap_err()
}

#[tokio::test]
async fn a_server_that_does_not_run_is_named_with_its_setting() {
    let mut server = Server::start(&[]);
    server.kill();
    let address = format!("127.0.0.1:{}", server.port);
    for (kind, properties) in
        [("redisListTrigger", json!({"key": "a"})), ("redisPubSubTrigger", json!({"channel": "a"}))]
    {
        let error = failure(&server.settings(), kind, properties).await;
        assert!(matches!(error, BindingError::System { retryable: true, .. }));
        let text = error.to_string();
        assert!(text.contains(&format!("no connection to Redis at {address} (")), "{text}");
        assert!(text.contains("check that it runs, and host, port and ssl in the setting 'Redis'"), "{text}");
    }
    server.restart();
}

#[tokio::test]
async fn a_wrong_password_is_named_and_a_right_one_is_accepted() {
    let server = Server::start(&["--requirepass", "secret"]);
    let address = format!("127.0.0.1:{}", server.port);
    for wrong in ["", ",password=nothing"] {
        let settings = Settings(format!("{address}{wrong}"));
        for (kind, properties) in
            [("redisStreamTrigger", json!({"key": "a"})), ("redisPubSubTrigger", json!({"channel": "a"}))]
        {
            let text = failure(&settings, kind, properties).await.to_string();
            assert!(text.contains(&format!("Redis at {address} rejected user or password (")), "{text}");
            assert!(text.contains("correct 'user' and 'password' in the setting 'Redis'"), "{text}");
            assert!(!text.contains("nothing"), "the password is not shown: {text}");
        }
    }
    let settings = Settings(format!("{address},password=secret,user=default,name=app"));
    let mut source =
        open(&connector("host", 30_000), &settings, "redisListTrigger", json!({"key": "a"})).await;
    let client = redis::Client::open(format!("redis://:secret@{address}/")).unwrap();
    let mut client = client.get_multiplexed_async_connection().await.unwrap();
    redis::cmd("RPUSH").arg("a").arg("x").exec_async(&mut client).await.unwrap();
    let delivery = next(&mut source).await;
    assert_eq!(text(&delivery.batch.data), "x");
    delivery.complete().await.unwrap();
    let clients: String = redis::cmd("CLIENT").arg("LIST").query_async(&mut client).await.unwrap();
    assert!(clients.contains("name=app "), "{clients}");
}

#[tokio::test]
async fn a_key_with_another_kind_of_value_is_named() {
    let server = Server::start(&[]);
    redis::cmd("SET").arg("text").arg("x").exec_async(&mut server.client().await).await.unwrap();
    for (kind, name) in [("redisListTrigger", "list"), ("redisStreamTrigger", "stream")] {
        let text = failure(&server.settings(), kind, json!({"key": "text"})).await.to_string();
        assert!(
            text.contains(&format!(
                "the {name} 'text' for function 'work': the key holds another kind of value"
            )),
            "{text}"
        );
    }
}

#[tokio::test]
async fn an_invalid_declaration_is_rejected_with_its_property_and_reason() {
    let settings = Settings("localhost:6379".to_owned());
    let check = async |kind: &str, properties: Json, expected: &str| {
        let declared = spec(kind, Direction::In, properties);
        let error =
            connector("host", 1).source(&declared, &settings).await.err().expect("the declaration is wrong");
        assert!(matches!(error, BindingError::Declaration(_)));
        let text = error.to_string();
        let prefix = format!("function 'work', {kind} 'entry': property ");
        assert_eq!(text.strip_prefix(&prefix), Some(expected), "{text}");
    };
    check("redisListTrigger", json!({}), "'key' is missing; set it").await;
    check("redisPubSubTrigger", json!({}), "'channel' is missing; set it").await;
    check(
        "redisListTrigger",
        json!({"key": "a", "maxBatchSize": 0}),
        "'maxBatchSize' must be a positive number",
    )
    .await;
    check(
        "redisListTrigger",
        json!({"key": "a", "listDirection": "UP"}),
        "'listDirection' must be LEFT or RIGHT",
    )
    .await;
    check(
        "redisStreamTrigger",
        json!({"key": "a", "cardinality": "two"}),
        "'cardinality' must be one or many",
    )
    .await;
    check(
        "redisListTrigger",
        json!({"key": "a", "pollingIntervalInMs": "soon"}),
        "'pollingIntervalInMs' must be a whole number",
    )
    .await;
    check(
        "redisListTrigger",
        json!({"key": "a", "connection": "Nowhere"}),
        "'connection' names the setting 'Nowhere', which does not exist; set it to host:port,password=…,ssl=True",
    )
    .await;
    check(
        "redisListTrigger",
        json!({"key": "a", "connection": "Managed"}),
        "'connection' names Managed__redisHostName: connections with Microsoft Entra ID are not supported yet; set Managed to a \
         connection string",
    )
    .await;
}
