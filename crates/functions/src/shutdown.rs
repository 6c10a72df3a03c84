//! [`Shutdown`]: tells tasks that the host, or their generation of the app, stops.

use tokio::sync::watch;

/// The signal that the host or a generation stops. Each task has its own clone.
#[derive(Clone, Debug)]
pub(crate) struct Shutdown(watch::Receiver<bool>);

impl Shutdown {
    /// The sender of the signal, and the signal.
    pub(crate) fn channel() -> (watch::Sender<bool>, Self) {
        let (sender, receiver) = watch::channel(false);
        (sender, Self(receiver))
    }

    /// The signal of this sender.
    pub(crate) fn of(sender: &watch::Sender<bool>) -> Self {
        Self(sender.subscribe())
    }

    /// Waits until the signal is sent, or its sender is dropped. Cancel-safe.
    pub(crate) async fn requested(&mut self) {
        let _ = self.0.wait_for(|requested| *requested).await;
    }

    /// Whether the signal was sent.
    pub(crate) fn is_requested(&self) -> bool {
        *self.0.borrow()
    }
}
