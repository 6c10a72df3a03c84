//! [`Terms`]: how long an invocation may take, who may cancel it, and who wants to know which worker has it.

use std::sync::Arc;
use std::time::Duration;

use http::Uri;
use tokio::sync::watch;

/// The conditions of one invocation. The default has no limit, and nobody cancels it.
#[derive(Clone, Debug, Default)]
pub struct Terms {
    /// The longest run; `None` = no limit.
    pub limit: Option<Duration>,
    /// Tells when nobody wants the answer any more.
    pub cancellation: Cancellation,
    /// Is told where the worker that has the invocation takes the HTTP request that belongs to it.
    pub placed: Option<Placed>,
}

/// Whether an invocation is cancelled. The default never is.
#[derive(Clone, Debug, Default)]
pub struct Cancellation(Option<watch::Receiver<bool>>);

/// Cancels an invocation, at the latest when it is dropped.
#[derive(Debug)]
pub struct Canceller {
    sender: watch::Sender<bool>,
    is_armed: bool,
}

impl Cancellation {
    /// A cancellation and who decides about it.
    pub fn channel() -> (Canceller, Self) {
        let (sender, receiver) = watch::channel(false);
        (Canceller { sender, is_armed: true }, Self(Some(receiver)))
    }

    /// Whether it is cancelled by now.
    pub fn is_cancelled(&self) -> bool {
        self.0.as_ref().is_some_and(|receiver| *receiver.borrow())
    }

    /// Waits until it is cancelled; for ever if it never is. Cancel-safe.
    pub async fn cancelled(&mut self) {
        if let Some(receiver) = &mut self.0
            && receiver.wait_for(|cancelled| *cancelled).await.is_ok()
        {
            return;
        }
        std::future::pending::<()>().await;
    }
}

impl Canceller {
    /// Cancels the invocation.
    pub fn cancel(&self) {
        self.sender.send_replace(true);
    }

    /// Lets the invocation go on, without anybody who could cancel it.
    pub fn forget(mut self) {
        self.is_armed = false;
    }
}

impl Drop for Canceller {
    fn drop(&mut self) {
        if self.is_armed {
            self.cancel();
        }
    }
}

/// Is told the address at which a worker takes HTTP requests, once that worker has the invocation.
#[derive(Clone, Debug)]
pub struct Placed(Arc<watch::Sender<Option<Uri>>>);

/// Waits for what [`Placed`] is told.
#[derive(Debug)]
pub struct Place(watch::Receiver<Option<Uri>>);

impl Placed {
    /// One to tell, and one that waits.
    pub fn channel() -> (Self, Place) {
        let (sender, receiver) = watch::channel(None);
        (Self(Arc::new(sender)), Place(receiver))
    }

    /// Tells the address.
    pub fn tell(&self, address: Uri) {
        self.0.send_replace(Some(address));
    }
}

impl Place {
    /// Waits for the address; for ever if no worker gets the invocation. Cancel-safe.
    pub async fn address(&mut self) -> Uri {
        match self.0.wait_for(Option::is_some).await.ok().and_then(|address| address.clone()) {
            Some(address) => address,
            None => std::future::pending().await,
        }
    }
}
