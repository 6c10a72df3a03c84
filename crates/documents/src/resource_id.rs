//! Resource ids (`_rid`) and the ids that users choose.
//!
//! SDKs parse a `_rid`: a database's has 4 bytes, a container's those and 4 more of which the first has its top bit
//! set, an item's those and 8 more, whose last byte names the kind of resource in its high half (0 item, 5 partition key
//! range). The text is base64 in which `/` is written `-`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// Longest id of an item, in bytes of UTF-8; longest name of a database or container as well.
pub(crate) const ID_BYTES_MAX: usize = 1023;

/// Number of a database in its account. Never reused, even after the database was deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct DatabaseNumber(pub(crate) u32);

/// Number of a container. Never reused, so that a container created again under the same name is another one for every cache, lease
/// and continuation token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct ContainerNumber(pub(crate) u32);

/// Number of an item in its container, in order of creation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct ItemNumber(pub(crate) u64);

/// The `_rid` of a database.
pub(crate) fn database_rid(database: DatabaseNumber) -> String {
    encode(&database_bytes(database))
}

/// The `_rid` of a container.
pub(crate) fn container_rid(database: DatabaseNumber, container: ContainerNumber) -> String {
    encode(&container_bytes(database, container))
}

/// The `_rid` of an item.
pub(crate) fn item_rid(database: DatabaseNumber, container: ContainerNumber, item: ItemNumber) -> String {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&container_bytes(database, container));
    // Little-endian, so that the last byte stays 0 (kind: item) for the first 2^56 items.
    bytes[8..].copy_from_slice(&item.0.to_le_bytes());
    encode(&bytes)
}

/// The `_rid` of a container's only partition key range.
pub(crate) fn range_rid(database: DatabaseNumber, container: ContainerNumber) -> String {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&container_bytes(database, container));
    bytes[8] = 2;
    bytes[15] = 0x50;
    encode(&bytes)
}

/// The number in an item's `_rid`, if the text is one of this container's.
pub(crate) fn parse_item_rid(
    rid: &str,
    database: DatabaseNumber,
    container: ContainerNumber,
) -> Option<ItemNumber> {
    let bytes = decode(rid)?;
    let (prefix, number) = bytes.split_at_checked(8)?;
    let number = u64::from_le_bytes(number.try_into().ok()?);
    (prefix == container_bytes(database, container)).then_some(ItemNumber(number))
}

/// Why an id is invalid.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum IdError {
    /// It is empty.
    #[error("the id is empty")]
    Empty,
    /// Longer than [`ID_BYTES_MAX`].
    #[error("the id has {0} bytes; at most {ID_BYTES_MAX} are allowed")]
    TooLong(usize),
    /// It has a character that is not allowed in a path.
    #[error("the id contains {0:?}; the characters / \\ ? # and control characters are not allowed")]
    Character(char),
}

/// Validates an id of a user.
pub(crate) fn check_id(id: &str) -> Result<(), IdError> {
    if id.is_empty() {
        return Err(IdError::Empty);
    }
    if id.len() > ID_BYTES_MAX {
        return Err(IdError::TooLong(id.len()));
    }
    let bad = |character: &char| matches!(character, '/' | '\\' | '?' | '#') || character.is_control();
    id.chars().find(bad).map_or(Ok(()), |character| Err(IdError::Character(character)))
}

fn database_bytes(database: DatabaseNumber) -> [u8; 4] {
    // The first byte is never 0, as in Azure.
    (0x0100_0000 | database.0).to_be_bytes()
}

fn container_bytes(database: DatabaseNumber, container: ContainerNumber) -> [u8; 8] {
    let mut bytes = [0; 8];
    bytes[..4].copy_from_slice(&database_bytes(database));
    bytes[4..].copy_from_slice(&(0x8000_0000 | container.0).to_be_bytes());
    bytes
}

fn encode(bytes: &[u8]) -> String {
    STANDARD.encode(bytes).replace('/', "-")
}

fn decode(rid: &str) -> Option<Vec<u8>> {
    STANDARD.decode(rid.replace('-', "/")).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_have_the_lengths_that_sdks_expect() {
        let (database, container) = (DatabaseNumber(1), ContainerNumber(1));
        assert_eq!(database_rid(database), "AQAAAQ==");
        assert_eq!(container_rid(database, container), "AQAAAYAAAAE=");
        let rid = item_rid(database, container, ItemNumber(7));
        assert_eq!(decode(&rid).map(|bytes| (bytes.len(), bytes[15])), Some((16, 0)));
        assert_eq!(parse_item_rid(&rid, database, container), Some(ItemNumber(7)));
        assert_eq!(parse_item_rid(&rid, database, ContainerNumber(2)), None);
        assert_eq!(decode(&range_rid(database, container)).map(|bytes| bytes[15] >> 4), Some(5));
    }

    #[test]
    fn ids_with_path_characters_are_rejected() {
        assert_eq!(check_id("a b'é"), Ok(()));
        assert_eq!(check_id(""), Err(IdError::Empty));
        assert_eq!(check_id("a/b"), Err(IdError::Character('/')));
        assert_eq!(check_id(&"x".repeat(1024)), Err(IdError::TooLong(1024)));
    }
}
