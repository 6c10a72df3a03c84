//! [`Readers`]: a few threads with a connection each, fed by one bounded queue.

use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use rusqlite::Connection;

use super::schema;
use crate::error::Failure;
use crate::metrics::Metrics;
use crate::{Error, Options};

type Job = Box<dyn FnOnce(&Connection) + Send>;

/// The readers' queue and threads.
#[derive(Debug)]
pub(super) struct Readers {
    /// None once stopped.
    queue: Mutex<Option<SyncSender<Job>>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    metrics: Metrics,
}

impl Readers {
    pub(super) fn start(options: &Options, path: &Path, metrics: &Metrics) -> Result<Self, Error> {
        let (queue, jobs) = sync_channel(options.read_queue_requests_max);
        let jobs = Arc::new(Mutex::new(jobs));
        let mut threads = Vec::new();
        for number in 0..options.reader_threads {
            let connection = schema::open_reader(path)?;
            let jobs = Arc::clone(&jobs);
            let metrics = metrics.clone();
            let builder = thread::Builder::new()
                .stack_size(super::STACK_BYTES)
                .name(format!("documents-read-{number}"));
            threads.push(builder.spawn(move || run(&connection, &jobs, &metrics)).map_err(Error::Thread)?);
        }
        Ok(Self { queue: Mutex::new(Some(queue)), threads: Mutex::new(threads), metrics: metrics.clone() })
    }

    pub(super) fn send(&self, job: Job) -> Result<(), Failure> {
        let queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        let queue = queue.as_ref().ok_or_else(Failure::closing)?;
        self.metrics.read_queue().inc();
        match queue.try_send(job) {
            Ok(()) => Ok(()),
            Err(error) => {
                self.metrics.read_queue().dec();
                Err(match error {
                    TrySendError::Full(_) => Failure::busy(),
                    TrySendError::Disconnected(_) => Failure::closing(),
                })
            }
        }
    }

    /// Lets the threads finish what is queued, and waits for them.
    pub(super) fn stop(&self) {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner).take();
        let threads = std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
        for thread in threads {
            if thread.join().is_err() {
                tracing::error!("a documents reader panicked; this is a defect");
            }
        }
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

fn run(connection: &Connection, jobs: &Mutex<Receiver<Job>>, metrics: &Metrics) {
    connection.set_prepared_statement_cache_capacity(32);
    loop {
        let job = jobs.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(job) = job else { return };
        metrics.read_queue().dec();
        // A defect met by one request must not take the readers from all others; its answer channel just closes.
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| job(connection)));
        if outcome.is_err() {
            tracing::error!("a read of documents panicked; this is a defect");
        }
    }
}
