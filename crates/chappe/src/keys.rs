//! The keys of the embedded services: configured keys, the emulators' public keys while only this machine can connect, or keys
//! generated on first start.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::rand::{SecureRandom, SystemRandom};

/// Keys generated on first start, by the service that accepts them; stored in the data folder.
pub(crate) type GeneratedKeys = BTreeMap<String, String>;

/// The services whose keys identify a folder. The list is part of the format of the manifest.
const IN_DIGEST: [&str; 2] = ["realtime", "documents"];

/// Why keys could not be stored.
#[derive(Debug, thiserror::Error)]
pub(crate) enum KeysError {
    /// The file cannot be read or written.
    #[error("cannot read or write the keys in {file}; correct its mode, or configure keys")]
    File {
        file: String,
        #[source]
        cause: std::io::Error,
    },
    /// The file does not contain keys.
    #[error(
        "{file} does not contain keys: {what}. Restore it from a backup; or remove it and start with --accept-loss=keys: new keys are generated, and connection strings in use become invalid"
    )]
    Content { file: String, what: String },
}

/// Reads the keys in `folder`, and generates missing ones: `wanted` names the services, and how many random bytes each key has.
/// Only the owner can read the file.
pub(crate) fn load_or_generate(
    folder: &Path,
    wanted: &[(String, usize)],
) -> Result<GeneratedKeys, KeysError> {
    let path = folder.join("keys.json");
    let file = path.display().to_string();
    let mut keys: GeneratedKeys = match std::fs::read_to_string(&path) {
        Ok(text) => read(&text).map_err(|what| KeysError::Content { file, what })?,
        Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => GeneratedKeys::new(),
        Err(cause) => return Err(KeysError::File { file, cause }),
    };
    let before = keys.len();
    for (service, bytes) in wanted {
        keys.entry(service.clone()).or_insert_with(|| random_key(*bytes));
    }
    if keys.len() > before {
        let text = serde_json::to_string_pretty(&keys).expect("keys are text");
        write(folder, "keys.json", &text)?;
    }
    Ok(keys)
}

fn read(text: &str) -> Result<GeneratedKeys, String> {
    let keys: GeneratedKeys = serde_json::from_str(text).map_err(|cause| cause.to_string())?;
    match IN_DIGEST.iter().find(|name| !keys.contains_key(**name)) {
        Some(missing) => Err(format!("the key of {missing} is missing")),
        None => Ok(keys),
    }
}

/// An id of the generated keys, which differs between folders; `None` if no keys were generated.
pub(crate) fn digest(folder: &Path) -> Option<String> {
    let text = std::fs::read_to_string(folder.join("keys.json")).ok()?;
    let keys: GeneratedKeys = serde_json::from_str(&text).ok()?;
    let keys: Vec<&str> =
        IN_DIGEST.iter().map(|name| keys.get(*name).map(String::as_str)).collect::<Option<_>>()?;
    let digest = ring::digest::digest(&ring::digest::SHA256, keys.join("\n").as_bytes());
    Some(digest.as_ref()[..8].iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Writes the app's master key to a file that the owner of the machine can read. Returns the file.
pub(crate) fn write_master_key(folder: &Path, key: &str) -> Result<PathBuf, KeysError> {
    let text = serde_json::json!({ "masterKey": key }).to_string();
    write(folder, "function-keys.json", &text)
}

/// Writes a temporary file of mode 0600 and renames it: readers see the whole key or none, and other users cannot read it.
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
    fn keys_are_generated_once_and_a_new_service_gets_its_own() {
        let folder = tempfile::tempdir().expect("a folder can be made");
        let wanted = [("realtime".to_owned(), 32), ("documents".to_owned(), 64)];
        let made = load_or_generate(folder.path(), &wanted).expect("keys can be made");
        let digest_before = digest(folder.path());
        assert!(digest_before.is_some());
        let more = [wanted[0].clone(), wanted[1].clone(), ("queues".to_owned(), 64)];
        let read = load_or_generate(folder.path(), &more).expect("keys can be read");
        assert_eq!((&made["realtime"], &made["documents"]), (&read["realtime"], &read["documents"]));
        assert!(!read["queues"].is_empty());
        assert_eq!(digest(folder.path()), digest_before, "it is still the same folder");
        std::fs::write(folder.path().join("keys.json"), "{").expect("a file can be written");
        assert!(matches!(load_or_generate(folder.path(), &wanted), Err(KeysError::Content { .. })));
    }
}
