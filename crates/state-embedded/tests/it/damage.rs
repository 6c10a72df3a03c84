//! Files that are not as they were written: torn tails are cut off, damage is reported, nothing false is ever read.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use state::{Instance, Journal, Name, Offset, Position, ReadError, Record};
use state_embedded::{JournalOptions, OpenError, Options, Store};
use tempfile::TempDir;

use crate::chance::Chance;

/// Appends in the log of a [`Written`], each of three records.
const APPENDS: usize = 20;

fn names() -> (Instance, Name) {
    (Instance::new("a").expect("valid"), Name::new("orders").expect("valid"))
}

/// One segment for everything, or as small as they get.
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
    fn open(&self) -> Result<Store, OpenError> {
        Store::open(self.directory.path(), &options(self.segment_bytes))
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

    /// Opens and reads; the number of appends that are there, each of them whole and as it was written.
    async fn appends_left(&self) -> Result<usize, OpenError> {
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

async fn read_all(journal: &Arc<dyn Journal>, start: Position) -> Result<Vec<Record>, ReadError> {
    let (instance, name) = names();
    let mut records = Vec::new();
    loop {
        let from = Position { offset: Offset(records.len() as u64), ..start };
        match journal.read(&instance, &name, from, 7, usize::MAX).await {
            // A journal that is gone entirely was cut before its first record.
            Err(ReadError::EpochChanged(_)) if records.is_empty() => return Ok(records),
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
async fn a_truncated_log_is_a_prefix() {
    let written = write(1 << 20).await;
    let (path, bytes, end) = written.last_segment();
    let mut chance = Chance::new();
    for _ in 0..25 {
        let cut = chance.below(end);
        put(&path, &bytes[..cut]);
        let left = written.appends_left().await.expect("a torn tail is cut off");
        assert!(left < APPENDS, "cut at {cut} of {end}");
        put(&path, &bytes);
    }
    assert_eq!(written.appends_left().await.expect("the log is whole again"), APPENDS);
}

#[tokio::test]
async fn zeros_in_place_of_the_end_are_a_torn_tail() {
    let written = write(1 << 20).await;
    let (path, bytes, end) = written.last_segment();
    let mut chance = Chance::new();
    for _ in 0..25 {
        let mut torn = bytes.clone();
        torn[chance.below(end)..].fill(0);
        put(&path, &torn);
        assert!(written.appends_left().await.expect("a torn tail is cut off") < APPENDS);
        put(&path, &bytes);
    }
}

/// A flipped bit shortens the log by its last group at most; earlier ones were durable, and that is noticed.
#[tokio::test]
async fn a_flipped_bit_is_reported_where_later_groups_were_durable() {
    let written = write(1 << 20).await;
    let (path, bytes, end) = written.last_segment();
    let mut chance = Chance::new();
    let (mut reported, mut cut) = (0, 0);
    for _ in 0..60 {
        let at = chance.below(end);
        let mut flipped = bytes.clone();
        flipped[at] ^= 1 << chance.below(8);
        put(&path, &flipped);
        match written.appends_left().await {
            Err(OpenError::Corrupt { position, file, .. }) => {
                assert!(position <= at as u64 && file == path, "found at {position}, was at {at}");
                reported += 1;
            }
            Err(other) => panic!("unexpected: {other}"),
            // Padding between frames carries nothing.
            Ok(APPENDS) => {}
            Ok(left) => {
                assert_eq!(left, APPENDS - 1, "flipped at {at} of {end}");
                cut += 1;
            }
        }
        put(&path, &bytes);
    }
    assert!(reported > cut, "{reported} reported, {cut} cut");
}

/// A group of which only the later blocks reached the device leaves sound frames behind the torn ones. They must not
/// come to life when the place before them is written again.
#[tokio::test]
async fn frames_behind_a_torn_one_stay_dead() {
    let written = write(1 << 20).await;
    let (path, bytes, end) = written.last_segment();
    // The last group has three records; without its first head, the other two are sound but belong to nothing.
    let heads: Vec<_> = (0..end).step_by(8).filter(|start| bytes[*start..].starts_with(b"CHJ1")).collect();
    let first_of_last = heads[heads.len() - 3];
    let mut torn = bytes.clone();
    torn[first_of_last..first_of_last + 8].fill(0);
    put(&path, &torn);
    assert_eq!(written.appends_left().await.expect("a torn tail is cut off"), APPENDS - 1);
    // The same record in the torn one's place: what follows it in the file is now exactly what followed it before.
    let store = written.open().expect("the store opens");
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
async fn damage_in_a_full_segment_is_reported_by_reading_and_by_opening() {
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
    let Err(ReadError::Backend { cause, .. }) = read else { panic!("damage was read: {read:?}") };
    assert!(cause.to_string().contains("offset 9"), "{cause}");
    store.close().await;
    std::fs::remove_file(segments[0].with_extension("index")).expect("the index file is there");
    let opened = written.open().map(drop);
    assert!(matches!(opened, Err(OpenError::Corrupt { .. })), "{opened:?}");
}

#[tokio::test]
async fn a_lost_index_file_is_made_again() {
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
async fn a_lost_segment_is_noticed() {
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
    assert!(matches!(opened, Err(OpenError::Corrupt { .. })), "{opened:?}");
}
