//! The sets of keys that are stored: of the host and of each function.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE;
use ring::rand::{SecureRandom, SystemRandom};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// A key with its name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct NamedKey {
    pub(crate) name: String,
    pub(crate) value: String,
}

/// Keys of the host.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct HostKeys {
    pub(crate) master_key: String,
    pub(crate) function_keys: Vec<NamedKey>,
    pub(crate) system_keys: Vec<NamedKey>,
}

/// Keys of one function.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct FunctionKeys {
    pub(crate) keys: Vec<NamedKey>,
}

/// The owner of a set of keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum KeyScope<'a> {
    /// The host, for all functions.
    HostFunctions,
    /// The host, for webhooks of extensions (system keys).
    System,
    /// One function.
    Function(&'a str),
}

/// A change of a set of keys.
#[derive(Clone, Debug)]
pub(super) enum KeyEdit {
    Set(NamedKey),
    Remove(String),
    Master(String),
}

/// A set of keys as the registry stores it.
pub(super) trait StoredKeys: Serialize + DeserializeOwned + Send + Sync {
    /// The keys of an app that has none yet.
    fn generate() -> Self;

    /// Applies a change; `true` if it changed anything.
    fn apply(&mut self, scope: KeyScope<'_>, edit: &KeyEdit) -> bool;
}

impl StoredKeys for HostKeys {
    fn generate() -> Self {
        let default = NamedKey { name: "default".to_owned(), value: generate_key() };
        Self { master_key: generate_key(), function_keys: vec![default], system_keys: Vec::new() }
    }

    fn apply(&mut self, scope: KeyScope<'_>, edit: &KeyEdit) -> bool {
        match (edit, scope) {
            (KeyEdit::Master(value), _) => {
                self.master_key.clone_from(value);
                true
            }
            (edit, KeyScope::System) => apply(&mut self.system_keys, edit),
            (edit, _) => apply(&mut self.function_keys, edit),
        }
    }
}

impl StoredKeys for FunctionKeys {
    fn generate() -> Self {
        Self { keys: vec![NamedKey { name: "default".to_owned(), value: generate_key() }] }
    }

    fn apply(&mut self, _: KeyScope<'_>, edit: &KeyEdit) -> bool {
        apply(&mut self.keys, edit)
    }
}

fn apply(keys: &mut Vec<NamedKey>, edit: &KeyEdit) -> bool {
    let count = keys.len();
    match edit {
        KeyEdit::Set(key) => {
            match keys.iter_mut().find(|existing| existing.name.eq_ignore_ascii_case(&key.name)) {
                Some(existing) => existing.value.clone_from(&key.value),
                None => keys.push(key.clone()),
            }
            true
        }
        KeyEdit::Remove(name) => {
            keys.retain(|existing| !existing.name.eq_ignore_ascii_case(name));
            keys.len() < count
        }
        KeyEdit::Master(_) => false,
    }
}

/// 40 random bytes, as the real host generates them.
pub(super) fn generate_key() -> String {
    let mut bytes = [0; 40];
    SystemRandom::new().fill(&mut bytes).expect("the operating system provides random bytes");
    URL_SAFE.encode(bytes)
}
