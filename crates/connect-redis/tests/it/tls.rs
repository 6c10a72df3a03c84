//! Connections over TLS (`ssl=True`).

use std::path::PathBuf;

use connect_redis::{Options, Redis};
use functions_contract::{Connector as _, Direction, Value};
use serde_json::json;

use crate::server::{PATIENCE, Server, Settings, context, next, open, spec, text};

fn trusting(root_files: Vec<PathBuf>) -> Redis {
    Redis::new(Options { root_files, ..Options::default() })
}

#[tokio::test]
async fn triggers_and_outputs_use_tls_with_the_authority_of_root_files() {
    let (server, files) = Server::start_tls();
    let settings = Settings(format!("localhost:{},ssl=True", server.port));
    let redis = trusting(vec![files.root()]);
    let mut list = open(&redis, &settings, "redisListTrigger", json!({"key": "a"})).await;
    let mut channel = open(&redis, &settings, "redisPubSubTrigger", json!({"channel": "news"})).await;
    let properties = json!({"command": "RPUSH"});
    let output = spec("redis", Direction::Out, properties);
    let sink = redis.sink(&output, &settings).await.unwrap();
    sink.write(&context(&output.properties), vec![Value::Text("a x".into())]).await.unwrap();
    let delivery = next(&mut list).await;
    assert_eq!(text(&delivery.batch.data), "x");
    delivery.complete().await.unwrap();
    let publish = spec("redis", Direction::Out, json!({"command": "PUBLISH"}));
    let sink = redis.sink(&publish, &settings).await.unwrap();
    // A message that is published before the subscription exists is lost.
    let received = tokio::time::timeout(PATIENCE, async {
        loop {
            sink.write(&context(&publish.properties), vec![Value::Text("news hello".into())]).await.unwrap();
            tokio::select! {
                biased;
                delivery = channel.next() => return delivery.unwrap(),
                () = tokio::time::sleep(std::time::Duration::from_millis(20)) => {}
            }
        }
    });
    assert!(text(&received.await.unwrap().batch.data).contains("hello"));
}

async fn failure(redis: &Redis, connection: String) -> String {
    let mut source = open(redis, &Settings(connection), "redisListTrigger", json!({"key": "a"})).await;
    tokio::time::timeout(PATIENCE, source.next()).await.unwrap().unwrap_err().to_string()
}

#[tokio::test]
async fn a_certificate_that_is_not_trusted_or_not_for_the_host_is_named() {
    let (server, files) = Server::start_tls();
    let (_other, others) = Server::start_tls();
    let at = |host: &str| format!("{host}:{},ssl=True", server.port);
    for (redis, host) in
        [(trusting(vec![others.root()]), "localhost"), (trusting(vec![files.root()]), "127.0.0.1")]
    {
        let text = failure(&redis, at(host)).await;
        assert!(text.contains("has a certificate that is not trusted ("), "{text}");
        assert!(text.contains("connect.redis.root_files"), "{text}");
    }
    let plain = failure(&trusting(Vec::new()), format!("localhost:{}", server.port)).await;
    assert!(plain.contains("host, port and ssl in the setting 'Redis'"), "{plain}");
    let missing = trusting(vec![files.root().with_file_name("nowhere.pem")]);
    let trigger = spec("redisListTrigger", Direction::In, json!({"key": "a"}));
    let error = missing.source(&trigger, &Settings(at("localhost"))).await.err().unwrap().to_string();
    assert!(error.contains("nowhere.pem of connect.redis.root_files cannot be read"), "{error}");
}
