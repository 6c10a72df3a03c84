//! A binding's properties with their expressions compiled.

use std::borrow::Cow;

use serde_json::{Map, Value as Json};

use crate::expression::{ResolveError, Surroundings, Template};

/// Properties of a binding, ready to be resolved for each invocation.
#[derive(Clone, Debug)]
pub(crate) struct Properties {
    source: Map<String, Json>,
    /// Only the properties that differ from invocation to invocation.
    changing: Vec<(String, Node)>,
    /// Whether binding data is needed, here or by the connector.
    needs_data: bool,
}

#[derive(Clone, Debug)]
enum Node {
    Constant(Json),
    Text(Template),
    List(Vec<Node>),
    Object(Vec<(String, Node)>),
}

/// Not resolved here: their expressions become parameters of a query, in the connector; putting values into the text would
/// let a caller change the query.
const LEFT_ALONE: &[&str] = &["sqlQuery"];

impl Properties {
    /// Properties without expressions.
    pub(crate) fn constant(source: Map<String, Json>) -> Self {
        Self { source, changing: Vec::new(), needs_data: false }
    }

    /// Compiles all texts, however deep.
    pub(crate) fn compile(source: Map<String, Json>) -> Result<Self, String> {
        let mut changing = Vec::new();
        let mut needs_data = false;
        for (key, value) in &source {
            if LEFT_ALONE.iter().any(|name| name.eq_ignore_ascii_case(key)) {
                needs_data |= value.as_str().is_some_and(|text| text.contains('{'));
                continue;
            }
            let node = Node::compile(value)?;
            if !matches!(node, Node::Constant(_)) {
                changing.push((key.clone(), node));
            }
        }
        needs_data |= !changing.is_empty();
        Ok(Self { source, changing, needs_data })
    }

    /// Whether an invocation's binding data is looked at.
    pub(crate) fn needs_data(&self) -> bool {
        self.needs_data
    }

    /// The properties for one invocation.
    pub(crate) fn resolve(
        &self,
        data: &Map<String, Json>,
        surroundings: &Surroundings<'_>,
    ) -> Result<Cow<'_, Map<String, Json>>, ResolveError> {
        if self.changing.is_empty() {
            return Ok(Cow::Borrowed(&self.source));
        }
        let mut resolved = self.source.clone();
        for (key, node) in &self.changing {
            resolved.insert(key.clone(), node.resolve(data, surroundings)?);
        }
        Ok(Cow::Owned(resolved))
    }
}

impl Node {
    fn compile(value: &Json) -> Result<Self, String> {
        let node = match value {
            Json::String(text) => {
                let template = Template::compile(text).map_err(|error| error.to_string())?;
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

    fn resolve(
        &self,
        data: &Map<String, Json>,
        surroundings: &Surroundings<'_>,
    ) -> Result<Json, ResolveError> {
        Ok(match self {
            Self::Constant(value) => value.clone(),
            Self::Text(template) => Json::String(template.resolve(data, surroundings)?),
            Self::List(nodes) => Json::Array(
                nodes.iter().map(|node| node.resolve(data, surroundings)).collect::<Result<_, _>>()?,
            ),
            Self::Object(nodes) => {
                let resolve =
                    |(key, node): &(String, Node)| Ok((key.clone(), node.resolve(data, surroundings)?));
                Json::Object(nodes.iter().map(resolve).collect::<Result<_, ResolveError>>()?)
            }
        })
    }
}
