//! Signals that end the process: the first drains, the second ends it immediately.

use tokio::signal;

/// Watches for SIGTERM and Ctrl-C from its creation, so that a signal that arrives before the wait is not lost, and does not kill
/// the process.
pub(crate) struct Signals {
    #[cfg(unix)]
    terminate: Option<signal::unix::Signal>,
    #[cfg(unix)]
    interrupt: Option<signal::unix::Signal>,
}

/// Watches for SIGHUP, which asks a daemon to reload its configuration.
pub(crate) struct Hangups {
    #[cfg(unix)]
    hangup: Option<signal::unix::Signal>,
}

impl Hangups {
    pub(crate) fn watch() -> Self {
        #[cfg(unix)]
        {
            use signal::unix::{SignalKind, signal};
            let hangup = signal(SignalKind::hangup());
            let hangup = hangup.inspect_err(|cause| tracing::warn!(%cause, "SIGHUP cannot be watched")).ok();
            Self { hangup }
        }
        #[cfg(not(unix))]
        Self {}
    }

    /// Waits for the next signal; never returns if the platform has none.
    pub(crate) async fn next(&mut self) {
        #[cfg(unix)]
        if let Some(hangup) = &mut self.hangup {
            hangup.recv().await;
            return;
        }
        std::future::pending::<()>().await;
    }
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

    /// Waits for the next signal.
    pub(crate) async fn termination_requested(&mut self) {
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
