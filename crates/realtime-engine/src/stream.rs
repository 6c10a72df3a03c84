//! Streams that clients invoked: the identification of one ([`StreamOf`]), and the result of sending in it ([`StreamState`]).

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
    /// The invocation id of the stream.
    pub stream: &'a str,
}

/// Items of a stream that a client invoked, its end, or both; without messages it only queries the state.
#[derive(Debug)]
pub(crate) struct StreamMessages {
    pub(crate) hub: Hub,
    pub(crate) connection: ConnectionId,
    /// The invocation id of the stream.
    pub(crate) stream: Box<str>,
    pub(crate) messages: Vec<PublishJob>,
    /// Whether the stream ends after them.
    pub(crate) is_end: bool,
    pub(crate) answer: oneshot::Sender<StreamState>,
}

/// The result of sending items of a stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StreamState {
    /// There is no such connection in the hub.
    #[default]
    NoConnection,
    /// The client has not invoked this stream, has cancelled it, or it has ended. Nothing was sent.
    NotOpen,
    /// They are sent to the client.
    Sent {
        /// Whether so many bytes are pending for the client that the sender should wait.
        is_behind: bool,
    },
}
