//! One public test suite for each contract, run by every backend (cargo feature `suite`).
//!
//! Not its concern: how a backend does it, and how fast. The name of a test starts with the number of the guarantee that
//! it tests. A backend provides a function that creates a [`Backend`], and one line for each contract:
//!
//! ```ignore
//! state::journal_suite!(make);
//! ```
//!
//! Know these first: [`Backend`], [`journal`], [`registry`], [`lease`].

use std::sync::Arc;
use std::time::Duration;

use crate::{Instance, Journal, Lease, Name, Registry};

pub mod journal;
pub mod lease;
pub mod registry;

/// A backend under test; the suites control its clock and restart it.
#[async_trait::async_trait]
pub trait Backend: Send + Sync + 'static {
    /// Its journals.
    fn journal(&self) -> Arc<dyn Journal>;
    /// Its registry.
    fn registry(&self) -> Arc<dyn Registry>;
    /// Its leases.
    fn lease(&self) -> Arc<dyn Lease>;
    /// Advances the backend's clock, the only one that counts for expiry.
    fn advance(&self, by: Duration);
    /// Simulates a restart of the process: only durable data remains.
    async fn reopen(&mut self);
    /// Simulates the loss of all data: the backend opens empty.
    async fn lose(&mut self);
}

/// How long a test waits for something that must happen.
const PATIENCE: Duration = Duration::from_secs(10);

fn instance(name: &str) -> Instance {
    Instance::new(name).expect("the suite's instance names are valid")
}

fn name(name: &str) -> Name {
    Name::new(name).expect("the suite's names are valid")
}

/// Waits for `future`; fails the test after [`PATIENCE`].
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
