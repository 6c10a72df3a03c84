//! Language workers: starting their processes, speaking to them, and replacing those that die.
//!
//! [`Pool`] is what the rest of the host uses. It keeps one or more [`Worker`]s of one app alive; each is a process and a
//! connection, by either road of `worker-protocol`.
//!
//! Not its concern: what a function's bindings mean, retries of invocations, which functions are enabled.
//! Know these first: [`WorkerSpec`], [`Pool`], [`InvokeError`].
//! Start reading at `worker/pool.rs`.
//!
//! # A pool's life
//!
//! ```text
//! WorkerSpec::resolve(language, app_dir, env, cache_dir) -> Result<WorkerSpec, StartError>   sync, starts nothing
//! Pool::start(spec, options, Arc<dyn Observer>, &mut Registry) -> Pool                       sync, spawns at once
//! pool.index().await -> Result<Indexing, StartError>      when the first worker is ready; Indexing::Worker(functions)
//!                                                         or Indexing::Host (read the function.json files)
//! pool.load(Vec<FunctionMetadata>).await -> Result<Vec<LoadResponse>, StartError>
//!                                                         kept, and repeated for each further or new worker
//! pool.capabilities() -> Capabilities                     of the first worker
//! pool.invoke(InvocationRequest, Terms).await -> Result<InvocationResponse, InvokeError>
//! pool.workers() -> Vec<WorkerInfo { pid, .. }>           pool.kill(pid) -> bool; it is replaced
//! pool.drain(grace).await                                 ends all processes and awaits all tasks
//! ```

mod config;
mod embedded;
mod error;
mod http_address;
mod link;
mod link_frames;
mod link_function_rpc;
mod metrics;
mod observe;
mod overdue;
mod platform;
mod pool;
mod process;
mod running;
mod spec;
mod stored;
mod terms;

pub use error::{InvokeError, StartError};
pub use observe::{Observer, WorkerEvent, WorkerLine};
pub use pool::{Pool, WorkerInfo};
pub use running::{Indexing, Worker};
pub use spec::{PoolOptions, Road, Timeouts, WorkerSpec};
pub(crate) use stored::stored;
pub use terms::{Cancellation, Canceller, Place, Placed, Terms};
