//! Databases, containers and their partition key ranges.

use http::{Method, StatusCode};
use serde_json::{Map, Value as Json, json};

use super::{AccountClient, ContainerName, CosmosRequest, database_path};
use crate::error::RequestError;
use crate::partition_key::PartitionKeyDefinition;

/// An existing container.
#[derive(Clone, Debug)]
pub(crate) struct ContainerProperties {
    pub(crate) rid: String,
    pub(crate) database_rid: String,
    pub(crate) key: PartitionKeyDefinition,
}

/// The definition of a container to create.
#[derive(Clone, Debug)]
pub(crate) struct NewContainer {
    pub(crate) partition_key_path: String,
    /// -1: items do not expire unless they have a `ttl` of their own.
    pub(crate) default_ttl_seconds: Option<i64>,
    /// Request units per second; the account may ignore them.
    pub(crate) throughput: Option<u64>,
}

/// A physical partition: the keys whose hashes lie between two bounds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PartitionKeyRange {
    pub(crate) id: String,
    pub(crate) min: String,
    pub(crate) max: String,
    /// The ranges whose split created this one.
    pub(crate) parents: Vec<String>,
}

impl AccountClient {
    /// The container, or `None` if it or its database does not exist.
    pub(crate) async fn container(
        &self,
        name: &ContainerName,
    ) -> Result<Option<ContainerProperties>, RequestError> {
        let response = self.send(CosmosRequest::new(Method::GET, name.path())).await?;
        if response.status == StatusCode::NOT_FOUND {
            return Ok(None);
        }
        let response = response.success()?;
        let body = response.object()?;
        let text = |key: &str| body.get(key).and_then(Json::as_str).map(str::to_owned);
        let rid = text("_rid").ok_or_else(|| response.malformed("the container has no _rid".to_owned()))?;
        // `_self` is `dbs/{database rid}/colls/{container rid}/`.
        let own_link = text("_self").unwrap_or_default();
        let database_rid = own_link.split('/').nth(1).unwrap_or_default().to_owned();
        Ok(Some(ContainerProperties { rid, database_rid, key: PartitionKeyDefinition::parse(&body) }))
    }

    /// Creates the database if it does not exist, then the container if it does not exist.
    pub(crate) async fn create_container(
        &self,
        name: &ContainerName,
        new: &NewContainer,
    ) -> Result<(), RequestError> {
        let database = CosmosRequest::new(Method::POST, "/dbs".to_owned());
        self.create(database.json(json!({ "id": name.database }).to_string())).await?;
        let mut body = json!({
            "id": name.container,
            "partitionKey": { "paths": [new.partition_key_path], "kind": "Hash", "version": 2 },
        });
        if let Some(seconds) = new.default_ttl_seconds {
            body["defaultTtl"] = seconds.into();
        }
        let path = format!("{}/colls", database_path(&name.database));
        let mut container = CosmosRequest::new(Method::POST, path).json(body.to_string());
        if let Some(throughput) = new.throughput {
            container = container.header("x-ms-offer-throughput", &throughput.to_string());
        }
        self.create(container).await
    }

    /// Creates something; if it exists already, that is not an error.
    async fn create(&self, request: CosmosRequest) -> Result<(), RequestError> {
        let response = self.send(request).await?;
        if response.status == StatusCode::CONFLICT {
            return Ok(());
        }
        response.success().map(drop)
    }

    pub(crate) async fn key_ranges(
        &self,
        name: &ContainerName,
    ) -> Result<Vec<PartitionKeyRange>, RequestError> {
        let path = format!("{}/pkranges", name.path());
        let response = self.send(CosmosRequest::new(Method::GET, path)).await?.success()?;
        let body = response.object()?;
        let ranges = body.get("PartitionKeyRanges").and_then(Json::as_array);
        let ranges = ranges.ok_or_else(|| response.malformed("there is no PartitionKeyRanges".to_owned()))?;
        let parsed = ranges.iter().filter_map(Json::as_object).map(key_range);
        Ok(parsed.collect())
    }
}

fn key_range(range: &Map<String, Json>) -> PartitionKeyRange {
    let text = |key: &str| range.get(key).and_then(Json::as_str).unwrap_or_default().to_owned();
    let parents = range.get("parents").and_then(Json::as_array).into_iter().flatten();
    PartitionKeyRange {
        id: text("id"),
        min: text("minInclusive"),
        max: text("maxExclusive"),
        parents: parents.filter_map(Json::as_str).map(str::to_owned).collect(),
    }
}
