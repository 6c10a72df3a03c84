//! [`DeferredReader`]: the input binding as a reference, from which a worker makes an item, rows, or a client of the SDK itself (deferred
//! binding).
//!
//! The reference is what the extension of the Azure Functions host gives: its attribute as JSON, with the name of the connection, which the
//! worker looks up among the app settings. Nothing is read here.

use functions_contract::{
    BindingContext, BindingError, BindingSpec, DeferredValue, Reader, Value, find_property,
};
use serde_json::{Map, Value as Json, json};

use crate::query::ParameterizedQuery;
use crate::trigger_options::{boolean, number, text};

/// The source that the extension of workers looks for.
const SOURCE: &str = "CosmosDB";
/// The version of the content.
const VERSION: &str = "1.0";

/// The input binding as a reference.
#[derive(Debug)]
pub(crate) struct DeferredReader {
    query: Option<ParameterizedQuery>,
    create_if_not_exists: bool,
    throughput: u64,
}

impl DeferredReader {
    pub(crate) fn new(spec: &BindingSpec) -> Result<Self, BindingError> {
        // From the declaration, in which the expressions are not resolved yet; see `query.rs`.
        let query = text(spec, &["sqlQuery"]).map(ParameterizedQuery::parse_named);
        let create_if_not_exists = boolean(spec, &["createIfNotExists"])?;
        let throughput = number(spec, &["containerThroughput", "collectionThroughput"])?.unwrap_or(0);
        Ok(Self { query, create_if_not_exists, throughput })
    }

    /// The attribute as .NET writes it: with all properties, in the order of the class.
    fn content(&self, context: &BindingContext<'_>) -> Result<Json, BindingError> {
        let property = |names: &[&str]| {
            let found = names.iter().find_map(|name| find_property(context.properties, name));
            found.and_then(Json::as_str).filter(|text| !text.is_empty())
        };
        let (query, parameters) = match &self.query {
            None => (Json::Null, Json::Null),
            Some(query) => {
                let parameters: Map<String, Json> =
                    query.parameters(context.binding_data)?.into_iter().collect();
                (Json::from(query.text()), Json::Object(parameters))
            }
        };
        Ok(json!({
            "DatabaseName": property(&["databaseName"]),
            "ContainerName": property(&["containerName", "collectionName"]),
            "CreateIfNotExists": self.create_if_not_exists,
            "Connection": property(&["connection", "connectionStringSetting"]),
            "Id": property(&["id"]),
            "PartitionKey": property(&["partitionKey"]),
            "ContainerThroughput": self.throughput,
            "SqlQuery": query,
            "SqlQueryParameters": parameters,
            "PreferredLocations": property(&["preferredLocations"]),
        }))
    }
}

#[async_trait::async_trait]
impl Reader for DeferredReader {
    async fn read(&self, context: &BindingContext<'_>) -> Result<Value, BindingError> {
        let content = self.content(context)?.to_string();
        Ok(Value::Deferred(Box::new(DeferredValue {
            version: VERSION.to_owned(),
            source: SOURCE.to_owned(),
            content_type: "application/json".to_owned(),
            content: content.into(),
        })))
    }
}

#[cfg(test)]
mod tests {
    use functions_contract::Direction;
    use trace::TraceContext;

    use super::*;

    async fn read(properties: Json, resolved: Json, data: Json) -> Result<String, BindingError> {
        let object = |json: Json| json.as_object().cloned().expect("an object");
        let spec = BindingSpec {
            function: "f".to_owned(),
            name: "doc".to_owned(),
            kind: "cosmosDB".to_owned(),
            direction: Direction::In,
            properties: object(properties),
        };
        let (properties, binding_data) = (object(resolved), object(data));
        let context = BindingContext {
            invocation_id: "1",
            properties: &properties,
            binding_data: &binding_data,
            origin: None,
            trace: TraceContext::root(),
        };
        let Value::Deferred(reference) = DeferredReader::new(&spec)?.read(&context).await? else {
            panic!("a reference")
        };
        assert_eq!((reference.version.as_str(), reference.source.as_str()), ("1.0", "CosmosDB"));
        assert_eq!(reference.content_type, "application/json");
        Ok(String::from_utf8(reference.content.to_vec()).expect("UTF-8"))
    }

    #[tokio::test]
    async fn an_item_is_named_by_its_resolved_id_and_key() {
        let resolved = json!({
            "connection": "Db", "databaseName": "db", "containerName": "items", "id": "a", "partitionKey": "k", "preferredLocations": "x,y",
        });
        let content = read(json!({"id": "{id}"}), resolved, json!({})).await.expect("valid");
        let expected = r#"{"DatabaseName":"db","ContainerName":"items","CreateIfNotExists":false,"Connection":"Db","Id":"a","PartitionKey":"k","ContainerThroughput":0,"SqlQuery":null,"SqlQueryParameters":null,"PreferredLocations":"x,y"}"#;
        assert_eq!(content, expected);
    }

    #[tokio::test]
    async fn a_query_names_its_parameters_after_the_expressions() {
        let declared = json!({"sqlQuery": "SELECT * FROM c WHERE c.a = {a} OR c.a = {A} AND c.b = {data.b}"});
        let content = read(declared, json!({}), json!({"a": "x", "data": {"b": 5}})).await.expect("valid");
        let content: Json = serde_json::from_str(&content).expect("JSON");
        assert_eq!(content["SqlQuery"], "SELECT * FROM c WHERE c.a = @a OR c.a = @A AND c.b = @data_b");
        assert_eq!(content["SqlQueryParameters"], json!({"@a": "x", "@A": "x", "@data_b": 5}));
        let plain = read(json!({"sqlQuery": "SELECT 1"}), json!({}), json!({})).await.expect("valid");
        assert!(plain.contains(r#""SqlQuery":"SELECT 1","SqlQueryParameters":{}"#), "{plain}");
        let lacking = read(json!({"sqlQuery": "SELECT {a}"}), json!({}), json!({})).await;
        assert!(lacking.expect_err("no value").to_string().contains("sqlQuery needs {a}"));
    }

    #[tokio::test]
    async fn a_client_needs_neither_database_nor_container() {
        let content = read(json!({}), json!({"connection": "Db"}), json!({})).await.expect("valid");
        assert!(content.starts_with(r#"{"DatabaseName":null,"ContainerName":null,"#), "{content}");
    }
}
