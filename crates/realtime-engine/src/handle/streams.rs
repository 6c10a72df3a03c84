//! What is sent in streams that clients asked for.

use std::time::{Duration, Instant};

use tokio::sync::oneshot;
use trace::TraceContext;

use super::{EngineHandle, Stopped};
use crate::command::ShardCommand;
use crate::publish::PublishJob;
use crate::send_span::SendSpan;
use crate::stream::StreamMessages;
use crate::{OutgoingMessage, StreamOf, StreamState, Target};

/// How often it is looked whether a client has taken what waits for it.
const LOOK_EVERY: Duration = Duration::from_millis(5);

impl EngineHandle {
    /// Sends items of a stream that a client asked for, and its end if they end it. Where the client takes less than it is sent,
    /// this waits, but no longer than `patience`; what is then sent beyond what may wait for a client ends its connection.
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
            // No event says that a client reads again; who waits here is slower than its client by at most this.
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
        // One span for all of them; it ends when the first one was written.
        let mut span = trace.map(|parent| SendSpan::start(&self.0.tracer, parent));
        let work = |message| PublishJob {
            hub: hub.clone(),
            target: Target::Connection(connection),
            excluded: Vec::new(),
            excluded_users: Vec::new(),
            message,
            kept: None,
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
