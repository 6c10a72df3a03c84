//! Transactional batches: atomic operations on one partition key value.

use http::StatusCode;
use serde_json::{Map, Value, json};

use super::Service;
use super::items::{Write, document_write, item_number};
use crate::catalog::Container;
use crate::decide::{Conditions, Verb, item_etag};
use crate::error::RequestFailure;
use crate::error_table;
use crate::from_protocol::{ContainerAddress, DocumentRequest, without_system_properties};
use crate::partition_key::PartitionKey;
use crate::patch::Patch;
use crate::store::{ChangeRejection, ChangeResult, ItemResult, StoreChange};
use crate::to_protocol::{self, Reply};

/// Most operations in one batch.
const OPERATIONS_MAX: usize = 100;
/// First byte of .NET's binary batch format (HybridRow).
const HYBRID_ROW: u8 = 0x81;

impl Service {
    pub(super) async fn batch(
        &self,
        call: &DocumentRequest,
        owner: &ContainerAddress,
    ) -> Result<Reply, RequestFailure> {
        let container = self.container(call, owner)?;
        if call.body.first() == Some(&HYBRID_ROW) {
            return Err(RequestFailure::not_supported("The binary batch format (HybridRow) of the .NET SDK"));
        }
        if !call.flag("x-ms-cosmos-batch-atomic") {
            return Err(RequestFailure::not_supported("A bulk request (a batch that is not atomic)"));
        }
        self.check_size(call.body.len())?;
        let key = call.partition_key()?.ok_or_else(|| {
            RequestFailure::bad_request(
                "A transactional batch needs the header x-ms-documentdb-partitionkey.",
            )
        })?;
        let Value::Array(given) = call.json()? else {
            return Err(RequestFailure::bad_request("The body of a batch must be an array of operations."));
        };
        // All operations are on this key, so an invalid key is an error of the whole batch.
        let key = key.full(&container.partition_key)?;
        if given.is_empty() || given.len() > OPERATIONS_MAX {
            return Err(RequestFailure::bad_request(format!(
                "A batch has 1 to {OPERATIONS_MAX} operations."
            )));
        }
        let count = given.len();
        let mut span = self.inner.tracer.start("documents.write", call.trace());
        span.set("database", owner.database.as_str());
        span.set("container", owner.container.as_str());
        let mut operations = Vec::with_capacity(count);
        for (index, operation) in given.into_iter().enumerate() {
            match write_of(&container, operation, &key) {
                Ok(write) => operations.push(write.with_span(&span)),
                // An invalid operation makes the whole batch invalid.
                Err(failure) => {
                    span.fail(failure.message.as_str());
                    return Err(RequestFailure {
                        message: format!("Operation {index} of the batch: {}", failure.message),
                        ..failure
                    });
                }
            }
        }
        let change = StoreChange::Items { container: container.number, operations };
        let traceparent = span.context().to_traceparent();
        let reply = match self.inner.store.change(change, call.body.len()).await {
            Ok(ChangeResult::Items { lsn, outcomes }) => {
                succeeded(&container, &outcomes).of_container(&container, lsn)
            }
            Ok(ChangeResult::Definition) => unreachable!("a change of items gives items"),
            // An error of the whole request is returned as such, so that clients retry the request.
            Err(refusal) if is_of_request(&refusal.failure) => return Err(refusal.failure),
            Err(refusal) => {
                span.fail(refusal.failure.message.as_str());
                failed(&refusal, count)
            }
        };
        span.set("status", reply.status.as_str());
        Ok(reply.with("traceparent", traceparent))
    }
}

fn is_of_request(failure: &RequestFailure) -> bool {
    let of_request =
        [&error_table::TOO_MANY_REQUESTS, &error_table::UNAVAILABLE, &error_table::INSUFFICIENT_STORAGE];
    of_request.contains(&failure.error)
}

fn write_of(container: &Container, operation: Value, key: &PartitionKey) -> Result<Write, RequestFailure> {
    let Value::Object(mut operation) = operation else {
        return Err(RequestFailure::bad_request("Each operation of a batch must be an object."));
    };
    let text = |operation: &Map<String, Value>, name: &str| {
        operation.get(name).and_then(Value::as_str).map(str::to_owned)
    };
    let conditions =
        Conditions { if_match: text(&operation, "ifMatch"), if_none_match: text(&operation, "ifNoneMatch") };
    let verb = match text(&operation, "operationType").as_deref() {
        Some("Create") => Verb::Create,
        Some("Upsert") => Verb::Upsert,
        Some("Replace") => Verb::Replace,
        Some("Patch") => Verb::Patch,
        Some("Delete") => Verb::Delete,
        Some("Read") => Verb::Read,
        _ => {
            return Err(RequestFailure::bad_request(
                "operationType must be Create, Upsert, Read, Replace, Delete or Patch.",
            ));
        }
    };
    let body = operation.remove("resourceBody");
    let id = text(&operation, "id");
    if matches!(verb, Verb::Create | Verb::Upsert | Verb::Replace) {
        let document = without_system_properties(body.unwrap_or(Value::Null))?;
        let mut write = document_write(container, verb, document, Some(key.clone()), conditions)?;
        if let (Verb::Replace, Some(id)) = (verb, id) {
            (write.number, write.id) = (item_number(container, &id), id);
        }
        return Ok(write);
    }
    let id = id.ok_or_else(|| RequestFailure::bad_request("The operation needs an id."))?;
    let patch =
        if verb == Verb::Patch { Some(Patch::from_json(&body.unwrap_or(Value::Null))?) } else { None };
    let number = item_number(container, &id);
    Ok(Write { verb, key: key.to_text(), id, number, conditions, document: None, patch })
}

fn succeeded(container: &Container, outcomes: &[ItemResult]) -> Reply {
    let results: Vec<String> = outcomes.iter().map(|outcome| result(container, outcome)).collect();
    Reply::new(StatusCode::OK, format!("[{}]", results.join(",")))
}

fn result(container: &Container, outcome: &ItemResult) -> String {
    let Some(item) = &outcome.item else {
        return "{\"statusCode\":204,\"subStatusCode\":0,\"requestCharge\":1.0}".to_owned();
    };
    format!(
        "{{\"statusCode\":{},\"subStatusCode\":0,\"requestCharge\":1.0,\"eTag\":{},\"resourceBody\":{}}}",
        if outcome.created { 201 } else { 200 },
        Value::from(item_etag(container.number, item.lsn)),
        to_protocol::item(container, item, false),
    )
}

/// The failed operation has its status, all others 424; nothing was stored.
fn failed(refusal: &ChangeRejection, count: usize) -> Reply {
    let results: Vec<Value> = (0..count)
        .map(|index| {
            let error = if index == refusal.operation {
                refusal.failure.error
            } else {
                &error_table::FAILED_DEPENDENCY
            };
            let substatus = if index == refusal.operation { refusal.failure.substatus } else { 0 };
            json!({"statusCode": error.status().as_u16(), "subStatusCode": substatus, "requestCharge": 1.0})
        })
        .collect();
    Reply::new(StatusCode::MULTI_STATUS, Value::Array(results).to_string())
}
