//! [`Workers`]: the interface of dispatching to the processes that run functions. The worker pool implements it; tests script it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use prometheus_client::registry::Registry;
use worker_protocol::{
    Capabilities, FunctionMetadata, InvocationRequest, InvocationResponse, LoadResponse, StatusResult,
};

use crate::app::App;
use crate::current::Current;
use crate::error::Error;
use crate::host_version::HOST_VERSION;
use crate::index_cache::IndexCache;
use crate::options::Options;
use crate::worker::{
    Indexing, InvokeError, InvokeOptions, KnownApp, Observer, Pool, PoolMetrics, PoolOptions, StartError,
    WorkerSpec,
};

/// The processes that run the functions of one generation of an app.
#[async_trait::async_trait]
pub trait Workers: Send + Sync + 'static {
    /// Waits until the first worker is ready and asks it which functions the app has.
    async fn index(&self) -> Result<Indexing, Arc<StartError>>;

    /// Loads functions into every worker, those that start later included. One response for each function.
    async fn load(&self, functions: Vec<FunctionMetadata>) -> Result<Vec<LoadResponse>, Arc<StartError>>;

    /// What the workers can do. Only asked once [`Workers::load`] has returned.
    fn capabilities(&self) -> Capabilities {
        Capabilities::default()
    }

    /// Invokes a function in one of the workers. The timeout of `options` ends the invocation, and replaces a worker that does not respond.
    /// Log records of the call reach the [`Observer`] before this returns.
    async fn invoke(
        &self,
        request: InvocationRequest,
        options: InvokeOptions,
    ) -> Result<InvocationResponse, InvokeError>;

    /// Reports how many items of a function's trigger wait, which determines the number of workers.
    fn report_backlog(&self, _function: &str, _items: u64) {}

    /// Whether a process responds slowly to status requests, which it handles between the steps of its functions. Asks for the next
    /// response, so that the next call knows it.
    fn is_slow(&self) -> bool {
        false
    }

    /// Ids of the living processes.
    fn pids(&self) -> Vec<u32>;

    /// Kills a process of the pool, which is then replaced. `false` if no process has this id.
    fn kill(&self, pid: u32) -> bool;

    /// Ends all processes: asks first, kills after `grace`.
    async fn drain(&self, grace: Duration);
}

/// The pool of this crate, for one generation of an app.
struct AppPool {
    pool: Pool,
    /// Where the index of the app is stored; `None` if it is not, or was read from there.
    cache: Option<IndexCache>,
}

/// Starts the workers of one generation of an app; the observer gets their output. Called once for each generation, in a Tokio
/// runtime.
pub type StartWorkers = Box<dyn Fn(&App, Arc<dyn Observer>) -> Result<Arc<dyn Workers>, Error> + Send + Sync>;

#[async_trait::async_trait]
impl Workers for AppPool {
    async fn index(&self) -> Result<Indexing, Arc<StartError>> {
        self.pool.index().await
    }

    async fn load(&self, functions: Vec<FunctionMetadata>) -> Result<Vec<LoadResponse>, Arc<StartError>> {
        let loaded = self.pool.load(functions).await?;
        // An app with a function that does not load is asked again: the next start has to report it.
        if let Some(cache) = self.cache.clone()
            && loaded.iter().all(|response| response.result.is_success())
        {
            let known =
                KnownApp { indexing: self.pool.index().await?, capabilities: self.pool.capabilities() };
            if is_complete(&known) {
                // Awaited, so that the next start finds it. Fails only if the runtime shuts down.
                let _ = tokio::task::spawn_blocking(move || cache.write(&known)).await;
            }
        }
        Ok(loaded)
    }

    fn capabilities(&self) -> Capabilities {
        self.pool.capabilities()
    }

    async fn invoke(
        &self,
        request: InvocationRequest,
        options: InvokeOptions,
    ) -> Result<InvocationResponse, InvokeError> {
        self.pool.invoke(request, options).await
    }

    fn report_backlog(&self, function: &str, items: u64) {
        self.pool.set_backlog(function, items);
    }

    fn is_slow(&self) -> bool {
        self.pool.is_slow()
    }

    fn pids(&self) -> Vec<u32> {
        self.pool.workers().into_iter().map(|worker| worker.pid).collect()
    }

    fn kill(&self, pid: u32) -> bool {
        self.pool.kill(pid)
    }

    async fn drain(&self, grace: Duration) {
        self.pool.drain(grace).await;
    }
}

/// Starts pools of this crate, which count in `registry`, with the options at that time.
pub(crate) fn pool_starter(options: Current<Options>, registry: &mut Registry) -> StartWorkers {
    let metrics = PoolMetrics::register(registry);
    Box::new(move |app, observer| {
        let options = options.get();
        let spec = spec(app, options.cache_dir.as_deref())?;
        let pool = pool_options(&options, app)?;
        // Of use only for an app that can run without a worker.
        let cache = (pool.idle_timeout_ms > 0)
            .then_some(options.cache_dir.as_deref())
            .flatten()
            .map(|cache_dir| IndexCache::of(cache_dir, app, &options.ignored_dirs, &spec));
        let known = cache.as_ref().and_then(IndexCache::read);
        let cache = cache.filter(|_| known.is_none());
        Ok(Arc::new(AppPool { pool: Pool::start(spec, pool, observer, metrics.clone(), known), cache }))
    })
}

/// Whether an index has no function that the worker could not index.
fn is_complete(known: &KnownApp) -> bool {
    match &known.indexing {
        Indexing::Worker(functions) => {
            functions.iter().all(|function| function.status.as_ref().is_none_or(StatusResult::is_success))
        }
        Indexing::Host => true,
    }
}

/// Which worker runs the app, and how it is started.
fn spec(app: &App, cache_dir: Option<&Path>) -> Result<WorkerSpec, StartError> {
    let environment = app.settings.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    let cache_dir = cache_dir.map_or_else(|| user_cache_dir(app), Path::to_owned);
    WorkerSpec::resolve(&app.language, &app.dir, environment, &cache_dir, HOST_VERSION)
}

/// The options of the pool, with the app's settings and the defaults of the mode.
pub(crate) fn pool_options(options: &Options, app: &App) -> Result<PoolOptions, Error> {
    let processes = process_count(options, app)?;
    let max = options.workers.processes_max;
    if max > PoolOptions::PROCESSES_MAX || (max > 0 && max < processes) {
        return Err(Error::Setting(format!(
            "functions.workers.processes_max is {max}, but must be 0 or a number from the {processes} that always run to {}",
            PoolOptions::PROCESSES_MAX
        )));
    }
    let is_dynamic = app.settings.is_on("FUNCTIONS_WORKER_DYNAMIC_CONCURRENCY_ENABLED");
    let processes_max = if is_dynamic && max == 0 { PoolOptions::PROCESSES_MAX } else { max };
    // A developer's machine has better uses for memory, and edits replace workers all the time.
    let spare = options.workers.spare.unwrap_or(!options.development && options.runs_triggers);
    Ok(PoolOptions { processes, processes_max, spare: Some(spare), ..options.workers })
}

/// The number of processes: the app's setting, else our option. A number out of range is an error, as in the Azure Functions host:
/// otherwise the mistake would only show under load.
fn process_count(options: &Options, app: &App) -> Result<usize, Error> {
    const NAME: &str = "FUNCTIONS_WORKER_PROCESS_COUNT";
    let (name, text) = match app.settings.get(NAME) {
        Some(text) => (NAME, text.trim().to_owned()),
        None => ("functions.workers.processes", options.workers.processes.to_string()),
    };
    let count = text.parse().ok().filter(|count| (1..=PoolOptions::PROCESSES_MAX).contains(count));
    count.ok_or_else(|| {
        let max = PoolOptions::PROCESSES_MAX;
        Error::Setting(format!("{name} is \"{text}\", but must be a number of processes from 1 to {max}"))
    })
}

/// The user's cache folder, from the environment. Its files are executed, so no other user may write to it.
fn user_cache_dir(app: &App) -> PathBuf {
    let dir = |name: &str| app.settings.get(name).map(PathBuf::from);
    let home = || dir("HOME").map(|home| home.join(".cache"));
    let cache = dir("XDG_CACHE_HOME").or_else(home).or_else(|| dir("LOCALAPPDATA"));
    // A process without a home folder stores the files in the folder of the app.
    cache.map_or_else(|| app.dir.join(".chappe"), |cache| cache.join("chappe"))
}
