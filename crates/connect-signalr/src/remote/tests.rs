//! The operations of the REST data plane, and the options of requests over the network, against a server with scripted responses.

use std::collections::VecDeque;
use std::num::{NonZeroU64, NonZeroUsize};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::value::RawValue;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

use super::*;

/// A server that answers requests with the statuses of a list, and further requests with 202.
struct Server {
    address: String,
    state: Arc<ServerState>,
}

#[derive(Default)]
struct ServerState {
    statuses: Mutex<VecDeque<&'static str>>,
    heads: Mutex<Vec<String>>,
    /// Requests that have arrived and are not answered yet, and the most of them at a time.
    open: AtomicUsize,
    open_max: AtomicUsize,
    /// Whether responses wait for `release`.
    holds: bool,
    release: Notify,
}

impl Server {
    async fn start(statuses: &[&'static str], holds: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        let address = listener.local_addr().expect("a bound listener has an address").to_string();
        let statuses = Mutex::new(statuses.iter().copied().collect());
        let state = Arc::new(ServerState { statuses, holds, ..ServerState::default() });
        let shared = Arc::clone(&state);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(answer(stream, Arc::clone(&shared)));
            }
        });
        Self { address, state }
    }

    fn service(&self, options: Options) -> RemoteService {
        let text = format!("Endpoint=http://{};AccessKey=secret;Version=1.0;", self.address);
        let connection = SignalRConnectionString::parse(&text).expect("it is valid");
        let key = connection.access_key().expect("it has a key").clone();
        let metrics = egress::Metrics::register(&mut prometheus_client::registry::Registry::default());
        let egress = egress::Client::new(&egress::Options::default(), &metrics).expect("they are valid");
        RemoteService::new(connection, key, Arc::new(RestClient::new(egress, options)))
    }

    fn request_count(&self) -> usize {
        self.state.heads.lock().expect("no test panics here").len()
    }
}

async fn answer(mut stream: TcpStream, state: Arc<ServerState>) {
    let mut head = Vec::new();
    loop {
        head.clear();
        while !head.ends_with(b"\r\n\r\n") {
            let Ok(byte) = stream.read_u8().await else { return };
            head.push(byte);
        }
        let text = String::from_utf8_lossy(&head).into_owned();
        let length = text.to_lowercase();
        let length =
            length.split("content-length: ").nth(1).and_then(|rest| rest.lines().next()?.parse().ok());
        let mut body = vec![0; length.unwrap_or(0)];
        if stream.read_exact(&mut body).await.is_err() {
            return;
        }
        let open = state.open.fetch_add(1, Ordering::SeqCst) + 1;
        state.open_max.fetch_max(open, Ordering::SeqCst);
        state.heads.lock().expect("no test panics here").push(text);
        if state.holds {
            state.release.notified().await;
        }
        state.open.fetch_sub(1, Ordering::SeqCst);
        let status = state.statuses.lock().expect("no test panics here").pop_front();
        let status = status.unwrap_or("202 Accepted");
        let response = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n");
        if stream.write_all(response.as_bytes()).await.is_err() {
            return;
        }
    }
}

async fn send(service: &RemoteService) -> Result<(), BindingError> {
    let arguments = RawValue::from_string("[]".to_owned()).expect("it is JSON");
    let message = SignalRMessage { recipient: Recipient::All, target: "t".to_owned(), arguments };
    service.send("board", &message, TraceContext::root()).await
}

#[tokio::test]
async fn a_request_is_repeated_as_often_as_the_options_allow() {
    let busy = ["503 Service Unavailable", "429 Too Many Requests"];
    let server = Server::start(&busy, false).await;
    let error = send(&server.service(Options::default())).await.expect_err("no retries by default");
    assert!(error.to_string().contains("503"), "{error}");
    assert_eq!(server.request_count(), 1);
    let server = Server::start(&busy, false).await;
    let options = Options { retries_max: 2, retry_delay_ms: 1, ..Options::default() };
    send(&server.service(options)).await.expect("the third request is accepted");
    assert_eq!(server.request_count(), 3);
}

#[tokio::test]
async fn a_status_that_may_follow_a_sent_message_is_not_repeated() {
    for status in ["500 Internal Server Error", "401 Unauthorized"] {
        let server = Server::start(&[status], false).await;
        let options = Options { retries_max: 2, retry_delay_ms: 1, ..Options::default() };
        send(&server.service(options)).await.expect_err("the first response counts");
        assert_eq!(server.request_count(), 1, "{status}");
    }
}

#[tokio::test]
async fn a_response_that_exceeds_the_time_limit_fails_the_request() {
    let server = Server::start(&[], true).await;
    let options = Options { request_timeout_ms: NonZeroU64::new(20), ..Options::default() };
    let error = send(&server.service(options)).await.expect_err("the server never answers");
    assert!(matches!(error, BindingError::System { retryable: true, .. }), "{error}");
}

#[tokio::test]
async fn requests_beyond_the_limit_wait_for_one_that_ends() {
    let server = Server::start(&[], true).await;
    let options = Options { requests_max: NonZeroUsize::new(2), ..Options::default() };
    let service = Arc::new(server.service(options));
    let mut sends = tokio::task::JoinSet::new();
    for _ in 0..5 {
        let service = Arc::clone(&service);
        sends.spawn(async move { send(&service).await });
    }
    // Enough time for further requests to arrive if they did not wait.
    for _ in 0..2000 {
        tokio::task::yield_now().await;
    }
    while !sends.is_empty() {
        tokio::select! {
            Some(sent) = sends.join_next() => sent.expect("it does not panic").expect("it is accepted"),
            () = tokio::task::yield_now() => server.state.release.notify_one(),
        }
    }
    assert_eq!((server.request_count(), server.state.open_max.load(Ordering::SeqCst)), (5, 2));
}

#[tokio::test]
async fn the_lifetime_of_request_tokens_is_that_of_the_options() {
    let server = Server::start(&[], false).await;
    let seconds = NonZeroU64::new(77).expect("not zero");
    let service = server.service(Options { request_token_lifetime_s: seconds, ..Options::default() });
    send(&service).await.expect("it is accepted");
    let head = server.state.heads.lock().expect("no test panics here")[0].clone();
    let token = head.split("Bearer ").nth(1).and_then(|rest| rest.lines().next()).expect("a token");
    let payload = token.split('.').nth(1).expect("a JSON web token");
    let payload = base64::Engine::decode(&base64::engine::general_purpose::URL_SAFE_NO_PAD, payload);
    let payload: serde_json::Value =
        serde_json::from_slice(&payload.expect("it is base64")).expect("it is JSON");
    let seconds = |name: &str| payload[name].as_u64().expect("a time");
    assert_eq!(seconds("exp") - seconds("iat"), 77);
}

#[test]
fn each_group_action_calls_the_operation_of_the_oldest_version() {
    let connection = |id: &str| GroupMember::Connection(id.to_owned());
    let user = |id: &str| GroupMember::User(id.to_owned());
    let cases = [
        (connection("c"), GroupAction::Add("a b".to_owned()), r#"PUT V1("/groups/a%20b/connections/c")"#),
        (user("u/1"), GroupAction::Remove("g".to_owned()), r#"DELETE V1("/groups/g/users/u%2F1")"#),
        (user("u"), GroupAction::RemoveAll, r#"DELETE V1("/users/u/groups")"#),
        (connection("c"), GroupAction::RemoveAll, r#"DELETE V2022("/connections/c/groups")"#),
    ];
    for (member, action, expected) in cases {
        let (method, operation) = group_operation(&SignalRGroupAction { member, action });
        assert_eq!(format!("{method} {operation:?}"), expected);
    }
}
