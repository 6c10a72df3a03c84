//! Hub messages of clients without an app server.

use bytes::Bytes;
use signalr_protocol::{
    Completion, CompletionResult, FramingError, HubMessage, HubMessageType, ParseError, Peek, parse, peek,
};
use websocket::CloseCode;

use super::Shard;
use super::encode::Encoded;
use super::keys::Slot;
use super::stateful::{MessageStatus, SequenceGap};
use crate::limits::RateExceeded;
use crate::{Capacity, ClientInvocation, ClientResult, EndReason, OutgoingMessage, TraceEventKind};

/// Why a hub message ends the connection. The Close message has the text.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unreadable {
    #[error(transparent)]
    Framing(#[from] FramingError),
    #[error(transparent)]
    Message(#[from] ParseError),
    #[error(transparent)]
    Sequence(#[from] SequenceGap),
    #[error(transparent)]
    Rate(#[from] RateExceeded),
}

impl Unreadable {
    pub(super) fn reason(&self) -> EndReason {
        match self {
            Self::Rate(_) => EndReason::RateLimited,
            Self::Framing(_) | Self::Message(_) | Self::Sequence(_) => EndReason::MalformedMessage,
        }
    }
}

impl Shard {
    /// Handles one hub message.
    pub(super) fn on_hub_message(&mut self, slot: Slot, payload: &[u8]) -> Result<(), Unreadable> {
        let Some(connection) = self.connections.get_mut(slot as usize) else { return Ok(()) };
        if connection.index_entry().is_none() {
            return Ok(());
        }
        if connection.is_stateful {
            self.release_withheld(slot);
        }
        let Some(connection) = self.connections.get_mut(slot as usize) else { return Ok(()) };
        self.metrics.turn.received_messages += 1;
        let protocol = connection.protocol;
        self.count_against_rates(slot, 1, 0)?;
        let peek = peek(protocol, payload)?;
        let message_type = match peek.kind {
            HubMessageType::Invocation => 1,
            HubMessageType::StreamItem => 2,
            HubMessageType::Completion => 3,
            HubMessageType::StreamInvocation => 4,
            HubMessageType::CancelInvocation => 5,
            HubMessageType::Ack | HubMessageType::Sequence => return self.on_sequence(slot, payload),
            HubMessageType::Close => {
                self.close_with(slot, EndReason::ClientClosed, None, CloseCode::NORMAL, "");
                return Ok(());
            }
            HubMessageType::Ping => {
                // The client timeout applies only to clients that have pinged; old clients never ping.
                self.connections[slot as usize].has_pinged = true;
                return Ok(());
            }
            // Types of later versions of the protocol.
            HubMessageType::Unknown(_) => return Ok(()),
        };
        if self.count_received(slot, payload.len()) == MessageStatus::Duplicate {
            return Ok(());
        }
        if let Some(rare) = self.connections[slot as usize].rare_mut() {
            rare.last_message_at = self.now;
        }
        if message_type == 3 && self.on_result(slot, &peek, payload)? {
            return Ok(());
        }
        self.forward_to_upstream(slot, message_type, &peek, payload);
        Ok(())
    }

    /// Delivers the result of a client invocation to the caller that waits for it. Returns whether there is one.
    fn on_result(&mut self, slot: Slot, peek: &Peek<'_>, payload: &[u8]) -> Result<bool, Unreadable> {
        let connection = &mut self.connections[slot as usize];
        let protocol = connection.protocol;
        let Some(id) = peek.invocation_id.as_deref() else { return Ok(false) };
        let Some(answer) = connection.rare_mut().and_then(|rare| rare.pending_results.remove(id)) else {
            return Ok(false);
        };
        if let HubMessage::Completion(Completion { result, .. }) = parse(protocol, payload)? {
            let outcome = match result {
                CompletionResult::Error(error) => Err(error.into_owned()),
                CompletionResult::Void => Ok(None),
                CompletionResult::Value(value) => Ok(Some(Bytes::copy_from_slice(&value))),
            };
            // The caller may have stopped waiting.
            let _ = answer.send(Ok(ClientResult { protocol, outcome }));
        }
        Ok(true)
    }

    /// Passes an invocation to the upstream, or rejects it.
    fn forward_to_upstream(&mut self, slot: Slot, message_type: u8, peek: &Peek<'_>, payload: &[u8]) {
        let Some(client) = self.client(slot) else { return };
        let roles = self.connections[slot as usize].rare().and_then(|rare| rare.roles.clone());
        let invocation_id: Option<Box<str>> = peek.invocation_id.as_deref().map(Into::into);
        let target: Option<Box<str>> = peek.target.as_deref().map(Into::into);
        let bytes = payload.len() as u64;
        self.trace(&client, || TraceEventKind::Received { message_type, method: target.clone(), bytes });
        let invocation = ClientInvocation {
            client,
            roles,
            message_type,
            invocation_id: invocation_id.clone(),
            target,
            payload: Bytes::copy_from_slice(payload),
        };
        let is_answered = matches!(message_type, 1 | 4);
        let id = invocation_id.as_deref();
        let taken = match self.check_stream(slot, message_type, id) {
            Ok(()) => self.settings.upstream.invoke(invocation),
            Err(refusal) => Err(refusal),
        };
        match taken {
            Ok(room) => {
                self.record_stream(slot, message_type, id);
                if room == Capacity::Exhausted {
                    self.connections[slot as usize].is_paused = true;
                }
            }
            Err(refusal) => {
                if let Some(id) = invocation_id.filter(|_| is_answered) {
                    let message = OutgoingMessage::completion_error(&id, &refusal.0);
                    let protocol = self.connections[slot as usize].protocol;
                    if let Some(appender) = Encoded::new(&message, false).appender(protocol) {
                        self.append_or_end(slot, appender);
                    }
                }
            }
        }
    }

    /// Counts received data against the rate limits. Closes a connection that exceeds them, and returns whether it did.
    pub(super) fn exceeds_rates(&mut self, slot: Slot, messages: u32, bytes: usize) -> bool {
        let Err(exceeded) = self.count_against_rates(slot, messages, bytes) else { return false };
        self.close(slot, EndReason::RateLimited, Some(&exceeded.to_string()), false);
        true
    }

    /// Counts received data against the rate limits.
    fn count_against_rates(&mut self, slot: Slot, messages: u32, bytes: usize) -> Result<(), RateExceeded> {
        if self.connection_rates.is_unlimited() && self.user_rates.is_unlimited() {
            return Ok(());
        }
        let Some(rare) = self.connections[slot as usize].rare_mut() else { return Ok(()) };
        let now = self.instant;
        if let Some(bucket) = &mut rare.bucket {
            bucket.consume(messages, bytes, now)?;
        }
        if let Some(bucket) = &rare.user_bucket {
            let mut bucket = bucket.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            bucket.consume(messages, bytes, now)?;
        }
        Ok(())
    }
}
