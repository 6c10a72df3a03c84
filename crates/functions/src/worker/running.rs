//! One worker: its process, its connection, and the questions that wait for its answers.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use http::Uri;
use tokio::process::Command;
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;
use worker_protocol::{
    Capabilities, FunctionId, FunctionMetadata, HostMessage, InitRequest, InitResponse, InvocationId,
    InvocationRequest, InvocationResponse, LoadRequest, LoadResponse, MetadataResponse, StatusResult,
    TypedData, WorkerMessage, WorkerMetadata,
};

use super::error::{InvokeError, StartError};
use super::http_address;
use super::link::{Link, Listener, Outgoing, encode};
use super::observe::Observer;
use super::overdue::Overdue;
use super::process::Process;
use super::spec::{Road, WorkerSpec};
use super::stored::is_text;
use super::terms::Terms;

/// A worker that is ready for questions. Dropping it kills its process.
#[derive(Debug)]
pub struct Worker {
    process: Process,
    spec: Arc<WorkerSpec>,
    frame_bytes_max: usize,
    outgoing: mpsc::Sender<Outgoing>,
    waiting: Arc<Mutex<Waiting>>,
    overdue: Arc<Overdue>,
    /// Told at the end of each invocation while it is being given up.
    left: Arc<Notify>,
    capabilities: Capabilities,
    metadata: WorkerMetadata,
    /// Where it takes HTTP requests itself.
    http_address: Option<Uri>,
    started_at: Instant,
    /// Its sender goes when the connection is closed and all that came by it is handled.
    closed: watch::Receiver<()>,
    _tasks: JoinSet<()>,
}

/// Who waits for what. Answers are told apart by what they say, never by request ids: python's worker answers with the
/// id of its own first message.
#[derive(Debug, Default)]
struct Waiting {
    /// No further invocations are taken: the connection is closed, or the process was killed.
    is_closed: bool,
    init: Option<oneshot::Sender<InitResponse>>,
    metadata: Option<oneshot::Sender<MetadataResponse>>,
    loads: HashMap<FunctionId, oneshot::Sender<LoadResponse>>,
    invocations: HashMap<InvocationId, oneshot::Sender<InvocationResponse>>,
}

/// Which functions an app has, or who finds out.
#[derive(Clone, Debug, PartialEq)]
pub enum Indexing {
    /// These, says the worker.
    Worker(Vec<FunctionMetadata>),
    /// The host shall read the app's `function.json` files.
    Host,
}

/// Why one worker did not take an invocation.
#[derive(Debug)]
pub(super) enum WorkerInvokeError {
    /// It was gone before it had the request as a whole; the invocation was certainly not started.
    NotSent(Box<InvocationRequest>),
    /// See there.
    Failed(InvokeError),
}

/// Exit code by which our Node.js worker says that its runtime is too old.
const EXIT_RUNTIME_TOO_OLD: i32 = 3;

impl Worker {
    /// Starts the process and waits until it is initialised. Its functions are not loaded yet.
    pub async fn start(
        spec: Arc<WorkerSpec>,
        frame_bytes_max: usize,
        observer: Arc<dyn Observer>,
    ) -> Result<Self, StartError> {
        let io_error = |what: &str| {
            let what = what.to_owned();
            |cause| StartError::Io { what, cause }
        };
        let started_at = Instant::now();
        let listener = Listener::bind(&spec, frame_bytes_max).await;
        let listener = listener.map_err(io_error("open a socket for the worker"))?;
        let mut command = make_command(&spec);
        listener.prepare(&mut command);
        let process = Process::spawn(command, &observer).map_err(|cause| explain_spawn(&spec, cause))?;
        let step = "connect to the host";
        let accepted = before_end(&process, &spec, step, spec.timeouts.startup, listener.accept()).await?;
        let Link { outgoing, incoming, mut tasks } =
            accepted.map_err(io_error("take the worker's connection"))?;
        let waiting = Arc::new(Mutex::new(Waiting::default()));
        let (open, closed) = watch::channel(());
        let (overdue, left) = (Arc::new(Overdue::default()), Arc::new(Notify::new()));
        let (at_end, of_end) = (Arc::clone(&overdue), Arc::clone(&left));
        tasks.spawn(handle(incoming, Arc::clone(&waiting), (at_end, of_end), observer, open));
        let mut worker = Self {
            process,
            spec,
            frame_bytes_max,
            outgoing,
            waiting,
            overdue,
            left,
            capabilities: Capabilities::default(),
            metadata: WorkerMetadata::default(),
            http_address: None,
            started_at,
            closed,
            _tasks: tasks,
        };
        worker.initialise().await?;
        Ok(worker)
    }

    async fn initialise(&mut self) -> Result<(), StartError> {
        let request = InitRequest {
            host_version: self.spec.host_version.clone(),
            // A hint of the real host that workers expect to find.
            capabilities: [("MultiStream", "10")].into_iter().collect(),
            log_categories: std::collections::BTreeMap::new(),
            worker_directory: self.spec.worker_dir.display().to_string(),
            function_app_directory: self.spec.app_dir.display().to_string(),
        };
        let answer = self.ask(|waiting| &mut waiting.init);
        self.tell(HostMessage::Init(request)).await?;
        let step = "initialise itself";
        let answer = self.answer(step, self.spec.timeouts.initialization, answer).await?;
        check(step, answer.result)?;
        self.capabilities = answer.capabilities;
        if let Some(text) = self.capabilities.value(Capabilities::HTTP_URI) {
            let address = http_address::parse(text);
            let broken = |problem| StartError::Protocol { language: self.spec.language.clone(), problem };
            self.http_address = Some(address.map_err(broken)?);
        }
        self.metadata = answer.worker_metadata;
        Ok(())
    }

    /// Asks which functions the app has.
    pub async fn index(&self) -> Result<Indexing, StartError> {
        // A worker that does not index may die of the question: java's has no answer for messages it does not know.
        if !self.spec.indexes {
            return Ok(Indexing::Host);
        }
        let answer = self.ask(|waiting| &mut waiting.metadata);
        let function_app_directory = self.spec.app_dir.display().to_string();
        self.tell(HostMessage::Metadata { function_app_directory }).await?;
        let step = "list the app's functions";
        let answer = self.answer(step, self.spec.timeouts.load, answer).await?;
        check(step, answer.result)?;
        if answer.use_default_metadata_indexing {
            return Ok(Indexing::Host);
        }
        Ok(Indexing::Worker(answer.functions))
    }

    /// Loads functions. One that cannot be loaded is no error here: see its response.
    pub async fn load(&self, functions: &[FunctionMetadata]) -> Result<Vec<LoadResponse>, StartError> {
        let mut answers = Vec::with_capacity(functions.len());
        for metadata in functions {
            let function_id = metadata.function_id.clone();
            let (sender, answer) = oneshot::channel();
            self.lock().loads.insert(function_id.clone(), sender);
            self.tell(HostMessage::Load(LoadRequest { function_id, metadata: metadata.clone() })).await?;
            answers.push(answer);
        }
        let mut responses = Vec::with_capacity(functions.len());
        for answer in answers {
            responses.push(self.answer("load a function", self.spec.timeouts.load, answer).await?);
        }
        Ok(responses)
    }

    /// Waits until it listens where it announced to take HTTP requests, for a bounded time: it may bind its port only after its
    /// functions are loaded.
    pub(super) async fn listens(&self) {
        let Some(address) = &self.http_address else { return };
        if !http_address::listens(address).await {
            let pid = self.pid();
            tracing::warn!(%address, pid, "a worker announced that it takes HTTP requests at an address, but does not listen there");
        }
    }

    /// Calls a function. Dropping the future cancels the call where the worker can do that, and so does the cancellation, after which
    /// the answer is still awaited.
    pub(super) async fn invoke(
        &self,
        request: InvocationRequest,
        terms: &mut Terms,
    ) -> Result<InvocationResponse, WorkerInvokeError> {
        let id = request.invocation_id.clone();
        let is_text = self.needs_text() && is_text_stored(&request).await?;
        let pieces = encode(
            self.spec.road,
            HostMessage::Invoke(request.clone()),
            &self.capabilities,
            self.frame_bytes_max,
            is_text,
        )
        .map_err(|too_large| {
            let (bytes, bytes_max) = (too_large.bytes, too_large.bytes_max);
            WorkerInvokeError::Failed(InvokeError::TooLarge { bytes, bytes_max })
        })?;
        let (sender, answer) = oneshot::channel();
        {
            let mut waiting = self.lock();
            if waiting.is_closed {
                return Err(WorkerInvokeError::NotSent(Box::new(request)));
            }
            waiting.invocations.insert(id.clone(), sender);
        }
        let mut call = Call { worker: self, id, is_open: true };
        let (arrived, told) = oneshot::channel();
        if self.outgoing.send(Outgoing { pieces, arrived: Some(arrived) }).await.is_err() {
            call.is_open = false;
            self.lock().invocations.remove(&call.id);
            return Err(WorkerInvokeError::NotSent(Box::new(request)));
        }
        // The writer may be at this request when the connection ends; it learns of the end too.
        if told.await.is_err() {
            call.is_open = false;
            self.lock().invocations.remove(&call.id);
            return Err(WorkerInvokeError::NotSent(Box::new(request)));
        }
        // The worker has it. While the function runs, the host need not hold its data too.
        drop(request);
        if let (Some(placed), Some(address)) = (&terms.placed, &self.http_address) {
            placed.tell(address.clone());
        }
        let mut answer = answer;
        let response = tokio::select! {
            biased;
            response = &mut answer => response,
            () = terms.cancellation.cancelled() => {
                self.cancel(&call.id);
                answer.await
            }
        };
        call.is_open = false;
        response.map_err(|_| WorkerInvokeError::Failed(InvokeError::WorkerGone { pid: self.pid() }))
    }

    /// Tells it that a call is no longer wanted, if it understands that.
    fn cancel(&self, id: &InvocationId) {
        if !self.capabilities.has(Capabilities::HANDLES_INVOCATION_CANCEL_MESSAGE) {
            return;
        }
        let message = HostMessage::Cancel { invocation_id: id.clone() };
        let encoded = encode(self.spec.road, message, &self.capabilities, self.frame_bytes_max, false);
        if let Ok(pieces) = encoded {
            // A hint: where the queue is full, the function simply runs to its end.
            let _ = self.outgoing.try_send(Outgoing::unasked(pieces));
        }
    }

    /// Whether the worker gets the bodies of HTTP requests as text where they are text.
    fn needs_text(&self) -> bool {
        self.spec.road == Road::FunctionRpc && !self.capabilities.has(Capabilities::RAW_HTTP_BODY_BYTES)
    }

    /// Notes that an invocation ran into its limit and is about to be cancelled, and asks the worker whether it is still there.
    pub(super) fn overrun(&self, id: InvocationId, grace: Duration) {
        self.overdue.add(id, tokio::time::Instant::now() + grace);
        if !self.capabilities.has(Capabilities::WORKER_STATUS) {
            return;
        }
        let encoded =
            encode(self.spec.road, HostMessage::Status, &self.capabilities, self.frame_bytes_max, false);
        if let Ok(pieces) = encoded {
            // A queue that is full, as nobody reads at the other end, says enough.
            let _ = self.outgoing.try_send(Outgoing::unasked(pieces));
        }
    }

    /// Whether it has invocations that ran into their limit.
    pub(super) fn is_overdue(&self) -> bool {
        self.overdue.are_some()
    }

    /// Waits until an invocation goes on although it was told to stop, and its grace is over; gives whether the worker still answers.
    /// One that cannot be asked is taken to.
    pub(super) async fn overran(&self) -> bool {
        self.overdue.elapsed().await;
        !self.capabilities.has(Capabilities::WORKER_STATUS) || self.overdue.answers()
    }

    /// Takes no more invocations, and waits until those that it has have ended.
    pub(super) async fn leave(&self) {
        self.lock().is_closed = true;
        loop {
            let left = self.left.notified();
            tokio::pin!(left);
            left.as_mut().enable();
            if self.in_flight() == 0 {
                return;
            }
            left.await;
        }
    }

    /// Waits until it is gone.
    pub(super) async fn ended(&self) {
        let mut closed = self.closed.clone();
        let mut close_seen = async || while closed.changed().await.is_ok() {};
        tokio::select! {
            _ = self.process.ended() => {
                // Its last words may still be on their way; with the whole group dead, they are few.
                let _ = timeout(CLOSED_GRACE, close_seen()).await;
            }
            () = close_seen() => {
                // A process without a connection is of no use to anybody. One that is about to end has a moment for it,
                // so that its own exit status is seen.
                if timeout(CLOSED_GRACE, self.process.ended()).await.is_err() {
                    self.process.kill();
                    self.process.ended().await;
                }
            }
        }
        close(&self.waiting);
    }

    /// Ends it: asks it to, then signals, then kills.
    pub(super) async fn stop(&self, grace: Duration) {
        self.process.expect_end();
        let can = self.capabilities.has(Capabilities::HANDLES_WORKER_TERMINATE_MESSAGE);
        let told = can && self.tell(HostMessage::Terminate { grace }).await.is_ok();
        if told && timeout(grace, self.process.ended()).await.is_ok() {
            return;
        }
        // Python's worker knows no such message, but ends at the signal.
        self.process.terminate();
        if timeout(grace.min(SIGNAL_GRACE_MAX), self.process.ended()).await.is_err() {
            self.process.kill();
            self.process.ended().await;
        }
    }

    /// Kills it and all that it started, at once. It takes no more invocations.
    pub fn kill(&self) {
        self.lock().is_closed = true;
        self.process.kill();
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.process.pid
    }

    /// What it can do.
    pub fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    /// What it is.
    pub fn metadata(&self) -> &WorkerMetadata {
        &self.metadata
    }

    /// When its process was started.
    pub fn started_at(&self) -> Instant {
        self.started_at
    }

    /// How many invocations it has not answered yet.
    pub fn in_flight(&self) -> usize {
        self.lock().invocations.len()
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ask<T>(
        &self,
        slot: impl FnOnce(&mut Waiting) -> &mut Option<oneshot::Sender<T>>,
    ) -> oneshot::Receiver<T> {
        let (sender, answer) = oneshot::channel();
        *slot(&mut self.lock()) = Some(sender);
        answer
    }

    async fn tell(&self, message: HostMessage) -> Result<(), StartError> {
        let frame = encode(self.spec.road, message, &self.capabilities, self.frame_bytes_max, false);
        let pieces = frame.map_err(|too_large| StartError::Protocol {
            language: self.spec.language.clone(),
            problem: format!("a message of {} bytes; at most {} fit", too_large.bytes, too_large.bytes_max),
        })?;
        // A closed connection shows when the answer is awaited, with a better reason.
        let _ = self.outgoing.send(Outgoing::unasked(pieces)).await;
        Ok(())
    }

    async fn answer<T>(
        &self,
        step: &'static str,
        limit: Duration,
        answer: oneshot::Receiver<T>,
    ) -> Result<T, StartError> {
        if let Ok(answer) = before_end(&self.process, &self.spec, step, limit, answer).await? {
            return Ok(answer);
        }
        // The connection closed; the process is usually about to end, and its status says more.
        match timeout(CLOSED_GRACE, self.process.ended()).await {
            Ok(_) => Err(exited(&self.process, &self.spec, step).await),
            Err(_) => Err(StartError::Protocol {
                language: self.spec.language.clone(),
                problem: format!("it closed its connection while it was to {step}"),
            }),
        }
    }
}

/// How long a process may go on without a connection.
const CLOSED_GRACE: Duration = Duration::from_secs(2);

/// How long a process has after the signal to end.
const SIGNAL_GRACE_MAX: Duration = Duration::from_secs(2);

/// A call that is under way. Dropped while open, nobody wants the answer any more.
struct Call<'a> {
    worker: &'a Worker,
    id: InvocationId,
    is_open: bool,
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        if !self.is_open {
            return;
        }
        let worker = self.worker;
        worker.lock().invocations.remove(&self.id);
        worker.left.notify_waiters();
        worker.cancel(&self.id);
    }
}

/// Whether the body of a request that is stored is text; `false` if none is.
async fn is_text_stored(request: &InvocationRequest) -> Result<bool, WorkerInvokeError> {
    for parameter in &request.input_data {
        let TypedData::Http(http) = &parameter.data else { continue };
        let TypedData::Stored(stored) = &http.body else { continue };
        return is_text(stored)
            .await
            .map_err(|cause| WorkerInvokeError::Failed(InvokeError::Unreadable { cause }));
    }
    Ok(false)
}

fn close(waiting: &Mutex<Waiting>) {
    // Dropping the senders tells everybody who waits.
    let closed = Waiting { is_closed: true, ..Waiting::default() };
    let open = std::mem::replace(&mut *waiting.lock().unwrap_or_else(PoisonError::into_inner), closed);
    drop(open);
}

/// Hands each message to whom it concerns, in order: an invocation's records are told before its answer is.
async fn handle(
    mut incoming: mpsc::Receiver<WorkerMessage>,
    waiting: Arc<Mutex<Waiting>>,
    (overdue, left): (Arc<Overdue>, Arc<Notify>),
    observer: Arc<dyn Observer>,
    _open: watch::Sender<()>,
) {
    while let Some(message) = incoming.recv().await {
        let mut waiting = match message {
            WorkerMessage::Log(record) => {
                observer.log(&record);
                continue;
            }
            _ => waiting.lock().unwrap_or_else(PoisonError::into_inner),
        };
        match message {
            WorkerMessage::Init(answer) => give(waiting.init.take(), answer),
            WorkerMessage::Metadata(answer) => give(waiting.metadata.take(), answer),
            WorkerMessage::Load(answer) => give(waiting.loads.remove(&answer.function_id), answer),
            WorkerMessage::Invoked(answer) => {
                overdue.ended(&answer.invocation_id);
                give(waiting.invocations.remove(&answer.invocation_id), answer);
                // Whoever gives the worker up waits for the last one.
                if waiting.is_closed {
                    left.notify_waiters();
                }
            }
            WorkerMessage::Status => overdue.answered(),
            WorkerMessage::Unused(name) => tracing::debug!(name, "a worker's message is not used"),
            WorkerMessage::Start { .. } | WorkerMessage::Log(_) => {}
        }
    }
    close(&waiting);
}

/// Nobody may be waiting any more: then the answer is dropped.
fn give<T>(asked: Option<oneshot::Sender<T>>, answer: T) {
    if let Some(asked) = asked {
        let _ = asked.send(answer);
    }
}

fn make_command(spec: &WorkerSpec) -> Command {
    let mut command = Command::new(&spec.command);
    command.args(&spec.arguments).current_dir(&spec.app_dir).env_clear().envs(&spec.env);
    // With these two set, python's worker believes that it runs in the cloud and starts itself anew.
    command.env_remove("CONTAINER_NAME").env_remove("WEBSITE_INSTANCE_ID");
    command.env("FUNCTIONS_WORKER_DIRECTORY", &spec.worker_dir);
    command.env("FUNCTIONS_APPLICATION_DIRECTORY", &spec.app_dir);
    command
}

fn explain_spawn(spec: &WorkerSpec, cause: io::Error) -> StartError {
    let is_missing = cause.kind() == io::ErrorKind::NotFound && spec.app_dir.is_dir();
    if is_missing {
        return StartError::CommandNotFound {
            language: spec.language.clone(),
            command: spec.command.clone(),
            advice: spec.advice(),
        };
    }
    if cause.kind() == io::ErrorKind::PermissionDenied && spec.command.is_file() {
        return StartError::NotExecutable { language: spec.language.clone(), command: spec.command.clone() };
    }
    StartError::Io {
        what: format!("start '{}' in {}", spec.command.display(), spec.app_dir.display()),
        cause,
    }
}

fn check(step: &'static str, result: StatusResult) -> Result<(), StartError> {
    if result.is_success() {
        return Ok(());
    }
    Err(StartError::Refused { step, result: Box::new(result) })
}

/// Waits for something that a worker is to do, as long as its process lives and the time lasts.
async fn before_end<T>(
    process: &Process,
    spec: &WorkerSpec,
    step: &'static str,
    limit: Duration,
    what: impl Future<Output = T>,
) -> Result<T, StartError> {
    tokio::select! {
        biased;
        done = what => Ok(done),
        _ = process.ended() => Err(exited(process, spec, step).await),
        () = tokio::time::sleep(limit) => Err(StartError::TimedOut {
            language: spec.language.clone(),
            step,
            waited: limit,
            last_lines: process.last_lines(),
        }),
    }
}

async fn exited(process: &Process, spec: &WorkerSpec, step: &'static str) -> StartError {
    let language = spec.language.clone();
    let Some(status) = process.ended().await else {
        return StartError::Protocol {
            language,
            problem: format!("its process is gone while it was to {step}"),
        };
    };
    let last_lines = process.last_lines();
    if let (Some(EXIT_RUNTIME_TOO_OLD), Some(found)) = (status.code(), node_version(&last_lines)) {
        let (command, advice) = (spec.command.clone(), spec.advice());
        return StartError::RuntimeTooOld { language, command, found, needed: NODE_VERSION_MIN, advice };
    }
    StartError::Exited { language, status, step, last_lines }
}

/// The oldest Node.js that our worker runs on.
const NODE_VERSION_MIN: &str = "18";

/// `workers/node/main.js` prints it when it is too old.
fn node_version(last_lines: &str) -> Option<String> {
    last_lines.lines().find_map(|line| line.strip_prefix("node-version ")).map(str::to_owned)
}
