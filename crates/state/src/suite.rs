//! One public test suite for each contract, run by every backend (cargo feature `suite`).
//!
//! Not its concern: how a backend does it, and how fast. A test's name starts with the number of the guarantee that it
//! proves. A backend writes a factory that answers a fresh [`Backend`], and one line for each contract:
//!
//! ```ignore
//! state::journal_suite!(make);
//! ```
//!
//! Know these first: [`Backend`], [`journal`], [`registry`], [`relay`], [`lease`].

use std::sync::Arc;
use std::time::Duration;

use crate::{Instance, Journal, Lease, Name, Registry, Relay};

pub mod journal;
pub mod lease;
pub mod registry;
pub mod relay;

/// A backend under test, with the powers over its life that the suites need.
#[async_trait::async_trait]
pub trait Backend: Send + Sync + 'static {
    /// Its journals.
    fn journal(&self) -> Arc<dyn Journal>;
    /// Its registry.
    fn registry(&self) -> Arc<dyn Registry>;
    /// Its relay.
    fn relay(&self) -> Arc<dyn Relay>;
    /// Its leases.
    fn lease(&self) -> Arc<dyn Lease>;
    /// Moves the clock that the backend was given; no other time passes for expiry.
    fn advance(&self, by: Duration);
    /// What a restart of the process does: what was durable is there again, everything else is gone.
    async fn reopen(&mut self);
    /// What the loss of the data does: opens anew and empty.
    async fn lose(&mut self);
}

/// How long a test waits for something that must happen before it calls it missing.
const PATIENCE: Duration = Duration::from_secs(10);

fn instance(name: &str) -> Instance {
    Instance::new(name).expect("the suite's instance names are valid")
}

fn name(name: &str) -> Name {
    Name::new(name).expect("the suite's names are valid")
}

/// Waits for `future`, and fails the test where it does not come.
async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, future).await {
        Ok(value) => value,
        Err(_) => panic!("{what} did not happen within {PATIENCE:?}"),
    }
}

/// Polls `future` once and asserts that it is not ready.
async fn not_yet<T>(what: &str, future: &mut (impl Future<Output = T> + Unpin)) {
    let early = std::future::poll_fn(|context| {
        std::task::Poll::Ready(std::pin::Pin::new(&mut *future).poll(context).is_ready())
    })
    .await;
    assert!(!early, "{what} happened too early");
}

/// Turns a list of a suite's tests into `#[tokio::test]` functions. Used by the macros named after the contracts.
#[doc(hidden)]
#[macro_export]
macro_rules! suite_tests {
    ($make:path, $contract:ident, [$($test:ident),* $(,)?]) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $test() {
                $crate::suite::$contract::$test($make().await).await;
            }
        )*
    };
}
