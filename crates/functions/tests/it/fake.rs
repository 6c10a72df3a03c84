//! A host under test: an app in a temporary folder, scripted workers, scripted connectors, real state.

use std::collections::{BTreeMap, HashMap};
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use functions::worker::{CancellationToken, Indexing, InvokeError, InvokeOptions, Observer, StartError};
use functions::{Dependencies, Handle, Options, Service, Workers};
use functions_contract::Connector;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use http_messages::Body;
use prometheus_client::registry::Registry;
use serde_json::Value as Json;
use state_embedded::Store;
use supervision::Supervisor;
use tokio::sync::watch;
use tower::ServiceExt;
use trace::Tracer;
use worker_protocol::{
    FunctionId, FunctionMetadata, InvocationRequest, InvocationResponse, LoadResponse, RpcLog, StatusResult,
    TypedData,
};

pub(crate) type Answer = Result<InvocationResponse, InvokeError>;
type Answering = Pin<Box<dyn Future<Output = Answer> + Send>>;
pub(crate) type Script = Arc<dyn Fn(InvocationRequest) -> Answering + Send + Sync>;

/// The longest wait of a test.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Scripted workers.
pub(crate) struct FakeWorkers {
    functions: Vec<FunctionMetadata>,
    scripts: HashMap<FunctionId, Script>,
    observer: Arc<dyn Observer>,
    /// 1 for the workers of the first generation.
    generation: i64,
    marks_generation: bool,
    is_broken: Arc<AtomicBool>,
    is_slow: Arc<AtomicBool>,
    drained: Arc<watch::Sender<Vec<i64>>>,
    /// The timeouts that the host passed.
    pub(crate) limits: Arc<Mutex<Vec<Option<Duration>>>>,
    /// The cancellation token of each invocation.
    pub(crate) cancellations: Arc<Mutex<Vec<CancellationToken>>>,
}

/// Describes an app and its environment.
pub(crate) struct Setup {
    pub(crate) host_json: String,
    pub(crate) settings: BTreeMap<String, String>,
    pub(crate) options: Options,
    pub(crate) connectors: Vec<Arc<dyn Connector>>,
    bodies: http_messages::Budget,
    functions: Vec<FunctionMetadata>,
    scripts: HashMap<FunctionId, Script>,
    /// Whether scripts get the number of their generation, as `generation` in the trigger metadata.
    marks_generation: bool,
    pub(crate) store: Arc<Store>,
    /// Replaces the registry of the store.
    pub(crate) registry: Option<Arc<dyn state::Registry>>,
    pub(crate) owner: String,
    pub(crate) supervisor: Supervisor,
}

/// A running host.
pub(crate) struct Host {
    pub(crate) service: Service,
    pub(crate) handle: Handle,
    pub(crate) tracer: Tracer,
    pub(crate) supervisor: Supervisor,
    pub(crate) metrics: Registry,
    pub(crate) limits: Arc<Mutex<Vec<Option<Duration>>>>,
    pub(crate) cancellations: Arc<Mutex<Vec<CancellationToken>>>,
    /// Makes the load of every function fail in the workers of later generations.
    pub(crate) is_broken: Arc<AtomicBool>,
    /// Makes the workers respond slowly to status requests.
    pub(crate) is_slow: Arc<AtomicBool>,
    /// The generations whose workers were drained.
    pub(crate) drained: Arc<watch::Sender<Vec<i64>>>,
    /// The folder of the app.
    pub(crate) dir: tempfile::TempDir,
    /// The state must outlive the host.
    _store: Arc<Store>,
}

/// A response as a test reads it.
pub(crate) struct Seen {
    pub(crate) status: u16,
    pub(crate) headers: http::HeaderMap,
    pub(crate) body: String,
}

impl Default for Setup {
    fn default() -> Self {
        let store = Store::ephemeral(&state_embedded::Options::default()).expect("an ephemeral store");
        Self {
            host_json: r#"{"version":"2.0"}"#.to_owned(),
            settings: BTreeMap::from([("FUNCTIONS_WORKER_RUNTIME".to_owned(), "node".to_owned())]),
            options: Options::default(),
            connectors: Vec::new(),
            bodies: http_messages::Budget::default(),
            functions: Vec::new(),
            scripts: HashMap::new(),
            marks_generation: false,
            store: Arc::new(store),
            registry: None,
            owner: "host-1".to_owned(),
            supervisor: Supervisor::default(),
        }
    }
}

impl Setup {
    /// Adds a function with these bindings.
    pub(crate) fn function<F, A>(mut self, name: &str, bindings: &[Json], script: F) -> Self
    where
        F: Fn(InvocationRequest) -> A + Send + Sync + 'static,
        A: Future<Output = Answer> + Send + 'static,
    {
        let function_id = FunctionId::new(format!("id-of-{name}"));
        self.functions.push(FunctionMetadata {
            name: name.to_owned(),
            function_id: function_id.clone(),
            raw_bindings: bindings.iter().map(Json::to_string).collect(),
            ..FunctionMetadata::default()
        });
        let script: Script = Arc::new(move |request| Box::pin(script(request)));
        self.scripts.insert(function_id, script);
        self
    }

    /// Changes the metadata of the last function.
    pub(crate) fn metadata(mut self, change: impl FnOnce(&mut FunctionMetadata)) -> Self {
        change(self.functions.last_mut().expect("a function"));
        self
    }

    pub(crate) fn setting(mut self, name: &str, value: &str) -> Self {
        self.settings.insert(name.to_owned(), value.to_owned());
        self
    }

    pub(crate) fn host_json(mut self, text: &str) -> Self {
        self.host_json = text.to_owned();
        self
    }

    pub(crate) fn options(mut self, change: impl FnOnce(&mut Options)) -> Self {
        change(&mut self.options);
        self
    }

    /// Gives scripts the number of their generation, as `generation` in the trigger metadata.
    pub(crate) fn mark_generation(mut self) -> Self {
        self.marks_generation = true;
        self
    }

    /// A budget for bodies that the test shares.
    pub(crate) fn bodies(mut self, bodies: http_messages::Budget) -> Self {
        self.bodies = bodies;
        self
    }

    pub(crate) fn connector(mut self, connector: Arc<dyn Connector>) -> Self {
        self.connectors.push(connector);
        self
    }

    /// Starts the host and waits until its functions can be called.
    pub(crate) async fn start(self) -> Host {
        let host = self.launch();
        host.handle.ready().await.expect("the app starts");
        host
    }

    /// Starts the host.
    pub(crate) fn launch(mut self) -> Host {
        let dir = tempfile::tempdir().expect("a temporary folder");
        std::fs::write(dir.path().join("host.json"), &self.host_json).expect("host.json is written");
        // Each host has its own folder; the host id identifies the state of the app.
        self.settings.entry("AzureFunctionsWebHost__hostid".to_owned()).or_insert_with(|| "app".to_owned());
        self.options.app_dir = dir.path().to_owned();
        let tracer = Tracer::new(256);
        let supervisor = self.supervisor;
        let mut metrics = Registry::default();
        let (limits, cancellations) = (Arc::default(), Arc::default());
        let (functions, scripts, marks_generation) = (self.functions, self.scripts, self.marks_generation);
        let (seen, cancels) = (Arc::clone(&limits), Arc::clone(&cancellations));
        let (is_broken, drained) = (Arc::<AtomicBool>::default(), Arc::new(watch::Sender::new(Vec::new())));
        let is_slow = Arc::<AtomicBool>::default();
        let slows = Arc::clone(&is_slow);
        let (breaks, drains, generations) = (Arc::clone(&is_broken), Arc::clone(&drained), AtomicI64::new(0));
        let dependencies = Dependencies {
            environment: self.settings,
            registry: self.registry.unwrap_or_else(|| self.store.registry()),
            lease: self.store.lease(),
            owner: self.owner,
            connectors: self.connectors,
            bodies: self.bodies,
            tracer: tracer.clone(),
            supervisor: supervisor.clone(),
            workers: Some(Box::new(move |_, observer| {
                Ok(Arc::new(FakeWorkers {
                    functions: functions.clone(),
                    scripts: scripts.clone(),
                    observer,
                    generation: generations.fetch_add(1, Ordering::SeqCst) + 1,
                    marks_generation,
                    is_broken: Arc::clone(&breaks),
                    is_slow: Arc::clone(&slows),
                    drained: Arc::clone(&drains),
                    limits: Arc::clone(&seen),
                    cancellations: Arc::clone(&cancels),
                }))
            })),
        };
        let (service, handle) =
            Service::start(self.options, dependencies, &mut metrics).expect("the host starts");
        Host {
            service,
            handle,
            tracer,
            supervisor,
            metrics,
            limits,
            cancellations,
            is_broken,
            is_slow,
            drained,
            dir,
            _store: self.store,
        }
    }
}

#[async_trait::async_trait]
impl Workers for FakeWorkers {
    async fn index(&self) -> Result<Indexing, Arc<StartError>> {
        Ok(Indexing::Worker(self.functions.clone()))
    }

    async fn load(&self, functions: Vec<FunctionMetadata>) -> Result<Vec<LoadResponse>, Arc<StartError>> {
        let is_broken = self.is_broken.load(Ordering::SeqCst);
        let loaded = |function: FunctionMetadata| {
            let result = match function.entry_point.as_str() {
                _ if is_broken => StatusResult::failure("SyntaxError: edited"),
                "broken" => StatusResult::failure("SyntaxError: Unexpected token"),
                _ => StatusResult::success(),
            };
            LoadResponse { function_id: function.function_id, result }
        };
        Ok(functions.into_iter().map(loaded).collect())
    }

    async fn invoke(&self, mut request: InvocationRequest, options: InvokeOptions) -> Answer {
        if self.marks_generation {
            request.trigger_metadata.insert("generation".to_owned(), TypedData::Int(self.generation));
        }
        self.limits.lock().expect("no panic").push(options.timeout);
        self.cancellations.lock().expect("no panic").push(options.cancellation);
        let id = request.invocation_id.clone();
        let script = Arc::clone(self.scripts.get(&request.function_id).expect("a known function"));
        self.observer.log(&RpcLog {
            invocation_id: Some(id.clone()),
            level: worker_protocol::LogLevel::Information,
            message: "the user says hello".to_owned(),
            ..RpcLog::default()
        });
        let mut answer = script(request).await;
        if let Ok(response) = &mut answer {
            response.invocation_id = id;
        }
        answer
    }

    fn is_slow(&self) -> bool {
        self.is_slow.load(Ordering::SeqCst)
    }

    fn pids(&self) -> Vec<u32> {
        vec![4711]
    }

    fn kill(&self, pid: u32) -> bool {
        pid == 4711
    }

    async fn drain(&self, _: Duration) {
        self.drained.send_modify(|drained| drained.push(self.generation));
    }
}

impl Host {
    /// Sends a request; `request` is `METHOD target`, followed by lines of `name: value`, a blank line and a body.
    pub(crate) async fn send(&self, request: &str) -> Seen {
        let (head, body) = request.split_once("\n\n").unwrap_or((request, ""));
        let mut lines = head.lines().map(str::trim);
        let (method, target) = lines.next().and_then(|line| line.split_once(' ')).expect("a request line");
        let target =
            if target.starts_with('/') { format!("http://app.test:7071{target}") } else { target.to_owned() };
        let mut builder = Request::builder().method(method).uri(target);
        for line in lines {
            let (name, value) = line.split_once(": ").expect("a header");
            builder = builder.header(name, value);
        }
        self.request(builder.body(body_of(body.as_bytes())).expect("a request")).await
    }

    pub(crate) async fn request(&self, request: Request<Body>) -> Seen {
        let response: Response<Body> = tokio::time::timeout(PATIENCE, self.service.clone().oneshot(request))
            .await
            .expect("in time")
            .expect("infallible");
        let (parts, body) = response.into_parts();
        let body = body.collect().await.expect("a whole body").to_bytes();
        Seen {
            status: parts.status.as_u16(),
            headers: parts.headers,
            body: String::from_utf8_lossy(&body).into_owned(),
        }
    }

    /// The log texts, with invocation ids and durations normalised.
    pub(crate) fn log(&self) -> String {
        let lines = self.handle.logs().tail(0).into_iter().map(|line| {
            let mut text = format!("{:?} {}", line.level, line.text);
            if let Some(id) = &line.invocation_id {
                text = text.replace(id.as_str(), "ID");
            }
            if let Some((before, after)) = text.split_once("Duration=") {
                let (_, after) = after.split_once("ms").expect("milliseconds");
                text = format!("{before}Duration=Nms{after}");
            }
            text
        });
        lines.collect::<Vec<_>>().join("\n")
    }

    pub(crate) fn metrics(&self) -> String {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.metrics).expect("metrics are text");
        text
    }
}

impl Seen {
    /// Status, chosen headers and body as text.
    pub(crate) fn text(&self) -> String {
        let mut text = self.status.to_string();
        for (name, value) in &self.headers {
            text.push_str(&format!("\n{name}: {}", String::from_utf8_lossy(value.as_bytes())));
        }
        if !self.body.is_empty() {
            text.push_str(&format!("\n\n{}", self.body));
        }
        text
    }
}

pub(crate) fn body_of(bytes: &[u8]) -> Body {
    Full::new(bytes::Bytes::copy_from_slice(bytes)).map_err(|never| match never {}).boxed_unsync()
}

/// A success that returns this value.
pub(crate) fn returned(value: TypedData) -> Answer {
    Ok(InvocationResponse {
        return_value: Some(value),
        result: StatusResult::success(),
        ..InvocationResponse::default()
    })
}

/// A success that sets outputs.
pub(crate) fn outputs(values: &[(&str, TypedData)]) -> Answer {
    let output = |(name, data): &(&str, TypedData)| worker_protocol::ParameterBinding {
        name: (*name).to_owned(),
        data: data.clone(),
    };
    Ok(InvocationResponse {
        output_data: values.iter().map(output).collect(),
        result: StatusResult::success(),
        ..InvocationResponse::default()
    })
}

/// A failure of the function.
pub(crate) fn threw(message: &str) -> Answer {
    let mut result = StatusResult::failure(message);
    if let Some(exception) = &mut result.exception {
        exception.stack_trace = format!("Error: {message}\n    at handler (src/functions/app.js:7:11)");
    }
    Ok(InvocationResponse { result, ..InvocationResponse::default() })
}
