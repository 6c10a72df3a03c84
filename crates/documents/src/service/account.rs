//! The account document, with the address for all other requests.

use serde_json::json;

use super::Service;
use crate::from_protocol::DocumentRequest;
use crate::query::{IN_ITEMS_MAX, LOGICAL_MAX};
use crate::to_protocol::Reply;

impl Service {
    /// SDKs send all requests to the address in this document, so it is the address of this request (or the public one), never the
    /// one that the listener is bound to. Unlike in Azure it has no `addresses`, which direct mode uses.
    pub(super) fn account(&self, call: &DocumentRequest) -> Reply {
        let options = &self.inner.options;
        let endpoint = options.public_url.as_deref().unwrap_or(&call.origin);
        let location = json!([{"name": options.region, "databaseAccountEndpoint": endpoint}]);
        let replicas = json!({"asyncReplication": false, "minReplicaSetSize": 1, "maxReplicasetSize": 1});
        let engine = json!({
            "maxSqlQueryInputLength": options.query_bytes_max,
            "maxJoinsPerSqlQuery": 10,
            "maxLogicalAndPerSqlQuery": LOGICAL_MAX,
            "maxLogicalOrPerSqlQuery": LOGICAL_MAX,
            "maxInExpressionItemsCount": IN_ITEMS_MAX,
            "sqlAllowLike": false,
            "sqlAllowGroupByClause": false,
            "enableSpatialIndexing": false,
        });
        let body = json!({
            "_self": "",
            "id": options.account,
            "_rid": options.account,
            "media": "//media/",
            "_dbs": "//dbs/",
            "writableLocations": location,
            "readableLocations": location,
            "enableMultipleWriteLocations": false,
            "userReplicationPolicy": replicas,
            "systemReplicationPolicy": replicas,
            "userConsistencyPolicy": {"defaultConsistencyLevel": "Session"},
            "readPolicy": {"primaryReadCoefficient": 1, "secondaryReadCoefficient": 1},
            "queryEngineConfiguration": engine.to_string(),
        });
        Reply::json(&body)
    }
}
