//! The `InvocationContext` that a function gets. Pure.

use functions_contract::query_pairs;
use serde_json::{Map, Value as Json};

use super::claims::claims;
use super::headers::UpstreamHeaders;

/// The context as JSON, with the names and the order of the extension's class. `arguments` is the text of a JSON array.
pub(super) fn invocation_context(
    headers: &UpstreamHeaders<'_>,
    arguments: Option<&str>,
    error: Option<&str>,
) -> String {
    let text = |value: &str| Json::from(value).to_string();
    let object = |object: Option<Map<String, Json>>| {
        object.map_or_else(|| "null".to_owned(), |object| Json::Object(object).to_string())
    };
    let optional = |value: String| if value.is_empty() { "null".to_owned() } else { text(&value) };
    let all = headers.all().into_iter().map(|(name, value)| (name, Json::String(value))).collect();
    let claims = claims(&headers.raw("x-asrs-user-claims"), &headers.raw("x-asrs-user-claims-encoded"));
    format!(
        r#"{{"Arguments":{},"Error":{},"Category":{},"Event":{},"Hub":{},"ConnectionId":{},"UserId":{},"Headers":{},"Query":{},"Claims":{}}}"#,
        arguments.unwrap_or("null"),
        error.map_or_else(|| "null".to_owned(), text),
        text(&headers.text("category")),
        text(&headers.text("event")),
        text(&headers.text("hub")),
        text(&headers.text("connection-id")),
        optional(headers.text("user-id")),
        object(Some(all)),
        object(query(&headers.raw("x-asrs-client-query"))),
        object(claims),
    )
}

/// The query of the client, `?a=b`; several values of a name are joined by commas.
fn query(text: &str) -> Option<Map<String, Json>> {
    if text.is_empty() {
        return None;
    }
    let mut query: Map<String, Json> = Map::new();
    for (name, value) in query_pairs(text.trim_start_matches('?')) {
        match query.get_mut(&name) {
            Some(Json::String(joined)) => *joined = format!("{joined},{value}"),
            _ => drop(query.insert(name, Json::String(value))),
        }
    }
    Some(query)
}
