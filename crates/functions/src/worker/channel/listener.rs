//! [`ChannelListener`]: waits for the connection of a worker, by the protocol that the worker uses.

use std::io;

use bytes::Bytes;
use tokio::process::Command;
use uuid::Uuid;
use worker_protocol::frames::{EncodeError, OutgoingFrame};
use worker_protocol::function_rpc::{self, MESSAGE_BYTES_MAX, Placeholder};
use worker_protocol::{Capabilities, Chunk, HostMessage, InvocationRequest, frames};

use super::WorkerChannel;
use super::frames::FramesListener;
use super::function_rpc::{GrpcListener, encode as encode_message};
use crate::worker::spec::{WorkerProtocol, WorkerSpec};

/// A message is larger than the protocol allows.
#[derive(Clone, Copy, Debug)]
pub(in crate::worker) struct MessageTooLarge {
    pub(in crate::worker) bytes: usize,
    pub(in crate::worker) bytes_max: usize,
}

/// Listens for the connection of one worker.
#[derive(Debug)]
pub(in crate::worker) enum ChannelListener {
    Frames(FramesListener),
    FunctionRpc(GrpcListener),
}

impl ChannelListener {
    pub(in crate::worker) async fn bind(spec: &WorkerSpec, frame_bytes_max: usize) -> io::Result<Self> {
        match spec.protocol {
            WorkerProtocol::Frames => FramesListener::bind(frame_bytes_max).await.map(Self::Frames),
            WorkerProtocol::FunctionRpc => GrpcListener::bind().await.map(Self::FunctionRpc),
        }
    }

    /// Passes the address and the credentials of the connection to the process.
    pub(in crate::worker) fn prepare(&self, command: &mut Command) {
        match self {
            Self::Frames(listener) => listener.prepare(command),
            Self::FunctionRpc(listener) => listener.prepare(command),
        }
    }

    /// Waits for the worker. Connections of other processes are closed.
    pub(in crate::worker) async fn accept(self) -> io::Result<WorkerChannel> {
        match self {
            Self::Frames(listener) => listener.accept().await,
            Self::FunctionRpc(listener) => listener.accept().await,
        }
    }
}

/// Encodes a message. `stored_is_text`: whether its stored bytes, if it has any, are UTF-8; matters only for FunctionRpc workers that get
/// text as text.
pub(in crate::worker) fn encode(
    protocol: WorkerProtocol,
    mut message: HostMessage,
    capabilities: &Capabilities,
    frame_bytes_max: usize,
    stored_is_text: bool,
) -> Result<Vec<Chunk>, MessageTooLarge> {
    match protocol {
        WorkerProtocol::Frames => {
            frame_chunks(frames::encode_host(message, frame_bytes_max), frame_bytes_max)
        }
        WorkerProtocol::FunctionRpc => {
            let placeholder = Placeholder::insert(&mut message, marker(stored_is_text));
            let message = function_rpc::encode_host(message, capabilities, Uuid::new_v4().to_string());
            let bytes_max = MESSAGE_BYTES_MAX;
            encode_message(&message, placeholder.as_ref())
                .map_err(|bytes| MessageTooLarge { bytes, bytes_max })
        }
    }
}

/// Encodes the request of an invocation as [`encode`] does; the caller keeps it.
pub(in crate::worker) fn encode_invocation(
    protocol: WorkerProtocol,
    request: &InvocationRequest,
    capabilities: &Capabilities,
    frame_bytes_max: usize,
    stored_is_text: bool,
) -> Result<Vec<Chunk>, MessageTooLarge> {
    match protocol {
        WorkerProtocol::Frames => {
            frame_chunks(frames::encode_invocation(request, frame_bytes_max), frame_bytes_max)
        }
        WorkerProtocol::FunctionRpc => {
            let message = HostMessage::Invoke(request.clone());
            encode(protocol, message, capabilities, frame_bytes_max, stored_is_text)
        }
    }
}

fn frame_chunks(
    encoded: Result<OutgoingFrame, EncodeError>,
    frame_bytes_max: usize,
) -> Result<Vec<Chunk>, MessageTooLarge> {
    match encoded {
        Ok(frame) => Ok(frame.chunks),
        Err(EncodeError::TooLarge { bytes, bytes_max }) => Err(MessageTooLarge { bytes, bytes_max }),
        Err(_) => Err(MessageTooLarge { bytes: 0, bytes_max: frame_bytes_max }),
    }
}

/// Random bytes, which are UTF-8 or not.
fn marker(is_text: bool) -> Bytes {
    let random = Uuid::new_v4();
    if is_text {
        random.simple().to_string().into()
    } else {
        [&[0xff], random.as_bytes().as_slice()].concat().into()
    }
}
