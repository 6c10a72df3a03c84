//! The `sqlQuery` of an input binding: `{expressions}` become parameters, so that a value cannot inject query text.

use functions_contract::BindingError;
use serde_json::{Map, Value as Json, json};

/// A query whose expressions have been replaced by parameters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ParameterizedQuery {
    text: String,
    /// The name of each parameter, such as `@p0`, and its path into the binding data.
    parameters: Vec<(String, String)>,
}

impl ParameterizedQuery {
    /// Finds `{name}` and `{dotted.path}`; other braces are part of the query, such as those of object literals. The parameters are
    /// named by their number.
    pub(crate) fn parse(text: &str) -> Self {
        Self::parse_with(text, |index, _| format!("@p{index}"))
    }

    /// As [`ParameterizedQuery::parse`], with parameters that are named after their expression, as in the extension of the Azure
    /// Functions host.
    pub(crate) fn parse_named(text: &str) -> Self {
        Self::parse_with(text, |_, path| format!("@{}", path.replace(['.', '-', '$'], "_")))
    }

    fn parse_with(text: &str, name: impl Fn(usize, &str) -> String) -> Self {
        let mut query = Self { text: String::with_capacity(text.len()), parameters: Vec::new() };
        let mut rest = text;
        while let Some(start) = rest.find('{') {
            let (before, from_brace) = rest.split_at(start);
            query.text.push_str(before);
            let inner = from_brace[1..].split_once('}').map(|(inner, _)| inner);
            let Some(path) = inner.filter(|inner| is_path(inner)) else {
                query.text.push('{');
                rest = &from_brace[1..];
                continue;
            };
            query.parameter(path, &name);
            rest = &from_brace[path.len() + 2..];
        }
        query.text.push_str(rest);
        query
    }

    /// The body of the query request for one invocation.
    pub(crate) fn resolve(&self, binding_data: &Map<String, Json>) -> Result<Json, BindingError> {
        let parameters = self.parameters(binding_data)?.into_iter();
        let parameters: Vec<Json> =
            parameters.map(|(name, value)| json!({ "name": name, "value": value })).collect();
        Ok(json!({ "query": self.text, "parameters": parameters }))
    }

    /// The query, with the names of the parameters.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// The parameters with their values for one invocation.
    pub(crate) fn parameters(
        &self,
        binding_data: &Map<String, Json>,
    ) -> Result<Vec<(String, Json)>, BindingError> {
        let value = |(name, path): &(String, String)| {
            let value = lookup(binding_data, path).ok_or_else(|| {
                BindingError::Value(format!(
                    "sqlQuery needs {{{path}}}, which neither the trigger nor the request provides; correct the name, or send the value"
                ))
            })?;
            Ok((name.clone(), value.clone()))
        };
        self.parameters.iter().map(value).collect()
    }

    fn parameter(&mut self, path: &str, name: impl Fn(usize, &str) -> String) {
        let known = self.parameters.iter().position(|(_, known)| known == path);
        let index = known.unwrap_or_else(|| {
            self.parameters.push((name(self.parameters.len(), path), path.to_owned()));
            self.parameters.len() - 1
        });
        self.text.push_str(&self.parameters[index].0);
    }
}

fn is_path(text: &str) -> bool {
    let word = |word: &str| {
        word.starts_with(|first: char| first.is_alphabetic() || first == '_')
            && word.chars().all(|character| character.is_alphanumeric() || "_-$".contains(character))
    };
    text.split('.').all(word)
}

/// Names are matched exactly first, then without regard to case, as in the Azure Functions host.
fn lookup<'a>(data: &'a Map<String, Json>, path: &str) -> Option<&'a Json> {
    let mut names = path.split('.');
    let mut value = functions_contract::find_property(data, names.next()?)?;
    for name in names {
        value = functions_contract::find_property(value.as_object()?, name)?;
    }
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, data: Json, expected: Json) {
        let resolved = ParameterizedQuery::parse(text).resolve(data.as_object().unwrap()).unwrap();
        assert_eq!(resolved, expected, "{text}");
    }

    #[test]
    fn expressions_become_parameters() {
        check(
            "SELECT * FROM c WHERE c.a = {a} AND c.b = {data.b} AND c.c = {a}",
            json!({"a": "x' OR true", "Data": {"b": 5}}),
            json!({
                "query": "SELECT * FROM c WHERE c.a = @p0 AND c.b = @p1 AND c.c = @p0",
                "parameters": [{"name": "@p0", "value": "x' OR true"}, {"name": "@p1", "value": 5}],
            }),
        );
    }

    #[test]
    fn object_literals_stay_in_the_query() {
        check(
            "SELECT VALUE {\"id\": c.id, 'n': {}} FROM c",
            json!({}),
            json!({"query": "SELECT VALUE {\"id\": c.id, 'n': {}} FROM c", "parameters": []}),
        );
    }

    #[test]
    fn a_query_whose_expression_has_no_value_is_rejected_with_its_name() {
        let error = ParameterizedQuery::parse("SELECT {a.b} FROM c").resolve(&Map::new()).unwrap_err();
        assert_eq!(
            error.to_string(),
            "sqlQuery needs {a.b}, which neither the trigger nor the request provides; correct the name, or send the value"
        );
    }
}
