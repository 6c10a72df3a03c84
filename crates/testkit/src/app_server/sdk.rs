//! [`ScriptedAppServer::serve_as_sdk`]: an app server that migrates its clients as the SDK does (Microsoft.Azure.SignalR 1.34.0).

use std::collections::{HashSet, VecDeque};
use std::time::Duration;

use serde_json::{Value, json};
use signalr_protocol::service::{self, ConnectionKind, Extensions, FlowOperation, Message};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::ScriptedAppServer;

/// Counts of an app server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Served {
    /// Invocations that it executed.
    pub executed: u64,
    /// Completions that it did not send, because the client was paused when they were ready.
    pub thrown_away: u64,
}

impl ScriptedAppServer {
    /// Completes each invocation with its first argument, `delay` after it was received. When `leave` is set, it shuts down with
    /// migration of its clients (`fin:1`), and ends when that is acknowledged and it has no clients: it acknowledges that a
    /// client is paused, executes the received invocations of that client, and never sends their completions.
    ///
    /// # Errors
    ///
    /// If a message of the service cannot be parsed, or nothing is received for too long.
    pub async fn serve_as_sdk(
        mut self,
        delay: Duration,
        mut leave: watch::Receiver<bool>,
    ) -> anyhow::Result<Served> {
        let (mut served, mut due, mut paused) = (Served::default(), VecDeque::new(), HashSet::new());
        let (mut leaves, mut is_answered) = (false, false);
        while !(is_answered && self.clients.is_empty() && due.is_empty()) {
            let next_due = due.front().map_or_else(Instant::now, |(at, _, _)| *at);
            tokio::select! {
                payload = self.next() => {
                    let Some(payload) = payload? else { break };
                    is_answered |= self.take_as_sdk(&payload, &mut paused).await?;
                    while let Some((client, message)) = self.whole_message()? {
                        if message["type"] == 1 {
                            due.push_back((Instant::now() + delay, client, message));
                        }
                    }
                }
                () = sleep_until(next_due), if !due.is_empty() => {
                    let (_, client, call) = due.pop_front().expect("it was just looked at");
                    served.executed += 1;
                    if !self.answer_as_sdk(&client, &call, &paused).await? {
                        served.thrown_away += 1;
                    }
                }
                () = told(&mut leave), if !leaves => {
                    leaves = true;
                    self.send(&Message::Ping { messages: vec!["shutdown", "fin:1"] }).await?;
                }
            }
        }
        Ok(served)
    }

    /// Returns whether the message is the response to the shutdown.
    async fn take_as_sdk(&mut self, payload: &[u8], paused: &mut HashSet<String>) -> anyhow::Result<bool> {
        let message = service::parse(payload)?;
        self.note(&message);
        match message {
            Message::ConnectionData { connection_id, .. } => {
                let id = connection_id.to_owned();
                self.introduce(&id).await?;
            }
            Message::ConnectionFlowControl { connection_id, operation: FlowOperation::Pause, .. } => {
                paused.insert(connection_id.to_owned());
                self.send(&Message::ConnectionFlowControl {
                    connection_id,
                    connection_type: ConnectionKind::Client,
                    operation: FlowOperation::PauseAck,
                    extensions: Extensions::default(),
                })
                .await?;
            }
            Message::ConnectionFlowControl { connection_id, operation: FlowOperation::Resume, .. } => {
                paused.remove(connection_id);
            }
            Message::Ping { messages } => return Ok(messages == ["shutdown", "finack"]),
            _ => {}
        }
        Ok(false)
    }

    /// Completes an invocation, unless its client is paused.
    async fn answer_as_sdk(
        &mut self,
        client: &str,
        call: &Value,
        paused: &HashSet<String>,
    ) -> anyhow::Result<bool> {
        if paused.contains(client) || !self.clients.contains_key(client) {
            return Ok(false);
        }
        if let Some(id) = call["invocationId"].as_str() {
            let result = &call["arguments"][0];
            self.tell(client, &json!({ "type": 3, "invocationId": id, "result": result })).await?;
        }
        Ok(true)
    }
}

/// Waits until the value is true, or the sender is dropped.
async fn told(leave: &mut watch::Receiver<bool>) {
    drop(leave.wait_for(|leave| *leave).await);
}
