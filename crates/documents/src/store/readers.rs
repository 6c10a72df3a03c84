//! [`Readers`]: pools of threads; each thread has a connection, each pool a bounded queue.
//!
//! A read waits only for others of its pool: long queries do not delay point reads and change feeds. A canceled read is not started,
//! or ends at the next row or, inside SQLite, after some thousand operations.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use checked_files::Health;
use rusqlite::Connection;

use super::schema;
use crate::error::RequestFailure;
use crate::metrics::{Metrics, ReadPool};
use crate::{Error, Options};
use supervision::{Supervisor, Thread, TurnOutcome, Turns, Unit, Wait};

/// Operations of SQLite's virtual machine between two checks for cancellation.
const OPERATIONS_PER_LOOK: i32 = 10_000;
/// A page has its own time limit; SQLite may take longer between two rows, up to this multiple of the limit.
const TIMES_MAX: u32 = 4;

/// The cancellation of a read: set when its caller no longer waits.
#[derive(Clone, Debug, Default)]
pub(crate) struct Cancellation(Arc<AtomicBool>);

/// Cancels the read when it is dropped; held by the waiting caller.
pub(super) struct CancelOnDrop(Cancellation);

/// Reads and sends the result; returns whether the caller received it.
type ReadFn = Box<dyn FnOnce(&Connection) -> bool + Send>;

/// A read and its cancellation.
pub(super) struct ReadJob {
    pub(super) read: ReadFn,
    pub(super) caller: Cancellation,
}

/// The pools of reader threads.
#[derive(Debug)]
pub(super) struct Readers {
    points: ReadPoolQueue,
    feeds: ReadPoolQueue,
    scans: ReadPoolQueue,
}

/// One pool: its queue and threads.
#[derive(Debug)]
struct ReadPoolQueue {
    pool: ReadPool,
    /// None once stopped.
    jobs: Mutex<Option<SyncSender<ReadJob>>>,
    threads: Mutex<Vec<Thread>>,
    metrics: Metrics,
}

impl Cancellation {
    pub(crate) fn is_canceled(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    pub(super) fn cancel_on_drop(&self) -> CancelOnDrop {
        CancelOnDrop(self.clone())
    }
}

impl Drop for CancelOnDrop {
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
        let queue =
            |pool, threads| ReadPoolQueue::start(pool, threads, options, (path, health), supervisor, metrics);
        Ok(Self {
            points: queue(ReadPool::Point, options.point_reader_threads)?,
            feeds: queue(ReadPool::Feed, options.feed_reader_threads)?,
            scans: queue(ReadPool::Scan, options.reader_threads)?,
        })
    }

    pub(super) fn send(&self, pool: ReadPool, job: ReadJob) -> Result<(), RequestFailure> {
        match pool {
            ReadPool::Point => self.points.send(job),
            ReadPool::Feed => self.feeds.send(job),
            ReadPool::Scan => self.scans.send(job),
        }
    }

    /// Lets the threads finish what is queued, and waits for them.
    pub(super) fn stop(&self) {
        for queue in [&self.points, &self.feeds, &self.scans] {
            queue.stop();
        }
    }
}

impl ReadPoolQueue {
    fn start(
        pool: ReadPool,
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
            let reader = Reader {
                pool,
                connection: schema::open_reader(path, health)?,
                time_max,
                metrics: metrics.clone(),
            };
            let turns = ReaderTurns { reader, jobs: Arc::clone(&jobs) };
            let builder = thread::Builder::new().stack_size(super::stack::STACK_BYTES);
            let name = format!("documents {} reader {number}", pool.name());
            handles.push(supervisor.restarting_turns(builder, &name, turns).map_err(Error::Thread)?);
        }
        let (jobs, threads) = (Mutex::new(Some(sender)), Mutex::new(handles));
        Ok(Self { pool, jobs, threads, metrics: metrics.clone() })
    }

    fn send(&self, job: ReadJob) -> Result<(), RequestFailure> {
        let jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner);
        let jobs = jobs.as_ref().ok_or_else(RequestFailure::closing)?;
        let waiting = self.metrics.read_queue(self.pool);
        waiting.inc();
        match jobs.try_send(job) {
            Ok(()) => Ok(()),
            Err(error) => {
                waiting.dec();
                Err(match error {
                    TrySendError::Full(_) => RequestFailure::busy(),
                    TrySendError::Disconnected(_) => RequestFailure::closing(),
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

/// A thread's work, in turns: a reader and the queue of its pool.
struct ReaderTurns {
    reader: Reader,
    jobs: Arc<Mutex<Receiver<ReadJob>>>,
}

impl Turns for ReaderTurns {
    /// Executes one read. Ends when the queue is closed and empty.
    fn turn(&mut self, unit: &Unit, wait: Wait) -> TurnOutcome {
        let job = {
            let jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner);
            match wait {
                Wait::ForWork => jobs.recv().map_err(|_| TryRecvError::Disconnected),
                Wait::Never => jobs.try_recv(),
            }
        };
        match job {
            Ok(job) => {
                self.reader.execute(job, unit);
                TurnOutcome::Worked
            }
            Err(TryRecvError::Empty) => TurnOutcome::Idle,
            Err(TryRecvError::Disconnected) => TurnOutcome::Ended,
        }
    }
}

/// The state of one thread.
struct Reader {
    pool: ReadPool,
    connection: Connection,
    time_max: Duration,
    metrics: Metrics,
}

impl Reader {
    fn execute(&mut self, ReadJob { read, caller }: ReadJob, unit: &Unit) {
        self.metrics.read_queue(self.pool).dec();
        unit.fault_point();
        let is_received = !caller.is_canceled() && self.read(read, &caller);
        if !is_received {
            self.metrics.read_abandoned(self.pool);
        }
    }

    fn read(&mut self, read: ReadFn, caller: &Cancellation) -> bool {
        let (seen, until) = (caller.clone(), Instant::now() + self.time_max);
        let interrupt = move || seen.is_canceled() || Instant::now() >= until;
        if let Err(error) = self.connection.progress_handler(OPERATIONS_PER_LOOK, Some(interrupt)) {
            tracing::warn!(%error, "cannot install the cancellation of long reads");
        }
        // A panic in one request must not end the thread; the channel of the request closes.
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
    read: impl FnOnce(&Connection) -> Result<T, RequestFailure>,
) -> Result<T, RequestFailure> {
    let transaction = connection.unchecked_transaction()?;
    let result = read(&transaction)?;
    transaction.commit()?;
    Ok(result)
}
