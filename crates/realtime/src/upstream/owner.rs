//! [`Owner`]: the task that owns the lanes, the records and the streams of all connections. What it does not decide stands in
//! `lanes.rs`; what takes time runs in jobs, which it awaits.

mod answers;
mod jobs;
mod standing;

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use supervision::Unit;
use tokio::sync::oneshot;
use tokio::task::{Id, JoinError, JoinSet};

use self::answers::Answers;
use self::jobs::Done;
use self::standing::Standing;
use super::answer::{Awaited, error_for};
use super::dispatcher::{Clients, Shared};
use super::inbox::{Input, Load};
use super::lanes::{Job, JobKey, LaneKey, Lanes, Step, Waiting};
use super::metrics::EventLabels;
use super::streams::{Part, Streams, Upload, opened_by};
use crate::events::{ConnectionEvent, Place, Retries, Retry, Undelivered};
use realtime_engine::{ClientInvocation, ConnectionId};

/// How often dead letters are looked at for their age.
const TRIM_EVERY: Duration = Duration::from_secs(60 * 60);

/// Types of hub messages.
const INVOCATION: u8 = 1;
const COMPLETION: u8 = 3;
const STREAM_INVOCATION: u8 = 4;
const CANCEL_INVOCATION: u8 = 5;

pub(crate) struct Owner {
    shared: Arc<Shared>,
    clients: Arc<dyn Clients>,
    lanes: Lanes<Arc<Occurrence>, Box<Call>>,
    streams: HashMap<ConnectionId, Streams>,
    standings: HashMap<ConnectionId, Standing>,
    answers: Answers,
    /// How many listeners are still to hear of an end.
    owed: HashMap<Place, usize>,
    /// Ends that wait on disk, and how many of them are being read.
    parked: VecDeque<Place>,
    loading: usize,
    load_again_at: Instant,
    trim_at: Instant,
    jobs: JoinSet<Done>,
    /// Which track of a lane a job belongs to, so that one that panics does not stop it.
    running: HashMap<Id, JobKey>,
    chance: u64,
    is_stopping: bool,
}

/// An event on its way to its listeners.
#[derive(Debug)]
pub(crate) struct Occurrence {
    event: ConnectionEvent,
    /// Where its record is, if it has one.
    place: Option<Place>,
}

/// A call on its way to an upstream, or to a method of this process.
#[derive(Debug)]
pub(crate) struct Call {
    invocation: ClientInvocation,
    /// The method that it calls, or that its stream belongs to.
    method: Box<str>,
    /// The invocation id of the call that it is, or that its stream belongs to.
    call_id: Option<Box<str>>,
    awaited: Awaited,
    /// For a call that uploads, and what follows in its streams: whether it is answered.
    upload: Option<Arc<Upload>>,
    is_local: bool,
    load: Load,
}

impl Call {
    /// What its client waits for now: what an upload belongs to may be answered already.
    fn still_awaited(&self) -> Awaited {
        match &self.upload {
            Some(upload) if upload.is_answered() => Awaited::Nothing,
            _ => self.awaited.clone(),
        }
    }

    /// Its client has its answer.
    fn is_answered(&self) {
        if let Some(upload) = &self.upload {
            upload.answered();
        }
    }
}

impl Owner {
    pub(crate) fn new(shared: Arc<Shared>, clients: Arc<dyn Clients>, left_over: Vec<Place>) -> Self {
        let now = Instant::now();
        let lanes = Lanes::new(shared.limits(), Retries::new(&shared.event_options));
        // Only to spread retries: any number will do, and another one in each process.
        let chance = u64::from(std::process::id()) << 1 | 1;
        Self {
            shared,
            clients,
            lanes,
            streams: HashMap::new(),
            standings: HashMap::new(),
            answers: Answers::default(),
            owed: HashMap::new(),
            parked: left_over.into(),
            loading: 0,
            load_again_at: now,
            trim_at: now,
            jobs: JoinSet::new(),
            running: HashMap::new(),
            chance,
            is_stopping: false,
        }
    }

    /// Runs until it is told to stop, and then until nothing is left that could be done at once.
    pub(crate) async fn run(mut self, mut stop: oneshot::Receiver<()>, unit: Unit) {
        loop {
            unit.fault_point();
            for input in self.shared.inbox.take() {
                self.take(input);
            }
            self.start_jobs();
            if self.is_stopping && self.jobs.is_empty() {
                break;
            }
            let (shared, next_time) = (Arc::clone(&self.shared), self.next_time());
            tokio::select! {
                () = shared.inbox.arrived() => {}
                Some(done) = self.jobs.join_next_with_id() => self.on_joined(done),
                () = tokio::time::sleep_until(next_time.into()) => {}
                _ = &mut stop, if !self.is_stopping => {
                    self.is_stopping = true;
                    // Their clients are gone.
                    self.answers.cancel_all();
                }
            }
            // What has ended meanwhile as well, before anything is counted again.
            while let Some(done) = self.jobs.try_join_next_with_id() {
                self.on_joined(done);
            }
        }
        let left = self.lanes.events();
        if left > 0 {
            tracing::info!(
                left,
                "connection events were not told before the end; every `disconnected` among them follows after the next start"
            );
        }
    }

    fn take(&mut self, input: Input) {
        match input {
            Input::Opening(client) => self.on_opening(client),
            Input::Connected(client) => self.on_connected(client),
            Input::Call(invocation, load) => self.on_call(*invocation, load),
            Input::Resume(connection) => {
                let clients = Arc::clone(&self.clients);
                self.jobs.spawn(async move {
                    clients.resume(connection).await;
                    Done::Nothing
                });
            }
            Input::Disconnected { client, reason, error } => self.on_disconnected(client, reason, error),
        }
    }

    fn on_call(&mut self, invocation: ClientInvocation, load: Load) {
        let Some((part, awaited)) = self.place_of(&invocation) else {
            // Its stream has ended, or never was; nobody waits for an answer.
            return self.shared.refuse("unknown_stream");
        };
        let Part { target: method, call: call_id, upload, .. } = part;
        let key = LaneKey { connection: invocation.client.id, listener: 0 };
        let is_local = self.shared.is_local(&method);
        let call = Box::new(Call { invocation, method, call_id, awaited, upload, is_local, load });
        self.lanes.call(key, Waiting { call, is_local }, Instant::now());
    }

    /// What a message is part of, and what its client waits for; keeps the table of streams.
    fn place_of(&mut self, invocation: &ClientInvocation) -> Option<(Part, Awaited)> {
        let connection = invocation.client.id;
        let Some(target) = &invocation.target else {
            let streams = self.streams.get_mut(&connection)?;
            let is_end = matches!(invocation.message_type, COMPLETION | CANCEL_INVOCATION);
            if invocation.message_type == CANCEL_INVOCATION
                && let Some(id) = &invocation.invocation_id
            {
                self.answers.cancel(connection, id);
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
        Some((Part { target: target.clone(), call, upload, is_last: false }, awaited))
    }

    /// Answers a call that is not carried out.
    fn refuse(&mut self, call: Call, why: &str) {
        let client = call.invocation.client.clone();
        let awaited = call.still_awaited();
        if let Some(framed) = error_for(client.protocol, &awaited, why) {
            call.is_answered();
            let clients = Arc::clone(&self.clients);
            self.jobs.spawn(async move {
                jobs::reply(&*clients, &client, &awaited, framed).await;
                Done::Nothing
            });
        }
    }

    /// Starts what may start now.
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
        while let Some(step) = self.lanes.step(now) {
            match step {
                Step::Start(key, job) => self.start(key, job),
                Step::Expired(call) => {
                    self.shared.refuse("waited_too_long");
                    self.refuse(*call, "Invocation failed, the upstream was busy or down for too long");
                }
            }
        }
        self.shared.metrics.in_flight.set(number(self.lanes.in_flight()));
        self.shared.metrics.events_pending.set(number(self.lanes.events()));
        self.shared.metrics.events_parked.set(number(self.parked.len() + self.loading));
    }

    fn start(&mut self, key: JobKey, job: Job<Arc<Occurrence>, Box<Call>>) {
        let shared = Arc::clone(&self.shared);
        let handle = match job {
            Job::Deliver(occurrence) => self.jobs.spawn(jobs::deliver(shared, key, occurrence)),
            Job::Bury { event, attempts, cause } => {
                self.jobs.spawn(jobs::bury(shared, key, event, attempts, cause))
            }
            Job::Call(call) => {
                let clients = Arc::clone(&self.clients);
                self.jobs.spawn(jobs::call(shared, clients, key, *call))
            }
        };
        self.running.insert(handle.id(), key);
    }

    fn on_joined(&mut self, joined: Result<(Id, Done), JoinError>) {
        match joined {
            Ok((id, done)) => {
                self.running.remove(&id);
                self.on_done(done);
            }
            Err(error) => {
                tracing::error!(%error, "a task for upstreams failed");
                if let Some(key) = self.running.remove(&error.id()) {
                    let cause = "the listener failed".to_owned();
                    self.on_finished(key, Err(Undelivered { cause, retry: Retry::Later }));
                }
            }
        }
    }

    fn on_done(&mut self, done: Done) {
        match done {
            Done::Nothing => {}
            Done::Finished(key, result) => self.on_finished(key, result),
            Done::Streams(key, answer) => {
                // What the client calls next need not wait for the end of this.
                self.on_finished(key, Ok(()));
                self.stream(answer);
            }
            Done::Streamed(connection, id) => self.on_streamed(connection, &id),
            Done::Recorded(connection, result) => self.on_recorded(connection, result),
            Done::Ended(occurrence) => self.on_ended(occurrence),
            Done::Loaded(place, result) => self.on_loaded(place, result),
        }
    }

    fn on_finished(&mut self, key: JobKey, result: Result<(), Undelivered>) {
        if result.is_err() {
            self.shared.metrics.event_retries.inc();
        }
        // Marsaglia's generator: good enough to choose moments.
        self.chance ^= self.chance << 13;
        self.chance ^= self.chance >> 7;
        self.chance ^= self.chance << 17;
        let Some(settled) = self.lanes.finished(key, result, Instant::now(), self.chance) else { return };
        let listener = self.shared.listeners[usize::from(key.lane.listener)].name();
        let labels = EventLabels { listener, event: settled.kind.name(), outcome: settled.how.name() };
        self.shared.metrics.events.get_or_create(&labels).inc();
        if let Some(place) = settled.event.place {
            self.on_told(place);
        }
    }

    fn next_time(&self) -> Instant {
        let lanes = if self.is_stopping { None } else { self.lanes.next_time() };
        let parked = (!self.parked.is_empty() && !self.is_stopping).then_some(self.load_again_at);
        // Where `load_again_at` has passed there is no room, and a job that ends makes some.
        let parked = parked.filter(|at| *at > Instant::now());
        let trim = if self.is_stopping { Instant::now() + TRIM_EVERY } else { self.trim_at };
        [lanes, parked].into_iter().flatten().fold(trim, Instant::min)
    }

    fn now() -> SystemTime {
        SystemTime::now()
    }
}

/// A count for a gauge.
fn number(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
