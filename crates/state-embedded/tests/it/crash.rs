//! `kill -9` under load: acknowledged records survive, no record is torn, and offsets are consecutive.
//!
//! The test starts itself as a child process that writes, and reports each acknowledgement on its standard error. After a random number of
//! them the parent kills the child, opens the directory and compares. All kills use the same directory. `CHAPPE_SOAK_KILLS` sets their
//! number.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use bytes::Bytes;
use state::{Durability, Expect, Instance, Key, Name, Offset, Position, Record};
use state_embedded::{JournalOptions, Options, Store};

use crate::chance::Chance;

/// Journals that are created and removed all the time.
const REMOVED: usize = 2;

/// Set for the child process: the directory to write to.
const DIRECTORY: &str = "CHAPPE_CRASH_DIRECTORY";
const JOURNALS: usize = 3;
const APPENDERS: u64 = 8;
/// Each journal is trimmed to about this many records, so that segments become free and are reused, and the slow journal keeps some
/// segments that the fast ones no longer use.
const KEPT_RECORDS: [u64; JOURNALS] = [200, 500, 1500];

fn options() -> Options {
    let journal = JournalOptions {
        segment_bytes: 256 << 10,
        segment_bytes_first: 64 << 10,
        ..JournalOptions::default()
    };
    Options { journal, ..Options::default() }
}

fn instance() -> Instance {
    Instance::new("crash").expect("valid")
}

fn journal_name(journal: usize) -> Name {
    Name::new(&format!("journal {journal}")).expect("valid")
}

fn removed_name(journal: usize) -> Name {
    Name::new(&format!("removed {journal}")).expect("valid")
}

/// The records of the append with this seed; each contains its index and the number of records.
fn records(seed: u64) -> Vec<Record> {
    let mut chance = Chance::from_seed(seed);
    let count = 1 + chance.below(4);
    (0..count)
        .map(|part| {
            let bytes = chance.below(3000);
            let mut record = Record::new(chance.bytes(bytes));
            record.headers.push(("append".to_owned(), Bytes::from(format!("{seed} {part} {count}"))));
            record
        })
        .collect()
}

/// Writes a line with one call, so that lines of several tasks do not mix.
fn report(line: &str) {
    // It fails only when the parent has stopped reading, just before the kill.
    drop(std::io::stderr().write_all(format!("{line}\n").as_bytes()));
}

#[test]
fn acknowledged_writes_survive_kills_under_load() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.expect("a runtime can be made");
    match std::env::var_os(DIRECTORY) {
        Some(directory) => runtime.block_on(write_for_ever(Path::new(&directory))),
        None => runtime.block_on(kill_and_compare()),
    }
}

async fn write_for_ever(directory: &Path) {
    let store = Store::open(directory, &options()).expect("the store opens after every kill");
    let run: u64 = std::process::id().into();
    let mut tasks = tokio::task::JoinSet::new();
    for task in 0..APPENDERS {
        let journal = store.journal();
        tasks.spawn(async move {
            let mut chance = Chance::from_seed(run * APPENDERS + task);
            loop {
                let (number, seed) = (chance.below(JOURNALS), chance.number() >> 16);
                let name = journal_name(number);
                let position = journal.append(&instance(), &name, records(seed)).await.expect("append works");
                report(&format!("append {number} {} {} {seed}", position.epoch.0, position.offset.0));
                if chance.below(20) == 0 {
                    let below = position.offset.0.saturating_sub(KEPT_RECORDS[number]);
                    report(&format!("trim {number} {below}"));
                    let below = Position { offset: Offset(below), ..position };
                    journal.trim(&instance(), &name, below).await.expect("trim works");
                }
            }
        });
    }
    for task in 0..REMOVED {
        let journal = store.journal();
        tasks.spawn(async move {
            let name = removed_name(task);
            let mut chance = Chance::from_seed(run * 31 + task as u64);
            loop {
                let seed = chance.number() >> 16;
                let position = journal.append(&instance(), &name, records(seed)).await.expect("append works");
                report(&format!("made {task} {} {seed}", position.epoch.0));
                report(&format!("removing {task}"));
                journal.remove(&instance(), &name).await.expect("remove works");
                report(&format!("removed {task}"));
            }
        });
    }
    for task in 0..2 {
        let (registry, instance) = (store.registry(), instance());
        tasks.spawn(async move {
            let key = Key::new(format!("counter {task}")).expect("valid");
            let found = registry.get(&instance, &key).await.expect("get works");
            let mut count = found.map_or(0, |entry| number(&entry.value));
            loop {
                count += 1;
                let value = Bytes::from(count.to_string());
                let put = registry.put(&instance, &key, value, Expect::Anything, Durability::Durable, None);
                let version = put.await.expect("put works");
                report(&format!("put {task} {count} {}", version.0));
            }
        });
    }
    tasks.join_all().await;
}

fn number(bytes: &[u8]) -> u64 {
    String::from_utf8_lossy(bytes).parse().expect("a number")
}

/// What was acknowledged over all kills so far.
#[derive(Default)]
struct Acknowledged {
    /// By journal and first offset: the append's seed.
    appends: [BTreeMap<u64, u64>; JOURNALS],
    epochs: HashMap<usize, u64>,
    trimmed_below: [u64; JOURNALS],
    puts: HashMap<String, (u64, u64)>,
    lives: [Lives; REMOVED],
}

/// The acknowledged calls on a journal that is created and removed all the time.
#[derive(Default)]
struct Lives {
    /// The current journal, if it is known: its epoch, the seed of its append, and whether it may already be removed.
    now: Option<(u64, u64, bool)>,
    /// Epochs of the removed journals.
    over: HashSet<u64>,
}

impl Acknowledged {
    fn record(&mut self, line: &str) {
        let words: Vec<_> = line.split(' ').collect();
        let number = |index: usize| words[index].parse::<u64>().expect("the child reports numbers");
        match words[0] {
            "append" => {
                let journal = usize::try_from(number(1)).expect("a small number");
                let epoch = *self.epochs.entry(journal).or_insert(number(2));
                assert_eq!(epoch, number(2), "the journal was not created again");
                let before = self.appends[journal].insert(number(3), number(4));
                assert_eq!(before, None, "offset {} was given out twice", number(3));
            }
            "trim" => {
                let below = &mut self.trimmed_below[usize::try_from(number(1)).expect("a small number")];
                *below = number(2).max(*below);
            }
            "put" => {
                let before = self.puts.insert(words[1].to_owned(), (number(2), number(3)));
                assert!(before.is_none_or(|(_, version)| version < number(3)), "versions rise");
            }
            "made" => {
                let lives = &mut self.lives[usize::try_from(number(1)).expect("a small number")];
                assert!(!lives.over.contains(&number(2)), "an epoch came again");
                lives.now = Some((number(2), number(3), false));
            }
            "removing" | "removed" => {
                let lives = &mut self.lives[usize::try_from(number(1)).expect("a small number")];
                if words[0] == "removing" {
                    lives.now = lives.now.map(|(epoch, seed, _)| (epoch, seed, true));
                } else {
                    lives.over.extend(lives.now.take().map(|(epoch, ..)| epoch));
                }
            }
            // Anything else is a panic of the child.
            _ => panic!("unexpected output of the child: {line}"),
        }
    }

    async fn compare(&mut self, store: &Store) {
        for journal in 0..JOURNALS {
            self.compare_journal(store, journal).await;
        }
        self.compare_lives(store).await;
        for (task, (count, version)) in &mut self.puts {
            let key = Key::new(format!("counter {task}")).expect("valid");
            let found = store.registry().get(&instance(), &key).await.expect("get works");
            let found = found.expect("an acknowledged key is there");
            let is_it = number(&found.value) == *count && found.version.0 == *version;
            // The append after the last acknowledged one may have been in progress.
            let is_next = number(&found.value) == *count + 1 && found.version.0 > *version;
            assert!(is_it || is_next, "counter {task} is {found:?} after {count} was acknowledged");
            // The next child continues there, even without an acknowledgement.
            (*count, *version) = (number(&found.value), found.version.0);
        }
    }

    /// A removed journal does not reappear, and one that was created and not removed exists.
    async fn compare_lives(&mut self, store: &Store) {
        for (task, lives) in self.lives.iter_mut().enumerate() {
            let (journal, name) = (store.journal(), removed_name(task));
            let info = journal.info(&instance(), &name).await.expect("info works");
            assert!(!lives.over.contains(&info.epoch.0), "a removed journal came back");
            let from = Position { epoch: info.epoch, offset: info.first };
            let entries = journal.read(&instance(), &name, from, 100, 1 << 20).await.expect("read works");
            match lives.now.take() {
                Some((epoch, seed, may_be_removed)) => {
                    let is_there = info.epoch.0 == epoch;
                    assert!(is_there || may_be_removed, "an acknowledged append is lost");
                    let found: Vec<_> = entries.into_iter().map(|entry| entry.record).collect();
                    assert!(!is_there || found == records(seed), "its records are as they were written");
                    if !is_there {
                        lives.over.insert(epoch);
                    }
                }
                // An append may have been in progress; then all of it exists.
                None => assert_eq!(entries.len() as u64, info.next.0 - info.first.0),
            }
            // The next child starts without a journal.
            journal.remove(&instance(), &name).await.expect("remove works");
            lives.over.insert(info.epoch.0);
        }
    }

    async fn compare_journal(&mut self, store: &Store, journal: usize) {
        let name = journal_name(journal);
        let info = store.journal().info(&instance(), &name).await.expect("info works");
        let first = info.first.0;
        if let Some(epoch) = self.epochs.get(&journal) {
            assert_eq!(*epoch, info.epoch.0, "the journal was not created again");
        }
        assert!(first <= self.trimmed_below[journal], "only trimming moves the begin");
        self.appends[journal] = self.appends[journal].split_off(&first);
        let mut next = first;
        let mut within: Option<(u64, usize)> = None;
        loop {
            let from = Position { epoch: info.epoch, offset: Offset(next) };
            let entries = store.journal().read(&instance(), &name, from, 500, 1 << 20).await;
            let entries = entries.expect("everything that is there can be read");
            if entries.is_empty() {
                break;
            }
            for entry in entries {
                assert_eq!(entry.offset.0, next, "offsets follow one another");
                within = self.compare_record(journal, next, &entry.record, within, next == first);
                next += 1;
            }
        }
        assert_eq!(next, info.next.0);
        assert_eq!(within, None, "the last append is there entirely");
        let beyond = self.appends[journal].range(next..).next();
        assert_eq!(beyond, None, "an acknowledged append is lost");
    }

    /// Checks a record and returns the index of the one that must follow, if its append has more.
    fn compare_record(
        &self,
        journal: usize,
        offset: u64,
        record: &Record,
        within: Option<(u64, usize)>,
        is_first: bool,
    ) -> Option<(u64, usize)> {
        let says = String::from_utf8_lossy(&record.headers[0].1).into_owned();
        let words: Vec<u64> = says.split(' ').map(|word| word.parse().expect("a number")).collect();
        let (seed, part) = (words[0], usize::try_from(words[1]).expect("a small number"));
        let expected = records(seed);
        assert_eq!(*record, expected[part], "record {offset} is as it was written");
        match within {
            Some(within) => assert_eq!(within, (seed, part), "appends are not mixed"),
            // A trim may begin in the middle of an append.
            None => assert!(part == 0 || is_first, "record {offset} lacks the ones before it"),
        }
        if part == 0 {
            let acknowledged = self.appends[journal].get(&offset);
            assert!(
                acknowledged.is_none_or(|acknowledged| *acknowledged == seed),
                "another's offset {offset}"
            );
        } else {
            assert_eq!(self.appends[journal].get(&offset), None, "an append was acknowledged at {offset}");
        }
        Some((seed, part + 1)).filter(|(_, next)| *next < expected.len())
    }
}

/// Lets a child write until it has reported `lines` acknowledgements, kills it, and records its reports.
fn kill_after(lines: usize, directory: &Path, acknowledged: &mut Acknowledged) {
    let mut child = Command::new(std::env::current_exe().expect("the test has a path"))
        .args([
            "crash::acknowledged_writes_survive_kills_under_load",
            "--exact",
            "--nocapture",
            "--test-threads=1",
        ])
        .env(DIRECTORY, directory)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the child starts");
    let mut reports = BufReader::new(child.stderr.take().expect("standard error is a pipe"));
    let mut count = 0;
    let mut line = String::new();
    loop {
        if count == lines {
            child.kill().expect("the child can be killed");
        }
        count += 1;
        line.clear();
        reports.read_line(&mut line).expect("the pipe can be read");
        // The kill may truncate the last line; then it does not count.
        let Some(line) = line.strip_suffix('\n') else { break };
        acknowledged.record(line);
    }
    let status = child.wait().expect("the child ends");
    assert!(!status.success() && count > lines, "the child ended by itself: {status}");
}

async fn kill_and_compare() {
    let kills: usize = match std::env::var("CHAPPE_SOAK_KILLS") {
        Ok(kills) => kills.parse().expect("CHAPPE_SOAK_KILLS is a number"),
        Err(_) => 5,
    };
    let directory = tempfile::tempdir().expect("a temporary directory can be made");
    let path = directory.path().join("state");
    let mut chance = Chance::new();
    let mut acknowledged = Acknowledged::default();
    for kill in 0..kills {
        // Most children are killed while they write, some while they open.
        let lines = if chance.below(8) == 0 { 0 } else { 1 + chance.below(600) };
        kill_after(lines, &path, &mut acknowledged);
        let store = Store::open(&path, &options()).expect("the store opens after every kill");
        acknowledged.compare(&store).await;
        store.close().await;
        if kill % 50 == 49 {
            eprintln!("{} of {kills} kills", kill + 1);
        }
    }
    let appends: usize = acknowledged.appends.iter().map(BTreeMap::len).sum();
    assert!(kills < 5 || appends > 0, "some appends were acknowledged");
}
