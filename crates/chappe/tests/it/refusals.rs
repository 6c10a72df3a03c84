//! Wrong requests to the built binary: each response says what is wrong, and the process continues.

use identity::{AccessKey, Algorithm, Claims, DEVELOPMENT_SIGNALR_KEY};
use testkit::{ChildProcess, PATIENCE};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::account::{Account, DATE, ITEMS};
use crate::realtime::token;

const BINARY: &str = env!("CARGO_BIN_EXE_chappe");
const HUB: &str = "/api/v1/hubs/chat";
const MESSAGE: &str = r#"{"target":"x","arguments":[]}"#;

async fn start(folder: &std::path::Path) -> ChildProcess {
    let arguments = ["start", "--no-functions", "--ephemeral"];
    ChildProcess::start(BINARY, folder, &arguments).await.expect("it starts")
}

fn audience(path: &str) -> String {
    format!("http://localhost{path}")
}

#[tokio::test]
async fn invalid_messages_are_400_with_the_position() {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let process = start(folder.path()).await;
    let http = process.http("realtime");
    let deep = format!(r#"{{"target":"x","arguments":{}{}}}"#, "[".repeat(5000), "]".repeat(5000));
    let wrong = [
        (HUB, r#"{"target":"#, "at byte 10"),
        (HUB, "[1]", "an object is expected"),
        (HUB, r#"{"arguments":[]}"#, "no target"),
        (HUB, r#"{"target":"x","arguments":1}"#, "must be a JSON array"),
        (HUB, deep.as_str(), "nests deeper"),
        ("/api/v1/hubs/1-2", MESSAGE, "'1-2' is not a valid hub name"),
        ("/api/v1/hubs/%00", MESSAGE, "is not a valid hub name"),
    ];
    for (path, body, words) in wrong {
        let authorization = format!("Bearer {}", token(&audience(path), None));
        let headers = [("authorization", authorization.as_str()), ("content-type", "application/json")];
        let answer = http.send("POST", path, &headers, body.to_owned()).await.expect("it answers");
        assert_eq!(answer.status, 400, "{path} {}", answer.text());
        assert!(answer.text().contains(words), "should say {words:?}: {}", answer.text());
    }
}

#[tokio::test]
async fn invalid_tokens_are_401_with_the_reason() {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let process = start(folder.path()).await;
    let sign = |key: &str, from: u64, to: u64| {
        let key = AccessKey::new(key).expect("the key is not empty");
        identity::sign(&Claims::new(), &audience(HUB), from, to, &key, Algorithm::Hs256)
    };
    let far = 4_000_000_000;
    // {"alg":"none","typ":"JWT"} . {"aud":"http://localhost/api/v1/hubs/chat","exp":4000000000} . no signature
    let unsigned = "eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0.\
                    eyJhdWQiOiJodHRwOi8vbG9jYWxob3N0L2FwaS92MS9odWJzL2NoYXQiLCJleHAiOjQwMDAwMDAwMDB9.";
    let swapped = token(&audience("/api/v1/hubs/other"), None);
    let wrong = [
        (String::new(), "MissingToken"),
        ("Bearer abc".to_owned(), "TokenMalformed"),
        (format!("Bearer {unsigned}"), "TokenAlgorithm"),
        (format!("Bearer {}", sign(&"wrong".repeat(8), 0, far)), "TokenSignature"),
        (format!("Bearer {}", sign(DEVELOPMENT_SIGNALR_KEY, 0, 1000)), "TokenExpired"),
        (format!("Bearer {swapped}"), "TokenAudience"),
    ];
    for (authorization, code) in wrong {
        let headers = [("authorization", authorization.as_str()), ("content-type", "application/json")];
        let answer = process.http("realtime").send("POST", HUB, &headers, MESSAGE).await;
        let answer = answer.expect("it answers");
        assert_eq!(answer.status, 401, "{authorization:?} {}", answer.text());
        assert!(answer.text().contains(code), "should say {code}: {}", answer.text());
    }
}

#[tokio::test]
async fn invalid_documents_are_400_and_wrong_keys_401() {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let process = start(folder.path()).await;
    let account = Account::of(&process);
    account.container().await;
    let deep = format!(r#"{{"id":"1","v":{}{}}}"#, "[".repeat(5000), "]".repeat(5000));
    let wrong = [
        (Some("1"), r#"{"id":"1""#, "not valid JSON"),
        (Some("1"), "[1]", "must be a JSON object"),
        (Some("1"), r#"{"v":1}"#, "needs an id"),
        (Some("2"), r#"{"id":"1"}"#, "artition"),
        (Some("1"), deep.as_str(), "nested deeper"),
    ];
    for (partition, body, words) in wrong {
        let answer = account.send("POST", ITEMS, partition, body).await.expect("it answers");
        assert_eq!(answer.status, 400, "{}", answer.text());
        assert!(answer.text().contains(words), "should say {words:?}: {}", answer.text());
    }
    let stranger = Account::with_key(&process, "d3Jvbmc=");
    let answer = stranger.send("GET", "/dbs", None, "").await.expect("it answers");
    assert_eq!(answer.status, 401);
    assert!(answer.text().contains("check the account key"), "{}", answer.text());
}

/// Sends far more than is read, then reads the response: a server that closes too early destroys it.
async fn flood(authority: &str, head: &str, length: &str) -> String {
    let mut stream = TcpStream::connect(authority).await.expect("it listens");
    let head = format!("{head}{length}\r\nconnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).await.expect("the head is taken");
    if length.starts_with("transfer-encoding") {
        stream.write_all(b"1000000\r\n").await.expect("a chunk of 16 MiB begins");
    }
    let piece = vec![b' '; 1 << 16];
    for _ in 0..256 {
        timeout(PATIENCE, stream.write_all(&piece)).await.expect("it reads on").expect("no reset");
    }
    if length.starts_with("transfer-encoding") {
        stream.write_all(b"\r\n0\r\n\r\n").await.expect("no reset");
    }
    let mut answer = String::new();
    timeout(PATIENCE, stream.read_to_string(&mut answer)).await.expect("in time").expect("an answer");
    answer
}

#[tokio::test]
async fn oversized_bodies_are_413_and_the_client_receives_the_response() {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let process = start(folder.path()).await;
    let account = Account::of(&process);
    account.container().await;
    let message = format!(
        "POST {HUB} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\nauthorization: Bearer {}\r\n",
        token(&audience(HUB), None)
    );
    let item = format!(
        "POST {ITEMS} HTTP/1.1\r\nhost: localhost\r\nx-ms-date: {DATE}\r\nauthorization: {}\r\n\
         x-ms-documentdb-partitionkey: [\"1\"]\r\n",
        account.authorization("POST", ITEMS)
    );
    for (service, head) in [("realtime", message), ("documents", item)] {
        for length in ["content-length: 16777216", "transfer-encoding: chunked"] {
            let answer = flood(process.http(service).authority(), &head, length).await;
            assert!(answer.starts_with("HTTP/1.1 413"), "{service} {length}: {answer}");
            assert!(answer.contains("bytes"), "it says how many are allowed: {answer}");
        }
    }
    assert_eq!(process.http("gateway").get("/healthz").await.expect("it answers").status, 200);
}
