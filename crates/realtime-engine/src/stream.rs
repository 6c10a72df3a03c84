//! Streams that clients asked for: which stream ([`StreamOf`]), and what became of a part of it ([`StreamState`]).

use tokio::sync::oneshot;

use crate::publish::PublishJob;
use crate::{ConnectionId, Hub};

/// A stream of one client.
#[derive(Clone, Copy, Debug)]
pub struct StreamOf<'a> {
    /// The client's hub.
    pub hub: &'a Hub,
    /// The client's connection.
    pub connection: ConnectionId,
    /// The invocation id by which it asked.
    pub stream: &'a str,
}

/// Items of a stream that a client asked for, its end, or both; without messages a question.
#[derive(Debug)]
pub(crate) struct StreamMessages {
    pub(crate) hub: Hub,
    pub(crate) connection: ConnectionId,
    /// The invocation id by which the client asked.
    pub(crate) stream: Box<str>,
    pub(crate) messages: Vec<PublishJob>,
    /// Whether the stream ends with them.
    pub(crate) is_end: bool,
    pub(crate) answer: oneshot::Sender<StreamState>,
}

/// What became of a part of a stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StreamState {
    /// There is no such connection in the hub.
    #[default]
    NoConnection,
    /// The client did not ask for this stream, has cancelled it, or it has ended. Nothing was sent.
    NotOpen,
    /// It goes to the client.
    Sent {
        /// Whether so much waits for the client that the sender should wait too.
        is_behind: bool,
    },
}
