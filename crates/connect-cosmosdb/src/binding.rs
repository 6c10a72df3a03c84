//! The `cosmosDB` input and output bindings.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use bytestring::ByteString;
use functions_contract::{BindingContext, BindingError, BindingSpec, Reader, Sink, Value, find_property};
use http::StatusCode;
use serde_json::{Map, Value as Json};
use trace::TraceContext;

use crate::client::{AccountClient, ContainerName, ContainerProperties, DocumentPage, NewContainer};
use crate::error_table;
use crate::partition_key;
use crate::query::ParameterizedQuery;
use crate::trigger_options::{boolean, container_name, invalid_property, number, text};

/// Input binding: one document by its id, or the rows of a query.
#[derive(Debug)]
pub(crate) struct DocumentReader {
    client: AccountClient,
    function: String,
    selection: Selection,
    rows_max: usize,
}

#[derive(Debug)]
enum Selection {
    Document,
    Rows(ParameterizedQuery),
}

/// Output binding: each document is created or replaced.
#[derive(Debug)]
pub(crate) struct DocumentSink {
    client: AccountClient,
    function: String,
    create: Option<NewContainer>,
    /// The containers that were written to, so that their partition keys are read only once. One entry, unless the declaration
    /// has expressions in names.
    known: Mutex<Vec<(ContainerName, Arc<ContainerProperties>)>>,
}

/// The most containers in `known`.
const CONTAINERS_KNOWN_MAX: usize = 64;

impl DocumentReader {
    pub(crate) fn new(
        spec: &BindingSpec,
        client: AccountClient,
        rows_max: usize,
    ) -> Result<Self, BindingError> {
        container_name(spec)?;
        // From the declaration, in which the expressions are not resolved yet; see `query.rs`.
        let query = text(spec, &["sqlQuery"]).map(ParameterizedQuery::parse);
        let id = text(spec, &["id"]);
        let selection = match (id, query) {
            (Some(_), Some(_)) => {
                return Err(invalid_property(spec, "sqlQuery", "contradicts id; keep one of them"));
            }
            (Some(_), None) => Selection::Document,
            (None, Some(query)) => Selection::Rows(query),
            (None, None) => Selection::Rows(ParameterizedQuery::parse("SELECT * FROM c")),
        };
        Ok(Self { client, function: spec.function.clone(), selection, rows_max })
    }

    async fn document(
        &self,
        context: &BindingContext<'_>,
        name: &ContainerName,
    ) -> Result<Value, BindingError> {
        let id = property(context, "id").ok_or_else(|| {
            BindingError::Value(format!(
                "the cosmosDB input of function '{}' has an empty id; provide a value for its expression",
                self.function
            ))
        })?;
        let key = partition_key::header_for(property(context, "partitionKey"));
        // A missing container is no value either, as in the Azure Functions extension.
        let Some(response) = self.client.read_item(name, id, &key).await? else { return Ok(Value::Null) };
        Ok(Value::Json(text_of(&response.body)?))
    }

    async fn rows(
        &self,
        context: &BindingContext<'_>,
        name: &ContainerName,
        query: &ParameterizedQuery,
    ) -> Result<Value, BindingError> {
        let body = query.resolve(context.binding_data)?;
        let key = property(context, "partitionKey").map(|key| partition_key::header_for(Some(key)));
        let mut pages: Vec<DocumentPage> = Vec::new();
        let mut continuation: Option<String> = None;
        loop {
            let page = self.client.query(name, key.as_deref(), &body, continuation.as_deref()).await?;
            pages.push(page.page);
            let count: usize = pages.iter().map(|page| page.documents.len()).sum();
            if count > self.rows_max {
                return Err(BindingError::Value(format!(
                    "the query of function '{}' has more than {} rows; restrict it, or raise connect.cosmosdb.query_rows_max",
                    self.function, self.rows_max
                )));
            }
            continuation = page.continuation;
            if continuation.is_none() {
                return Ok(Value::Json(joined(pages)));
            }
        }
    }
}

#[async_trait::async_trait]
impl Reader for DocumentReader {
    async fn read(&self, context: &BindingContext<'_>) -> Result<Value, BindingError> {
        let name = resolved_name(context)?;
        match &self.selection {
            Selection::Document => self.document(context, &name).await,
            Selection::Rows(query) => self.rows(context, &name, query).await,
        }
    }
}

impl DocumentSink {
    pub(crate) fn new(spec: &BindingSpec, client: AccountClient) -> Result<Self, BindingError> {
        container_name(spec)?;
        let create = boolean(spec, &["createIfNotExists"])?;
        let partition_key_path = text(spec, &["partitionKey"]);
        let create = match (create, partition_key_path) {
            (false, _) => None,
            (true, Some(path)) => Some(NewContainer {
                partition_key_path: path.to_owned(),
                default_ttl_seconds: None,
                throughput: number(spec, &["containerThroughput", "collectionThroughput"])?,
            }),
            (true, None) => {
                return Err(invalid_property(
                    spec,
                    "partitionKey",
                    "is missing; createIfNotExists needs it, such as /id",
                ));
            }
        };
        Ok(Self { client, function: spec.function.clone(), create, known: Mutex::default() })
    }

    async fn upsert(
        &self,
        name: &ContainerName,
        document: &Map<String, Json>,
        trace: TraceContext,
    ) -> Result<(), BindingError> {
        let body = Bytes::from(serde_json::to_vec(document).expect("a JSON object is writable"));
        // Two attempts: the container may have been created again with another partition key since it was read.
        for attempt in 0..2 {
            let container = self.container(name, attempt == 0).await?;
            let key = container.key.header_of_document(document);
            let response = self.client.upsert_item(name, &key, body.clone(), trace).await?;
            let stale = response.status == StatusCode::NOT_FOUND
                || (response.status == StatusCode::BAD_REQUEST
                    && matches!(response.substatus(), 1001 | 1024));
            if attempt == 0 && stale {
                continue;
            }
            return response.success().map(drop).map_err(Into::into);
        }
        unreachable!("the second attempt returns")
    }

    /// The container's definition. A missing container is created if the app asks for that.
    async fn container(
        &self,
        name: &ContainerName,
        cached: bool,
    ) -> Result<Arc<ContainerProperties>, BindingError> {
        if let Some(known) = self.known(name).filter(|_| cached) {
            return Ok(known);
        }
        let mut found = self.client.container(name).await?;
        if let (None, Some(new)) = (&found, &self.create) {
            self.client.create_container(name, new).await?;
            found = self.client.container(name).await?;
        }
        let found = found.ok_or_else(|| BindingError::System {
            error: &error_table::NO_CONTAINER,
            what: format!(
                "container '{}' in database '{}', to which function '{}' writes, does not exist; create it, or set \
                 createIfNotExists and partitionKey",
                name.container, name.database, self.function
            ),
            retryable: true,
            cause: None,
        })?;
        let found = Arc::new(found);
        self.remember(name, Arc::clone(&found));
        Ok(found)
    }

    fn known(&self, name: &ContainerName) -> Option<Arc<ContainerProperties>> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.iter().find(|(known, _)| known == name).map(|(_, container)| Arc::clone(container))
    }

    fn remember(&self, name: &ContainerName, container: Arc<ContainerProperties>) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|(known, _)| known != name);
        known.truncate(CONTAINERS_KNOWN_MAX - 1);
        known.push((name.clone(), container));
    }
}

#[async_trait::async_trait]
impl Sink for DocumentSink {
    async fn write(&self, context: &BindingContext<'_>, items: Vec<Value>) -> Result<(), BindingError> {
        let name = resolved_name(context)?;
        // All items are checked before the first one is written.
        let mut documents = Vec::with_capacity(items.len());
        for item in items {
            self.collect(item, &mut documents)?;
        }
        for document in &documents {
            self.upsert(&name, document, context.trace).await?;
        }
        Ok(())
    }
}

impl DocumentSink {
    fn collect(&self, item: Value, documents: &mut Vec<Map<String, Json>>) -> Result<(), BindingError> {
        let invalid_property = |what: &str| {
            BindingError::Value(format!(
                "function '{}' returned {what} for its cosmosDB output; return a JSON object or an array of JSON objects",
                self.function
            ))
        };
        let json: Json = match item {
            Value::Null => return Ok(()),
            Value::Json(text) | Value::Text(text) => {
                serde_json::from_str(&text).map_err(|_| invalid_property("text that is not JSON"))?
            }
            Value::Bytes(bytes) => {
                serde_json::from_slice(&bytes).map_err(|_| invalid_property("bytes that are not JSON"))?
            }
            Value::Many(items) => {
                return items.into_iter().try_for_each(|item| self.collect(item, documents));
            }
            Value::Integer(_) | Value::Double(_) => return Err(invalid_property("a number")),
            Value::Deferred(_) => return Err(invalid_property("a reference (deferred binding)")),
        };
        match json {
            Json::Null => Ok(()),
            Json::Object(document) => {
                documents.push(with_id(document));
                Ok(())
            }
            Json::Array(items) => {
                for item in items {
                    let Json::Object(document) = item else {
                        return Err(invalid_property("an array with values that are not objects"));
                    };
                    documents.push(with_id(document));
                }
                Ok(())
            }
            Json::Bool(_) | Json::Number(_) | Json::String(_) => Err(invalid_property("a plain value")),
        }
    }
}

/// Adds a generated id to a document without one, as the extension documents.
fn with_id(mut document: Map<String, Json>) -> Map<String, Json> {
    if document.get("id").is_none_or(Json::is_null) {
        document.insert("id".to_owned(), uuid::Uuid::new_v4().to_string().into());
    }
    document
}

/// The container's name with this invocation's expressions resolved.
fn resolved_name(context: &BindingContext<'_>) -> Result<ContainerName, BindingError> {
    let named = |names: &[&str]| {
        let found = names.iter().find_map(|name| property(context, name)).map(str::to_owned);
        found.ok_or_else(|| {
            BindingError::Value(format!(
                "{} is empty after its expressions are resolved; provide a value for them",
                names[0]
            ))
        })
    };
    Ok(ContainerName {
        database: named(&["databaseName"])?,
        container: named(&["containerName", "collectionName"])?,
    })
}

fn property<'a>(context: &BindingContext<'a>, name: &str) -> Option<&'a str> {
    find_property(context.properties, name).and_then(Json::as_str).filter(|text| !text.is_empty())
}

/// The rows of all pages as one JSON array. A single page is not copied.
fn joined(mut pages: Vec<DocumentPage>) -> ByteString {
    if pages.len() == 1 {
        return pages.remove(0).array;
    }
    let rows: Vec<&str> = pages.iter().flat_map(|page| &page.documents).map(|row| &**row).collect();
    format!("[{}]", rows.join(",")).into()
}

fn text_of(body: &Bytes) -> Result<ByteString, BindingError> {
    ByteString::try_from(body.clone()).map_err(|_| BindingError::System {
        error: &error_table::PROTOCOL_VIOLATED,
        what: "the document in the response is not UTF-8".to_owned(),
        retryable: false,
        cause: None,
    })
}
