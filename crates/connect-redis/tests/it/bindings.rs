//! The `redis` input and output.

use functions_contract::{BindingError, Connector as _, Direction, Value};
use serde_json::{Map, Value as Json, json};

use crate::server::{Server, connector, context, spec};

async fn read(server: &Server, command: &str) -> Result<Value, BindingError> {
    let host = connector("host", 30_000);
    let reader =
        host.reader(&spec("redis", Direction::In, json!({"command": command})), &server.settings()).await?;
    reader.read(&context(&properties(command))).await
}

async fn write(server: &Server, command: &str, items: Vec<Value>) -> Result<(), BindingError> {
    let host = connector("host", 30_000);
    let sink =
        host.sink(&spec("redis", Direction::Out, json!({"command": command})), &server.settings()).await?;
    sink.write(&context(&properties(command)), items).await
}

fn properties(command: &str) -> Map<String, Json> {
    json!({"command": command}).as_object().unwrap().clone()
}

#[tokio::test]
async fn an_output_runs_its_command_with_the_words_of_each_value() {
    let server = Server::start(&[]);
    write(&server, "SET", vec![Value::Text("a one".into()), Value::Json("\"b two\"".into())]).await.unwrap();
    write(&server, "HSET user", vec![Value::Text("name Ada".into())]).await.unwrap();
    write(&server, "SET", vec![Value::Json("\"c {\\\"x\\\":1}\"".into())]).await.unwrap();
    assert_eq!(read(&server, "GET a").await.unwrap(), Value::Text("one".into()));
    assert_eq!(read(&server, "get b").await.unwrap(), Value::Text("two".into()));
    assert_eq!(read(&server, "GET c").await.unwrap(), Value::Text("{\"x\":1}".into()));
    assert_eq!(read(&server, "HGET user name").await.unwrap(), Value::Text("Ada".into()));
    assert_eq!(read(&server, "STRLEN a").await.unwrap(), Value::Text("3".into()), "numbers are text");
    assert_eq!(read(&server, "TYPE user").await.unwrap(), Value::Text("hash".into()));
    write(&server, "DEL", vec![Value::Text("a b".into())]).await.unwrap();
    assert_eq!(read(&server, "GET a").await.unwrap(), Value::Null);
}

#[tokio::test]
async fn what_redis_rejects_is_an_error_of_the_invocation_with_its_reason() {
    let server = Server::start(&[]);
    let address = format!("127.0.0.1:{}", server.port);
    let error = write(&server, "SET", vec![Value::Text("only-a-key".into())]).await.unwrap_err().to_string();
    assert!(error.starts_with("run SET for the redis output of function 'work'"), "{error}");
    assert!(error.contains("wrong number of arguments"), "{error}");
    let error = write(&server, "NOSUCH", vec![Value::Text("x".into())]).await.unwrap_err().to_string();
    assert!(error.contains(&format!("Redis at {address} does not know a command")), "{error}");
    write(&server, "LPUSH", vec![Value::Text("list x".into())]).await.unwrap();
    let error = read(&server, "GET list").await.unwrap_err().to_string();
    assert_eq!(
        error,
        "run GET for the redis input of function 'work': the key holds another kind of value; name another key, or delete \
         the value"
    );
    let error = write(&server, "SET", vec![Value::Null]).await.unwrap_err().to_string();
    assert!(error.contains("returned nothing for its redis output"), "{error}");
}

#[tokio::test]
async fn an_input_with_a_command_that_writes_is_rejected_when_the_app_is_loaded() {
    let server = Server::start(&[]);
    let error = read(&server, "SET a b").await.unwrap_err();
    assert!(matches!(error, BindingError::Declaration(_)));
    assert!(
        error.to_string().contains("property 'command' is 'SET', but an input only runs commands that read"),
        "{error}"
    );
}

#[tokio::test]
async fn bindings_connect_again_after_the_server_was_restarted() {
    let mut server = Server::start(&[]);
    let host = connector("host", 30_000);
    let spec = spec("redis", Direction::Out, json!({"command": "SET"}));
    let sink = host.sink(&spec, &server.settings()).await.unwrap();
    let properties = properties("SET");
    sink.write(&context(&properties), vec![Value::Text("a 1".into())]).await.unwrap();
    server.restart();
    // The first command may meet the broken connection; the second one never does.
    let _ = sink.write(&context(&properties), vec![Value::Text("a 2".into())]).await;
    sink.write(&context(&properties), vec![Value::Text("a 3".into())]).await.unwrap();
    assert_eq!(read(&server, "GET a").await.unwrap(), Value::Text("3".into()));
}
