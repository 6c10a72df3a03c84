//! Detects changes of an app's files: a digest of their names, sizes and modification times.
//!
//! Files are polled instead of watched by the operating system. Polling works on every system and on mounted folders of
//! containers, which report no changes. It needs no dependency, and it runs only while an app does not run.

use std::collections::hash_map::DefaultHasher;
use std::fs::Metadata;
use std::hash::{Hash, Hasher};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// The state of an app's folder at one time. Two different snapshots mean that a file was added, removed or written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Snapshot(u64);

/// The most entries of a snapshot; further ones are ignored.
const ENTRIES_MAX: usize = 20_000;

/// The depth of nested folders.
const DEPTH_MAX: usize = 12;

/// Folders whose changes do not concern the app: repositories, our own data, and what loading the app writes.
const IGNORED_NAMES: [&str; 4] = [".git", ".chappe", "__pycache__", ".cache"];

impl Snapshot {
    /// The state of the app in `dir`, without the folders in `ignored`. In `node_modules`, only the `package.json` of each package
    /// counts, and the list that npm writes at the end. Blocks; what cannot be read counts as absent.
    pub(crate) fn read(dir: &Path, ignored: &[PathBuf]) -> Self {
        let mut walk = Walk { hasher: DefaultHasher::new(), left: ENTRIES_MAX, ignored };
        walk.folder(dir, 0);
        Self(walk.hasher.finish())
    }
}

struct Walk<'a> {
    hasher: DefaultHasher,
    left: usize,
    ignored: &'a [PathBuf],
}

impl Walk<'_> {
    fn folder(&mut self, dir: &Path, depth: usize) {
        for (path, metadata) in entries(dir) {
            if self.left == 0 {
                return;
            }
            self.left -= 1;
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if IGNORED_NAMES.contains(&name.as_str()) || self.ignored.contains(&path) {
                continue;
            }
            name.hash(&mut self.hasher);
            if !metadata.is_dir() {
                self.file(&metadata);
            } else if name == "node_modules" {
                self.packages(&path);
            } else if depth < DEPTH_MAX {
                self.folder(&path, depth + 1);
            }
        }
    }

    /// Installed packages, including those of a scope, each by its `package.json`; and the list of npm.
    fn packages(&mut self, dir: &Path) {
        for (path, metadata) in entries(dir) {
            if self.left == 0 {
                return;
            }
            self.left -= 1;
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            name.hash(&mut self.hasher);
            match metadata.is_dir() {
                true if name.starts_with('@') => self.packages(&path),
                true => {
                    if let Ok(metadata) = path.join("package.json").metadata() {
                        self.file(&metadata);
                    }
                }
                false => self.file(&metadata),
            }
        }
    }

    fn file(&mut self, metadata: &Metadata) {
        metadata.len().hash(&mut self.hasher);
        metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH).hash(&mut self.hasher);
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

    #[test]
    fn changes_of_app_files_are_detected_and_others_ignored() {
        let app = tempfile::tempdir().expect("a temporary folder");
        write(app.path(), "src/functions/a.js", "1");
        let data = app.path().join("data");
        let read = || Snapshot::read(app.path(), std::slice::from_ref(&data));
        let mut before = read();
        assert_eq!(read(), before, "nothing changed");
        for (name, text) in [
            ("src/functions/a.js", "22"),
            ("src/functions/b.js", "1"),
            ("local.settings.json", "{}"),
            ("node_modules/left-pad/package.json", "{}"),
            ("node_modules/@azure/functions/package.json", "{}"),
            ("node_modules/.package-lock.json", "{}"),
        ] {
            write(app.path(), name, text);
            let after = read();
            assert_ne!(after, before, "{name} is part of the app");
            before = after;
        }
        for name in [
            ".git/HEAD",
            ".chappe/state/journal",
            "src/__pycache__/a.pyc",
            "data/documents.sqlite",
            "node_modules/left-pad/index.js",
        ] {
            write(app.path(), name, "1");
            let after = read();
            // The folder of the package is new; its file is ignored.
            assert_eq!(after, before, "{name} is not part of the app");
        }
        std::fs::remove_file(app.path().join("src/functions/b.js")).expect("it is there");
        assert_ne!(read(), before, "a file is gone");
    }

    /// Links may form a loop: the depth limit ends it.
    #[test]
    fn folders_are_read_to_a_limited_depth() {
        let app = tempfile::tempdir().expect("a temporary folder");
        let deep = format!("{}x", "d/".repeat(DEPTH_MAX + 1));
        write(app.path(), &deep, "1");
        let before = Snapshot::read(app.path(), &[]);
        write(app.path(), &deep, "22");
        assert_eq!(Snapshot::read(app.path(), &[]), before);
    }
}
