//! Language workers: starts their processes, exchanges messages with them, and replaces those that exit.
//!
//! The host uses [`Pool`]. It keeps one or more [`Worker`]s of one app running; each is a process with a channel, by either
//! protocol of `worker-protocol`.
//!
//! Out of scope: what the bindings of a function mean, retries of invocations, which functions are enabled.
//! Know these first: [`WorkerSpec`], [`Pool`], [`InvokeError`].
//! Start reading at `worker/pool.rs`.
//!
//! # A pool's life
//!
//! ```text
//! WorkerSpec::resolve(language, app_dir, env, cache_dir) -> Result<WorkerSpec, StartError>   sync, starts nothing
//! Pool::start(spec, options, Arc<dyn Observer>, PoolMetrics, known) -> Pool                  sync, spawns at once
//! pool.index().await -> Result<Indexing, StartError>      when the first worker is ready; Indexing::Worker(functions)
//!                                                         or Indexing::Host (read the function.json files)
//! pool.load(Vec<FunctionMetadata>).await -> Result<Vec<LoadResponse>, StartError>
//!                                                         kept, and repeated for each further or new worker
//! pool.capabilities() -> Capabilities                     of the first worker
//! pool.invoke(InvocationRequest, InvokeOptions).await -> Result<InvocationResponse, InvokeError>
//! pool.workers() -> Vec<WorkerInfo { pid, .. }>           pool.kill(pid) -> bool; it is replaced
//! pool.drain(grace).await                                 ends all processes and awaits all tasks
//! ```

mod channel;
mod config;
mod embedded;
mod error;
mod http_address;
mod instance;
mod invoke_options;
mod metrics;
mod observe;
mod platform;
mod pool;
mod process;
mod resolve;
mod retire_reason;
mod spec;
mod stored;
mod timed_out;

pub use error::{InvokeError, StartError};
pub use instance::{Indexing, Worker};
pub use invoke_options::{
    CancellationSource, CancellationToken, InvocationMeasure, InvokeOptions, WorkerAddressReceiver,
    WorkerAddressSender,
};
pub use metrics::PoolMetrics;
pub use observe::{Observer, WorkerEvent, WorkerLine};
pub(crate) use platform::{CpuTime, available_memory_bytes, cpu_time, memory_bytes};
pub use pool::{KnownApp, Pool, PoolOptions, WorkerInfo};
pub use retire_reason::RetireReason;
pub use spec::{WorkerProtocol, WorkerSpec, WorkerTimeouts};
pub(crate) use stored::stored;
