//! An in-memory account with the Cosmos DB protocol: the operations that triggers and bindings use. Tests control what a real account does
//! rarely (throttling, splits, other hosts).

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use bytes::Bytes;
use connect_cosmosdb::ChangeOrigin;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use http_messages::{Body, BoxError};
use identity::Principal;
use identity::master_key::{DateRule, MasterKey, SignedParts, verify};
use serde_json::{Map, Value as Json, json};
use tokio::sync::watch;
use trace::TraceContext;

/// The origins of a feed response, as an account of this process attaches them.
#[derive(Clone)]
pub(crate) struct ChangeOrigins(pub(crate) Vec<ChangeOrigin>);

#[derive(Clone)]
pub(crate) struct Fake {
    account: Arc<Mutex<Account>>,
    hint: Arc<watch::Sender<u64>>,
}

#[derive(Default)]
pub(crate) struct Account {
    databases: BTreeMap<String, BTreeMap<String, Container>>,
    number: u64,
    /// The requests so far, as `METHOD path`.
    pub(crate) requests: Vec<String>,
    /// The page sizes that queries asked for.
    pub(crate) page_sizes: Vec<String>,
    /// The next request with this method panics.
    pub(crate) panics_at: Option<Method>,
    /// The number of requests that get 429 first.
    pub(crate) throttled: u32,
    /// The number of feed reads with a start time.
    pub(crate) dated_feeds: u32,
    /// The key with which requests without a principal must be signed.
    pub(crate) key: Option<MasterKey>,
}

struct Container {
    rid: String,
    definition: Map<String, Json>,
    items: BTreeMap<String, Item>,
    /// Ids of physical partitions, with their parents. Items belong to the last one.
    ranges: Vec<(String, Vec<String>)>,
    /// Whether every partition returns all items; otherwise only the last one does.
    copies: bool,
    lsn: u64,
}

#[derive(Clone)]
struct Item {
    document: Map<String, Json>,
    lsn: u64,
    trace: Option<TraceContext>,
}

struct Reply {
    status: StatusCode,
    headers: HeaderMap,
    body: Json,
    origins: Vec<ChangeOrigin>,
}

impl Fake {
    pub(crate) fn new() -> Self {
        Self { account: Arc::default(), hint: Arc::new(watch::channel(0).0) }
    }

    pub(crate) fn with<R>(&self, act: impl FnOnce(&mut Account) -> R) -> R {
        act(&mut self.account.lock().unwrap())
    }

    /// A value that changes with each write to any container.
    pub(crate) fn hint(&self) -> watch::Receiver<u64> {
        self.hint.subscribe()
    }

    pub(crate) fn create_container(&self, database: &str, container: &str, key_path: &str) {
        self.with(|account| account.create_container(database, container, key_path));
    }

    pub(crate) fn drop_container(&self, database: &str, container: &str) {
        self.with(|account| account.databases.get_mut(database).unwrap().remove(container));
    }

    /// Writes a document as a client would.
    pub(crate) fn put(&self, database: &str, container: &str, document: Json) {
        self.with(|account| {
            let Json::Object(document) = document else { panic!("documents are objects") };
            account.container(database, container).unwrap().write(document, None);
        });
        self.hint.send_modify(|number| *number += 1);
    }

    pub(crate) fn documents(&self, database: &str, container: &str) -> Vec<Json> {
        self.with(|account| {
            let items = account.container(database, container).map(|found| found.items.values().cloned());
            items.into_iter().flatten().map(|item| Json::Object(item.document)).collect()
        })
    }

    /// Splits the container's partition into two.
    pub(crate) fn split(&self, database: &str, container: &str) {
        self.with(|account| {
            let container = account.container(database, container).unwrap();
            let (parent, _) = container.ranges.pop().unwrap();
            let next: u64 = parent.parse::<u64>().unwrap() + 1;
            container.ranges =
                vec![(next.to_string(), vec![parent.clone()]), ((next + 1).to_string(), vec![parent])];
        });
    }
}

impl Fake {
    /// Makes every partition return all items.
    pub(crate) fn copy_to_every_range(&self, database: &str, container: &str) {
        self.with(|account| account.container(database, container).unwrap().copies = true);
    }
}

impl tower::Service<Request<Body>> for Fake {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let fake = self.clone();
        Box::pin(async move {
            let (head, body) = request.into_parts();
            let body = body.collect().await.unwrap().to_bytes();
            let strikes =
                fake.with(|account| account.panics_at.take_if(|method| *method == head.method).is_some());
            assert!(!strikes, "a fault that a test ordered");
            let reply = fake.with(|account| account.answer(&head, &body));
            if head.method != Method::GET && reply.status.is_success() {
                fake.hint.send_modify(|number| *number += 1);
            }
            let text = if reply.body.is_null() { Bytes::new() } else { reply.body.to_string().into() };
            let mut response =
                Response::new(Body::new(Full::new(text).map_err(|never| -> BoxError { match never {} })));
            *response.status_mut() = reply.status;
            *response.headers_mut() = reply.headers;
            response.extensions_mut().insert(ChangeOrigins(reply.origins));
            Ok(response)
        })
    }
}

impl Account {
    fn create_container(&mut self, database: &str, container: &str, key_path: &str) {
        self.number += 1;
        let definition = json!({"id": container, "partitionKey": {"paths": [key_path]}});
        let made = Container {
            rid: format!("rid{}", self.number),
            definition: definition.as_object().unwrap().clone(),
            items: BTreeMap::new(),
            ranges: vec![("0".to_owned(), Vec::new())],
            copies: false,
            lsn: 0,
        };
        self.databases.entry(database.to_owned()).or_default().insert(container.to_owned(), made);
    }

    fn container(&mut self, database: &str, container: &str) -> Option<&mut Container> {
        self.databases.get_mut(database)?.get_mut(container)
    }

    fn answer(&mut self, head: &http::request::Parts, body: &Bytes) -> Reply {
        self.requests.push(format!("{} {}", head.method, head.uri.path()));
        if self.throttled > 0 {
            self.throttled -= 1;
            return refusal(StatusCode::TOO_MANY_REQUESTS, "slow down").header("x-ms-retry-after-ms", "1");
        }
        if let Err(reply) = self.authorise(head) {
            return *reply;
        }
        let path = percent_encoding::percent_decode_str(head.uri.path()).decode_utf8().unwrap().into_owned();
        let segments: Vec<&str> = path.trim_matches('/').split('/').collect();
        let json: Json = serde_json::from_slice(body).unwrap_or(Json::Null);
        if head.headers.contains_key("x-ms-documentdb-isquery") {
            let size =
                head.headers.get("x-ms-max-item-count").map(|value| value.to_str().unwrap().to_owned());
            self.page_sizes.extend(size);
        }
        self.dated_feeds += u32::from(head.headers.contains_key("if-modified-since"));
        match (&head.method, segments.as_slice()) {
            (&Method::POST, ["dbs"]) => {
                let id = json["id"].as_str().unwrap().to_owned();
                self.databases.entry(id).or_default();
                reply(StatusCode::CREATED, json)
            }
            (&Method::POST, ["dbs", database, "colls"]) => {
                let key_path = json["partitionKey"]["paths"][0].as_str().unwrap();
                self.create_container(database, json["id"].as_str().unwrap(), key_path);
                reply(StatusCode::CREATED, json!({}))
            }
            (_, ["dbs", database, "colls", name, rest @ ..]) => match self.container(database, name) {
                Some(container) => container.answer(head, rest, json),
                None => refusal(StatusCode::NOT_FOUND, "no such container").header("x-ms-substatus", "1003"),
            },
            _ => refusal(StatusCode::NOT_FOUND, "no such path"),
        }
    }

    fn authorise(&self, head: &http::request::Parts) -> Result<(), Box<Reply>> {
        let Some(key) = self.key.as_ref().filter(|_| head.extensions.get::<Principal>().is_none()) else {
            return Ok(());
        };
        let text = |name: &str| head.headers.get(name).and_then(|value| value.to_str().ok());
        let parts = SignedParts {
            verb: head.method.as_str(),
            path: head.uri.path(),
            ms_date: text("x-ms-date").unwrap_or_default(),
            date: "",
        };
        verify(std::slice::from_ref(key), text("authorization"), &parts, DateRule::Any)
            .map_err(|error| Box::new(refusal(StatusCode::UNAUTHORIZED, &error.to_string())))
    }
}

impl Container {
    fn answer(&mut self, head: &http::request::Parts, path: &[&str], body: Json) -> Reply {
        let header = |name: &str| head.headers.get(name).map(|value| value.to_str().unwrap());
        match (&head.method, path) {
            (&Method::GET, []) => {
                let mut definition = self.definition.clone();
                definition.insert("_rid".to_owned(), self.rid.clone().into());
                definition.insert("_self".to_owned(), format!("dbs/dbrid/colls/{}/", self.rid).into());
                reply(StatusCode::OK, definition.into())
            }
            (&Method::GET, ["pkranges"]) => {
                let ranges = self.ranges.iter().map(|(id, parents)| {
                    json!({"id": id, "minInclusive": "", "maxExclusive": "FF", "parents": parents})
                });
                reply(StatusCode::OK, json!({"PartitionKeyRanges": ranges.collect::<Vec<_>>()}))
            }
            (&Method::GET, ["docs"]) => self.feed(header),
            (&Method::POST, ["docs"]) if header("x-ms-documentdb-isquery").is_some() => self.query(&body),
            (&Method::POST, ["docs"]) => self.post(header, body),
            (_, ["docs", id]) => self.point(head, id, body),
            _ => refusal(StatusCode::METHOD_NOT_ALLOWED, "not here"),
        }
    }

    fn feed<'a>(&self, header: impl Fn(&str) -> Option<&'a str>) -> Reply {
        let range = header("x-ms-documentdb-partitionkeyrangeid").unwrap();
        if !self.ranges.iter().any(|(id, _)| id == range) {
            return refusal(StatusCode::GONE, "split").header("x-ms-substatus", "1002");
        }
        let after = match header("if-none-match") {
            Some("*") => self.lsn,
            Some(etag) => etag.trim_matches('"').parse().unwrap(),
            None => 0,
        };
        let mut items: Vec<_> = self.items.values().filter(|item| item.lsn > after).cloned().collect();
        if !self.copies && self.ranges.last().unwrap().0 != range {
            items.clear();
        }
        items.sort_by_key(|item| item.lsn);
        items.truncate(header("x-ms-max-item-count").unwrap().parse().unwrap());
        let position = items.last().map_or(after, |item| item.lsn);
        let status = if items.is_empty() { StatusCode::NOT_MODIFIED } else { StatusCode::OK };
        let origins =
            items.iter().filter_map(|item| Some((item.lsn, item.trace?, std::time::SystemTime::now())));
        let origins = origins.collect();
        let documents: Vec<_> = items.into_iter().map(|item| item.document).collect();
        let body = if documents.is_empty() { Json::Null } else { json!({"Documents": documents}) };
        let mut reply = reply(status, body)
            .header("etag", &format!("\"{position}\""))
            .header("x-ms-session-token", &format!("0:-1#{}", self.lsn))
            .header("x-ms-content-path", &self.rid);
        reply.origins = origins;
        reply
    }

    /// Two pages if there is more than one row. Filters by the only parameter that the crate uses: a prefix of the id.
    fn query(&self, body: &Json) -> Reply {
        let prefix = body["parameters"][0]["value"].as_str().unwrap_or_default();
        let matching =
            self.items.values().filter(|item| item.document["id"].as_str().unwrap().starts_with(prefix));
        let documents: Vec<_> = matching.map(|item| item.document.clone()).collect();
        reply(StatusCode::OK, json!({"Documents": documents}))
    }

    fn post<'a>(&mut self, header: impl Fn(&str) -> Option<&'a str>, body: Json) -> Reply {
        let Json::Object(document) = body else { return refusal(StatusCode::BAD_REQUEST, "not an object") };
        if header("x-ms-documentdb-partitionkey") != Some(self.key_of(&document).as_str()) {
            return refusal(StatusCode::BAD_REQUEST, "another key").header("x-ms-substatus", "1001");
        }
        let exists = self.items.contains_key(document["id"].as_str().unwrap());
        let upsert = header("x-ms-documentdb-is-upsert").is_some();
        if exists && !upsert {
            return refusal(StatusCode::CONFLICT, "taken");
        }
        let trace = header("traceparent").and_then(TraceContext::parse);
        let item = self.write(document, trace);
        reply(if exists { StatusCode::OK } else { StatusCode::CREATED }, item.document.clone().into())
            .etag(&item)
    }

    fn point(&mut self, head: &http::request::Parts, id: &str, body: Json) -> Reply {
        let Some(item) = self.items.get(id).cloned() else {
            return refusal(StatusCode::NOT_FOUND, "no such item");
        };
        let etag = item.document["_etag"].as_str().unwrap();
        let condition = head.headers.get("if-match").map(|value| value.to_str().unwrap());
        if condition.is_some_and(|condition| condition != etag) {
            return refusal(StatusCode::PRECONDITION_FAILED, "changed");
        }
        match head.method {
            Method::GET => reply(StatusCode::OK, item.document.clone().into()).etag(&item),
            Method::DELETE => {
                self.items.remove(id);
                reply(StatusCode::NO_CONTENT, Json::Null)
            }
            _ => {
                let Json::Object(document) = body else {
                    return refusal(StatusCode::BAD_REQUEST, "no object");
                };
                let item = self.write(document, None);
                reply(StatusCode::OK, item.document.clone().into()).etag(&item)
            }
        }
    }

    fn key_of(&self, document: &Map<String, Json>) -> String {
        let path = self.definition["partitionKey"]["paths"][0].as_str().unwrap();
        document.get(&path[1..]).map_or_else(|| "[{}]".to_owned(), |value| json!([value]).to_string())
    }

    fn write(&mut self, mut document: Map<String, Json>, trace: Option<TraceContext>) -> Item {
        self.lsn += 1;
        document.insert("_lsn".to_owned(), self.lsn.into());
        document.insert("_etag".to_owned(), format!("\"e{}\"", self.lsn).into());
        let item = Item { document, lsn: self.lsn, trace };
        self.items.insert(item.document["id"].as_str().unwrap().to_owned(), item.clone());
        item
    }
}

fn reply(status: StatusCode, body: Json) -> Reply {
    Reply { status, headers: HeaderMap::new(), body, origins: Vec::new() }
}

fn refusal(status: StatusCode, message: &str) -> Reply {
    reply(status, json!({"code": "Refused", "message": message}))
}

impl Reply {
    fn header(mut self, name: &'static str, value: &str) -> Self {
        self.headers.insert(name, value.parse().unwrap());
        self
    }

    fn etag(self, item: &Item) -> Self {
        let etag = item.document["_etag"].as_str().unwrap().to_owned();
        self.header("etag", &etag)
    }
}
