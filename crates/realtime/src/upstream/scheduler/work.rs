//! What the scheduler works on: events for listeners, invocations for upstreams, and the results of its jobs.

use std::sync::Arc;

use state::RegistryError;

use crate::events::{ConnectionEvent, DeliveryError, LoadRecordError, RecordKey};
use crate::upstream::connection_queues::SerialQueueKey;
use crate::upstream::input_queue::QueuePermit;
use crate::upstream::response::Awaited;
use crate::upstream::streams::Upload;
use realtime_engine::{ClientConnection, ClientInvocation, ConnectionId};

/// An event for listeners, and where it is recorded.
#[derive(Debug)]
pub(super) struct RecordedEvent {
    pub(super) event: ConnectionEvent,
    /// The key of its record, if it has one.
    pub(super) record_key: Option<RecordKey>,
}

/// An invocation for an upstream, or for a method of this process.
#[derive(Debug)]
pub(super) struct UpstreamInvocation {
    pub(super) invocation: ClientInvocation,
    /// The method that it invokes, or that its stream belongs to.
    pub(super) method: Box<str>,
    /// The invocation id of the message, or of the invocation that its stream belongs to.
    pub(super) call_id: Option<Box<str>>,
    pub(super) awaited: Awaited,
    /// For an invocation with uploads, and for later items of them: whether it is completed.
    pub(super) upload: Option<Arc<Upload>>,
    pub(super) is_local: bool,
    pub(super) load: QueuePermit,
}

impl UpstreamInvocation {
    /// What its client waits for now; the invocation of an upload may be complete already.
    pub(super) fn still_awaited(&self) -> Awaited {
        match &self.upload {
            Some(upload) if upload.is_answered() => Awaited::Nothing,
            _ => self.awaited.clone(),
        }
    }

    /// Records that its client has received the completion.
    pub(super) fn is_answered(&self) {
        if let Some(upload) = &self.upload {
            upload.answered();
        }
    }
}

/// The result of a task.
pub(super) enum JobResult {
    Nothing,
    Finished(SerialQueueKey, Result<(), DeliveryError>),
    /// The headers of a streamed response have been received; its invocation is finished.
    Streams(SerialQueueKey, StreamedResponse),
    /// A streamed response is not forwarded any more.
    Streamed(ConnectionId, Box<str>),
    Recorded(ConnectionId, Result<(), RegistryError>),
    Ended(Arc<RecordedEvent>),
    Loaded(RecordKey, Result<Option<ConnectionEvent>, LoadRecordError>),
}

/// A streamed response whose headers have been received.
pub(super) struct StreamedResponse {
    pub(super) client: ClientConnection,
    /// The invocation id of the stream.
    pub(super) id: Box<str>,
    pub(super) body: http_messages::Body,
}

/// A count as the value of a gauge.
pub(super) fn number(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
