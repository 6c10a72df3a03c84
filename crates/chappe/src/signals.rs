//! Being asked to end: the first signal drains, the second ends at once.

use tokio::signal;

/// Watches for SIGTERM and Ctrl-C from when it is made, so that none that comes while nobody waits is lost, or ends the process as
/// an unwatched one would.
pub(crate) struct Signals {
    #[cfg(unix)]
    terminate: Option<signal::unix::Signal>,
    #[cfg(unix)]
    interrupt: Option<signal::unix::Signal>,
}

impl Signals {
    pub(crate) fn watch() -> Self {
        #[cfg(unix)]
        {
            use signal::unix::{SignalKind, signal};
            let watch = |kind, name: &str| {
                signal(kind).inspect_err(|cause| tracing::warn!(%cause, "{name} cannot be watched")).ok()
            };
            Self {
                terminate: watch(SignalKind::terminate(), "SIGTERM"),
                interrupt: watch(SignalKind::interrupt(), "Ctrl-C"),
            }
        }
        #[cfg(not(unix))]
        Self {}
    }

    /// Waits for the next one.
    pub(crate) async fn asked_to_end(&mut self) {
        #[cfg(unix)]
        {
            async fn next(signal: &mut Option<signal::unix::Signal>) {
                match signal {
                    Some(signal) => drop(signal.recv().await),
                    None => std::future::pending().await,
                }
            }
            tokio::select! {
                () = next(&mut self.terminate) => {}
                () = next(&mut self.interrupt) => {}
            }
        }
        #[cfg(not(unix))]
        {
            let _ = signal::ctrl_c().await;
        }
    }
}
