//! From the start of a worker's process until its functions are loaded.

use std::io;
use std::sync::atomic::{AtomicU64, AtomicUsize};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::process::Command;
use tokio::sync::{Notify, oneshot, watch};
use tokio::time::timeout;
use worker_protocol::{
    Capabilities, FunctionMetadata, HostMessage, InitRequest, LoadRequest, LoadResponse, StatusResult,
    WorkerMetadata,
};

use super::pending::{PendingRequests, dispatch};
use super::probe::StatusProbe;
use super::{CLOSED_GRACE, Indexing, Worker};
use crate::worker::channel::WorkerChannel;
use crate::worker::channel::listener::ChannelListener;
use crate::worker::error::StartError;
use crate::worker::http_address;
use crate::worker::observe::Observer;
use crate::worker::process::WorkerProcess;
use crate::worker::spec::WorkerSpec;
use crate::worker::timed_out::TimedOutInvocations;

/// Exit code by which our Node.js worker says that its runtime is too old.
const EXIT_RUNTIME_TOO_OLD: i32 = 3;

impl Worker {
    /// Starts the process and waits until the worker is initialized. Its functions are not loaded yet.
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
        let listener = ChannelListener::bind(&spec, frame_bytes_max).await;
        let listener = listener.map_err(io_error("open a socket for the worker"))?;
        let mut command = make_command(&spec);
        listener.prepare(&mut command);
        let process =
            WorkerProcess::spawn(command, &observer).map_err(|cause| explain_spawn(&spec, cause))?;
        let step = "connect to the host";
        let accepted = before_end(&process, &spec, step, spec.timeouts.startup, listener.accept()).await?;
        let WorkerChannel { outgoing, incoming, mut tasks } =
            accepted.map_err(io_error("accept the worker's connection"))?;
        let pending = Arc::new(Mutex::new(PendingRequests::default()));
        let (open, closed) = watch::channel(());
        let timed_out = Arc::new(TimedOutInvocations::default());
        let probe = Arc::new(StatusProbe::default());
        let dispatch = dispatch(
            incoming,
            Arc::clone(&pending),
            Arc::clone(&timed_out),
            Arc::clone(&probe),
            observer,
            open,
        );
        tasks.spawn(dispatch);
        let mut worker = Self {
            process,
            spec,
            frame_bytes_max,
            outgoing,
            pending,
            timed_out,
            probe,
            in_flight: AtomicUsize::new(0),
            completed: AtomicU64::new(0),
            memory_bytes: AtomicU64::new(0),
            invocation_ended: Notify::new(),
            capabilities: Capabilities::default(),
            metadata: WorkerMetadata::default(),
            http_address: None,
            started_at,
            closed,
            _tasks: tasks,
        };
        worker.initialize().await?;
        Ok(worker)
    }

    async fn initialize(&mut self) -> Result<(), StartError> {
        let request = InitRequest {
            host_version: self.spec.host_version.clone(),
            // The real host sends it, and workers expect it.
            capabilities: [("MultiStream", "10")].into_iter().collect(),
            log_categories: std::collections::BTreeMap::new(),
            worker_directory: self.spec.worker_dir.display().to_string(),
            function_app_directory: self.spec.app_dir.display().to_string(),
        };
        let response = self.expect_response(|pending| &mut pending.init);
        self.send(HostMessage::Init(request)).await?;
        let step = "initialize";
        let response = self.response(step, self.spec.timeouts.initialization, response).await?;
        check(step, response.result)?;
        self.capabilities = response.capabilities;
        if let Some(text) = self.capabilities.value(Capabilities::HTTP_URI) {
            let address = http_address::parse(text);
            let violation = |problem| StartError::Protocol { language: self.spec.language.clone(), problem };
            self.http_address = Some(address.map_err(violation)?);
        }
        self.metadata = response.worker_metadata;
        Ok(())
    }

    /// Asks the worker for the functions of the app.
    pub async fn index(&self) -> Result<Indexing, StartError> {
        // A worker that does not index may fail on the request: the Java worker does not expect messages that it does not know.
        if !self.spec.indexes {
            return Ok(Indexing::Host);
        }
        let response = self.expect_response(|pending| &mut pending.metadata);
        let function_app_directory = self.spec.app_dir.display().to_string();
        self.send(HostMessage::Metadata { function_app_directory }).await?;
        let step = "list the app's functions";
        let response = self.response(step, self.spec.timeouts.load, response).await?;
        check(step, response.result)?;
        if response.use_default_metadata_indexing {
            return Ok(Indexing::Host);
        }
        Ok(Indexing::Worker(response.functions))
    }

    /// Loads functions. A function that cannot be loaded is not an error here; its response has the failure.
    pub async fn load(&self, functions: &[FunctionMetadata]) -> Result<Vec<LoadResponse>, StartError> {
        let mut receivers = Vec::with_capacity(functions.len());
        for metadata in functions {
            let function_id = metadata.function_id.clone();
            let (sender, receiver) = oneshot::channel();
            self.lock().loads.insert(function_id.clone(), sender);
            self.send(HostMessage::Load(LoadRequest { function_id, metadata: metadata.clone() })).await?;
            receivers.push(receiver);
        }
        let mut responses = Vec::with_capacity(functions.len());
        for receiver in receivers {
            responses.push(self.response("load a function", self.spec.timeouts.load, receiver).await?);
        }
        Ok(responses)
    }

    /// Waits, for a bounded time, until a worker that accepts HTTP requests itself listens at its address: it may bind its port only after
    /// its functions are loaded.
    pub(in crate::worker) async fn wait_for_http_listener(&self) {
        let Some(address) = &self.http_address else { return };
        if !http_address::listens(address).await {
            let pid = self.pid();
            tracing::warn!(%address, pid, "the worker does not listen at the address that it announced for HTTP requests (capability HttpUri)");
        }
    }

    /// Registers a request and returns the receiver of its response. `field` selects where the request waits.
    fn expect_response<T>(
        &self,
        field: impl FnOnce(&mut PendingRequests) -> &mut Option<oneshot::Sender<T>>,
    ) -> oneshot::Receiver<T> {
        let (sender, receiver) = oneshot::channel();
        *field(&mut self.lock()) = Some(sender);
        receiver
    }

    /// Waits for a response. An error names `step`, which is what the worker had to do.
    async fn response<T>(
        &self,
        step: &'static str,
        limit: Duration,
        receiver: oneshot::Receiver<T>,
    ) -> Result<T, StartError> {
        if let Ok(response) = before_end(&self.process, &self.spec, step, limit, receiver).await? {
            return Ok(response);
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

fn make_command(spec: &WorkerSpec) -> Command {
    let mut command = Command::new(&spec.command);
    command.args(&spec.arguments).current_dir(&spec.app_dir).env_clear().envs(&spec.env);
    // With these two set, the Python worker assumes that it runs in the cloud and restarts itself.
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

/// Waits for something that a worker has to do, until its process ends or the time is over.
async fn before_end<T>(
    process: &WorkerProcess,
    spec: &WorkerSpec,
    step: &'static str,
    limit: Duration,
    done: impl Future<Output = T>,
) -> Result<T, StartError> {
    tokio::select! {
        biased;
        done = done => Ok(done),
        _ = process.ended() => Err(exited(process, spec, step).await),
        () = tokio::time::sleep(limit) => Err(StartError::TimedOut {
            language: spec.language.clone(),
            step,
            waited: limit,
            last_lines: process.last_lines(),
        }),
    }
}

async fn exited(process: &WorkerProcess, spec: &WorkerSpec, step: &'static str) -> StartError {
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
