//! [`IndexCache`]: the functions of an app as its worker reported them, stored by the content of the app, so that a start of the same app
//! needs no worker.
//!
//! The key is a digest of everything that the report depends on: the files of the app that are watched for hot reload, the settings, the
//! worker and the versions of the host. A file of another version, of another app or with damage is ignored.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use ring::digest::{Context, SHA256};
use serde::{Deserialize, Serialize};
use worker_protocol::{Capabilities, FunctionId, FunctionMetadata, RetryOptions};

use crate::app::{App, Snapshot, WatchRules};
use crate::worker::{Indexing, KnownApp, WorkerSpec};

/// The version of the form on the disk; another one is ignored.
const FORMAT: u32 = 1;

/// The name of the file in the cache folder.
const FILE: &str = "index.json";

/// The most bytes of all files whose content is part of the key; of further ones, size and modification time are.
const CONTENT_BYTES_MAX: u64 = 256 * 1024 * 1024;

/// The index of one app with one content.
#[derive(Clone, Debug)]
pub(crate) struct IndexCache {
    file: PathBuf,
    key: String,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct StoredIndex {
    format: u32,
    key: String,
    /// `None` if the host reads the `function.json` files.
    functions: Option<Vec<StoredFunction>>,
    capabilities: Capabilities,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct StoredFunction {
    name: String,
    id: String,
    directory: String,
    script_file: String,
    entry_point: String,
    language: String,
    bindings: Vec<String>,
    retry: Option<RetryOptions>,
    properties: BTreeMap<String, String>,
}

impl IndexCache {
    /// The cache of an app in a folder. Reads the files of the app, and blocks.
    pub(crate) fn of(cache_dir: &Path, app: &App, ignored: &[PathBuf], spec: &WorkerSpec) -> Self {
        Self { file: cache_dir.join(FILE), key: key(app, ignored, spec) }
    }

    /// The stored index; `None` if there is none for this content.
    pub(crate) fn read(&self) -> Option<KnownApp> {
        let bytes = std::fs::read(&self.file).ok()?;
        let stored = match serde_json::from_slice::<StoredIndex>(&bytes) {
            Ok(stored) if stored.format == FORMAT && stored.key == self.key => stored,
            Ok(_) => return None,
            Err(error) => {
                tracing::debug!(%error, file = %self.file.display(), "the stored index cannot be read and is ignored");
                return None;
            }
        };
        let indexing = match stored.functions {
            Some(functions) => Indexing::Worker(functions.into_iter().map(FunctionMetadata::from).collect()),
            None => Indexing::Host,
        };
        Some(KnownApp { indexing, capabilities: stored.capabilities })
    }

    /// Stores an index in place of the last one. A failure is logged: the next start asks a worker.
    pub(crate) fn write(&self, app: &KnownApp) {
        let functions = match &app.indexing {
            Indexing::Worker(functions) => Some(functions.iter().map(StoredFunction::from).collect()),
            Indexing::Host => None,
        };
        let stored = StoredIndex {
            format: FORMAT,
            key: self.key.clone(),
            functions,
            capabilities: app.capabilities.clone(),
        };
        if let Err(error) = self.replace(&stored) {
            tracing::warn!(%error, file = %self.file.display(), "the index of the app cannot be stored; the next start needs a worker for it");
        }
    }

    /// Replaces the file as a whole, so that a process that is killed leaves no half of it.
    fn replace(&self, stored: &StoredIndex) -> std::io::Result<()> {
        let folder = self.file.parent().unwrap_or(Path::new("."));
        std::fs::create_dir_all(folder)?;
        let mut file = tempfile::NamedTempFile::new_in(folder)?;
        file.write_all(&serde_json::to_vec(stored)?)?;
        file.persist(&self.file)?;
        Ok(())
    }
}

impl From<&FunctionMetadata> for StoredFunction {
    fn from(function: &FunctionMetadata) -> Self {
        Self {
            name: function.name.clone(),
            id: function.function_id.as_str().to_owned(),
            directory: function.directory.clone(),
            script_file: function.script_file.clone(),
            entry_point: function.entry_point.clone(),
            language: function.language.clone(),
            bindings: function.raw_bindings.clone(),
            retry: function.retry_options.clone(),
            properties: function.properties.clone(),
        }
    }
}

impl From<StoredFunction> for FunctionMetadata {
    fn from(stored: StoredFunction) -> Self {
        Self {
            name: stored.name,
            function_id: FunctionId::new(stored.id),
            directory: stored.directory,
            script_file: stored.script_file,
            entry_point: stored.entry_point,
            language: stored.language,
            raw_bindings: stored.bindings,
            retry_options: stored.retry,
            properties: stored.properties,
            status: None,
        }
    }
}

/// A digest of everything that the functions of an app depend on.
fn key(app: &App, ignored: &[PathBuf], spec: &WorkerSpec) -> String {
    let mut digest = Context::new(&SHA256);
    // Each part with its length, so that no two lists of parts have the same bytes.
    let mut add = |part: &[u8]| {
        digest.update(&(part.len() as u64).to_le_bytes());
        digest.update(part);
    };
    add(&FORMAT.to_le_bytes());
    add(env!("CARGO_PKG_VERSION").as_bytes());
    add(spec.host_version.as_bytes());
    add(spec.language.as_bytes());
    add(spec.command.as_os_str().as_encoded_bytes());
    add(spec.worker_dir.as_os_str().as_encoded_bytes());
    for argument in &spec.arguments {
        add(argument.as_encoded_bytes());
    }
    for (name, value) in &spec.env {
        add(name.as_bytes());
        add(value.as_bytes());
    }
    let snapshot = Snapshot::read(&app.dir, ignored, &WatchRules::of(app));
    let mut left = CONTENT_BYTES_MAX;
    for (path, bytes, modified) in snapshot.watched() {
        add(path.as_os_str().as_encoded_bytes());
        let mut content = Vec::new();
        let read = std::fs::File::open(app.dir.join(path))
            .and_then(|file| file.take(left).read_to_end(&mut content));
        // A folder of a package counts by its name.
        if bytes <= left && read.is_ok() {
            left -= (content.len() as u64).min(left);
            add(&content);
        } else {
            let since = modified.duration_since(std::time::SystemTime::UNIX_EPOCH).unwrap_or_default();
            add(&bytes.to_le_bytes());
            add(&since.as_nanos().to_le_bytes());
        }
    }
    digest.finish().as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An app, a folder for its cache, and its worker, which does not exist.
    struct Fixture {
        app: tempfile::TempDir,
        cache: tempfile::TempDir,
        environment: BTreeMap<String, String>,
    }

    impl Fixture {
        fn new() -> Self {
            let (app, cache) =
                (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
            let environment = BTreeMap::from([("FUNCTIONS_WORKER_RUNTIME".to_owned(), "node".to_owned())]);
            let fixture = Self { app, cache, environment };
            fixture.write("host.json", r#"{"version": "2.0"}"#);
            fixture.write("app.js", "1");
            fixture
        }

        fn write(&self, name: &str, text: &str) {
            std::fs::write(self.app.path().join(name), text).expect("a file is written");
        }

        fn cache(&self) -> IndexCache {
            let app = App::load(self.app.path(), &self.environment).expect("an app");
            let spec = WorkerSpec {
                language: "node".to_owned(),
                protocol: crate::worker::WorkerProtocol::Frames,
                command: "node".into(),
                arguments: Vec::new(),
                app_dir: app.dir.clone(),
                worker_dir: "worker".into(),
                env: app.settings.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
                indexes: true,
                host_version: "4".to_owned(),
                timeouts: crate::worker::WorkerTimeouts::default(),
            };
            IndexCache::of(self.cache.path(), &app, &[], &spec)
        }
    }

    fn known() -> KnownApp {
        let function = FunctionMetadata {
            name: "cards".to_owned(),
            function_id: FunctionId::new("id-1"),
            raw_bindings: vec![r#"{"type": "httpTrigger"}"#.to_owned()],
            retry_options: Some(RetryOptions { max_retry_count: 3, ..RetryOptions::default() }),
            properties: BTreeMap::from([("worker".to_owned(), "indexed".to_owned())]),
            ..FunctionMetadata::default()
        };
        let capabilities =
            serde_json::from_str(r#"{"HttpUri": "http://localhost:1"}"#).expect("capabilities");
        KnownApp { indexing: Indexing::Worker(vec![function]), capabilities }
    }

    #[test]
    fn a_stored_index_is_read_for_the_same_content_only() {
        let mut fixture = Fixture::new();
        assert!(fixture.cache().read().is_none(), "nothing is stored");
        fixture.cache().write(&known());
        let read = fixture.cache().read().expect("it is stored");
        assert_eq!((read.indexing, read.capabilities), (known().indexing, known().capabilities));
        // The same content at another time.
        fixture.write("app.js", "1");
        fixture.write("app.log", "not code");
        assert!(fixture.cache().read().is_some());
        fixture.write("app.js", "2");
        assert!(fixture.cache().read().is_none(), "the code has changed, and its size has not");
        fixture.write("app.js", "1");
        fixture.environment.insert("FEATURE".to_owned(), "on".to_owned());
        assert!(fixture.cache().read().is_none(), "a setting has changed");
    }

    #[test]
    fn an_index_of_another_format_or_with_damage_is_ignored() {
        let fixture = Fixture::new();
        let cache = fixture.cache();
        cache.write(&KnownApp { indexing: Indexing::Host, ..known() });
        assert_eq!(cache.read().expect("it is stored").indexing, Indexing::Host);
        let text = std::fs::read_to_string(&cache.file).expect("a file");
        for damaged in
            [text.replace("\"format\":1", "\"format\":2"), text[..text.len() / 2].to_owned(), String::new()]
        {
            std::fs::write(&cache.file, damaged).expect("a file is written");
            assert!(cache.read().is_none());
        }
    }
}
