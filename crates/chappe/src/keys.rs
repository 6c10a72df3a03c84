//! The keys of the embedded services: configured ones, the emulators' public ones while only this machine can connect, or ones
//! made on first start.

use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::rand::{SecureRandom, SystemRandom};
use serde::{Deserialize, Serialize};

/// Keys made on first start, kept in the data folder.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct MadeKeys {
    /// Access key of the realtime service.
    pub(crate) realtime: String,
    /// Account key of the document service, in base64.
    pub(crate) documents: String,
}

/// Why keys could not be kept.
#[derive(Debug, thiserror::Error)]
pub(crate) enum KeysError {
    /// The file cannot be read or written.
    #[error("cannot keep the keys in {file}; let this user write it, or configure keys of your own")]
    File {
        file: String,
        #[source]
        cause: std::io::Error,
    },
    /// The file is not ours.
    #[error(
        "{file} does not hold keys: {what}. Restore it from a backup; or remove it and start with --accept-loss=keys to have new ones made: connection strings in use change with them"
    )]
    Content { file: String, what: String },
}

/// Reads the keys in `folder`, or makes them. The file is readable by its owner only.
pub(crate) fn load_or_make(folder: &Path) -> Result<MadeKeys, KeysError> {
    let path = folder.join("keys.json");
    let file = path.display().to_string();
    match std::fs::read_to_string(&path) {
        Ok(text) => {
            return serde_json::from_str(&text)
                .map_err(|cause| KeysError::Content { file, what: cause.to_string() });
        }
        Err(cause) if cause.kind() != std::io::ErrorKind::NotFound => {
            return Err(KeysError::File { file, cause });
        }
        Err(_) => {}
    }
    let keys = MadeKeys { realtime: random_key(32), documents: random_key(64) };
    let text = serde_json::to_string_pretty(&keys).expect("keys are text");
    write(folder, "keys.json", &text)?;
    Ok(keys)
}

/// What tells the made keys of one folder from those of another; none where no keys were made.
pub(crate) fn digest(folder: &Path) -> Option<String> {
    let text = std::fs::read_to_string(folder.join("keys.json")).ok()?;
    let keys: MadeKeys = serde_json::from_str(&text).ok()?;
    let digest = ring::digest::digest(
        &ring::digest::SHA256,
        format!("{}\n{}", keys.realtime, keys.documents).as_bytes(),
    );
    Some(digest.as_ref()[..8].iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Writes the app's master key where the owner of the machine finds it. Answers the file.
pub(crate) fn tell_master_key(folder: &Path, key: &str) -> Result<PathBuf, KeysError> {
    let text = serde_json::json!({ "masterKey": key }).to_string();
    write(folder, "function-keys.json", &text)
}

/// A temporary file of mode 0600 that takes the name in one step: never half a key, never readable by others.
fn write(folder: &Path, name: &str, text: &str) -> Result<PathBuf, KeysError> {
    let path = folder.join(name);
    let write = || {
        let mut temporary = tempfile::NamedTempFile::new_in(folder)?;
        std::io::Write::write_all(&mut temporary, text.as_bytes())?;
        temporary.as_file().sync_all()?;
        temporary.persist(&path).map_err(|error| error.error)?;
        Ok(())
    };
    match write() {
        Ok(()) => Ok(path),
        Err(cause) => Err(KeysError::File { file: path.display().to_string(), cause }),
    }
}

fn random_key(bytes: usize) -> String {
    let mut key = vec![0; bytes];
    SystemRandom::new().fill(&mut key).expect("the operating system gives random bytes");
    STANDARD.encode(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_made_once() {
        let folder = tempfile::tempdir().expect("a folder can be made");
        let made = load_or_make(folder.path()).expect("keys can be made");
        let read = load_or_make(folder.path()).expect("keys can be read");
        assert_eq!((made.realtime, made.documents), (read.realtime, read.documents));
        std::fs::write(folder.path().join("keys.json"), "{").expect("a file can be written");
        assert!(matches!(load_or_make(folder.path()), Err(KeysError::Content { .. })));
    }
}
