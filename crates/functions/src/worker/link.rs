//! A connection to a worker, whichever road it took.

use std::io;

use bytes::Bytes;
use tokio::process::Command;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use uuid::Uuid;
use worker_protocol::function_rpc::{self, MESSAGE_BYTES_MAX, Placeholder};
use worker_protocol::{Capabilities, Chunk, HostMessage, WorkerMessage, frames};

use super::spec::{Road, WorkerSpec};
use super::{link_frames, link_function_rpc};

/// Messages of one direction that wait to be written or handled. Small: the writer batches, and what does not fit waits
/// with its sender.
pub(super) const QUEUE_MESSAGES: usize = 64;

/// A connection. Both directions end when the worker closes it or breaks the protocol.
#[derive(Debug)]
pub(super) struct Link {
    /// What the host says.
    pub(super) outgoing: mpsc::Sender<Outgoing>,
    /// What the worker says, without the first message.
    pub(super) incoming: mpsc::Receiver<WorkerMessage>,
    /// The tasks that read and write. Dropping them closes the connection.
    pub(super) tasks: JoinSet<()>,
}

/// An encoded message on its way to the worker.
#[derive(Debug)]
pub(super) struct Outgoing {
    /// The pieces of one frame.
    pub(super) pieces: Vec<Chunk>,
    /// Told as soon as the worker may have the whole message. Dropped untold, the message certainly did not arrive.
    pub(super) arrived: Option<oneshot::Sender<()>>,
}

/// A message is larger than the road carries.
#[derive(Clone, Copy, Debug)]
pub(super) struct TooLarge {
    pub(super) bytes: usize,
    pub(super) bytes_max: usize,
}

/// Where the worker is to connect.
#[derive(Debug)]
pub(super) enum Listener {
    Frames(link_frames::Listener),
    FunctionRpc(link_function_rpc::Listener),
}

impl Outgoing {
    /// A message of which nobody asks whether it arrived.
    pub(super) fn unasked(pieces: Vec<Chunk>) -> Self {
        Self { pieces, arrived: None }
    }
}

impl Listener {
    pub(super) async fn bind(spec: &WorkerSpec, frame_bytes_max: usize) -> io::Result<Self> {
        match spec.road {
            Road::Frames => link_frames::Listener::bind(frame_bytes_max).await.map(Self::Frames),
            Road::FunctionRpc => link_function_rpc::Listener::bind().await.map(Self::FunctionRpc),
        }
    }

    /// Tells the process where to connect, and how to prove who it is.
    pub(super) fn prepare(&self, command: &mut Command) {
        match self {
            Self::Frames(listener) => listener.prepare(command),
            Self::FunctionRpc(listener) => listener.prepare(command),
        }
    }

    /// Waits for the worker. Whoever else connects is turned away.
    pub(super) async fn accept(self) -> io::Result<Link> {
        match self {
            Self::Frames(listener) => listener.accept().await,
            Self::FunctionRpc(listener) => listener.accept().await,
        }
    }
}

/// Makes the pieces of a message. `stored_is_text` says of its stored bytes, if it has some, whether they are UTF-8; only workers
/// by the official road that want text need to know.
pub(super) fn encode(
    road: Road,
    mut message: HostMessage,
    capabilities: &Capabilities,
    frame_bytes_max: usize,
    stored_is_text: bool,
) -> Result<Vec<Chunk>, TooLarge> {
    match road {
        Road::Frames => match frames::encode_host(message, frame_bytes_max) {
            Ok(frame) => Ok(frame.chunks),
            Err(frames::EncodeError::TooLarge { bytes, bytes_max }) => Err(TooLarge { bytes, bytes_max }),
            Err(_) => Err(TooLarge { bytes: 0, bytes_max: frame_bytes_max }),
        },
        Road::FunctionRpc => {
            let placeholder = Placeholder::insert(&mut message, marker(stored_is_text));
            let message = function_rpc::encode_host(message, capabilities, Uuid::new_v4().to_string());
            let bytes_max = MESSAGE_BYTES_MAX;
            link_function_rpc::encode(&message, placeholder.as_ref())
                .map_err(|bytes| TooLarge { bytes, bytes_max })
        }
    }
}

/// Bytes that no message has by chance, and that are UTF-8 or not.
fn marker(is_text: bool) -> Bytes {
    let random = Uuid::new_v4();
    if is_text {
        random.simple().to_string().into()
    } else {
        [&[0xff], random.as_bytes().as_slice()].concat().into()
    }
}
