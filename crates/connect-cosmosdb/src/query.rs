//! The `sqlQuery` of an input binding: `{expressions}` become parameters, so that a value cannot inject query text.

use functions_contract::BindingError;
use serde_json::{Map, Value as Json, json};

/// A query whose expressions have been replaced by parameters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ParameterizedQuery {
    text: String,
    /// The path into the binding data of each parameter: `@p0` for the first.
    paths: Vec<String>,
}

impl ParameterizedQuery {
    /// Finds `{name}` and `{dotted.path}`; other braces are part of the query, such as those of object literals.
    pub(crate) fn parse(text: &str) -> Self {
        let mut query = Self { text: String::with_capacity(text.len()), paths: Vec::new() };
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
            query.parameter(path);
            rest = &from_brace[path.len() + 2..];
        }
        query.text.push_str(rest);
        query
    }

    /// The body of the query request for one invocation.
    pub(crate) fn resolve(&self, binding_data: &Map<String, Json>) -> Result<Json, BindingError> {
        let mut parameters = Vec::with_capacity(self.paths.len());
        for (index, path) in self.paths.iter().enumerate() {
            let value = lookup(binding_data, path).ok_or_else(|| {
                BindingError::Value(format!(
                    "sqlQuery needs {{{path}}}, which neither the trigger nor the request provides"
                ))
            })?;
            parameters.push(json!({ "name": format!("@p{index}"), "value": value }));
        }
        Ok(json!({ "query": self.text, "parameters": parameters }))
    }

    fn parameter(&mut self, path: &str) {
        let known = self.paths.iter().position(|known| known == path);
        let index = known.unwrap_or_else(|| {
            self.paths.push(path.to_owned());
            self.paths.len() - 1
        });
        self.text.push_str(&format!("@p{index}"));
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
            "sqlQuery needs {a.b}, which neither the trigger nor the request provides"
        );
    }
}
