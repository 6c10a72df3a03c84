//! [`AcceptedKeys`]: the keys with which requests of other processes may be signed.

use std::sync::{Arc, PoisonError, RwLock};

use identity::master_key::MasterKey;

use crate::{Error, Options};

/// The keys that are accepted now. Cheap to clone; all clones accept the same.
#[derive(Clone, Debug)]
pub(crate) struct AcceptedKeys {
    current: Arc<RwLock<Arc<[MasterKey]>>>,
    /// Whether the emulator's public key is accepted too.
    development_key: bool,
}

impl AcceptedKeys {
    pub(crate) fn new(keys: Vec<MasterKey>, development_key: bool) -> Self {
        Self { current: Arc::new(RwLock::new(keys.into())), development_key }
    }

    pub(crate) fn current(&self) -> Arc<[MasterKey]> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Parses other keys; calling what is returned accepts them instead of those of before.
    pub(crate) fn prepare(&self, options: &Options) -> Result<impl FnOnce() + Send + 'static + use<>, Error> {
        let options = Options { development_key: self.development_key, ..options.clone() };
        let (keys, current) = (parse_keys(&options)?, Arc::clone(&self.current));
        Ok(move || *current.write().unwrap_or_else(PoisonError::into_inner) = keys.into())
    }
}

/// The keys that the options name.
pub(crate) fn parse_keys(options: &Options) -> Result<Vec<MasterKey>, Error> {
    let development = options.development_key.then_some(identity::DEVELOPMENT_COSMOS_KEY);
    let given = [
        ("primary_key", options.primary_key.as_deref()),
        ("secondary_key", options.secondary_key.as_deref()),
        ("development_key", development),
    ];
    let mut keys = Vec::new();
    for (name, text) in given {
        if let Some(text) = text {
            keys.push(
                MasterKey::parse(text).map_err(|error| Error::Option { name, why: error.to_string() })?,
            );
        }
    }
    Ok(keys)
}
