//! [`Disk`]: the device below the files of a simulated process. It records what was flushed, and decides by a seed what is left after a
//! power failure.
//!
//! The files themselves are in a folder of the machine's memory file system, which has the role of the system's page cache: reads, also
//! after a kill, see everything that was written. For each file the disk records the changes since the last flush, with the bytes that they
//! replaced; for each folder the names that were created, changed or removed. At a power failure, some of them are undone. The names
//! survive as a prefix of their order (as with a journaling file system); the writes of a file survive, are lost or are torn one by one, in
//! sectors.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::chance::Chance;

/// The size of an atomic write of the device.
const SECTOR_BYTES: usize = 512;
/// Flushed changes that are recorded for each file, so that the device can lose them although the flush succeeded.
const FLUSHED_MAX: usize = 16;

/// The virtual device. The functions that are named after system calls return what the call is to do.
#[derive(Debug)]
pub(crate) struct Disk {
    root: PathBuf,
    chance: Chance,
    /// By file descriptor.
    open: HashMap<i32, PathBuf>,
    files: HashMap<PathBuf, Content>,
    names: Vec<NameChange>,
    /// Files that were removed or replaced; a power failure may restore them.
    removed: u64,
    /// Changes until the process is killed.
    pub(crate) changes_left: Option<u64>,
    /// No further change is accepted.
    pub(crate) is_dead: bool,
    /// No file may grow.
    pub(crate) is_full: bool,
    /// A write failed on the full disk since the process started.
    was_full: bool,
    /// Flushes until one fails.
    pub(crate) flushes_left: Option<u64>,
    /// Whether flushes do nothing: a lying device, with which the simulator itself is tested.
    pub(crate) ignores_flushes: bool,
}

/// The recorded state of a file's bytes.
#[derive(Debug, Default)]
struct Content {
    /// Changes since the last flush, in order.
    pending: Vec<Change>,
    /// The last changes that were flushed.
    flushed: Vec<Change>,
    /// The end of the space that was reserved for it.
    allocated: u64,
}

/// A change of a file's bytes.
#[derive(Clone, Debug)]
struct Change {
    at: u64,
    /// The replaced bytes, up to the end of the file at that time.
    old: Vec<u8>,
    /// What was written.
    new: Vec<u8>,
    /// The file's length before and after it.
    lengths: (u64, u64),
}

/// A change of the names in a folder.
#[derive(Debug)]
enum NameChange {
    Created(PathBuf),
    Folder(PathBuf),
    Removed(PathBuf, PathBuf),
    Renamed { from: PathBuf, to: PathBuf, replaced: Option<PathBuf> },
}

impl NameChange {
    fn concerns(&self, folder: &Path) -> bool {
        let is_in = |path: &Path| path.parent() == Some(folder);
        match self {
            Self::Created(path) | Self::Folder(path) | Self::Removed(path, _) => is_in(path),
            Self::Renamed { from, to, .. } => is_in(from) || is_in(to),
        }
    }
}

impl Disk {
    /// A device for the files below `root`, which exists and is empty.
    pub(crate) fn new(root: PathBuf, chance: Chance) -> Self {
        Self {
            root,
            chance,
            open: HashMap::new(),
            files: HashMap::new(),
            names: Vec::new(),
            removed: 0,
            changes_left: None,
            is_dead: false,
            is_full: false,
            was_full: false,
            flushes_left: None,
            ignores_flushes: false,
        }
    }

    /// The folder of its files.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// Whether the disk was full since the process started.
    pub(crate) fn was_full(&self) -> bool {
        self.was_full || self.is_full
    }

    /// Whether a path is on the device, and not memory that processes share through a file.
    pub(crate) fn has(&self, path: &Path) -> bool {
        path.starts_with(&self.root) && !path.as_os_str().as_encoded_bytes().ends_with(b"-shm")
    }

    pub(crate) fn has_open(&self, descriptor: i32) -> bool {
        self.open.contains_key(&descriptor)
    }

    /// Where removed files are kept until the names are durable.
    fn grave(&mut self) -> PathBuf {
        self.removed += 1;
        let mut name = self.root.as_os_str().to_owned();
        name.push(format!(".removed-{}", self.removed));
        PathBuf::from(name)
    }

    /// Counts a change. False if the process is dead.
    fn may_change(&mut self) -> bool {
        if let Some(left) = &mut self.changes_left {
            if *left == 0 {
                self.is_dead = true;
            } else {
                *left -= 1;
            }
        }
        !self.is_dead
    }

    /// Whether a file may be opened; `is_new` if that creates it.
    pub(crate) fn may_open(&mut self, is_new: bool) -> bool {
        !is_new || self.may_change()
    }

    pub(crate) fn opened(&mut self, descriptor: i32, path: &Path, is_new: bool) {
        if is_new {
            self.files.remove(path);
            self.names.push(NameChange::Created(path.to_owned()));
        }
        self.open.insert(descriptor, path.to_owned());
    }

    pub(crate) fn closed(&mut self, descriptor: i32) {
        self.open.remove(&descriptor);
    }

    /// Records a write of `new` at `at` to an open file of `length` bytes; it replaces `old`. Returns how many of its bytes may be written,
    /// or an error number.
    pub(crate) fn write(
        &mut self,
        descriptor: i32,
        at: u64,
        new: &[u8],
        length: u64,
        old: impl FnOnce(usize) -> Vec<u8>,
    ) -> Result<usize, i32> {
        if !self.may_change() {
            return Err(libc::EIO);
        }
        let content = self.files.entry(self.open[&descriptor].clone()).or_default();
        let mut count = new.len();
        let end = at + count as u64;
        if self.is_full && end > content.allocated {
            let room = content.allocated.saturating_sub(at);
            count = usize::try_from(room).unwrap_or(count).min(count);
            self.was_full = true;
            if count == 0 {
                return Err(libc::ENOSPC);
            }
        }
        let new = new[..count].to_vec();
        let end = at + count as u64;
        content.allocated = content.allocated.max(end);
        let old = old(count);
        content.pending.push(Change { at, old, new, lengths: (length, length.max(end)) });
        Ok(count)
    }

    /// Records a change of an open file's length; `tail` is what is cut off.
    pub(crate) fn truncate(
        &mut self,
        descriptor: i32,
        length: u64,
        before: u64,
        tail: Vec<u8>,
    ) -> Result<(), i32> {
        if !self.may_change() {
            return Err(libc::EIO);
        }
        let content = self.files.entry(self.open[&descriptor].clone()).or_default();
        content.allocated = content.allocated.min(length);
        let change = Change { at: length.min(before), old: tail, new: Vec::new(), lengths: (before, length) };
        content.pending.push(change);
        Ok(())
    }

    /// Makes an open file or folder durable.
    pub(crate) fn flush(&mut self, descriptor: i32) -> Result<(), i32> {
        if !self.may_change() {
            return Err(libc::EIO);
        }
        if let Some(left) = &mut self.flushes_left {
            if *left == 0 {
                self.flushes_left = None;
                return Err(libc::EIO);
            }
            *left -= 1;
        }
        if self.ignores_flushes {
            return Ok(());
        }
        let path = &self.open[&descriptor];
        if path.is_dir() {
            let last = self.names.iter().rposition(|change| change.concerns(path));
            let durable = last.map_or(0, |last| last + 1);
            for change in self.names.drain(..durable) {
                if let NameChange::Removed(_, gone) | NameChange::Renamed { replaced: Some(gone), .. } =
                    change
                {
                    // No process can access it any more; the memory that it still uses does no harm.
                    drop(fs::remove_file(gone));
                }
            }
        } else if let Some(content) = self.files.get_mut(path) {
            content.flushed.append(&mut content.pending);
            let excess = content.flushed.len().saturating_sub(FLUSHED_MAX);
            content.flushed.drain(..excess);
        }
        Ok(())
    }

    /// Records a new name; the file that had the name before is kept.
    pub(crate) fn rename(&mut self, from: &Path, to: &Path) -> Result<Option<PathBuf>, i32> {
        if !self.may_change() {
            return Err(libc::EIO);
        }
        let replaced = to.exists().then(|| self.grave());
        if let Some(gone) = &replaced {
            self.moved(to, gone);
        }
        self.moved(from, to);
        let change =
            NameChange::Renamed { from: from.to_owned(), to: to.to_owned(), replaced: replaced.clone() };
        self.names.push(change);
        Ok(replaced)
    }

    /// Records the removal of a name. Returns where the file is kept.
    pub(crate) fn remove(&mut self, path: &Path) -> Result<PathBuf, i32> {
        if !self.may_change() {
            return Err(libc::EIO);
        }
        let gone = self.grave();
        self.moved(path, &gone);
        self.names.push(NameChange::Removed(path.to_owned(), gone.clone()));
        Ok(gone)
    }

    pub(crate) fn make_folder(&mut self, path: &Path) -> Result<(), i32> {
        if !self.may_change() {
            return Err(libc::EIO);
        }
        self.names.push(NameChange::Folder(path.to_owned()));
        Ok(())
    }

    /// Records the new name of a file, or of a folder with everything below it.
    fn moved(&mut self, from: &Path, to: &Path) {
        let place = |path: &Path| {
            path.strip_prefix(from)
                .ok()
                .map(|rest| if rest.as_os_str().is_empty() { to.to_owned() } else { to.join(rest) })
        };
        self.files = std::mem::take(&mut self.files)
            .into_iter()
            .map(|(path, content)| (place(&path).unwrap_or(path), content))
            .collect();
        for path in self.open.values_mut() {
            if let Some(moved) = place(path) {
                *path = moved;
            }
        }
    }

    /// The process is dead. What it wrote remains in the page cache.
    pub(crate) fn restart(&mut self) {
        self.is_dead = false;
        self.was_full = self.is_full;
        self.changes_left = None;
        self.flushes_left = None;
    }

    /// A power failure: what was not flushed is kept, lost or torn. No process may have a file open.
    pub(crate) fn cut_power(&mut self) -> io::Result<()> {
        self.open.clear();
        let kept = if self.names.is_empty() { 0 } else { self.chance.below(self.names.len() + 1) };
        let lost = self.names.split_off(kept);
        for change in lost.into_iter().rev() {
            self.take_back(change)?;
        }
        for change in std::mem::take(&mut self.names) {
            if let NameChange::Removed(_, gone) | NameChange::Renamed { replaced: Some(gone), .. } = change {
                drop(fs::remove_file(&gone));
                self.files.remove(&gone);
            }
        }
        // In an order that does not depend on the map.
        let mut paths: Vec<PathBuf> = self.files.keys().cloned().collect();
        paths.sort();
        let fate = self.chance.below(4);
        for path in paths {
            let content = self.files.get_mut(&path).expect("the path is one of the map's");
            let pending = std::mem::take(&mut content.pending);
            let exists = path.exists();
            if pending.is_empty() || !exists {
                continue;
            }
            let mut bytes = fs::read(&path)?;
            for change in pending.iter().rev() {
                undo(&mut bytes, change);
            }
            for change in pending {
                let kept = match fate {
                    0 => Survival::Lost,
                    1 => Survival::Kept,
                    _ => *self.chance.one_of(&[Survival::Lost, Survival::Kept, Survival::Torn]),
                };
                redo(&mut bytes, &change, kept, &mut self.chance);
            }
            content.allocated = bytes.len() as u64;
            fs::write(&path, bytes)?;
        }
        // Memory that processes share through a file is gone with them.
        for entry in fs::read_dir(&self.root)? {
            let path = entry?.path();
            if path.as_os_str().as_encoded_bytes().ends_with(b"-shm") {
                fs::remove_file(path)?;
            }
        }
        Ok(())
    }

    fn take_back(&mut self, change: NameChange) -> io::Result<()> {
        match change {
            NameChange::Created(path) => {
                self.files.remove(&path);
                fs::remove_file(path)
            }
            NameChange::Folder(path) => {
                self.files.retain(|file, _| !file.starts_with(&path));
                fs::remove_dir_all(path)
            }
            NameChange::Removed(path, gone) => {
                self.moved(&gone, &path);
                fs::rename(gone, path)
            }
            NameChange::Renamed { from, to, replaced } => {
                self.moved(&to, &from);
                fs::rename(&to, from)?;
                let Some(replaced) = replaced else { return Ok(()) };
                self.moved(&replaced, &to);
                fs::rename(replaced, to)
            }
        }
    }

    /// The device loses the last writes of a file although the flush succeeded. Returns whether there were any.
    pub(crate) fn lose_flushed(&mut self, is_chosen: impl Fn(&Path) -> bool) -> io::Result<bool> {
        let mut paths: Vec<&PathBuf> = self
            .files
            .iter()
            .filter(|(path, content)| is_chosen(path) && !content.flushed.is_empty() && path.exists())
            .map(|(path, _)| path)
            .collect();
        paths.sort();
        // The last file is the one that is written to.
        let Some(path) = paths.last().map(|path| (*path).clone()) else { return Ok(false) };
        let content = self.files.get_mut(&path).expect("the path is one of the map's");
        let count = self.chance.between(1, content.flushed.len());
        let mut bytes = fs::read(&path)?;
        for change in content.flushed.split_off(content.flushed.len() - count).iter().rev() {
            undo(&mut bytes, change);
        }
        fs::write(&path, bytes)?;
        Ok(true)
    }
}

/// The fate of a write that was not flushed.
#[derive(Clone, Copy, Debug)]
enum Survival {
    Lost,
    Kept,
    Torn,
}

fn length(bytes: u64) -> usize {
    usize::try_from(bytes).expect("simulated files fit the memory")
}

fn undo(bytes: &mut Vec<u8>, change: &Change) {
    bytes.resize(length(change.lengths.0), 0);
    bytes[length(change.at)..][..change.old.len()].copy_from_slice(&change.old);
}

fn redo(bytes: &mut Vec<u8>, change: &Change, kept: Survival, chance: &mut Chance) {
    let (before, after) = (length(change.lengths.0), length(change.lengths.1));
    if matches!(kept, Survival::Lost) {
        return;
    }
    if change.new.is_empty() {
        return bytes.resize(after, 0);
    }
    let _ = before;
    if bytes.len() < after {
        bytes.resize(after, 0);
    }
    let start = length(change.at);
    for sector in start / SECTOR_BYTES..=(start + change.new.len() - 1) / SECTOR_BYTES {
        if matches!(kept, Survival::Torn) && chance.once_in(2) {
            continue;
        }
        let from = (sector * SECTOR_BYTES).max(start);
        let to = ((sector + 1) * SECTOR_BYTES).min(start + change.new.len());
        bytes[from..to].copy_from_slice(&change.new[from - start..to - start]);
    }
}
