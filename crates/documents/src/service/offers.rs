//! Offers: the throughput of containers. It limits nothing here; SDKs read it, and break on an empty list.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::Method;
use serde_json::{Value, json};

use super::Service;
use crate::catalog::Container;
use crate::error::{Failure, Kind};
use crate::from_protocol::{Address, Call};
use crate::store::Change;
use crate::to_protocol::Reply;

/// Throughput of a container that asked for none, in request units a second.
const DEFAULT_THROUGHPUT: u64 = 400;

impl Service {
    pub(super) async fn offers(&self, call: &Call) -> Result<Reply, Failure> {
        match (&call.method, &call.address) {
            (&Method::GET, Address::Offer(rid)) => Ok(Reply::json(&offer(&*self.offered(rid)?))),
            (&Method::PUT, Address::Offer(rid)) => {
                let container = self.offered(rid)?.number;
                let body = call.object()?;
                let content = body.get("content").filter(|content| content.is_object());
                let content =
                    content.ok_or_else(|| Failure::bad_request("The offer needs a content object."))?;
                self.define(Change::ReplaceOffer { container, offer: content.clone() }).await?;
                Ok(Reply::json(&offer(&*self.offered(rid)?)))
            }
            (&Method::GET | &Method::POST, Address::Offers) => {
                let snapshot = self.inner.store.catalog().now();
                let all = snapshot.containers().map(|container| offer(container)).collect();
                self.list_or_query(call, "", "Offers", all).await
            }
            _ => Err(Failure::new(Kind::MethodNotAllowed, "An offer can be read, queried and replaced.")),
        }
    }

    fn offered(&self, rid: &str) -> Result<Arc<Container>, Failure> {
        let snapshot = self.inner.store.catalog().now();
        let found = snapshot.containers().find(|container| offer_rid(container) == rid).cloned();
        found.ok_or_else(|| Failure::not_found("The offer"))
    }
}

/// Four characters without padding, from the container's number.
fn offer_rid(container: &Container) -> String {
    STANDARD.encode(&container.number.0.to_be_bytes()[1..]).replace('/', "-")
}

fn offer(container: &Container) -> Value {
    let rid = offer_rid(container);
    let content = container.offer.clone().unwrap_or_else(|| json!({"offerThroughput": DEFAULT_THROUGHPUT}));
    json!({
        "id": rid,
        "_rid": rid,
        "_self": format!("offers/{rid}/"),
        "_etag": format!("\"{:08x}-0000-0004-0000-000000000000\"", container.number.0),
        "_ts": container.ts,
        "resource": container.self_link(),
        "offerResourceId": container.rid(),
        "offerVersion": "V2",
        "offerType": "Invalid",
        "content": content,
    })
}
