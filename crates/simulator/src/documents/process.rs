//! [`DocumentProcess`]: a simulated process with the document service, and the requests to it.

use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use anyhow::{Context as _, Result};
use documents::{Dependencies, Handle, Options, Service};
use http::{Method, Request};
use http_body_util::{BodyExt, Full};
use http_messages::Body;
use prometheus_client::registry::Registry;
use serde_json::{Value, json};
use supervision::Supervisor;
use tokio::runtime::Runtime;
use tower::Service as _;
use trace::Tracer;

use super::verb::Verb;
use crate::system;

const ITEMS_PATH: &str = "/dbs/d/colls/c/docs";

/// A pending response.
pub(super) type Answer = Pin<Box<dyn Future<Output = Result<Reply>>>>;

/// A response.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) etag: Option<String>,
    body: Value,
}

/// Everything that ends with a process.
pub(super) struct DocumentProcess {
    pub(super) supervisor: Supervisor,
    pub(super) handle: Handle,
    service: Service,
    runtime: Runtime,
}

impl Reply {
    /// The rows of a list or a page of the feed.
    pub(super) fn rows(&self) -> &[Value] {
        self.body["Documents"].as_array().map_or(&[], Vec::as_slice)
    }

    /// The value of the contained item, if the item is complete.
    pub(super) fn value(&self) -> Option<u64> {
        if self.status >= 300 { None } else { value_of(&self.body) }
    }
}

/// The number of an item.
pub(super) fn item_of(row: &Value) -> Option<usize> {
    row["id"].as_str()?.strip_prefix("item")?.parse().ok()
}

/// The value of an item, if both of its copies are equal.
pub(super) fn value_of(row: &Value) -> Option<u64> {
    let value = row["value"].as_u64()?;
    (row["copy"].as_u64() == Some(value)).then_some(value)
}

impl DocumentProcess {
    /// Starts a process on the files of the disk.
    pub(super) fn start(accepts_loss: bool) -> Result<Self> {
        let directory = system::disk(|disk| disk.root().join("documents"));
        let supervisor = Supervisor::simulated();
        let options = Options {
            data_dir: directory,
            accept_loss: accepts_loss,
            development_key: true,
            reserve_bytes: 128 << 10,
            reader_threads: 1,
            point_reader_threads: 1,
            feed_reader_threads: 1,
            ..Options::default()
        };
        let dependencies = Dependencies {
            tracer: Tracer::new(10),
            bodies: http_messages::Budget::default(),
            supervisor: supervisor.clone(),
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
        let started = documents::start(options, dependencies, &mut Registry::default());
        let (service, handle, _join) = started.context("start the document service")?;
        Ok(Self { supervisor, handle, service, runtime })
    }

    /// Polls a response without waiting.
    pub(super) fn poll(
        &self,
        answer: Pin<&mut (dyn Future<Output = Result<Reply>> + 'static)>,
    ) -> Poll<Result<Reply>> {
        let _entered = self.runtime.enter();
        answer.poll(&mut Context::from_waker(Waker::noop()))
    }

    fn send(&self, request: Request<Body>) -> Answer {
        let mut request = request;
        request.extensions_mut().insert(identity::Principal::InProcess { name: "simulator" });
        let answer = self.service.clone().call(request);
        Box::pin(async move {
            let response = match answer.await {
                Ok(response) => response,
                Err(never) => match never {},
            };
            let status = response.status().as_u16();
            let etag = response.headers().get(http::header::ETAG);
            let etag = etag.and_then(|etag| etag.to_str().ok()).map(str::to_owned);
            let body = response.into_body().collect().await.map_err(|error| anyhow::anyhow!("{error}"))?;
            let body = serde_json::from_slice(&body.to_bytes()).unwrap_or_default();
            Ok(Reply { status, etag, body })
        })
    }

    /// Creates the database and the container, one after the other.
    pub(super) fn prepare(&self) -> [Answer; 2] {
        let container = json!({ "id": "c", "partitionKey": { "paths": ["/pk"] } });
        [("/dbs", json!({ "id": "d" })), ("/dbs/d/colls", container)]
            .map(|(path, body)| self.send(request(Method::POST, path, &[], Some(&body))))
    }

    /// Sends a request about an item; `value` is what is written, with this many bytes of padding.
    pub(super) fn item(&self, verb: Verb, item: usize, value: u64, filler: usize) -> Answer {
        let id = format!("item{item}");
        let partition = format!("p{}", item % 3);
        let key = format!("[\"{partition}\"]");
        let key = ("x-ms-documentdb-partitionkey", key.as_str());
        let body =
            json!({ "id": id, "pk": partition, "value": value, "filler": "x".repeat(filler), "copy": value });
        let one = format!("{ITEMS_PATH}/{id}");
        self.send(match verb {
            Verb::Create => request(Method::POST, ITEMS_PATH, &[key], Some(&body)),
            Verb::Upsert => {
                request(Method::POST, ITEMS_PATH, &[key, ("x-ms-documentdb-is-upsert", "true")], Some(&body))
            }
            Verb::Replace => request(Method::PUT, &one, &[key], Some(&body)),
            Verb::Delete => request(Method::DELETE, &one, &[key], None),
            Verb::Read => request(Method::GET, &one, &[key], None),
        })
    }

    /// Lists all items.
    pub(super) fn list(&self) -> Answer {
        self.send(request(Method::GET, ITEMS_PATH, &[("x-ms-max-item-count", "-1")], None))
    }

    /// Reads a page of the change feed.
    pub(super) fn feed(&self, etag: Option<&str>, rows: usize) -> Answer {
        let rows = rows.to_string();
        let mut headers = vec![("a-im", "Incremental Feed"), ("x-ms-max-item-count", rows.as_str())];
        headers.extend(etag.map(|etag| ("if-none-match", etag)));
        self.send(request(Method::GET, ITEMS_PATH, &headers, None))
    }
}

fn request(method: Method, path: &str, headers: &[(&str, &str)], body: Option<&Value>) -> Request<Body> {
    let mut request = Request::builder().method(method).uri(format!("http://localhost:8081{path}"));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let body = body.map(Value::to_string).unwrap_or_default();
    let body = Full::new(bytes::Bytes::from(body)).map_err(|never| match never {}).boxed_unsync();
    request.body(body).expect("the names and values are good")
}
