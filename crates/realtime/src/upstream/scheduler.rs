//! [`Scheduler`]: the task that owns the queues, the records and the streams of all connections. `connection_queues.rs` decides the order; slow
//! operations run as jobs, which the scheduler awaits.

mod connection_progress;
mod connections;
mod jobs;
mod streamed_responses;
mod streaming;
mod work;

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use supervision::Unit;
use tokio::sync::oneshot;
use tokio::task::{Id, JoinError, JoinSet};

use self::connection_progress::ConnectionProgress;
use self::streamed_responses::StreamedResponses;
use self::work::{JobResult, RecordedEvent, UpstreamInvocation, number};
use super::clients::Clients;
use super::connection_queues::{
    ConnectionQueues, QueueAction, QueueJob, QueueKey, QueuedInvocation, SerialQueueKey,
};
use super::input_queue::{Input, QueuePermit};
use super::metrics::EventLabels;
use super::response::{Awaited, error_for};
use super::shared::Shared;
use super::streams::{StreamPart, Upload, UpstreamStreams, opened_by};
use crate::events::{DeliveryError, RecordKey, Retries, Retry};
use realtime_engine::{ClientInvocation, ConnectionId};
use tracing::Instrument as _;

/// Interval at which old dead letters are removed.
const TRIM_EVERY: Duration = Duration::from_secs(60 * 60);

/// Types of hub messages (SignalR hub protocol).
const INVOCATION: u8 = 1;
const COMPLETION: u8 = 3;
const STREAM_INVOCATION: u8 = 4;
const CANCEL_INVOCATION: u8 = 5;

pub(crate) struct Scheduler {
    shared: Arc<Shared>,
    clients: Arc<dyn Clients>,
    queues: ConnectionQueues<Arc<RecordedEvent>, Box<UpstreamInvocation>>,
    streams: HashMap<ConnectionId, UpstreamStreams>,
    connection_progress: HashMap<ConnectionId, ConnectionProgress>,
    streamed_responses: StreamedResponses,
    /// For each `disconnected`, the number of listeners that have not received it.
    undelivered: HashMap<RecordKey, usize>,
    /// `disconnected` events that wait on disk, and how many of them are being read.
    parked: VecDeque<RecordKey>,
    loading: usize,
    load_again_at: Instant,
    trim_at: Instant,
    jobs: JoinSet<JobResult>,
    /// The serial queue of each running job, so that a job that panics does not block its queue.
    running: HashMap<Id, SerialQueueKey>,
    chance: u64,
    is_stopping: bool,
}

impl Scheduler {
    pub(crate) fn new(
        shared: Arc<Shared>,
        clients: Arc<dyn Clients>,
        records_of_earlier_processes: Vec<RecordKey>,
    ) -> Self {
        let now = Instant::now();
        let queues = ConnectionQueues::new(shared.limits(), Retries::new(&shared.event_options));
        // The seed only spreads retries; it differs between processes.
        let chance = u64::from(std::process::id()) << 1 | 1;
        Self {
            shared,
            clients,
            queues,
            streams: HashMap::new(),
            connection_progress: HashMap::new(),
            streamed_responses: StreamedResponses::default(),
            undelivered: HashMap::new(),
            parked: records_of_earlier_processes.into(),
            loading: 0,
            load_again_at: now,
            trim_at: now,
            jobs: JoinSet::new(),
            running: HashMap::new(),
            chance,
            is_stopping: false,
        }
    }

    /// Runs until `stop` fires, and then until the running jobs have ended.
    pub(crate) async fn run(mut self, mut stop: oneshot::Receiver<()>, unit: Unit) {
        loop {
            unit.fault_point();
            for input in self.shared.inputs.drain() {
                self.on_input(input);
            }
            self.start_jobs();
            if self.is_stopping && self.jobs.is_empty() {
                break;
            }
            let (shared, next_time) = (Arc::clone(&self.shared), self.next_time());
            tokio::select! {
                () = shared.inputs.arrived() => {}
                Some(done) = self.jobs.join_next_with_id() => self.on_joined(done),
                () = tokio::time::sleep_until(next_time.into()) => {}
                _ = &mut stop, if !self.is_stopping => {
                    self.is_stopping = true;
                    // Their clients have disconnected.
                    self.streamed_responses.cancel_all();
                }
            }
            // All other jobs that have ended, before the gauges are set.
            while let Some(done) = self.jobs.try_join_next_with_id() {
                self.on_joined(done);
            }
        }
        let left = self.queues.events();
        if left > 0 {
            tracing::info!(
                left,
                "connection events were not delivered before the shutdown; each `disconnected` is delivered after the next start"
            );
        }
    }

    fn on_input(&mut self, input: Input) {
        match input {
            Input::Opening(client) => self.on_opening(client),
            Input::Connected(client) => self.on_connected(client),
            Input::Invocation(invocation, load) => self.on_invocation(*invocation, load),
            Input::Resume(connection) => {
                let clients = Arc::clone(&self.clients);
                self.jobs.spawn(async move {
                    clients.resume(connection).await;
                    JobResult::Nothing
                });
            }
            Input::Disconnected { client, reason, error } => self.on_disconnected(client, reason, error),
        }
    }

    fn on_invocation(&mut self, invocation: ClientInvocation, load: QueuePermit) {
        let Some((part, awaited)) = self.context_of(&invocation) else {
            // The stream has ended or never existed; the client expects no completion.
            return self.shared.refuse("unknown_stream");
        };
        let StreamPart { target: method, call: call_id, upload, .. } = part;
        let key = QueueKey { connection: invocation.client.id, listener: 0 };
        let is_local = self.shared.is_local(&method);
        let call =
            Box::new(UpstreamInvocation { invocation, method, call_id, awaited, upload, is_local, load });
        self.queues.push_invocation(key, QueuedInvocation { invocation: call, is_local }, Instant::now());
    }

    /// What a message belongs to, and what its client waits for. Updates the table of streams.
    fn context_of(&mut self, invocation: &ClientInvocation) -> Option<(StreamPart, Awaited)> {
        let connection = invocation.client.id;
        let Some(target) = &invocation.target else {
            let streams = self.streams.get_mut(&connection)?;
            let is_end = matches!(invocation.message_type, COMPLETION | CANCEL_INVOCATION);
            if invocation.message_type == CANCEL_INVOCATION
                && let Some(id) = &invocation.invocation_id
            {
                self.streamed_responses.cancel(connection, id);
            }
            let part = streams.part(invocation.invocation_id.as_deref()?, is_end)?;
            if streams.is_empty() {
                self.streams.remove(&connection);
            }
            let is_last = is_end && part.is_last;
            let awaited = part.upload.as_ref().map_or(Awaited::Nothing, |upload| Awaited::Part {
                invocation_id: upload.invocation_id.clone(),
                is_last,
            });
            return Some((part, awaited));
        };
        let opened = opened_by(invocation.client.protocol, &invocation.payload);
        let uploads = invocation.message_type == INVOCATION && !opened.uploads.is_empty();
        let upload = invocation.invocation_id.clone().filter(|_| uploads);
        let upload = upload.map(|id| Arc::new(Upload::new(id)));
        let awaited = match (invocation.message_type, &invocation.invocation_id) {
            (INVOCATION, Some(id)) if upload.is_some() => Awaited::Upload(id.clone()),
            (INVOCATION, Some(id)) => Awaited::Completion(id.clone()),
            (STREAM_INVOCATION, Some(id)) => Awaited::Stream(id.clone()),
            _ => Awaited::Nothing,
        };
        let streams_max = self.shared.options.connection_streams_max.get() as usize;
        let call = invocation.invocation_id.as_deref();
        let all = opened.uploads.into_iter().map(|id| (id, upload.as_ref()));
        for (id, upload) in all.chain(opened.answer.map(|id| (id, None))) {
            self.streams.entry(connection).or_default().open(id, target, call, upload, streams_max);
        }
        let call = invocation.invocation_id.clone();
        Some((StreamPart { target: target.clone(), call, upload, is_last: false }, awaited))
    }

    /// Completes an invocation that is not sent with an error.
    fn refuse(&mut self, call: UpstreamInvocation, why: &str) {
        let client = call.invocation.client.clone();
        let awaited = call.still_awaited();
        if let Some(framed) = error_for(client.protocol, &awaited, why) {
            call.is_answered();
            let clients = Arc::clone(&self.clients);
            self.jobs.spawn(async move {
                jobs::reply(&*clients, &client, &awaited, framed).await;
                JobResult::Nothing
            });
        }
    }

    /// Starts the jobs that are due.
    fn start_jobs(&mut self) {
        let now = Instant::now();
        if !self.is_stopping {
            self.load_parked(now);
            if self.trim_at <= now {
                self.trim_at = now + TRIM_EVERY;
                if self.shared.has_listener() {
                    self.jobs.spawn(jobs::trim(Arc::clone(&self.shared)));
                }
            }
        }
        while let Some(next_action) = self.queues.next_action(now) {
            match next_action {
                QueueAction::Start(key, job) => self.start(key, job),
                QueueAction::Expired(call) => {
                    self.shared.refuse("waited_too_long");
                    self.refuse(*call, "Invocation failed, the upstream was busy or down for too long");
                }
            }
        }
        self.shared.metrics.in_flight.set(number(self.queues.in_flight()));
        self.shared.metrics.events_pending.set(number(self.queues.events()));
        self.shared.metrics.events_parked.set(number(self.parked.len() + self.loading));
    }

    fn start(&mut self, key: SerialQueueKey, job: QueueJob<Arc<RecordedEvent>, Box<UpstreamInvocation>>) {
        let shared = Arc::clone(&self.shared);
        let handle = match job {
            QueueJob::Deliver(recorded) => {
                let fields = jobs::log_fields(&recorded.event.client);
                self.jobs.spawn(jobs::deliver(shared, key, recorded).instrument(fields))
            }
            QueueJob::WriteDeadLetter { event, attempts, cause } => {
                self.jobs.spawn(jobs::write_dead_letter(shared, key, event, attempts, cause))
            }
            QueueJob::Invoke(call) => {
                let clients = Arc::clone(&self.clients);
                let fields = jobs::log_fields(&call.invocation.client);
                self.jobs.spawn(jobs::call(shared, clients, key, *call).instrument(fields))
            }
        };
        self.running.insert(handle.id(), key);
    }

    fn on_joined(&mut self, joined: Result<(Id, JobResult), JoinError>) {
        match joined {
            Ok((id, done)) => {
                self.running.remove(&id);
                self.on_done(done);
            }
            Err(error) => {
                tracing::error!(%error, "a task for upstreams failed");
                if let Some(key) = self.running.remove(&error.id()) {
                    let cause = "the listener failed".to_owned();
                    self.on_finished(key, Err(DeliveryError { cause, retry: Retry::Later }));
                }
            }
        }
    }

    fn on_done(&mut self, done: JobResult) {
        match done {
            JobResult::Nothing => {}
            JobResult::Finished(key, result) => self.on_finished(key, result),
            JobResult::Streams(key, answer) => {
                // The client's next invocation does not wait for the end of the stream.
                self.on_finished(key, Ok(()));
                self.stream(answer);
            }
            JobResult::Streamed(connection, id) => self.on_streamed(connection, &id),
            JobResult::Recorded(connection, result) => self.on_recorded(connection, result),
            JobResult::Ended(recorded) => self.on_ended(recorded),
            JobResult::Loaded(record_key, result) => self.on_loaded(record_key, result),
        }
    }

    fn on_finished(&mut self, key: SerialQueueKey, result: Result<(), DeliveryError>) {
        if result.is_err() {
            self.shared.metrics.event_retries.inc();
        }
        // Marsaglia's xorshift is good enough to spread retries.
        self.chance ^= self.chance << 13;
        self.chance ^= self.chance >> 7;
        self.chance ^= self.chance << 17;
        let Some(settled) = self.queues.finished(key, result, Instant::now(), self.chance) else { return };
        let listener = self.shared.listeners[usize::from(key.queue.listener)].name();
        let labels = EventLabels { listener, event: settled.kind.name(), outcome: settled.outcome.name() };
        self.shared.metrics.events.get_or_create(&labels).inc();
        if let Some(record_key) = settled.event.record_key {
            self.on_delivered(record_key);
        }
    }

    fn next_time(&self) -> Instant {
        let queues = if self.is_stopping { None } else { self.queues.next_time() };
        let parked = (!self.parked.is_empty() && !self.is_stopping).then_some(self.load_again_at);
        // If `load_again_at` has passed, the limit is reached, and a job that ends triggers the next load.
        let parked = parked.filter(|at| *at > Instant::now());
        let trim = if self.is_stopping { Instant::now() + TRIM_EVERY } else { self.trim_at };
        [queues, parked].into_iter().flatten().fold(trim, Instant::min)
    }

    fn now() -> SystemTime {
        SystemTime::now()
    }
}

#[cfg(test)]
mod tests;
