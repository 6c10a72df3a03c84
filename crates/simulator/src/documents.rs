//! The document service under load and faults: kills, power failures, full disks, flushes that fail, a device that loses flushed writes, a
//! panic of the writer.
//!
//! Calls are HTTP requests to the product's own service; its threads run in turns that the seed orders. `model.rs` defines what each item
//! and the change feed must be.

mod model;
mod process;
mod verb;

use std::task::Poll;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use supervision::{TurnOutcome, simulation};

use self::model::{Follower, Items};
use self::process::{Answer, DocumentProcess, Reply};
use self::verb::Verb;
use crate::chance::Chance;
use crate::events::Events;
use crate::system;

/// Steps of one run.
const STEPS: usize = 140;
const ITEMS: usize = 8;
/// Pending requests at a time.
const CALLS_MAX: usize = 6;
/// Turns of all threads after which a pending request will never end.
const ROUNDS_MAX: usize = 2_000;
/// The parts in which a fault may cause a panic.
const PARTS: [&str; 3] = ["documents writer", "documents point reader 0", "documents feed reader 0"];

/// A pending request.
struct Call {
    verb: Verb,
    item: usize,
    /// What it writes.
    value: u64,
    answer: Answer,
}

/// A run with one seed.
pub(crate) struct Documents<'a> {
    chance: Chance,
    events: &'a mut Events,
    process: Option<DocumentProcess>,
    calls: Vec<Call>,
    items: Items,
    follower: Follower,
    next_value: u64,
    /// Its creation was acknowledged once.
    has_container: bool,
    /// A write to the device failed: until the next start, requests may fail.
    may_fail: bool,
}

/// How a process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Killed,
    PowerLost,
    /// And the device loses writes that it had flushed.
    Lied,
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Begin(Verb),
    Turns,
    Follow,
    Pass,
    End(End),
    DieLater,
    Full,
    FailFlush,
    Panic,
}

const STEP_WEIGHTS: [(usize, Step); 14] = [
    (12, Step::Begin(Verb::Create)),
    (12, Step::Begin(Verb::Upsert)),
    (6, Step::Begin(Verb::Replace)),
    (6, Step::Begin(Verb::Delete)),
    (8, Step::Begin(Verb::Read)),
    (40, Step::Turns),
    (8, Step::Follow),
    (3, Step::Pass),
    (2, Step::End(End::Killed)),
    (2, Step::End(End::PowerLost)),
    (3, Step::DieLater),
    (1, Step::Full),
    (1, Step::FailFlush),
    (1, Step::Panic),
];

impl<'a> Documents<'a> {
    pub(crate) fn new(seed: u64, events: &'a mut Events) -> Self {
        Self {
            chance: Chance::new(seed),
            events,
            process: None,
            calls: Vec::new(),
            items: Items::new(ITEMS),
            follower: Follower::default(),
            next_value: 0,
            has_container: false,
            may_fail: false,
        }
    }

    /// Runs all steps.
    pub(crate) fn run(mut self) -> Result<()> {
        self.start(false)?;
        for _ in 0..STEPS {
            let step = self.chance.weighted(&STEP_WEIGHTS);
            self.step(step).with_context(|| format!("{step:?}"))?;
            self.poll_calls()?;
            self.look_at_parts()?;
            if system::disk(|disk| disk.is_dead) {
                let end = *self.chance.one_of(&[End::Killed, End::PowerLost]);
                self.end(end)?;
            } else if self.may_fail && self.chance.once_in(4) {
                self.end(End::Killed)?;
            }
        }
        system::disk(|disk| {
            disk.is_full = false;
            disk.restart();
        });
        self.settle()?;
        self.end(End::PowerLost)?;
        ensure!(self.has_container, "the container was never made, and the disk has room");
        if self.chance.once_in(4) {
            self.end(End::Lied)?;
        }
        self.follow_to_the_end()?;
        self.items.check_follower(&self.follower)?;
        self.end_process();
        Ok(())
    }

    fn step(&mut self, step: Step) -> Result<()> {
        match step {
            Step::Begin(verb) => self.begin(verb)?,
            Step::Turns => {
                for _ in 0..self.chance.between(1, 6) {
                    self.turn();
                    self.poll_calls()?;
                }
            }
            Step::Follow => {
                self.follow()?;
            }
            Step::Pass => {
                let time = Duration::from_millis(self.chance.between(1, 40_000) as u64);
                self.events.add(format_args!("{time:?} pass"));
                system::pass(time);
            }
            Step::End(end) => self.end(end)?,
            Step::DieLater => {
                let changes = self.chance.below(24) as u64;
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
                self.may_fail = true;
            }
            Step::Panic => {
                let part = *self.chance.one_of(&PARTS);
                self.events.add(format_args!("{part} panics when it runs next"));
                self.process()?.supervisor.panic_next(part);
                self.may_fail = true;
            }
        }
        Ok(())
    }

    fn process(&self) -> Result<&DocumentProcess> {
        self.process.as_ref().context("a process runs")
    }

    /// One turn of one of the service's threads.
    fn turn(&mut self) {
        let number = self.chance.below(simulation::threads());
        if simulation::turn(number) == TurnOutcome::Worked {
            self.events.add(format_args!("thread {number} worked"));
        }
    }

    /// If a part with data that would be lost has ended, the process has failed, and readiness must report it.
    fn look_at_parts(&mut self) -> Result<()> {
        if !(0..simulation::threads()).any(simulation::has_ended) {
            return Ok(());
        }
        let not_ready = self.process()?.supervisor.not_ready();
        ensure!(!not_ready.is_empty(), "a thread has ended, and the process calls itself ready");
        self.events.add(format_args!("the process ends itself: {}", not_ready[0].component));
        self.end(End::Killed)
    }

    /// Starts a process on the files of the disk, and reads everything. `has_lied`: the device may have lost writes that it had flushed.
    fn start(&mut self, has_lied: bool) -> Result<()> {
        self.may_fail = false;
        let mut accepts_loss = false;
        for attempt in 0.. {
            match DocumentProcess::start(accepts_loss) {
                Ok(process) if has_lied && !accepts_loss && process.handle.damage().is_some() => {
                    self.events.add(format_args!("the service says that commits are lost"));
                    simulation::forget();
                    drop(process);
                    accepts_loss = true;
                }
                Ok(process) => {
                    ensure!(process.handle.damage().is_none(), "damage: {:?}", process.handle.damage());
                    self.process = Some(process);
                    break;
                }
                Err(error) => {
                    simulation::forget();
                    let is_full = system::disk(|disk| std::mem::take(&mut disk.is_full));
                    self.events.add(format_args!("the service does not start; the disk is full: {is_full}"));
                    if !is_full || attempt > 2 {
                        return Err(error.context("the service does not start"));
                    }
                }
            }
        }
        self.events.add(format_args!("started"));
        self.audit(accepts_loss)?;
        // A power failure must not undo what a reader has seen after a kill.
        if self.chance.once_in(2) {
            self.follow_to_the_end()?;
        }
        Ok(())
    }

    /// Drops the process, with everything that was pending.
    fn end_process(&mut self) {
        simulation::forget();
        for call in std::mem::take(&mut self.calls) {
            self.items.interrupted(call.verb, call.item, call.value);
        }
        self.process = None;
    }

    fn end(&mut self, end: End) -> Result<()> {
        self.events.add(format_args!("the process ends: {end:?}"));
        system::disk(|disk| disk.is_dead = true);
        self.end_process();
        let has_lied = system::disk(|disk| -> Result<bool> {
            disk.restart();
            match end {
                End::Killed => Ok(false),
                End::PowerLost => disk.cut_power().map(|()| false).map_err(Into::into),
                End::Lied => {
                    let is_log = |path: &std::path::Path| path.to_string_lossy().ends_with(".sqlite-wal");
                    Ok(disk.lose_flushed(is_log)?)
                }
            }
        })?;
        self.start(has_lied)
    }

    /// Runs all threads until a request is answered.
    fn finish(&mut self, mut answer: Answer) -> Result<Reply> {
        for _ in 0..ROUNDS_MAX {
            if let Poll::Ready(reply) = self.process()?.poll(answer.as_mut()) {
                return reply;
            }
            for number in 0..simulation::threads() {
                simulation::turn(number);
            }
            self.poll_calls()?;
        }
        bail!("a request is not answered although nothing hinders it")
    }

    /// Waits for all requests.
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
        bail!("{} requests are not answered although nothing hinders them", self.calls.len())
    }

    fn begin(&mut self, verb: Verb) -> Result<()> {
        let item = self.chance.below(ITEMS);
        if !self.has_container {
            return Ok(());
        }
        let is_busy = self.calls.iter().any(|call| call.item == item);
        if is_busy || self.calls.len() >= CALLS_MAX {
            return Ok(());
        }
        self.next_value += 1;
        let (value, filler) = (self.next_value, self.chance.weighted(&[(6, 10), (2, 900), (1, 9_000)]));
        self.events.add(format_args!("begin {verb:?} of item {item}: {value}"));
        let answer = self.process()?.item(verb, item, value, filler);
        self.calls.push(Call { verb, item, value, answer });
        Ok(())
    }

    fn poll_calls(&mut self) -> Result<()> {
        let mut index = 0;
        while index < self.calls.len() {
            let Some(process) = &self.process else { return Ok(()) };
            let Poll::Ready(reply) = process.poll(self.calls[index].answer.as_mut()) else {
                index += 1;
                continue;
            };
            let Call { verb, item, value, .. } = self.calls.remove(index);
            let reply = reply?;
            self.events.add(format_args!("{verb:?} of item {item}: {value}: {}", reply.status));
            if system::disk(|disk| disk.is_dead) {
                // Its process is dead, so the response is lost.
                self.items.interrupted(verb, item, value);
                continue;
            }
            let completed = self.completed(verb, item, value, &reply);
            completed.with_context(|| format!("{verb:?} of item {item}: {value}: {reply:?}"))?;
        }
        Ok(())
    }

    fn completed(&mut self, verb: Verb, item: usize, value: u64, reply: &Reply) -> Result<()> {
        if reply.status >= 500 {
            let not_ready = !self.process()?.supervisor.not_ready().is_empty();
            let has_reason = self.may_fail || not_ready || system::disk(|disk| disk.was_full());
            ensure!(has_reason, "it fails although no fault is the reason");
            self.items.failed(verb, item, value);
            return Ok(());
        }
        self.items.completed(verb, item, value, reply.status, reply.value())
    }

    /// Reads one page of the change feed.
    fn follow(&mut self) -> Result<bool> {
        let rows = self.chance.between(1, 4);
        let answer = self.process()?.feed(self.follower.etag(), rows);
        let reply = self.finish(answer)?;
        self.events.add(format_args!("the follower reads: {}, {} rows", reply.status, reply.rows().len()));
        match reply.status {
            304 => Ok(false),
            200 => {
                self.follower.read(&reply)?;
                Ok(true)
            }
            404 if !self.has_container => Ok(false),
            _ if self.may_fail || system::disk(|disk| disk.is_dead || disk.was_full()) => Ok(false),
            status => bail!("the change feed is answered with {status}: {reply:?}"),
        }
    }

    fn follow_to_the_end(&mut self) -> Result<()> {
        while self.follow()? {}
        Ok(())
    }

    /// After a start: compares everything with the model. `is_lost`: the operator accepted that commits are lost.
    fn audit(&mut self, is_lost: bool) -> Result<()> {
        let answer = self.process()?.prepare();
        for made in answer {
            let reply = self.finish(made)?;
            if !matches!(reply.status, 201 | 409) {
                let is_full = system::disk(|disk| disk.was_full() || disk.is_dead);
                ensure!(is_full, "the container cannot be made: {reply:?}");
                if !self.has_container {
                    return Ok(());
                }
            }
        }
        self.has_container = true;
        if is_lost {
            self.follower = Follower::default();
        }
        for item in 0..ITEMS {
            let answer = self.process()?.item(Verb::Read, item, 0, 0);
            let reply = self.finish(answer)?;
            ensure!(matches!(reply.status, 200 | 404), "item {item} cannot be read: {reply:?}");
            self.items.audit(item, reply.value(), is_lost)?;
        }
        let answer = self.process()?.list();
        let listed = self.finish(answer)?;
        self.items.check_list("the list", &listed)?;
        // A reader that starts from the beginning finds each item once, in the order of LSNs.
        let mut reader = Follower::default();
        loop {
            let answer = self.process()?.feed(reader.etag(), 3);
            let page = self.finish(answer)?;
            if page.status == 304 {
                break;
            }
            ensure!(page.status == 200, "the change feed cannot be read: {page:?}");
            reader.read(&page)?;
        }
        self.items.check_feed(&reader)
    }
}
