//! [`WorkerChannel`]: the connection to a worker, by either protocol.

mod frames;
mod function_rpc;
pub(super) mod listener;

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use worker_protocol::{Chunk, WorkerMessage};

/// Number of messages of one direction that may wait to be written or handled. Small: the writer batches, and senders wait while the
/// queue is full.
pub(super) const QUEUE_MESSAGES: usize = 64;

/// The connection to a worker. Both directions end when the worker closes it or violates the protocol.
#[derive(Debug)]
pub(super) struct WorkerChannel {
    /// Messages of the host.
    pub(super) outgoing: mpsc::Sender<EncodedMessage>,
    /// Messages of the worker, without the first one.
    pub(super) incoming: mpsc::Receiver<WorkerMessage>,
    /// The tasks that read and write. Dropping them closes the connection.
    pub(super) tasks: JoinSet<()>,
}

/// An encoded message on its way to the worker.
#[derive(Debug)]
pub(super) struct EncodedMessage {
    /// The chunks of the encoded message.
    pub(super) chunks: Vec<Chunk>,
    /// Notified as soon as the worker may have received the complete message. Dropped without that, the worker certainly has not.
    pub(super) delivered: Option<oneshot::Sender<()>>,
}

impl EncodedMessage {
    /// A message whose delivery is not reported.
    pub(super) fn new(chunks: Vec<Chunk>) -> Self {
        Self { chunks, delivered: None }
    }
}
