//! Decides the effect of a write from the existing item and the operation. Pure.

use serde_json::{Map, Value};

use crate::catalog::Container;
use crate::error::RequestFailure;
use crate::error_table;
use crate::resource_id::ContainerNumber;

/// The operation on an item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verb {
    Create,
    Upsert,
    Replace,
    Patch,
    Delete,
    /// Only inside a batch: other reads do not use the writer.
    Read,
}

/// `If-Match` and `If-None-Match` of a request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Conditions {
    pub(crate) if_match: Option<String>,
    pub(crate) if_none_match: Option<String>,
}

/// The effect of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    Insert,
    Overwrite,
    Delete,
    Nothing,
}

/// Decides the effect on one item. `existing` is the etag of the existing item; an expired item does not exist.
pub(crate) fn decide(
    verb: Verb,
    conditions: &Conditions,
    existing: Option<&str>,
) -> Result<Effect, RequestFailure> {
    let Some(etag) = existing else {
        return match verb {
            // An upsert of a missing item ignores If-Match.
            Verb::Create | Verb::Upsert => Ok(Effect::Insert),
            Verb::Replace | Verb::Patch | Verb::Delete | Verb::Read => {
                Err(RequestFailure::not_found("An item with this id and partition key"))
            }
        };
    };
    if verb == Verb::Create {
        let message =
            "An item with this id and partition key exists already. Use upsert or replace to change it.";
        return Err(RequestFailure::new(&error_table::CONFLICT, message));
    }
    if conditions.if_match.as_deref().is_some_and(|wanted| wanted != "*" && wanted != etag) {
        let message =
            "The item was changed since it was read: its etag is not the one in If-Match. Read it again.";
        return Err(RequestFailure::new(&error_table::PRECONDITION_FAILED, message));
    }
    match verb {
        Verb::Create => unreachable!("creating over an existing item returned above"),
        Verb::Upsert | Verb::Replace | Verb::Patch => Ok(Effect::Overwrite),
        Verb::Delete => Ok(Effect::Delete),
        Verb::Read => Ok(Effect::Nothing),
    }
}

/// The etag of an item. Changes with each write, and differs from the etags of an earlier container with the same name.
pub(crate) fn item_etag(container: ContainerNumber, lsn: u64) -> String {
    format!("\"{:08x}-0000-0000-{:04x}-{:012x}\"", container.0, lsn >> 48, lsn & 0xffff_ffff_ffff)
}

/// The item's own `ttl`, if the container has TTL enabled: none, -1 for never, or seconds.
pub(crate) fn item_ttl(item: &Map<String, Value>) -> Result<Option<i64>, RequestFailure> {
    let Some(value) = item.get("ttl") else { return Ok(None) };
    match value.as_i64() {
        Some(ttl) if ttl == -1 || (1..=i64::from(i32::MAX)).contains(&ttl) => Ok(Some(ttl)),
        // The text of Azure, because people search for it.
        _ => Err(RequestFailure::bad_request(format!(
            "The input ttl '{:.64}' is invalid. Ensure to provide a nonzero positive integer less than or equal to '2147483647', or '-1' which means never expire.",
            value.to_string()
        ))),
    }
}

/// Rejects a `ttl` that is null, even if the container has no TTL: the property must be omitted instead.
pub(crate) fn check_ttl(item: &Map<String, Value>) -> Result<(), RequestFailure> {
    if item.get("ttl").is_some_and(Value::is_null) { item_ttl(item).map(drop) } else { Ok(()) }
}

/// When an item written at `ts` expires, in seconds since the Unix epoch. Without a default TTL of the container, the item's own TTL
/// is ignored.
pub(crate) fn expires_at(default_ttl: Option<i64>, item_ttl: Option<i64>, ts: i64) -> Option<i64> {
    let ttl = item_ttl.unwrap_or(default_ttl?);
    default_ttl?;
    (ttl != -1).then(|| ts + ttl)
}

/// Whether two items of one partition key value collide in one of the container's unique keys. Missing counts as null.
pub(crate) fn unique_keys_collide(
    container: &Container,
    one: &Map<String, Value>,
    other: &Map<String, Value>,
) -> bool {
    container.unique_keys.iter().any(|paths| paths.iter().all(|path| at(path, one) == at(path, other)))
}

fn at<'a>(path: &[String], item: &'a Map<String, Value>) -> &'a Value {
    let (first, rest) = path.split_first().expect("a parsed path has at least one name");
    let start = item.get(first).unwrap_or(&Value::Null);
    rest.iter().fold(start, |value, name| value.get(name).unwrap_or(&Value::Null))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn conditions(if_match: Option<&str>) -> Conditions {
        Conditions { if_match: if_match.map(str::to_owned), if_none_match: None }
    }

    fn status(verb: Verb, if_match: Option<&str>, existing: Option<&str>) -> Result<Effect, u16> {
        decide(verb, &conditions(if_match), existing).map_err(|failure| failure.error.status().as_u16())
    }

    #[test]
    fn the_existing_item_decides_the_effect() {
        assert_eq!(status(Verb::Create, None, None), Ok(Effect::Insert));
        assert_eq!(status(Verb::Create, None, Some("a")), Err(409));
        assert_eq!(status(Verb::Upsert, Some("x"), None), Ok(Effect::Insert));
        assert_eq!(status(Verb::Upsert, Some("x"), Some("a")), Err(412));
        assert_eq!(status(Verb::Replace, Some("a"), Some("a")), Ok(Effect::Overwrite));
        assert_eq!(status(Verb::Replace, Some("*"), Some("a")), Ok(Effect::Overwrite));
        assert_eq!(status(Verb::Replace, None, None), Err(404));
        assert_eq!(status(Verb::Delete, Some("b"), Some("a")), Err(412));
        assert_eq!(status(Verb::Delete, None, Some("a")), Ok(Effect::Delete));
    }

    #[test]
    fn expiry_depends_on_container_and_item_ttl() {
        assert_eq!(expires_at(None, Some(5), 100), None);
        assert_eq!(expires_at(Some(-1), None, 100), None);
        assert_eq!(expires_at(Some(-1), Some(5), 100), Some(105));
        assert_eq!(expires_at(Some(10), None, 100), Some(110));
        assert_eq!(expires_at(Some(10), Some(-1), 100), None);
    }
}
