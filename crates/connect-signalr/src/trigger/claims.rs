//! The claims of a client, of which a function gets the first of each type. Pure.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::{Map, Value as Json};

/// A claim in `X-ASRS-User-Claims-Encoded`.
#[derive(Deserialize)]
struct Claim {
    #[serde(rename = "type")]
    kind: String,
    value: String,
}

/// The claims in the two headers; `None` if there are none. The encoded header is exact, the classic one is not.
pub(super) fn claims(classic: &str, encoded: &str) -> Option<Map<String, Json>> {
    let exact = STANDARD.decode(encoded).ok().filter(|json| !json.is_empty());
    let exact = exact.and_then(|json| serde_json::from_slice::<Vec<Claim>>(&json).ok());
    if let Some(exact) = exact {
        return Some(first_of_each(exact.into_iter().map(|claim| (claim.kind, claim.value))));
    }
    // As the extension reads it: items without exactly one ": " are not claims.
    let items = classic.split(',').filter_map(|item| {
        let parts: Vec<&str> = item.split(": ").filter(|part| !part.is_empty()).collect();
        match parts.as_slice() {
            [kind, value] => Some((kind.trim().to_owned(), value.trim().to_owned())),
            _ => None,
        }
    });
    (!classic.is_empty()).then(|| first_of_each(items))
}

fn first_of_each(claims: impl Iterator<Item = (String, String)>) -> Map<String, Json> {
    let mut first = Map::new();
    for (kind, value) in claims {
        first.entry(kind).or_insert(Json::String(value));
    }
    first
}
