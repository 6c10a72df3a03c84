//! Account keys: the secrets that sign tokens. Know [`AccessKey`], [`DynamicKey`] and [`KeySet`].

use std::fmt;

use crate::UnixSeconds;

/// The SignalR emulator's only key. It is public, so whoever accepts it accepts it on loopback only.
pub const DEVELOPMENT_SIGNALR_KEY: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789ABCDEFGH";

/// The Cosmos DB emulator's only key, public as well.
pub const DEVELOPMENT_COSMOS_KEY: &str = crate::master_key::DEVELOPMENT_MASTER_KEY;

/// A shared secret as it stands in a connection string. Tokens are signed with the bytes of this text, not with what it would
/// decode to (SignalR). `Debug` shows nothing of it.
#[derive(Clone, PartialEq, Eq)]
pub struct AccessKey(String);

/// A key that was made for callers who log in instead of holding an account key. Their tokens name it in `kid`, and no other key
/// is tried for such a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DynamicKey {
    /// Its name, as in the `kid` of tokens.
    pub id: Box<str>,
    /// The secret.
    pub key: AccessKey,
    /// Until when tokens that it signed are accepted.
    pub expires_at: UnixSeconds,
}

/// The keys that are valid at one time: usually two, so that one can be replaced while the other is in use.
#[derive(Clone, Debug)]
pub struct KeySet {
    /// Signs what we sign.
    pub primary: AccessKey,
    /// Accepted as well: the secondary key and, on loopback, the public one of the emulators.
    pub others: Vec<AccessKey>,
    /// Accepted in tokens that name them.
    pub dynamic: Vec<DynamicKey>,
}

/// An empty text was given as a key; everybody could sign with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the access key is empty")]
pub struct EmptyKey;

impl AccessKey {
    /// Takes the text of a key.
    pub fn new(text: impl Into<String>) -> Result<Self, EmptyKey> {
        let text = text.into();
        if text.trim().is_empty() { Err(EmptyKey) } else { Ok(Self(text)) }
    }

    /// The secret itself, for signing and for the connection strings that we hand out.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Whether it is a key that the emulators publish, which protects nothing.
    pub fn is_public_development_key(&self) -> bool {
        [DEVELOPMENT_SIGNALR_KEY, DEVELOPMENT_COSMOS_KEY].contains(&self.0.as_str())
    }
}

impl KeySet {
    /// One key and no other.
    pub fn single(primary: AccessKey) -> Self {
        Self { primary, others: Vec::new(), dynamic: Vec::new() }
    }

    /// The dynamic key of that name, unless its time is over.
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
    fn keys_do_not_print_themselves() {
        let key = AccessKey::new(DEVELOPMENT_SIGNALR_KEY).unwrap();
        assert_eq!(format!("{:?}", KeySet::single(key.clone())).matches("ABCDEF").count(), 0);
        assert!(key.is_public_development_key());
        assert!(AccessKey::new(DEVELOPMENT_COSMOS_KEY).unwrap().is_public_development_key());
        assert!(!AccessKey::new("secret").unwrap().is_public_development_key());
        assert_eq!(AccessKey::new(" "), Err(EmptyKey));
    }
}
