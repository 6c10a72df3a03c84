//! [`Shutdown`]: tells tasks that the host stops.

use tokio::sync::watch;

/// The signal that the host stops. Each task has its own clone.
#[derive(Clone, Debug)]
pub(crate) struct Shutdown(watch::Receiver<bool>);

impl Shutdown {
    /// The sender of the signal, and the signal.
    pub(crate) fn channel() -> (watch::Sender<bool>, Self) {
        let (sender, receiver) = watch::channel(false);
        (sender, Self(receiver))
    }

    /// Waits until the host stops, or its handle is dropped. Cancel-safe.
    pub(crate) async fn requested(&mut self) {
        let _ = self.0.wait_for(|requested| *requested).await;
    }

    /// Whether the host stops.
    pub(crate) fn is_requested(&self) -> bool {
        *self.0.borrow()
    }
}
