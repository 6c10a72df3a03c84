//! Account keys: the secrets that sign tokens. Know [`AccessKey`], [`DynamicKey`] and [`KeySet`].

use std::fmt;

use crate::unix_seconds::UnixSeconds;

/// The only key of the SignalR emulator. It is public: accept it on loopback only.
pub const DEVELOPMENT_SIGNALR_KEY: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789ABCDEFGH";

/// The only key of the Cosmos DB emulator. It is public: accept it on loopback only.
pub const DEVELOPMENT_COSMOS_KEY: &str =
    "C2y6yDjf5/R+ob0N8A7Cgv30VRDJIWEHLM+4QDU5DE2nQ9nDuVTqobD4b8mGGyPMbIZnqyMsEcaGQy67XIw/Jw==";

/// A shared secret as a connection string contains it. SignalR tokens are signed with the bytes of this text, not with the
/// decoded bytes. `Debug` does not show it.
#[derive(Clone, PartialEq, Eq)]
pub struct AccessKey(String);

/// A temporary key for callers that authenticate with Microsoft Entra ID instead of an account key. Their tokens name it in `kid`,
/// and no other key is tried for such a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DynamicKey {
    /// Its id: the `kid` of tokens.
    pub id: Box<str>,
    /// The secret.
    pub key: AccessKey,
    /// When tokens signed with it are no longer accepted.
    pub expires_at: UnixSeconds,
}

/// The keys that are valid at one time: usually two, so that one can be rotated while the other is in use.
#[derive(Clone, Debug)]
pub struct KeySet {
    /// Signs tokens that this process issues.
    pub primary: AccessKey,
    /// Also accepted: the secondary key and, on loopback, the public key of the emulator.
    pub others: Vec<AccessKey>,
    /// Accepted in tokens that name them.
    pub dynamic: Vec<DynamicKey>,
}

/// The key is empty: any caller could sign with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the access key is empty")]
pub struct EmptyKey;

impl AccessKey {
    /// A key with this text.
    pub fn new(text: impl Into<String>) -> Result<Self, EmptyKey> {
        let text = text.into();
        if text.trim().is_empty() { Err(EmptyKey) } else { Ok(Self(text)) }
    }

    /// The secret itself, for signing and for connection strings.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Whether it is the public key of an emulator, which protects nothing.
    pub fn is_public_development_key(&self) -> bool {
        [DEVELOPMENT_SIGNALR_KEY, DEVELOPMENT_COSMOS_KEY].contains(&self.0.as_str())
    }
}

impl KeySet {
    /// A single key.
    pub fn single(primary: AccessKey) -> Self {
        Self { primary, others: Vec::new(), dynamic: Vec::new() }
    }

    /// The dynamic key with this id, unless it has expired.
    pub fn dynamic(&self, id: &str, now: UnixSeconds) -> Option<&AccessKey> {
        let found = self.dynamic.iter().find(|dynamic| &*dynamic.id == id && dynamic.expires_at > now);
        found.map(|dynamic| &dynamic.key)
    }

    /// The account keys, the primary first.
    pub fn iter(&self) -> impl Iterator<Item = &AccessKey> {
        std::iter::once(&self.primary).chain(&self.others)
    }
}

impl fmt::Debug for AccessKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AccessKey(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_output_does_not_contain_the_key() {
        let key = AccessKey::new(DEVELOPMENT_SIGNALR_KEY).unwrap();
        assert_eq!(format!("{:?}", KeySet::single(key.clone())).matches("ABCDEF").count(), 0);
        assert!(key.is_public_development_key());
        assert!(AccessKey::new(DEVELOPMENT_COSMOS_KEY).unwrap().is_public_development_key());
        assert!(!AccessKey::new("secret").unwrap().is_public_development_key());
        assert_eq!(AccessKey::new(" "), Err(EmptyKey));
    }
}
