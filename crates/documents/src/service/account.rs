//! The account document: where clients send everything else.

use serde_json::json;

use super::Service;
use crate::from_protocol::DocumentRequest;
use crate::query::{IN_ITEMS_MAX, LOGICAL_MAX};
use crate::to_protocol::Reply;

impl Service {
    /// SDKs move all their traffic to the address in this document, so it is the one that the client reached us by (or the
    /// public one), never the one that we are bound to. Unlike the real service's it names no `addresses`, of which direct mode
    /// is made.
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
