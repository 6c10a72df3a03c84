//! Items: create, upsert, read, replace, patch, delete.

use std::sync::Arc;

use http::{Method, StatusCode};
use serde_json::{Map, Value};
use trace::Span;
use tracing::Instrument as _;

use super::Service;
use crate::catalog::Container;
use crate::decide::{Conditions, Verb, check_ttl, item_etag};
use crate::error::{RequestFailure, SUBSTATUS_KEY_MISMATCH};
use crate::error_table;
use crate::from_protocol::{ContainerAddress, DocumentRequest};
use crate::metrics::ReadPool;
use crate::partition_key::PartitionKey;
use crate::patch::Patch;
use crate::resource_id::{ItemNumber, check_id, parse_item_rid};
use crate::store::{ChangeResult, ItemOperation, ItemResult, StoreChange, rows};
use crate::to_protocol::{self, Reply};

/// A parsed write, before it has a span.
pub(super) struct Write {
    pub(super) verb: Verb,
    pub(super) key: String,
    pub(super) id: String,
    /// The item's number, if `id` may be its resource id.
    pub(super) number: Option<ItemNumber>,
    pub(super) conditions: Conditions,
    pub(super) document: Option<Map<String, Value>>,
    pub(super) patch: Option<Patch>,
}

impl Write {
    pub(super) fn with_span(self, span: &Span) -> ItemOperation {
        let Self { verb, key, id, number, conditions, document, patch } = self;
        ItemOperation { verb, key, id, number, conditions, document, patch, trace: span.context() }
    }
}

impl Service {
    pub(super) async fn read_item(
        &self,
        call: &DocumentRequest,
        owner: &ContainerAddress,
        id: &str,
    ) -> Result<Reply, RequestFailure> {
        let container = self.container(call, owner)?;
        let key = key_of_header(call, &container)?;
        let (number, now_ts) = (container.number, self.inner.clock.seconds());
        let (id, by_rid) = (id.to_owned(), item_number(&container, id));
        let (found, lsn) = self
            .inner
            .store
            .read(ReadPool::Point, move |connection| {
                let found = rows::item_at(connection, number, &key, &id, by_rid, now_ts)?;
                Ok((found, rows::newest_lsn(connection, number)?))
            })
            .await?;
        let item =
            found.ok_or_else(|| RequestFailure::not_found("An item with this id and partition key"))?;
        let etag = item_etag(number, item.lsn);
        let unchanged = call.conditions().if_none_match.is_some_and(|known| known == etag);
        let reply = if unchanged {
            Reply::empty(StatusCode::NOT_MODIFIED)
        } else {
            Reply::new(StatusCode::OK, to_protocol::item(&container, &item, false))
        };
        Ok(reply.with("etag", etag).of_container(&container, lsn))
    }

    /// Creates, upserts, replaces, patches or deletes an item, in its own span.
    pub(super) async fn write_item(
        &self,
        call: &DocumentRequest,
        owner: &ContainerAddress,
        id: Option<&str>,
    ) -> Result<Reply, RequestFailure> {
        let mut span = self.inner.tracer.start("documents.write", call.trace());
        span.set("database", owner.database.as_str());
        span.set("container", owner.container.as_str());
        let context = span.context();
        let fields = tracing::error_span!(
            "documents.write",
            container = %owner.container,
            trace_id = %context.trace_id,
            span_id = %context.span_id,
        );
        let result = self.write_in_span(call, owner, id, &mut span).instrument(fields).await;
        let traceparent = span.context().to_traceparent();
        let reply = match result {
            Ok(reply) => reply,
            Err(failure) => {
                span.fail(failure.message.as_str());
                to_protocol::refused(&failure, &call.activity)
            }
        };
        span.set("status", reply.status.as_str());
        Ok(reply.with("traceparent", traceparent))
    }

    async fn write_in_span(
        &self,
        call: &DocumentRequest,
        owner: &ContainerAddress,
        id: Option<&str>,
        span: &mut Span,
    ) -> Result<Reply, RequestFailure> {
        let container = self.container(call, owner)?;
        let write = match id {
            None => self.write_of_document(call, &container, None)?,
            Some(id) if call.method == Method::PUT => self.write_of_document(call, &container, Some(id))?,
            Some(id) => {
                let patches = call.method == Method::PATCH;
                Write {
                    verb: if patches { Verb::Patch } else { Verb::Delete },
                    key: key_of_header(call, &container)?,
                    id: id.to_owned(),
                    number: item_number(&container, id),
                    conditions: call.conditions(),
                    document: None,
                    patch: if patches { Some(Patch::from_json(&call.json()?)?) } else { None },
                }
            }
        };
        span.set("id", write.id.as_str());
        let operations = vec![write.with_span(span)];
        let change = StoreChange::Items { container: container.number, operations };
        let changed = self.inner.store.change(change, call.body.len().max(1)).await;
        match changed.map_err(|refusal| refusal.failure)? {
            ChangeResult::Items { lsn, mut outcomes } => {
                let outcome = outcomes.pop().expect("one operation has one outcome");
                Ok(write_reply(call, &container, &outcome, lsn))
            }
            ChangeResult::Definition => unreachable!("a change of items gives items"),
        }
    }

    /// A create, an upsert, or a replace of the item `id`.
    fn write_of_document(
        &self,
        call: &DocumentRequest,
        container: &Arc<Container>,
        id: Option<&str>,
    ) -> Result<Write, RequestFailure> {
        let document = call.object()?;
        self.check_size(call.body.len())?;
        let verb = match id {
            Some(_) => Verb::Replace,
            None if call.is_upsert() => Verb::Upsert,
            None => Verb::Create,
        };
        let header = call.partition_key()?;
        let mut write = document_write(container, verb, document, header, call.conditions())?;
        if let Some(id) = id {
            // If the id in the body differs, the item gets that id.
            (write.id, write.number) = (id.to_owned(), item_number(container, id));
        }
        Ok(write)
    }

    pub(super) fn check_size(&self, bytes: usize) -> Result<(), RequestFailure> {
        let most = self.inner.options.item_bytes_max;
        if bytes > most {
            let message = format!("The item has {bytes} bytes of JSON; at most {most} are allowed.");
            return Err(RequestFailure::new(&error_table::TOO_LARGE, message));
        }
        Ok(())
    }

    pub(super) async fn delete_partition(
        &self,
        call: &DocumentRequest,
        owner: &ContainerAddress,
    ) -> Result<Reply, RequestFailure> {
        let container = self.container(call, owner)?;
        let key = key_of_header(call, &container)?;
        self.define(StoreChange::DeletePartition { container: container.number, key }).await?;
        Ok(Reply::empty(StatusCode::OK))
    }
}

/// Validates a document and its partition key.
pub(super) fn document_write(
    container: &Container,
    verb: Verb,
    document: Map<String, Value>,
    header: Option<PartitionKey>,
    conditions: Conditions,
) -> Result<Write, RequestFailure> {
    let id = document.get("id").and_then(Value::as_str);
    let id =
        id.ok_or_else(|| RequestFailure::bad_request("The item needs an id that is a text."))?.to_owned();
    check_id(&id)?;
    let key = container.partition_key.extract(&document)?.to_text();
    if let Some(header) = header {
        let header = header.full(&container.partition_key)?;
        if header.to_text() != key {
            let message = "The partition key in the request's header is not the one in the item.";
            return Err(RequestFailure::bad_request(message).with_substatus(SUBSTATUS_KEY_MISMATCH));
        }
    }
    check_ttl(&document)?;
    Ok(Write { verb, key, id, number: None, conditions, document: Some(document), patch: None })
}

/// The item's number, if the text is a resource id of this container.
pub(super) fn item_number(container: &Container, id: &str) -> Option<ItemNumber> {
    parse_item_rid(id, container.database, container.number)
}

fn key_of_header(call: &DocumentRequest, container: &Container) -> Result<String, RequestFailure> {
    let key = call.partition_key()?.ok_or_else(|| {
        RequestFailure::bad_request(
            "The header x-ms-documentdb-partitionkey is missing, such as [\"x\"]; this operation needs it.",
        )
    })?;
    Ok(key.full(&container.partition_key)?.to_text())
}

fn write_reply(call: &DocumentRequest, container: &Container, outcome: &ItemResult, lsn: u64) -> Reply {
    let Some(item) = &outcome.item else {
        return Reply::empty(StatusCode::NO_CONTENT).of_container(container, lsn);
    };
    let status = if outcome.created { StatusCode::CREATED } else { StatusCode::OK };
    let body = if call.prefers_minimal_response() {
        String::new()
    } else {
        to_protocol::item(container, item, false)
    };
    Reply::new(status, body).with("etag", item_etag(container.number, item.lsn)).of_container(container, lsn)
}
