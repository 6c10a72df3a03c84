//! The properties of a binding with compiled expressions.

use std::borrow::Cow;

use serde_json::{Map, Value as Json};

use crate::expression::{ExpressionTemplate, ResolveError, SystemValues};

/// Properties of a binding, ready to be resolved for each invocation.
#[derive(Clone, Debug)]
pub(crate) struct Properties {
    source: Map<String, Json>,
    /// The properties with expressions.
    dynamic: Vec<(String, Node)>,
    /// Whether expressions need binding data, here or in the connector.
    needs_data: bool,
}

#[derive(Clone, Debug)]
enum Node {
    Constant(Json),
    Text(ExpressionTemplate),
    List(Vec<Node>),
    Object(Vec<(String, Node)>),
}

/// Properties that are not resolved here: the connector converts their expressions to query parameters. Values in the text would
/// let a caller change the query.
const UNRESOLVED: &[&str] = &["sqlQuery"];

impl Properties {
    /// Properties without expressions.
    pub(crate) fn constant(source: Map<String, Json>) -> Self {
        Self { source, dynamic: Vec::new(), needs_data: false }
    }

    /// Compiles all texts, at any depth.
    pub(crate) fn compile(source: Map<String, Json>) -> Result<Self, String> {
        let mut dynamic = Vec::new();
        let mut needs_data = false;
        for (key, value) in &source {
            if UNRESOLVED.iter().any(|name| name.eq_ignore_ascii_case(key)) {
                needs_data |= value.as_str().is_some_and(|text| text.contains('{'));
                continue;
            }
            let node = Node::compile(value)?;
            if !matches!(node, Node::Constant(_)) {
                dynamic.push((key.clone(), node));
            }
        }
        needs_data |= !dynamic.is_empty();
        Ok(Self { source, dynamic, needs_data })
    }

    /// Whether expressions need the binding data of an invocation.
    pub(crate) fn needs_data(&self) -> bool {
        self.needs_data
    }

    /// The properties for one invocation.
    pub(crate) fn resolve(
        &self,
        data: &Map<String, Json>,
        system: &SystemValues<'_>,
    ) -> Result<Cow<'_, Map<String, Json>>, ResolveError> {
        if self.dynamic.is_empty() {
            return Ok(Cow::Borrowed(&self.source));
        }
        let mut resolved = self.source.clone();
        for (key, node) in &self.dynamic {
            resolved.insert(key.clone(), node.resolve(data, system)?);
        }
        Ok(Cow::Owned(resolved))
    }
}

impl Node {
    fn compile(value: &Json) -> Result<Self, String> {
        let node = match value {
            Json::String(text) => {
                let template = ExpressionTemplate::compile(text).map_err(|error| error.to_string())?;
                // A doubled brace must become a single one, so text with braces is resolved even if it is constant.
                if template.is_constant() && !text.contains(['{', '}']) {
                    Self::Constant(value.clone())
                } else {
                    Self::Text(template)
                }
            }
            Json::Array(items) => {
                let nodes = items.iter().map(Self::compile).collect::<Result<Vec<_>, _>>()?;
                if nodes.iter().all(|node| matches!(node, Self::Constant(_))) {
                    Self::Constant(value.clone())
                } else {
                    Self::List(nodes)
                }
            }
            Json::Object(object) => {
                let compile = |(key, value): (&String, &Json)| Ok((key.clone(), Self::compile(value)?));
                let nodes = object.iter().map(compile).collect::<Result<Vec<_>, String>>()?;
                if nodes.iter().all(|(_, node)| matches!(node, Self::Constant(_))) {
                    Self::Constant(value.clone())
                } else {
                    Self::Object(nodes)
                }
            }
            other => Self::Constant(other.clone()),
        };
        Ok(node)
    }

    fn resolve(&self, data: &Map<String, Json>, system: &SystemValues<'_>) -> Result<Json, ResolveError> {
        Ok(match self {
            Self::Constant(value) => value.clone(),
            Self::Text(template) => Json::String(template.resolve(data, system)?),
            Self::List(nodes) => {
                Json::Array(nodes.iter().map(|node| node.resolve(data, system)).collect::<Result<_, _>>()?)
            }
            Self::Object(nodes) => {
                let resolve = |(key, node): &(String, Node)| Ok((key.clone(), node.resolve(data, system)?));
                Json::Object(nodes.iter().map(resolve).collect::<Result<_, ResolveError>>()?)
            }
        })
    }
}
