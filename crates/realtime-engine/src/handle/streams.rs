//! Items of streams that clients invoked.

use std::time::{Duration, Instant};

use tokio::sync::oneshot;
use trace::TraceContext;

use super::{EngineHandle, Stopped};
use crate::command::ShardCommand;
use crate::publish::PublishJob;
use crate::send_span::SendSpan;
use crate::stream::StreamMessages;
use crate::{OutgoingMessage, StreamOf, StreamState, Target};

/// How often a sender checks whether a client has read what is pending.
const LOOK_EVERY: Duration = Duration::from_millis(5);

impl EngineHandle {
    /// Sends items of a stream that a client invoked, and the stream's end if they end it. If the client reads more slowly than it is sent
    /// to, this waits for at most `patience`; a client that exceeds its limit of pending bytes after that is closed.
    ///
    /// # Errors
    ///
    /// If the engine has ended.
    pub async fn send_in_stream(
        &self,
        of: StreamOf<'_>,
        messages: Vec<OutgoingMessage>,
        is_end: bool,
        trace: Option<TraceContext>,
        patience: Duration,
    ) -> Result<StreamState, Stopped> {
        let state = self.ask_stream(of, messages, is_end, trace).await?;
        if is_end || state != (StreamState::Sent { is_behind: true }) {
            return Ok(state);
        }
        let until = Instant::now() + patience;
        while Instant::now() < until {
            // No event reports that a client reads again, so its state is polled.
            tokio::time::sleep(LOOK_EVERY).await;
            match self.ask_stream(of, Vec::new(), false, None).await? {
                StreamState::Sent { is_behind: true } => {}
                _ => return Ok(StreamState::Sent { is_behind: false }),
            }
        }
        Ok(state)
    }

    async fn ask_stream(
        &self,
        of: StreamOf<'_>,
        messages: Vec<OutgoingMessage>,
        is_end: bool,
        trace: Option<TraceContext>,
    ) -> Result<StreamState, Stopped> {
        let StreamOf { hub, connection, stream } = of;
        // One span for all of them; it ends when the first one is written.
        let mut span = trace.map(|parent| SendSpan::start(&self.0.tracer, parent));
        let work = |message| PublishJob {
            hub: hub.clone(),
            target: Target::Connection(connection),
            excluded: Vec::new(),
            excluded_users: Vec::new(),
            message,
            recorded_position: None,
            span: span.take(),
        };
        let messages = messages.into_iter().map(work).collect();
        let ask = |answer: oneshot::Sender<StreamState>| {
            let (hub, stream) = (hub.clone(), stream.into());
            ShardCommand::Stream(Box::new(StreamMessages {
                hub,
                connection,
                stream,
                messages,
                is_end,
                answer,
            }))
        };
        self.ask_owner(connection, ask).await
    }
}
