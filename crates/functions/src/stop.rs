//! [`Stop`]: how tasks learn that the host stops.

use tokio::sync::watch;

/// Tells when the host stops. Each task has its own.
#[derive(Clone, Debug)]
pub(crate) struct Stop(watch::Receiver<bool>);

impl Stop {
    /// A signal and whoever waits for it.
    pub(crate) fn channel() -> (watch::Sender<bool>, Self) {
        let (sender, receiver) = watch::channel(false);
        (sender, Self(receiver))
    }

    /// Waits for the stop. A host that is gone has stopped too. Cancel-safe.
    pub(crate) async fn stopped(&mut self) {
        let _ = self.0.wait_for(|stop| *stop).await;
    }

    /// Whether the host stops.
    pub(crate) fn is_stopped(&self) -> bool {
        *self.0.borrow()
    }
}
