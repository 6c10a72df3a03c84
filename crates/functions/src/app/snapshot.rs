//! [`Snapshot`]: the names, sizes and modification times of an app's files, so that changes are found.
//!
//! A snapshot decides whether the app has changed; what an operating system reports about a folder is only a reason to take one. So a
//! lost event, a file system without events (many mounted folders of containers) and a burst of events cost nothing but time.

use std::collections::BTreeMap;
use std::fs::Metadata;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use super::watch_rules::{WatchRules, is_ignored_folder, is_temporary};

/// The state of an app's folder at one time. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Snapshot {
    /// By path relative to the app.
    files: Arc<BTreeMap<PathBuf, FileState>>,
    /// The folders of these files, with their complete paths.
    pub(crate) folders: Arc<Vec<PathBuf>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct FileState {
    bytes: u64,
    modified: SystemTime,
    /// Whether its change concerns an app that runs, by [`WatchRules`].
    is_watched: bool,
}

/// Which changes count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WatchScope {
    /// Those of watched files: for an app that runs.
    Watched,
    /// Those of all files: for an app that does not run, and may need any of them.
    All,
}

/// The most entries of a snapshot; further ones are ignored.
const ENTRIES_MAX: usize = 20_000;

/// The depth of nested folders.
const DEPTH_MAX: usize = 12;

impl Snapshot {
    /// The state of the app in `dir`, without the folders in `ignored`. Of installed packages (`node_modules`, `site-packages`), only
    /// their `package.json` or their names count, and the list that npm writes at the end. Blocks; what cannot be read counts as absent.
    pub(crate) fn read(dir: &Path, ignored: &[PathBuf], rules: &WatchRules) -> Self {
        let mut walk = Walk {
            root: dir,
            rules,
            ignored,
            left: ENTRIES_MAX,
            files: BTreeMap::new(),
            folders: Vec::new(),
        };
        walk.folder(dir, 0);
        Self { files: Arc::new(walk.files), folders: Arc::new(walk.folders) }
    }

    /// The watched files with their sizes and modification times, by path relative to the app.
    pub(crate) fn watched(&self) -> impl Iterator<Item = (&Path, u64, SystemTime)> {
        let watched = self.files.iter().filter(|(_, state)| state.is_watched);
        watched.map(|(path, state)| (path.as_path(), state.bytes, state.modified))
    }

    /// The files that were added, removed or written between two snapshots, relative to the app.
    pub(crate) fn changes(&self, later: &Self, scope: WatchScope) -> Vec<PathBuf> {
        let counts = |state: Option<&FileState>| {
            state.is_some_and(|state| scope == WatchScope::All || state.is_watched)
        };
        let mut changed: Vec<PathBuf> = Vec::new();
        for (path, state) in &*self.files {
            let now = later.files.get(path);
            let is_same = now.is_some_and(|now| (now.bytes, now.modified) == (state.bytes, state.modified));
            if !is_same && counts(now.or(Some(state))) {
                changed.push(path.clone());
            }
        }
        let added =
            later.files.iter().filter(|(path, state)| !self.files.contains_key(*path) && counts(Some(state)));
        changed.extend(added.map(|(path, _)| path.clone()));
        changed
    }
}

struct Walk<'a> {
    root: &'a Path,
    rules: &'a WatchRules,
    ignored: &'a [PathBuf],
    left: usize,
    files: BTreeMap<PathBuf, FileState>,
    folders: Vec<PathBuf>,
}

impl Walk<'_> {
    fn folder(&mut self, dir: &Path, depth: usize) {
        self.folders.push(dir.to_owned());
        for (path, metadata) in entries(dir) {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if is_ignored_folder(&name) || is_temporary(&name) || self.ignored.contains(&path) {
                continue;
            }
            if self.left == 0 {
                return;
            }
            self.left -= 1;
            if !metadata.is_dir() {
                let relative = path.strip_prefix(self.root).unwrap_or(&path).to_owned();
                let is_watched = self.rules.watches(&relative);
                self.file(relative, &metadata, is_watched);
            } else if name == "node_modules" {
                self.node_packages(&path);
            } else if name == "site-packages" {
                self.python_packages(&path);
            } else if depth < DEPTH_MAX {
                self.folder(&path, depth + 1);
            }
        }
    }

    /// Installed packages of Node.js, including those of a scope, each by its `package.json`; and the list of npm.
    fn node_packages(&mut self, dir: &Path) {
        self.folders.push(dir.to_owned());
        for (path, metadata) in entries(dir) {
            if self.left == 0 {
                return;
            }
            self.left -= 1;
            let is_scope = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('@'));
            match metadata.is_dir() {
                true if is_scope => self.node_packages(&path),
                true => {
                    let package = path.join("package.json");
                    if let Ok(metadata) = package.metadata() {
                        let relative = package.strip_prefix(self.root).unwrap_or(&package).to_owned();
                        self.file(relative, &metadata, true);
                    }
                }
                false => {
                    let relative = path.strip_prefix(self.root).unwrap_or(&path).to_owned();
                    self.file(relative, &metadata, true);
                }
            }
        }
    }

    /// Installed packages of Python, each by its name: it contains the version (`name-1.0.dist-info`).
    fn python_packages(&mut self, dir: &Path) {
        self.folders.push(dir.to_owned());
        for (path, _) in entries(dir) {
            if self.left == 0 {
                return;
            }
            self.left -= 1;
            if path.extension().is_some_and(|extension| extension == "dist-info") {
                let relative = path.strip_prefix(self.root).unwrap_or(&path).to_owned();
                let state = FileState { bytes: 0, modified: SystemTime::UNIX_EPOCH, is_watched: true };
                self.files.insert(relative, state);
            }
        }
    }

    fn file(&mut self, relative: PathBuf, metadata: &Metadata, is_watched: bool) {
        let modified = metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH);
        self.files.insert(relative, FileState { bytes: metadata.len(), modified, is_watched });
    }
}

/// The entries of a folder by name; links are followed. One that cannot be read is ignored.
fn entries(dir: &Path) -> Vec<(PathBuf, Metadata)> {
    let Ok(entries) = std::fs::read_dir(dir) else { return Vec::new() };
    let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
    let mut found: Vec<(PathBuf, Metadata)> = paths
        .filter_map(|path| path.metadata().ok().map(|metadata| (path, metadata)))
        .take(ENTRIES_MAX)
        .collect();
    found.sort_by(|a, b| a.0.cmp(&b.0));
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(dir: &Path, name: &str, text: &str) {
        let path = dir.join(name);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder is made");
        std::fs::write(path, text).expect("a file is written");
    }

    /// An app of a known language.
    fn node_app() -> tempfile::TempDir {
        let dir = tempfile::tempdir().expect("a temporary folder");
        write(dir.path(), "host.json", r#"{"version":"2.0"}"#);
        write(dir.path(), "src/functions/a.js", "1");
        dir
    }

    fn rules(dir: &Path) -> WatchRules {
        let environment = BTreeMap::from([("FUNCTIONS_WORKER_RUNTIME".to_owned(), "node".to_owned())]);
        WatchRules::of(&super::super::App::load(dir, &environment).expect("an app"))
    }

    fn names(paths: &[PathBuf]) -> Vec<&str> {
        paths.iter().map(|path| path.to_str().expect("text")).collect()
    }

    #[test]
    fn changes_of_app_files_are_detected_and_others_ignored() {
        let app = node_app();
        let (dir, data, rules) = (app.path(), app.path().join("data"), rules(app.path()));
        let read = || Snapshot::read(dir, std::slice::from_ref(&data), &rules);
        let mut before = read();
        assert!(before.changes(&read(), WatchScope::All).is_empty(), "nothing changed");
        for (name, text) in [
            ("src/functions/a.js", "22"),
            ("src/functions/b.js", "1"),
            ("local.settings.json", "{}"),
            ("node_modules/left-pad/package.json", "{}"),
            ("node_modules/@azure/functions/package.json", "{}"),
            ("node_modules/.package-lock.json", "{}"),
            (".venv/lib/python3.12/site-packages/flask-3.0.dist-info/METADATA", ""),
        ] {
            write(dir, name, text);
            let after = read();
            let changed = before.changes(&after, WatchScope::Watched);
            let expected = name.trim_end_matches("/METADATA");
            assert_eq!(names(&changed), [expected], "{name} is part of the app");
            before = after;
        }
        for name in [
            ".git/HEAD",
            ".chappe/state/journal",
            "src/__pycache__/a.pyc",
            "data/documents.sqlite",
            "node_modules/left-pad/index.js",
            "src/functions/.#a.js",
            "src/functions/a.js~",
            ".venv/lib/python3.12/site-packages/flask/app.py",
        ] {
            write(dir, name, "1");
            let after = read();
            assert!(before.changes(&after, WatchScope::All).is_empty(), "{name} is not part of the app");
        }
        std::fs::remove_file(dir.join("src/functions/b.js")).expect("it is there");
        assert_eq!(names(&before.changes(&read(), WatchScope::Watched)), ["src/functions/b.js"]);
    }

    #[test]
    fn files_that_an_app_writes_count_only_while_it_does_not_run() {
        let app = node_app();
        let rules = rules(app.path());
        let before = Snapshot::read(app.path(), &[], &rules);
        write(app.path(), "app.log", "1");
        let after = Snapshot::read(app.path(), &[], &rules);
        assert!(before.changes(&after, WatchScope::Watched).is_empty());
        assert_eq!(names(&before.changes(&after, WatchScope::All)), ["app.log"]);
    }

    /// Links may form a loop: the depth limit ends it.
    #[test]
    fn folders_are_read_to_a_limited_depth() {
        let app = tempfile::tempdir().expect("a temporary folder");
        let deep = format!("{}x", "d/".repeat(DEPTH_MAX + 1));
        write(app.path(), &deep, "1");
        let rules = WatchRules::default();
        let before = Snapshot::read(app.path(), &[], &rules);
        write(app.path(), &deep, "22");
        assert!(before.changes(&Snapshot::read(app.path(), &[], &rules), WatchScope::All).is_empty());
    }
}
