//! What the scheduler works on: events for listeners, invocations for upstreams, and the results of its jobs.

use std::sync::Arc;

use state::RegistryError;

use crate::events::{ConnectionEvent, DeliveryError, LoadRecordError, RecordKey};
use crate::upstream::connection_queues::TrackKey;
use crate::upstream::input_queue::QueuePermit;
use crate::upstream::response::Awaited;
use crate::upstream::streams::Upload;
use realtime_engine::{ClientConnection, ClientInvocation, ConnectionId};

/// An event on its way to its listeners.
#[derive(Debug)]
pub(super) struct RecordedEvent {
    pub(super) event: ConnectionEvent,
    /// Where its record is, if it has one.
    pub(super) record_key: Option<RecordKey>,
}

/// A call on its way to an upstream, or to a method of this process.
#[derive(Debug)]
pub(super) struct UpstreamInvocation {
    pub(super) invocation: ClientInvocation,
    /// The method that it calls, or that its stream belongs to.
    pub(super) method: Box<str>,
    /// The invocation id of the call that it is, or that its stream belongs to.
    pub(super) call_id: Option<Box<str>>,
    pub(super) awaited: Awaited,
    /// For a call that uploads, and what follows in its streams: whether it is answered.
    pub(super) upload: Option<Arc<Upload>>,
    pub(super) is_local: bool,
    pub(super) load: QueuePermit,
}

impl UpstreamInvocation {
    /// What its client waits for now: what an upload belongs to may be answered already.
    pub(super) fn still_awaited(&self) -> Awaited {
        match &self.upload {
            Some(upload) if upload.is_answered() => Awaited::Nothing,
            _ => self.awaited.clone(),
        }
    }

    /// Its client has its answer.
    pub(super) fn is_answered(&self) {
        if let Some(upload) = &self.upload {
            upload.answered();
        }
    }
}

/// What a task has to say when it ends.
pub(super) enum JobResult {
    Nothing,
    Finished(TrackKey, Result<(), DeliveryError>),
    /// The answer to a stream has begun; its call is done.
    Streams(TrackKey, StreamedResponse),
    /// An answer to a stream is not forwarded any more.
    Streamed(ConnectionId, Box<str>),
    Recorded(ConnectionId, Result<(), RegistryError>),
    Ended(Arc<RecordedEvent>),
    Loaded(RecordKey, Result<Option<ConnectionEvent>, LoadRecordError>),
}

/// An answer to a stream of which the head has come.
pub(super) struct StreamedResponse {
    pub(super) client: ClientConnection,
    /// The invocation id of the stream.
    pub(super) id: Box<str>,
    pub(super) body: http_messages::Body,
}

/// A count for a gauge.
pub(super) fn number(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
