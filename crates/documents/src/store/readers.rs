//! [`Readers`]: threads with a connection each, in lanes with a bounded queue each.
//!
//! A read waits only behind others of its lane: however long queries take, point reads and change feeds go on. A read whose
//! caller has gone is not begun, and ends at the next row or, inside SQLite, after some thousand operations.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use checked_files::Health;
use rusqlite::Connection;

use super::schema;
use crate::error::Failure;
use crate::metrics::{Lane, Metrics};
use crate::{Error, Options};
use supervision::{Supervisor, Unit};

/// Operations of SQLite's machine between two looks at whether the read should end.
const OPERATIONS_PER_LOOK: i32 = 10_000;
/// A page ends by its own clock; only what SQLite does between two rows can go on for longer, and ends after this many times
/// the time of a page.
const TIMES_MAX: u32 = 4;

/// Whether the caller of a read still waits.
#[derive(Clone, Debug, Default)]
pub(crate) struct Caller(Arc<AtomicBool>);

/// Held by the waiting caller; says so when it is dropped.
pub(super) struct Waiting(Caller);

/// Reads and answers; whether the caller took the answer.
type Read = Box<dyn FnOnce(&Connection) -> bool + Send>;

/// One read, and the caller that waits for it.
pub(super) struct Job {
    pub(super) read: Read,
    pub(super) caller: Caller,
}

/// The lanes.
#[derive(Debug)]
pub(super) struct Readers {
    points: Queue,
    feeds: Queue,
    scans: Queue,
}

/// One lane: its queue and threads.
#[derive(Debug)]
struct Queue {
    lane: Lane,
    /// None once stopped.
    jobs: Mutex<Option<SyncSender<Job>>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    metrics: Metrics,
}

impl Caller {
    pub(crate) fn is_gone(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    pub(super) fn waiting(&self) -> Waiting {
        Waiting(self.clone())
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.0.store(true, Ordering::Relaxed);
    }
}

impl Readers {
    pub(super) fn start(
        options: &Options,
        path: &Path,
        health: &Health,
        supervisor: &Supervisor,
        metrics: &Metrics,
    ) -> Result<Self, Error> {
        let queue = |lane, threads| Queue::start(lane, threads, options, (path, health), supervisor, metrics);
        Ok(Self {
            points: queue(Lane::Point, options.point_reader_threads)?,
            feeds: queue(Lane::Feed, options.feed_reader_threads)?,
            scans: queue(Lane::Scan, options.reader_threads)?,
        })
    }

    pub(super) fn send(&self, lane: Lane, job: Job) -> Result<(), Failure> {
        match lane {
            Lane::Point => self.points.send(job),
            Lane::Feed => self.feeds.send(job),
            Lane::Scan => self.scans.send(job),
        }
    }

    /// Lets the threads finish what is queued, and waits for them.
    pub(super) fn stop(&self) {
        for queue in [&self.points, &self.feeds, &self.scans] {
            queue.stop();
        }
    }
}

impl Queue {
    fn start(
        lane: Lane,
        threads: usize,
        options: &Options,
        (path, health): (&Path, &Health),
        supervisor: &Supervisor,
        metrics: &Metrics,
    ) -> Result<Self, Error> {
        let (sender, jobs) = sync_channel(options.read_queue_requests_max);
        let jobs = Arc::new(Mutex::new(jobs));
        let time_max = Duration::from_millis(options.query_ms_max).saturating_mul(TIMES_MAX);
        let mut handles = Vec::new();
        for number in 0..threads {
            let mut reader = Reader {
                lane,
                connection: schema::open_reader(path, health)?,
                time_max,
                metrics: metrics.clone(),
            };
            let jobs = Arc::clone(&jobs);
            let builder = thread::Builder::new().stack_size(super::STACK_BYTES);
            let name = format!("documents {} reader {number}", lane.name());
            let run = move |unit: &Unit| reader.run(&jobs, unit);
            handles.push(supervisor.restarting_thread(builder, &name, run).map_err(Error::Thread)?);
        }
        let (jobs, threads) = (Mutex::new(Some(sender)), Mutex::new(handles));
        Ok(Self { lane, jobs, threads, metrics: metrics.clone() })
    }

    fn send(&self, job: Job) -> Result<(), Failure> {
        let jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner);
        let jobs = jobs.as_ref().ok_or_else(Failure::closing)?;
        let waiting = self.metrics.read_queue(self.lane);
        waiting.inc();
        match jobs.try_send(job) {
            Ok(()) => Ok(()),
            Err(error) => {
                waiting.dec();
                Err(match error {
                    TrySendError::Full(_) => Failure::busy(),
                    TrySendError::Disconnected(_) => Failure::closing(),
                })
            }
        }
    }

    fn stop(&self) {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner).take();
        let threads = std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
        for thread in threads {
            if thread.join().is_err() {
                tracing::error!("a documents reader panicked; this is a defect");
            }
        }
    }
}

/// What one thread works with.
struct Reader {
    lane: Lane,
    connection: Connection,
    time_max: Duration,
    metrics: Metrics,
}

impl Reader {
    fn run(&mut self, jobs: &Mutex<Receiver<Job>>, unit: &Unit) {
        loop {
            let job = jobs.lock().unwrap_or_else(PoisonError::into_inner).recv();
            let Ok(Job { read, caller }) = job else { return };
            self.metrics.read_queue(self.lane).dec();
            unit.fault_point();
            let taken = !caller.is_gone() && self.carry_out(read, &caller);
            if !taken {
                self.metrics.read_abandoned(self.lane);
            }
        }
    }

    fn carry_out(&mut self, read: Read, caller: &Caller) -> bool {
        let (seen, until) = (caller.clone(), Instant::now() + self.time_max);
        let interrupt = move || seen.is_gone() || Instant::now() >= until;
        if let Err(error) = self.connection.progress_handler(OPERATIONS_PER_LOOK, Some(interrupt)) {
            tracing::warn!(%error, "a long read cannot be ended early");
        }
        // A defect met by one request must not take the readers from all others; its answer channel just closes.
        let connection = &self.connection;
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| read(connection)));
        outcome.unwrap_or_else(|_| {
            tracing::error!("a read of documents panicked; this is a defect");
            true
        })
    }
}

/// Runs a read in one snapshot of the database.
pub(super) fn in_snapshot<T>(
    connection: &Connection,
    read: impl FnOnce(&Connection) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let transaction = connection.unchecked_transaction()?;
    let result = read(&transaction)?;
    transaction.commit()?;
    Ok(result)
}
