//! Journals, keys and leases under load and faults: kills, power failures, full disks, flushes that fail, lying devices, threads that
//! panic.
//!
//! Calls are futures that this file polls itself; the store's threads run in turns that the seed orders. Every result is compared with the
//! models in `journals.rs` and `keys.rs`, and after each start everything is read.

mod calls;
mod check;
mod journals;
mod keys;
mod names;

use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Result, bail, ensure};
use state::{Durability, Epoch, Expect, JournalReadError, Offset, Position};
use state_embedded::{AcceptLoss, JournalOptions, Options, Store};
use supervision::{Supervisor, TurnOutcome, simulation};

use self::calls::{Call, id_of};
use self::journals::{JournalModel, Loss};
use self::keys::{KeyModel, LeaseModel};
use self::names::{instance, journal_name, key_name};
use crate::chance::Chance;
use crate::events::Events;
use crate::system;

/// Steps of one run.
const STEPS: usize = 160;
const JOURNALS: usize = 3;
const KEYS: usize = 6;
const LEASES: usize = 2;
/// Pending calls at a time.
const CALLS_MAX: usize = 12;
/// Turns of all threads after which a pending call will never end.
const ROUNDS_MAX: usize = 2_000;
/// The parts in which a fault may cause a panic.
const PARTS: [&str; 4] = ["journal writer", "registry writer", "journal reader 0", "journal segments"];

/// A run with one seed.
pub(crate) struct Storage<'a> {
    chance: Chance,
    events: &'a mut Events,
    supervisor: Supervisor,
    store: Option<Store>,
    calls: Vec<Call>,
    journals: Vec<JournalModel>,
    keys: KeyModel,
    leases: Vec<LeaseModel>,
    next_id: u64,
    /// A write to the device failed such that only a restart helps.
    needs_restart: bool,
    /// The seed has caused a panic in this process.
    has_panicked: bool,
}

/// How a process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Closed,
    Killed,
    PowerLost,
    /// And the device loses writes that it had flushed.
    Lied,
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Append,
    Read,
    Trim,
    Remove,
    Put,
    Delete,
    Get,
    Lease,
    Turns,
    Pass,
    End(End),
    DieLater,
    Full,
    FailFlush,
    Panic,
}

const STEP_WEIGHTS: [(usize, Step); 18] = [
    (30, Step::Append),
    (8, Step::Read),
    (3, Step::Trim),
    (1, Step::Remove),
    (12, Step::Put),
    (3, Step::Delete),
    (6, Step::Get),
    (6, Step::Lease),
    (60, Step::Turns),
    (4, Step::Pass),
    (1, Step::End(End::Closed)),
    (2, Step::End(End::Killed)),
    (2, Step::End(End::PowerLost)),
    (1, Step::End(End::Lied)),
    (3, Step::DieLater),
    (1, Step::Full),
    (1, Step::FailFlush),
    (1, Step::Panic),
];

impl<'a> Storage<'a> {
    pub(crate) fn new(seed: u64, events: &'a mut Events) -> Self {
        Self {
            chance: Chance::new(seed),
            events,
            supervisor: Supervisor::simulated(),
            store: None,
            calls: Vec::new(),
            journals: (0..JOURNALS).map(|_| JournalModel::default()).collect(),
            keys: KeyModel::default(),
            leases: (0..LEASES).map(|_| LeaseModel::default()).collect(),
            next_id: 0,
            needs_restart: false,
            has_panicked: false,
        }
    }

    /// Runs all steps.
    pub(crate) fn run(mut self) -> Result<()> {
        self.start(Loss::Nothing)?;
        for _ in 0..STEPS {
            let step = self.chance.weighted(&STEP_WEIGHTS);
            self.step(step)?;
            self.poll_calls()?;
            self.look_at_parts()?;
            if system::disk(|disk| disk.is_dead) {
                let end = *self.chance.one_of(&[End::Killed, End::PowerLost]);
                self.end(end)?;
            } else if self.needs_restart && self.chance.once_in(3) {
                self.end(End::Killed)?;
            }
        }
        // Without further faults, every pending call ends, and a last start finds everything.
        system::disk(|disk| {
            disk.is_full = false;
            disk.restart();
        });
        if self.needs_restart {
            self.end(End::Killed)?;
        }
        self.settle()?;
        self.end(End::Closed)?;
        self.end(End::PowerLost)?;
        self.end_process();
        Ok(())
    }

    fn step(&mut self, step: Step) -> Result<()> {
        match step {
            Step::Append | Step::Read | Step::Trim | Step::Remove => self.begin_journal_call(step),
            Step::Put | Step::Delete | Step::Get => self.begin_key_call(step),
            Step::Lease => self.begin_lease_call(),
            Step::Turns => {
                for _ in 0..self.chance.between(1, 6) {
                    self.turn();
                    self.poll_calls()?;
                }
            }
            Step::Pass => {
                let time = Duration::from_millis(self.chance.between(1, 3_000) as u64);
                self.events.add(format_args!("{time:?} pass"));
                system::pass(time);
            }
            Step::End(end) => self.end(end)?,
            Step::DieLater => {
                let changes = self.chance.below(12) as u64;
                self.events.add(format_args!("the process dies after {changes} changes"));
                system::disk(|disk| disk.changes_left.get_or_insert(changes).to_owned());
            }
            Step::Full => {
                let is_full = system::disk(|disk| {
                    disk.is_full = !disk.is_full;
                    disk.is_full
                });
                self.events.add(format_args!("the disk is full: {is_full}"));
            }
            Step::FailFlush => {
                let flushes = self.chance.below(5) as u64;
                self.events.add(format_args!("a flush fails after {flushes} others"));
                system::disk(|disk| disk.flushes_left = Some(flushes));
                self.needs_restart = true;
            }
            Step::Panic => {
                let part = *self.chance.one_of(&PARTS);
                self.events.add(format_args!("{part} panics when it runs next"));
                self.supervisor.panic_next(part);
                self.has_panicked = true;
            }
        }
        Ok(())
    }

    /// One turn of one of the store's threads.
    fn turn(&mut self) {
        let threads = simulation::threads();
        if threads > 0 {
            let number = self.chance.below(threads);
            let turned = simulation::turn(number);
            if turned == TurnOutcome::Worked {
                self.events.add(format_args!("thread {number} worked"));
            }
        }
    }

    /// If a part with data that would be lost has ended, the process has failed, and readiness must report it.
    fn look_at_parts(&mut self) -> Result<()> {
        let has_ended = (0..simulation::threads()).any(simulation::has_ended);
        if has_ended {
            let not_ready = self.supervisor.not_ready();
            ensure!(!not_ready.is_empty(), "a thread has ended, and the process calls itself ready");
            self.events.add(format_args!("the process ends itself: {}", not_ready[0].component));
            self.end(End::Killed)?;
        }
        Ok(())
    }

    fn options(&self, accept_loss: AcceptLoss) -> Options {
        let journal = JournalOptions {
            segment_bytes: 128 << 10,
            segment_bytes_first: 64 << 10,
            reader_threads: 1,
            ..JournalOptions::default()
        };
        Options { journal, accept_loss, ..Options::default() }
    }

    /// Starts a process on the files of the disk, and reads everything.
    fn start(&mut self, loss: Loss) -> Result<()> {
        let directory = system::disk(|disk| disk.root().join("state"));
        (self.needs_restart, self.has_panicked) = (false, false);
        for attempt in 0.. {
            self.supervisor = Supervisor::simulated();
            let accept_loss = AcceptLoss { journal: loss == Loss::Records && attempt > 0, registry: false };
            let opened = Store::open_supervised(&directory, &self.options(accept_loss), &self.supervisor);
            match opened {
                Ok(store) => {
                    self.store = Some(store);
                    break;
                }
                Err(error) => {
                    simulation::forget();
                    let error = anyhow::Error::from(error);
                    // Without the folder, whose name differs in each run.
                    let root = system::disk(|disk| disk.root().display().to_string());
                    let text = format!("{error:#}").replace(&root, "");
                    self.events.add(format_args!("the store does not open: {text}"));
                    let is_full = system::disk(|disk| std::mem::take(&mut disk.is_full));
                    let is_expected = is_full || loss == Loss::Records;
                    if !is_expected || attempt > 2 {
                        return Err(error.context("the store does not open"));
                    }
                }
            }
        }
        self.events.add(format_args!("started after {loss:?}"));
        self.audit(loss)
    }

    /// Drops the process, with everything that was pending.
    fn end_process(&mut self) {
        simulation::forget();
        for call in std::mem::take(&mut self.calls) {
            self.interrupted(&call);
        }
        self.store = None;
        self.keys.restart();
    }

    fn end(&mut self, end: End) -> Result<()> {
        self.events.add(format_args!("the process ends: {end:?}"));
        if end == End::Closed && !self.needs_restart && !system::disk(|disk| disk.is_full) {
            self.settle()?;
            // Its threads end in order.
            self.store = None;
        }
        // Its further writes do not reach the disk.
        system::disk(|disk| disk.is_dead = true);
        self.end_process();
        let loss = system::disk(|disk| -> Result<Loss> {
            disk.restart();
            Ok(match end {
                End::Closed | End::Killed => Loss::Nothing,
                End::PowerLost => {
                    disk.cut_power()?;
                    Loss::Epochs
                }
                // Together with a power failure it cannot be detected: the mark may be lost too.
                End::Lied => {
                    let is_segment =
                        |path: &std::path::Path| path.extension().is_some_and(|end| end == "log");
                    if disk.lose_flushed(is_segment)? { Loss::Records } else { Loss::Nothing }
                }
            })
        })?;
        self.start(loss)
    }

    /// Runs all threads until a future is ready.
    fn finish<T>(&mut self, future: impl Future<Output = T>) -> Result<T> {
        let mut future = std::pin::pin!(future);
        for _ in 0..ROUNDS_MAX {
            if let Poll::Ready(value) = poll(future.as_mut()) {
                return Ok(value);
            }
            for number in 0..simulation::threads() {
                simulation::turn(number);
            }
            self.poll_calls()?;
        }
        bail!("a call is not answered although nothing hinders it")
    }

    /// Waits for all calls.
    fn settle(&mut self) -> Result<()> {
        for _ in 0..ROUNDS_MAX {
            self.poll_calls()?;
            if self.calls.is_empty() {
                return Ok(());
            }
            for number in 0..simulation::threads() {
                simulation::turn(number);
            }
        }
        bail!("{} calls are not answered although nothing hinders them", self.calls.len())
    }

    /// Compares everything with the models.
    fn audit(&mut self, loss: Loss) -> Result<()> {
        let store = self.store.as_ref().context("a process runs")?;
        let (journal, registry) = (store.journal(), store.registry());
        for number in 0..JOURNALS {
            let name = journal_name(number);
            let info = self.finish(async { journal.info(&instance(), &name).await })?;
            let Ok(info) = info else {
                // A journal cannot be created on a full disk.
                self.events.add(format_args!("no info of journal {number}: {info:?}"));
                continue;
            };
            let mut entries = Vec::new();
            let mut from = Position { epoch: info.epoch, offset: info.first };
            while from.offset < info.next {
                let read = self.finish(async { journal.read(&instance(), &name, from, 7, 1 << 20).await })?;
                let read = read.with_context(|| format!("journal {number} cannot be read from {from:?}"))?;
                ensure!(!read.is_empty(), "journal {number} answers nothing from {from:?}, before its end");
                from.offset.0 += read.len() as u64;
                entries.extend(read);
            }
            let ids: Vec<_> = entries.iter().map(|entry| id_of(&entry.record)).collect();
            let audited = self.journals[number].audit(info, &entries, &ids, loss);
            audited.with_context(|| format!("journal {number} after {loss:?}"))?;
            self.ask_by_old_positions(number)?;
        }
        for number in 0..KEYS {
            let key = key_name(number);
            let found = self.finish(async { registry.get(&instance(), &key).await })?;
            let found = found.context("a key cannot be read")?;
            let value = found.as_ref().and_then(|entry| calls::value_of(&entry.value));
            self.keys.audit(key.as_str(), found.as_ref(), value, SystemTime::now())?;
        }
        Ok(())
    }

    /// A position of an earlier epoch must not return records of this one.
    fn ask_by_old_positions(&mut self, number: usize) -> Result<()> {
        let journal = self.store.as_ref().context("a process runs")?.journal();
        let (_, past, next) = self.journals[number].positions();
        let past: Vec<Epoch> = past.to_vec();
        for epoch in past {
            let from = Position { epoch, offset: Offset(next.saturating_sub(1)) };
            let name = journal_name(number);
            let read = self.finish(async { journal.read(&instance(), &name, from, 1, 1 << 20).await })?;
            ensure!(
                matches!(read, Err(JournalReadError::EpochChanged(_))),
                "the old position {from:?} of journal {number} is answered: {read:?}"
            );
        }
        Ok(())
    }

    fn begin_journal_call(&mut self, step: Step) {
        if self.calls.len() >= CALLS_MAX {
            return;
        }
        let Some(store) = &self.store else { return };
        let (journal, number) = (store.journal(), self.chance.below(JOURNALS));
        let busy = self.calls.iter().any(|call| call.journal() == Some(number));
        let is_removing = self.calls.iter().any(|call| call.removes(number));
        if is_removing || busy && matches!(step, Step::Remove) {
            return;
        }
        let call = match step {
            Step::Append => {
                let count = self.chance.between(1, 4);
                let ids: Vec<u64> = (self.next_id..).take(count).collect();
                self.next_id += count as u64;
                self.journals[number].appending(&ids);
                let bytes = self.chance.weighted(&[(20, 40), (6, 900), (2, 9_000), (1, 40_000)]);
                Call::append(journal, number, ids, bytes)
            }
            Step::Read => {
                let (epoch, past, next) = self.journals[number].positions();
                let Some(epoch) = (if self.chance.once_in(8) { past.last().copied() } else { epoch }) else {
                    return;
                };
                let offset = Offset(self.chance.below(usize::try_from(next).unwrap_or(0) + 1) as u64);
                Call::read(journal, number, Position { epoch, offset }, self.chance.between(1, 9))
            }
            Step::Trim => {
                let (epoch, _, next) = self.journals[number].positions();
                let Some(epoch) = epoch else { return };
                let below = self.chance.below(usize::try_from(next).unwrap_or(0) + 1) as u64;
                self.journals[number].trimming(below);
                Call::trim(journal, number, Position { epoch, offset: Offset(below) })
            }
            _ => {
                self.journals[number].removing();
                Call::remove(journal, number)
            }
        };
        self.events.add(format_args!("begin {call:?}"));
        self.calls.push(call);
    }

    fn begin_key_call(&mut self, step: Step) {
        if self.calls.len() >= CALLS_MAX {
            return;
        }
        let Some(store) = &self.store else { return };
        let (registry, key) = (store.registry(), key_name(self.chance.below(KEYS)));
        if self.calls.iter().any(|call| call.key() == Some(&key)) {
            return;
        }
        let now = SystemTime::now();
        let expect = match (self.chance.below(4), self.keys.version(key.as_str(), now)) {
            (0, _) => Expect::Absent,
            (1, Some(Some(version))) => Expect::At(version),
            _ => Expect::Anything,
        };
        let call = match step {
            Step::Put => {
                let durability =
                    *self.chance.one_of(&[Durability::Durable, Durability::Durable, Durability::Session]);
                let ttl =
                    self.chance.once_in(4).then(|| Duration::from_secs(self.chance.between(1, 5) as u64));
                self.next_id += 1;
                Call::put(registry, key, self.next_id, expect, durability, ttl, self.keys.highest())
            }
            Step::Delete => Call::delete(registry, key, expect),
            _ => Call::get(registry, key),
        };
        self.events.add(format_args!("begin {call:?}"));
        self.calls.push(call);
    }

    fn begin_lease_call(&mut self) {
        let number = self.chance.below(LEASES);
        let Some(store) = &self.store else { return };
        if self.calls.len() >= CALLS_MAX || self.calls.iter().any(|call| call.lease() == Some(number)) {
            return;
        }
        let lease = store.lease();
        let ttl = Duration::from_millis(self.chance.between(500, 4_000) as u64);
        let held = self.leases[number].grant.clone();
        let call = match (self.chance.below(4), held) {
            (0, Some(grant)) => Call::renew(lease, number, grant, ttl),
            (1, Some(grant)) => Call::release(lease, number, grant),
            _ => Call::acquire(lease, number, self.chance.below(3), ttl),
        };
        self.events.add(format_args!("begin {call:?}"));
        self.calls.push(call);
    }

    fn poll_calls(&mut self) -> Result<()> {
        let mut index = 0;
        while index < self.calls.len() {
            match self.calls[index].poll() {
                Poll::Pending => index += 1,
                Poll::Ready(completed) => {
                    let call = self.calls.remove(index);
                    self.events.add(format_args!("{call:?}: {completed:?}"));
                    if system::disk(|disk| disk.is_dead) {
                        // Its process is dead, so the result is lost.
                        self.interrupted(&call);
                        continue;
                    }
                    self.completed(&call, completed).with_context(|| format!("{call:?}"))?;
                }
            }
        }
        Ok(())
    }
}

fn poll<T>(future: Pin<&mut impl Future<Output = T>>) -> Poll<T> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}
