//! Offers: the throughput of containers and databases. It is not enforced; SDKs read it, and fail on an empty list.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::Method;
use serde_json::{Value, json};

use super::Service;
use crate::catalog::{CatalogSnapshot, Container, Database};
use crate::error::RequestFailure;
use crate::error_table;
use crate::from_protocol::{Address, DocumentRequest};
use crate::resource_id::database_rid;
use crate::store::StoreChange;
use crate::to_protocol::Reply;

/// Throughput of a container without one, in request units per second.
const DEFAULT_THROUGHPUT: u64 = 400;

/// The resource of an offer. Each container has one; a database has one if it was created with throughput.
enum Offered<'a> {
    Container(&'a Arc<Container>),
    Database(&'a Arc<Database>, &'a Value),
}

impl Service {
    pub(super) async fn offers(&self, call: &DocumentRequest) -> Result<Reply, RequestFailure> {
        match (&call.method, &call.address) {
            (&Method::GET, Address::Offer(rid)) => {
                let snapshot = self.inner.store.catalog().now();
                Ok(Reply::json(&find(&snapshot, rid)?.to_json()))
            }
            (&Method::PUT, Address::Offer(rid)) => {
                let body = call.object()?;
                let content = body.get("content").filter(|content| content.is_object());
                let content = content
                    .ok_or_else(|| RequestFailure::bad_request("The offer needs a content object."))?;
                let change = find(&self.inner.store.catalog().now(), rid)?.replacement(content.clone());
                self.define(change).await?;
                let snapshot = self.inner.store.catalog().now();
                Ok(Reply::json(&find(&snapshot, rid)?.to_json()))
            }
            (&Method::GET | &Method::POST, Address::Offers) => {
                let snapshot = self.inner.store.catalog().now();
                let all = offered(&snapshot).map(|offered| offered.to_json()).collect();
                self.list_or_query(call, "", "Offers", all).await
            }
            _ => Err(RequestFailure::new(
                &error_table::METHOD_NOT_ALLOWED,
                "An offer can be read, queried and replaced.",
            )),
        }
    }
}

fn find<'a>(snapshot: &'a CatalogSnapshot, rid: &str) -> Result<Offered<'a>, RequestFailure> {
    offered(snapshot)
        .find(|offered| offered.rid() == rid)
        .ok_or_else(|| RequestFailure::not_found("The offer"))
}

fn offered(snapshot: &CatalogSnapshot) -> impl Iterator<Item = Offered<'_>> {
    let of_database = |database| {
        let Database { offer, .. } = Arc::as_ref(database);
        offer.as_ref().map(|offer| Offered::Database(database, offer))
    };
    snapshot.containers().map(Offered::Container).chain(snapshot.databases().filter_map(of_database))
}

impl Offered<'_> {
    /// Four characters without padding, from the number. The top bit tells databases from containers.
    fn rid(&self) -> String {
        let number = match self {
            Self::Container(container) => container.number.0,
            Self::Database(database, _) => 0x80_0000 | database.number.0,
        };
        STANDARD.encode(&number.to_be_bytes()[1..]).replace('/', "-")
    }

    /// The change that gives the offer this content.
    fn replacement(&self, offer: Value) -> StoreChange {
        match self {
            Self::Container(container) => StoreChange::ReplaceOffer { container: container.number, offer },
            Self::Database(database, _) => {
                StoreChange::ReplaceDatabaseOffer { database: database.number, offer }
            }
        }
    }

    fn to_json(&self) -> Value {
        let rid = self.rid();
        let (kind, number, ts, resource, resource_rid, content) = match self {
            Self::Container(container) => {
                let default = || json!({"offerThroughput": DEFAULT_THROUGHPUT});
                let content = container.offer.clone().unwrap_or_else(default);
                (4, container.number.0, container.ts, container.self_link(), container.rid(), content)
            }
            Self::Database(database, content) => {
                let rid = database_rid(database.number);
                (5, database.number.0, database.ts, format!("dbs/{rid}/"), rid, Value::clone(content))
            }
        };
        json!({
            "id": rid,
            "_rid": rid,
            "_self": format!("offers/{rid}/"),
            "_etag": format!("\"{number:08x}-0000-000{kind}-0000-000000000000\""),
            "_ts": ts,
            "resource": resource,
            "offerResourceId": resource_rid,
            "offerVersion": "V2",
            "offerType": "Invalid",
            "content": content,
        })
    }
}
