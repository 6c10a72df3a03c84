//! Databases and containers.

use std::sync::Arc;

use http::{Method, StatusCode};
use serde_json::{Map, Value, json};

use super::Service;
use crate::catalog::{Container, Database, default_ttl, unique_keys};
use crate::error::{RequestFailure, sentence};
use crate::error_table;
use crate::from_protocol::{Address, DocumentRequest};
use crate::metrics::ReadPool;
use crate::partition_key::{self, PartitionKeyDefinition};
use crate::query::{self, ListRows};
use crate::resource_id::{check_id, database_rid};
use crate::store::{StoreChange, rows};
use crate::to_protocol::{self, Reply};

/// Properties of a container that cannot be changed later.
const FIXED: [&str; 2] = ["partitionKey", "uniqueKeyPolicy"];

impl Service {
    pub(super) fn database(&self, name: &str) -> Result<Arc<Database>, RequestFailure> {
        let snapshot = self.inner.store.catalog().now();
        snapshot
            .database(name)
            .cloned()
            .ok_or_else(|| RequestFailure::not_found(&format!("The database {name:?}")))
    }

    pub(super) async fn databases(&self, call: &DocumentRequest) -> Result<Reply, RequestFailure> {
        match (&call.method, &call.address) {
            (&Method::GET, Address::Database(name)) => {
                let database = self.database(name)?;
                let etag = to_protocol::database_etag(&database);
                Ok(Reply::json(&to_protocol::database(&database)).with("etag", etag))
            }
            (&Method::DELETE, Address::Database(name)) => {
                let database = self.database(name)?.number;
                self.define(StoreChange::DeleteDatabase { database }).await?;
                Ok(Reply::empty(StatusCode::NO_CONTENT))
            }
            (&Method::POST, Address::Databases) if !call.is_query() => self.create_database(call).await,
            (&Method::GET | &Method::POST, Address::Databases) => {
                let snapshot = self.inner.store.catalog().now();
                let all = snapshot.databases().map(|database| to_protocol::database(database)).collect();
                self.list_or_query(call, "", "Databases", all).await
            }
            _ => Err(RequestFailure::new(
                &error_table::METHOD_NOT_ALLOWED,
                "A database cannot be changed, only made and deleted.",
            )),
        }
    }

    async fn create_database(&self, call: &DocumentRequest) -> Result<Reply, RequestFailure> {
        let id = id_of(&call.object()?)?;
        let offer = offer_of(call)?;
        self.define(StoreChange::CreateDatabase { id: id.clone(), offer }).await?;
        let database = self.database(&id)?;
        let mut reply = Reply::json(&to_protocol::database(&database));
        reply.status = StatusCode::CREATED;
        Ok(reply.with("etag", to_protocol::database_etag(&database)))
    }

    pub(super) async fn containers(&self, call: &DocumentRequest) -> Result<Reply, RequestFailure> {
        match (&call.method, &call.address) {
            (&Method::GET, Address::Container(owner)) => {
                let container = self.container(call, owner).map_err(|failure| failure.with_substatus(0))?;
                self.read_container(call, container).await
            }
            (&Method::PUT, Address::Container(owner)) => {
                let container = self.container(call, owner)?;
                self.replace_container(call, &container).await
            }
            (&Method::DELETE, Address::Container(owner)) => {
                let container = self.container(call, owner).map_err(|failure| failure.with_substatus(0))?;
                self.define(StoreChange::DeleteContainer { container: container.number }).await?;
                Ok(Reply::empty(StatusCode::NO_CONTENT))
            }
            (&Method::POST, Address::Containers(database)) if !call.is_query() => {
                self.create_container(call, database).await
            }
            (_, Address::Containers(database)) => {
                let database = self.owner(database)?;
                let snapshot = self.inner.store.catalog().now();
                let all =
                    snapshot.containers_of(database.number).map(|it| to_protocol::container(it)).collect();
                self.list_or_query(call, &database_rid(database.number), "DocumentCollections", all).await
            }
            _ => Err(RequestFailure::new(
                &error_table::METHOD_NOT_ALLOWED,
                "This method is not possible on a container.",
            )),
        }
    }

    fn owner(&self, database: &str) -> Result<Arc<Database>, RequestFailure> {
        self.database(database)
            .map_err(|_| RequestFailure::owner_missing(&format!("The database {database:?}")))
    }

    async fn read_container(
        &self,
        call: &DocumentRequest,
        container: Arc<Container>,
    ) -> Result<Reply, RequestFailure> {
        let number = container.number;
        let populate = call.flag("x-ms-documentdb-populatequotainfo");
        // Usage reads all items.
        let pool = if populate { ReadPool::Scan } else { ReadPool::Point };
        let (lsn, usage) = self
            .inner
            .store
            .read(pool, move |connection| {
                let usage = if populate { Some(rows::usage(connection, number)?) } else { None };
                Ok((rows::newest_lsn(connection, number)?, usage))
            })
            .await?;
        let mut reply = container_reply(StatusCode::OK, &container).of_database(&container, lsn);
        if let Some((items, bytes)) = usage {
            let kib = bytes / 1024;
            reply = reply
                .with(
                    "x-ms-resource-quota",
                    "documentsCount=-1;documentsSize=20971520;collectionSize=20971520;",
                )
                .with(
                    "x-ms-resource-usage",
                    format!("documentsCount={items};documentsSize={kib};collectionSize={kib};"),
                )
                .with("x-ms-documentdb-collection-index-transformation-progress", "100");
        }
        Ok(reply)
    }

    async fn create_container(
        &self,
        call: &DocumentRequest,
        database: &str,
    ) -> Result<Reply, RequestFailure> {
        let database = self.owner(database)?;
        let given = call.object()?;
        let id = id_of(&given)?;
        let definition = filled_in(given)?;
        let offer = offer_of(call)?;
        let change =
            StoreChange::CreateContainer { database: database.number, id: id.clone(), definition, offer };
        self.define(change).await?;
        let snapshot = self.inner.store.catalog().now();
        let container = snapshot.container(database.number, &id).ok_or_else(|| {
            // It was deleted since its commit.
            RequestFailure::owner_missing("The container")
        })?;
        Ok(container_reply(StatusCode::CREATED, container).of_database(container, 0))
    }

    async fn replace_container(
        &self,
        call: &DocumentRequest,
        container: &Container,
    ) -> Result<Reply, RequestFailure> {
        let given = call.object()?;
        if id_of(&given)? != container.id {
            return Err(RequestFailure::bad_request(
                "The id in the body is not that of the container. A container cannot be renamed.",
            ));
        }
        let definition = filled_in(given)?;
        for name in FIXED {
            if definition.get(name) != container.definition.get(name) {
                return Err(RequestFailure::bad_request(format!(
                    "The {name} of a container cannot be changed. Make a new container."
                )));
            }
        }
        let if_match = match call.conditions().if_match.as_deref() {
            None | Some("*") => None,
            Some(etag) if etag == to_protocol::container_etag(container) => Some(container.version),
            // A version that no container has: the writer rejects it.
            Some(_) => Some(0),
        };
        self.define(StoreChange::ReplaceContainer { container: container.number, definition, if_match })
            .await?;
        let snapshot = self.inner.store.catalog().now();
        let replaced = snapshot
            .by_number(container.number)
            .ok_or_else(|| RequestFailure::owner_missing("The container"))?;
        let number = container.number;
        let lsn = self
            .inner
            .store
            .read(ReadPool::Point, move |connection| rows::newest_lsn(connection, number))
            .await?;
        Ok(container_reply(StatusCode::OK, replaced).of_database(replaced, lsn))
    }

    pub(super) async fn define(&self, change: StoreChange) -> Result<(), RequestFailure> {
        self.inner.store.change(change, 1).await.map(drop).map_err(|refusal| refusal.failure)
    }

    /// A list of definitions: all, or those that match a query.
    pub(super) async fn list_or_query(
        &self,
        call: &DocumentRequest,
        rid: &str,
        key: &str,
        all: Vec<Value>,
    ) -> Result<Reply, RequestFailure> {
        let limits = call.page_limits(&self.inner.options)?;
        let continuation = call.continuation().map(str::to_owned);
        let body = if call.is_query() { Some(call.query_body(&self.inner.options)?) } else { None };
        let now_ts = self.inner.clock.seconds();
        // On a reader thread: a query must not block the runtime. A list without a query does not wait for queries.
        let pool = if body.is_some() { ReadPool::Scan } else { ReadPool::Point };
        let page = self
            .query_page(pool, move |_, meter| {
                let (text, parameters) = body.map_or_else(
                    || ("SELECT * FROM c".to_owned(), Map::new()),
                    |body| (body.text, body.parameters),
                );
                let query = query::parse(&text, &parameters)?;
                query::run(&query, &ListRows(all), limits, continuation.as_deref(), now_ts, meter)
            })
            .await?;
        Ok(page_reply(rid, key, &page))
    }
}

/// The response with a page.
pub(super) fn page_reply(rid: &str, key: &str, page: &query::ResultPage) -> Reply {
    let reply = Reply::new(StatusCode::OK, to_protocol::list(rid, key, &page.rows))
        .with("x-ms-item-count", page.rows.len().to_string());
    match &page.continuation {
        Some(continuation) => reply.with("x-ms-continuation", continuation),
        None => reply,
    }
}

fn container_reply(status: StatusCode, container: &Container) -> Reply {
    Reply::new(status, to_protocol::container(container).to_string())
        .with("etag", to_protocol::container_etag(container))
}

fn id_of(body: &Map<String, Value>) -> Result<String, RequestFailure> {
    let id = body.get("id").and_then(Value::as_str);
    let id = id.ok_or_else(|| RequestFailure::bad_request("The body needs an id that is a text."))?;
    check_id(id)?;
    Ok(id.to_owned())
}

/// Validates a definition and adds the defaults of Azure; unknown properties are stored unchanged.
fn filled_in(mut given: Map<String, Value>) -> Result<Map<String, Value>, RequestFailure> {
    for link in ["_docs", "_sprocs", "_triggers", "_udfs", "_conflicts"] {
        given.remove(link);
    }
    let wrong = |why: &str| RequestFailure::bad_request(sentence(why));
    PartitionKeyDefinition::from_json(given.get("partitionKey"))?;
    default_ttl(&given).map_err(wrong)?;
    unique_keys(&given).map_err(wrong)?;
    if let Some(Value::Object(key)) = given.get_mut("partitionKey") {
        key.entry("kind").or_insert_with(|| json!("Hash"));
        let version = key.entry("version").or_insert_with(|| json!(1));
        *version = json!(partition_key::version(version)?);
    }
    let policy = given.remove("indexingPolicy").filter(|policy| !policy.is_null());
    given.insert("indexingPolicy".to_owned(), indexing_policy(policy)?);
    let defaults = json!({
        "conflictResolutionPolicy": {
            "mode": "LastWriterWins",
            "conflictResolutionPath": "/_ts",
            "conflictResolutionProcedure": "",
        },
        "geospatialConfig": {"type": "Geography"},
    });
    for (name, value) in defaults.as_object().expect("the literal above is an object") {
        given.entry(name.as_str()).or_insert_with(|| value.clone());
    }
    Ok(given)
}

/// The indexing policy with its defaults. The path of the etag is always excluded.
fn indexing_policy(given: Option<Value>) -> Result<Value, RequestFailure> {
    const ETAG: &str = "/\"_etag\"/?";
    let wrong = || {
        RequestFailure::bad_request("The indexingPolicy of a container must be an object of arrays of paths.")
    };
    let given = given.unwrap_or_else(|| json!({}));
    let Value::Object(mut policy) = given else { return Err(wrong()) };
    let mode = policy.entry("indexingMode").or_insert_with(|| json!("consistent"));
    let indexes = !mode.as_str().is_some_and(|mode| mode.eq_ignore_ascii_case("none"));
    policy.entry("automatic").or_insert_with(|| json!(indexes));
    let everything = if indexes { json!([{"path": "/*"}]) } else { json!([]) };
    let names_etag = |path: &Value| path.get("path").and_then(Value::as_str) == Some(ETAG);
    let included = policy.entry("includedPaths").or_insert(Value::Null);
    // If there are only excluded paths, all other paths are included.
    if included.is_null() || (indexes && included.as_array().is_some_and(Vec::is_empty)) {
        *included = everything;
    }
    let included_etag = included.as_array().ok_or_else(wrong)?.iter().any(names_etag);
    let excluded = policy.entry("excludedPaths").or_insert(Value::Null);
    if excluded.is_null() {
        *excluded = json!([]);
    }
    let excluded = excluded.as_array_mut().ok_or_else(wrong)?;
    if indexes && !included_etag && !excluded.iter().any(names_etag) {
        excluded.push(json!({"path": ETAG}));
    }
    Ok(Value::Object(policy))
}

/// The requested throughput. It is not enforced; it is stored because clients read it.
fn offer_of(call: &DocumentRequest) -> Result<Option<Value>, RequestFailure> {
    if let Some(text) = call.header("x-ms-cosmos-offer-autopilot-settings") {
        let settings: Value = serde_json::from_str(text).map_err(|_| {
            RequestFailure::bad_request(
                "x-ms-cosmos-offer-autopilot-settings must be JSON such as {\"maxThroughput\":4000}.",
            )
        })?;
        return Ok(Some(json!({"offerThroughput": 400, "offerAutopilotSettings": settings})));
    }
    let Some(text) = call.header("x-ms-offer-throughput") else { return Ok(None) };
    let throughput: u64 = text
        .parse()
        .map_err(|_| RequestFailure::bad_request("x-ms-offer-throughput must be a whole number."))?;
    Ok(Some(json!({"offerThroughput": throughput})))
}
