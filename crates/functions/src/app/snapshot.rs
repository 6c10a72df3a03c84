//! Whether the files of an app have changed: a digest of their names, sizes and times.
//!
//! Files are looked at again and again instead of watched by the operating system. That works on every system and on mounted
//! folders of containers, which report no changes; it needs no dependency, and it happens only while an app does not run.

use std::collections::hash_map::DefaultHasher;
use std::fs::Metadata;
use std::hash::{Hash, Hasher};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// What an app's folder looked like at one time. Two that differ mean that a file was added, removed, or written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Snapshot(u64);

/// Most entries that are looked at; an app with more is judged by these.
const ENTRIES_MAX: usize = 20_000;

/// How deep folders are entered.
const DEPTH_MAX: usize = 12;

/// Folders that change without concerning the app: repositories, our own data, and what loading the app itself writes.
const LEFT_OUT: [&str; 4] = [".git", ".chappe", "__pycache__", ".cache"];

impl Snapshot {
    /// Looks at the app in `dir`, without the folders in `left_out`. Of `node_modules` only the packages themselves are seen, and the
    /// list that npm writes when it has finished. Blocks; what cannot be read counts as not there.
    pub(crate) fn take(dir: &Path, left_out: &[PathBuf]) -> Self {
        let mut walk = Walk { hasher: DefaultHasher::new(), left: ENTRIES_MAX, left_out };
        walk.folder(dir, 0);
        Self(walk.hasher.finish())
    }
}

struct Walk<'a> {
    hasher: DefaultHasher,
    left: usize,
    left_out: &'a [PathBuf],
}

impl Walk<'_> {
    fn folder(&mut self, dir: &Path, depth: usize) {
        for (path, metadata) in entries(dir) {
            if self.left == 0 {
                return;
            }
            self.left -= 1;
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if LEFT_OUT.contains(&name.as_str()) || self.left_out.contains(&path) {
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

    /// The names of installed packages, those of a scope among them; of each its package.json, and the list of npm.
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

/// The entries of a folder by name, links followed. One that cannot be read is left out.
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
    fn what_concerns_the_app_is_seen_and_the_rest_is_not() {
        let app = tempfile::tempdir().expect("a temporary folder");
        write(app.path(), "src/functions/a.js", "1");
        let data = app.path().join("data");
        let take = || Snapshot::take(app.path(), std::slice::from_ref(&data));
        let mut before = take();
        assert_eq!(take(), before, "nothing changed");
        for (name, text) in [
            ("src/functions/a.js", "22"),
            ("src/functions/b.js", "1"),
            ("local.settings.json", "{}"),
            ("node_modules/left-pad/package.json", "{}"),
            ("node_modules/@azure/functions/package.json", "{}"),
            ("node_modules/.package-lock.json", "{}"),
        ] {
            write(app.path(), name, text);
            let after = take();
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
            let after = take();
            // The folder of the package is new, its file is not looked at.
            assert_eq!(after, before, "{name} is no part of the app");
        }
        std::fs::remove_file(app.path().join("src/functions/b.js")).expect("it is there");
        assert_ne!(take(), before, "a file is gone");
    }

    /// Links may lead back to where they are: the depth ends what would never end.
    #[test]
    fn folders_are_entered_to_a_limited_depth() {
        let app = tempfile::tempdir().expect("a temporary folder");
        let deep = format!("{}x", "d/".repeat(DEPTH_MAX + 1));
        write(app.path(), &deep, "1");
        let before = Snapshot::take(app.path(), &[]);
        write(app.path(), &deep, "22");
        assert_eq!(Snapshot::take(app.path(), &[]), before);
    }
}
