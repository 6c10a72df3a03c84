//! Files that differ from what was written: torn tails are cut off, damage is reported, no wrong data is ever read.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use state::{Instance, Journal, JournalReadError, Name, Offset, Position, Record};
use state_embedded::{AcceptLoss, JournalOptions, OpenStoreError, Options, Store};
use tempfile::TempDir;

use crate::chance::Chance;

/// Appends in the log of a [`Written`], each of three records.
const APPENDS: usize = 20;

fn names() -> (Instance, Name) {
    (Instance::new("a").expect("valid"), Name::new("orders").expect("valid"))
}

/// One segment for everything, or segments of the smallest size.
fn options(segment_bytes: u64) -> Options {
    let journal =
        JournalOptions { segment_bytes, segment_bytes_first: segment_bytes, ..JournalOptions::default() };
    Options { journal, ..Options::default() }
}

fn bodies(append: usize) -> Vec<Record> {
    let mut chance = Chance::from_seed(append as u64);
    (0..3)
        .map(|_| {
            let bytes = chance.below(900);
            Record::new(chance.bytes(bytes))
        })
        .collect()
}

/// A closed store with [`APPENDS`] appends in it.
struct Written {
    directory: TempDir,
    start: Position,
    segment_bytes: u64,
}

async fn write(segment_bytes: u64) -> Written {
    let directory = tempfile::tempdir().expect("a temporary directory can be made");
    let store = Store::open(directory.path(), &options(segment_bytes)).expect("the store opens");
    let (instance, name) = names();
    let mut start = None;
    for append in 0..APPENDS {
        let position = store.journal().append(&instance, &name, bodies(append)).await.expect("append works");
        start.get_or_insert(position);
    }
    store.close().await;
    Written { directory, start: start.expect("something was appended"), segment_bytes }
}

impl Written {
    fn open(&self) -> Result<Store, OpenStoreError> {
        Store::open(self.directory.path(), &options(self.segment_bytes))
    }

    /// Continues with the remaining journal.
    fn open_accepting(&self) -> Store {
        let accept_loss = AcceptLoss { journal: true, registry: false };
        let options = Options { accept_loss, ..options(self.segment_bytes) };
        Store::open(self.directory.path(), &options).expect("the loss is accepted")
    }

    fn mark(&self) -> PathBuf {
        self.directory.path().join("journal.mark")
    }

    /// The files of the store, with their content.
    fn files(&self) -> std::collections::BTreeMap<PathBuf, Vec<u8>> {
        let list = |folder: &Path| {
            let entries = std::fs::read_dir(folder).expect("the directory can be read");
            entries.map(|entry| entry.expect("the directory can be read").path()).collect::<Vec<_>>()
        };
        let all = list(self.directory.path()).into_iter().chain(list(&self.directory.path().join("journal")));
        let kept = all.filter(|path| {
            path.is_file() && !path.ends_with("lock") && !path.ends_with("registry.sqlite-shm")
        });
        kept.map(|path| (path.clone(), std::fs::read(&path).expect("the file can be read"))).collect()
    }

    /// Restores the files as they were.
    fn put_back(&self, files: std::collections::BTreeMap<PathBuf, Vec<u8>>) {
        files.into_iter().for_each(|(path, bytes)| put(&path, &bytes));
    }

    /// The loss of the end is rejected without a change, and can be accepted; returns the number of remaining appends. Then all files are
    /// restored.
    async fn appends_left_of_a_cut_log(&self, path: &Path, cut: &[u8]) -> usize {
        let before = self.files();
        put(path, cut);
        let refused = self.open().map(drop);
        assert!(
            matches!(refused, Err(OpenStoreError::LostTail { .. } | OpenStoreError::Corrupt { .. })),
            "{refused:?}"
        );
        assert_eq!(std::fs::read(path).expect("the segment can be read"), cut, "the log was changed");
        let store = self.open_accepting();
        let info = info(&store).await;
        assert_ne!(info.epoch, self.start.epoch, "a log that lost its end has new epochs");
        let left = read_all(&store.journal(), Position { epoch: info.epoch, ..self.start }).await;
        store.close().await;
        self.put_back(before);
        let left = left.expect("what is left can be read");
        assert_eq!(left.len() % 3, 0, "an append is there entirely or not at all");
        assert!(left.iter().zip((0..APPENDS).flat_map(bodies)).all(|(found, expected)| *found == expected));
        left.len() / 3
    }

    fn segments(&self) -> Vec<PathBuf> {
        let mut paths: Vec<_> = std::fs::read_dir(self.directory.path().join("journal"))
            .expect("the directory can be read")
            .map(|entry| entry.expect("the directory can be read").path())
            .filter(|path| path.extension().is_some_and(|extension| extension == "log"))
            .collect();
        paths.sort();
        paths
    }

    /// The last segment and how much of it is written.
    fn last_segment(&self) -> (PathBuf, Vec<u8>, usize) {
        let path = self.segments().pop().expect("there is a segment");
        let bytes = std::fs::read(&path).expect("the segment can be read");
        let end = bytes.iter().rposition(|byte| *byte != 0).expect("something is written") + 1;
        (path, bytes, end)
    }

    /// Opens and reads; returns the number of appends, each complete and as it was written.
    async fn appends_left(&self) -> Result<usize, OpenStoreError> {
        let store = self.open()?;
        let read = read_all(&store.journal(), self.start).await;
        store.close().await;
        let records: Vec<_> = read.expect("what the opening kept can be read");
        assert_eq!(records.len() % 3, 0, "an append is there entirely or not at all");
        let expected = (0..APPENDS).flat_map(bodies);
        assert!(records.iter().zip(expected).all(|(found, expected)| *found == expected));
        Ok(records.len() / 3)
    }
}

async fn info(store: &Store) -> state::JournalInfo {
    let (instance, name) = names();
    store.journal().info(&instance, &name).await.expect("info works")
}

async fn read_all(journal: &Arc<dyn Journal>, start: Position) -> Result<Vec<Record>, JournalReadError> {
    let (instance, name) = names();
    let mut records = Vec::new();
    loop {
        let from = Position { offset: Offset(records.len() as u64), ..start };
        match journal.read(&instance, &name, from, 7, usize::MAX).await {
            // A journal that is missing completely was cut before its first record.
            Err(JournalReadError::EpochChanged(_)) if records.is_empty() => return Ok(records),
            read => {
                let entries = read?;
                if entries.is_empty() {
                    return Ok(records);
                }
                records.extend(entries.into_iter().map(|entry| entry.record));
            }
        }
    }
}

fn put(path: &Path, bytes: &[u8]) {
    std::fs::write(path, bytes).expect("the segment can be written");
}

#[tokio::test]
async fn a_truncated_log_is_rejected_and_opens_as_a_prefix_with_accept_loss() {
    let written = write(1 << 20).await;
    let (path, bytes, end) = written.last_segment();
    let mut chance = Chance::new();
    for _ in 0..25 {
        let cut = chance.below(end);
        let left = written.appends_left_of_a_cut_log(&path, &bytes[..cut]).await;
        assert!(left < APPENDS, "cut at {cut} of {end}");
    }
    assert_eq!(written.appends_left().await.expect("the log is whole again"), APPENDS);
}

#[tokio::test]
async fn a_log_whose_end_is_zeros_is_rejected() {
    let written = write(1 << 20).await;
    let (path, bytes, end) = written.last_segment();
    let mut chance = Chance::new();
    for _ in 0..25 {
        let mut torn = bytes.clone();
        torn[chance.below(end)..].fill(0);
        assert!(written.appends_left_of_a_cut_log(&path, &torn).await < APPENDS);
    }
}

#[tokio::test]
async fn a_missing_journal_is_rejected_and_not_created_again() {
    let written = write(64 << 10).await;
    std::fs::remove_dir_all(written.directory.path().join("journal")).expect("it is there");
    let refused = written.open().map(drop).expect_err("the journal is missing");
    assert!(matches!(refused, OpenStoreError::LostTail { .. }), "{refused}");
    assert!(refused.to_string().contains("--accept-loss=journal"), "{refused}");
    written.open_accepting().close().await;
    assert_eq!(written.appends_left().await.expect("a new journal"), 0);
}

#[tokio::test]
async fn a_missing_mark_is_rejected() {
    let written = write(1 << 20).await;
    std::fs::remove_file(written.mark()).expect("the mark is there");
    let refused = written.open().map(drop);
    assert!(matches!(refused, Err(OpenStoreError::Part(_))), "{refused:?}");
    written.open_accepting().close().await;
}

#[tokio::test]
async fn a_store_of_format_1_gets_marks_unless_a_part_is_missing() {
    for missing in [None, Some("journal"), Some("registry.sqlite")] {
        let written = write(1 << 20).await;
        let format = written.directory.path().join("format");
        let text = std::fs::read_to_string(&format).expect("the file is there");
        let store = text.lines().nth(1).expect("it names the store");
        put(&format, format!("chappe-state 1\n{store}\n").as_bytes());
        std::fs::remove_file(written.mark()).expect("the mark is there");
        if let Some(part) = missing {
            let path = written.directory.path().join(part);
            let moved = written.directory.path().join("elsewhere");
            std::fs::rename(path, moved).expect("the part is there");
            let refused = written.open().map(drop);
            assert!(matches!(refused, Err(OpenStoreError::Missing { .. })), "{refused:?}");
            continue;
        }
        assert_eq!(written.appends_left().await.expect("the log is taken over"), APPENDS);
        assert!(written.mark().exists());
    }
}

/// The mark of an earlier moment and a log whose last group is torn, as after a power failure or a kill.
async fn torn(mark_is_exact: bool) -> (Written, state::Epoch) {
    let written = write(1 << 20).await;
    let store = written.open().expect("the store opens");
    let (instance, name) = names();
    let mut mark = std::fs::read(written.mark()).expect("the mark is there");
    for _ in 0..2 {
        if mark_is_exact {
            mark = std::fs::read(written.mark()).expect("the mark is there");
        }
        store.journal().append(&instance, &name, bodies(1)).await.expect("append works");
    }
    store.close().await;
    put(&written.mark(), &mark);
    let (path, mut bytes, end) = written.last_segment();
    bytes[end - 64..end].fill(0);
    put(&path, &bytes);
    let epoch = written.start.epoch;
    (written, epoch)
}

/// An append that was never acknowledged was never reported to a caller: positions stay valid.
#[tokio::test]
async fn an_unacknowledged_torn_group_keeps_the_epoch() {
    let (written, epoch) = torn(true).await;
    let store = written.open().expect("a torn tail is cut off");
    assert_eq!(info(&store).await.epoch, epoch);
    store.close().await;
}

/// The torn group may have been acknowledged: earlier positions must not be accepted for the records that follow.
#[tokio::test]
async fn a_torn_group_after_an_older_mark_begins_new_epochs() {
    let (written, epoch) = torn(false).await;
    let store = written.open().expect("a torn tail is cut off");
    let info_now = info(&store).await;
    assert_ne!(info_now.epoch, epoch);
    let (instance, name) = names();
    let old = Position { epoch, offset: Offset(info_now.next.0 + 1) };
    store.journal().append(&instance, &name, bodies(2)).await.expect("append works");
    let read = store.journal().read(&instance, &name, old, 10, usize::MAX).await;
    assert!(matches!(read, Err(JournalReadError::EpochChanged(_))), "{read:?}");
    store.close().await;
    let store = written.open().expect("the store opens");
    assert_eq!(info(&store).await.epoch, info_now.epoch, "and the new epoch stays");
    store.close().await;
}

#[tokio::test]
async fn a_flipped_bit_is_reported() {
    let written = write(1 << 20).await;
    let (path, bytes, end) = written.last_segment();
    let mut chance = Chance::new();
    let (mut reported, mut lost_end) = (0, 0);
    for _ in 0..60 {
        let at = chance.below(end);
        let mut flipped = bytes.clone();
        flipped[at] ^= 1 << chance.below(8);
        put(&path, &flipped);
        match written.appends_left().await {
            Err(OpenStoreError::Corrupt { position, file, .. }) => {
                assert!(position <= at as u64 && file == path, "found at {position}, was at {at}");
                reported += 1;
            }
            // In the last group.
            Err(OpenStoreError::LostTail { .. }) => lost_end += 1,
            Err(other) => panic!("unexpected: {other}"),
            // Padding between frames contains nothing.
            Ok(left) => assert_eq!(left, APPENDS, "flipped at {at} of {end}"),
        }
        put(&path, &bytes);
    }
    assert!(reported > lost_end, "{reported} in the middle, {lost_end} at the end");
}

/// A group of which only the later blocks reached the device leaves intact frames after the torn ones. They must not become valid when the
/// area before them is written again.
#[tokio::test]
async fn frames_after_a_torn_one_are_not_read() {
    let written = write(1 << 20).await;
    let (path, bytes, end) = written.last_segment();
    // The last group has three records; without its first header, the other two are intact but belong to no group.
    let heads: Vec<_> = (0..end).step_by(8).filter(|start| bytes[*start..].starts_with(b"CHJ1")).collect();
    let first_of_last = heads[heads.len() - 3];
    let mut torn = bytes.clone();
    torn[first_of_last..first_of_last + 8].fill(0);
    put(&path, &torn);
    // The same record in place of the torn one: the bytes after it in the file are exactly those that followed it before.
    let store = written.open_accepting();
    let (instance, name) = names();
    let first = bodies(APPENDS - 1).swap_remove(0);
    let next = store.journal().append(&instance, &name, vec![first]).await.expect("append works");
    assert_eq!(next.offset.0 as usize, 3 * (APPENDS - 1));
    store.close().await;
    let store = written.open().expect("the store opens");
    let info = store.journal().info(&instance, &name).await.expect("info works");
    assert_eq!(info.next.0, next.offset.0 + 1);
}

#[tokio::test]
async fn damage_in_a_sealed_segment_is_reported_by_reading_and_by_opening() {
    let written = write(64 << 10).await;
    let store = written.open().expect("the store opens");
    let (instance, name) = names();
    for _ in 0..30 {
        store.journal().append(&instance, &name, bodies(1)).await.expect("append works");
    }
    store.close().await;
    let segments = written.segments();
    assert!(segments.len() > 1, "the log has more than one segment");
    let mut bytes = std::fs::read(&segments[0]).expect("the segment can be read");
    let place = bytes.windows(64).position(|window| window == &bodies(3)[0].body[..64]).expect("it is there");
    bytes[place] ^= 1;
    put(&segments[0], &bytes);
    let store = written.open().expect("the index file tells what the segment holds");
    let read = read_all(&store.journal(), written.start).await;
    let Err(JournalReadError::Backend { cause, .. }) = read else { panic!("damage was read: {read:?}") };
    assert!(cause.to_string().contains("offset 9"), "{cause}");
    store.close().await;
    std::fs::remove_file(segments[0].with_extension("index")).expect("the index file is there");
    let opened = written.open().map(drop);
    assert!(matches!(opened, Err(OpenStoreError::Corrupt { .. })), "{opened:?}");
}

#[tokio::test]
async fn a_missing_index_file_is_written_again() {
    let written = write(64 << 10).await;
    let store = written.open().expect("the store opens");
    let (instance, name) = names();
    for append in APPENDS..3 * APPENDS {
        store.journal().append(&instance, &name, bodies(append)).await.expect("append works");
    }
    store.close().await;
    let index = written.segments()[0].with_extension("index");
    let before = std::fs::read(&index).expect("the index file is there");
    for damaged in [None, Some(before[..before.len() / 2].to_vec()), Some(vec![0; before.len()])] {
        match damaged {
            None => std::fs::remove_file(&index).expect("the index file is there"),
            Some(bytes) => put(&index, &bytes),
        }
        let store = written.open().expect("the store opens");
        let records = read_all(&store.journal(), written.start).await.expect("read works");
        assert!(records.into_iter().eq((0..3 * APPENDS).flat_map(bodies)));
        store.close().await;
        assert_eq!(std::fs::read(&index).expect("the index file is there"), before);
    }
}

#[tokio::test]
async fn a_missing_segment_is_rejected() {
    let written = write(64 << 10).await;
    let store = written.open().expect("the store opens");
    let (instance, name) = names();
    for append in 0..3 * APPENDS {
        store.journal().append(&instance, &name, bodies(append)).await.expect("append works");
    }
    store.close().await;
    let segments = written.segments();
    assert!(segments.len() > 1, "the log has more than one segment");
    std::fs::remove_file(&segments[0]).expect("the segment is there");
    let opened = written.open().map(drop);
    assert!(matches!(opened, Err(OpenStoreError::Corrupt { .. })), "{opened:?}");
}

/// A copy is a journal of an earlier moment: positions that were returned after it must not be accepted for the records that follow.
#[tokio::test]
async fn a_backup_has_the_records_and_gets_new_epochs_at_its_first_opening() {
    let written = write(64 << 10).await;
    let store = written.open().expect("the store opens");
    let mut epochs = vec![written.start.epoch];
    for _ in 0..2 {
        let to = tempfile::tempdir().expect("a temporary directory can be made");
        let copy = to.path().join("state");
        state_embedded::backup(written.directory.path(), &copy).expect("an open store can be copied");
        let copied = Store::open(&copy, &options(64 << 10)).expect("the copy opens");
        let epoch = info(&copied).await.epoch;
        let records =
            read_all(&copied.journal(), Position { epoch, ..written.start }).await.expect("read works");
        assert!(records.into_iter().eq((0..APPENDS).flat_map(bodies)));
        copied.close().await;
        let copied = Store::open(&copy, &options(64 << 10)).expect("the copy opens again");
        assert_eq!(info(&copied).await.epoch, epoch);
        copied.close().await;
        assert!(!epochs.contains(&epoch), "epochs of before come again");
        epochs.push(epoch);
    }
    store.close().await;
}
