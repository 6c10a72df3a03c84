//! A binding as the app declares it, and one use of it by an invocation.

use serde_json::{Map, Value as Json};
use trace::TraceContext;

/// The direction in which a binding's data flows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// Into the function: triggers and input bindings.
    In,
    /// Out of the function.
    Out,
}

/// One binding of a function, as the app declares it, with `%SETTING%` already resolved.
#[derive(Clone, Debug)]
pub struct BindingSpec {
    /// The function.
    pub function: String,
    /// The binding's name: a parameter, or `$return`.
    pub name: String,
    /// Its `type`, such as `cosmosDBTrigger`; compare it without regard to case.
    pub kind: String,
    /// Its direction.
    pub direction: Direction,
    /// Its other properties. [`BindingSpec::property`] finds them without regard to the case of their names.
    pub properties: Map<String, Json>,
}

impl BindingSpec {
    /// A property, found without regard to the case of its name.
    pub fn property(&self, name: &str) -> Option<&Json> {
        find_property(&self.properties, name)
    }

    /// A property that is text and not empty.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.property(name).and_then(Json::as_str).filter(|text| !text.is_empty())
    }

    /// Whether the worker asks for a reference instead of the value: `"properties": {"supportsDeferredBinding": "True"}`, as workers
    /// declare for parameters that they build themselves. The connector decides whether it has one.
    pub fn is_deferred(&self) -> bool {
        let nested = self.property("properties").and_then(Json::as_object);
        match nested.and_then(|nested| find_property(nested, "supportsDeferredBinding")) {
            Some(Json::Bool(is_supported)) => *is_supported,
            Some(Json::String(text)) => text.eq_ignore_ascii_case("true"),
            _ => false,
        }
    }

    /// Whether the binding starts the function.
    pub fn is_trigger(&self) -> bool {
        self.kind.len() >= 7 && self.kind[self.kind.len() - 7..].eq_ignore_ascii_case("trigger")
    }
}

/// A property of a binding, found without regard to the case of its name: workers index `authLevel` and `AuthLevel` alike.
pub fn find_property<'a>(properties: &'a Map<String, Json>, name: &str) -> Option<&'a Json> {
    let exact = properties.get(name);
    exact
        .or_else(|| properties.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value))
}

/// One invocation, as a [`Reader`](crate::Reader) or [`Sink`](crate::Sink) sees it.
#[derive(Debug)]
pub struct BindingContext<'a> {
    /// The invocation's id.
    pub invocation_id: &'a str,
    /// The binding's properties, with `{expressions}` resolved for this invocation.
    pub properties: &'a Map<String, Json>,
    /// The data that expressions are resolved from: trigger metadata and the top-level properties of a JSON payload.
    pub binding_data: &'a Map<String, Json>,
    /// The origin (`scheme://host[:port]`) of the HTTP request that caused this invocation; `None` for other triggers.
    pub origin: Option<&'a http::Uri>,
    /// The invocation's span.
    pub trace: TraceContext,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_binding_is_deferred_if_its_properties_say_so_in_any_spelling() {
        let check = |properties: Json, expected: bool| {
            let spec = BindingSpec {
                function: "f".to_owned(),
                name: "b".to_owned(),
                kind: "cosmosDB".to_owned(),
                direction: Direction::In,
                properties: properties.as_object().cloned().expect("an object"),
            };
            assert_eq!(spec.is_deferred(), expected, "{properties}");
        };
        check(json!({"properties": {"supportsDeferredBinding": "True"}}), true);
        check(json!({"Properties": {"SupportsDeferredBinding": true}}), true);
        check(json!({"properties": {"supportsDeferredBinding": "false"}}), false);
        check(json!({"properties": {"supportsDeferredBinding": false}}), false);
        check(json!({"properties": {}}), false);
        check(json!({"supportsDeferredBinding": true}), false);
    }
}
