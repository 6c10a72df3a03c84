//! The hub methods that a [`ScriptedAppServer`] handles by itself.

use anyhow::Context;
use serde_json::{Value, json};
use signalr_protocol::HubProtocol;
use signalr_protocol::service::{self, AckStatus, Extensions, Message};

use super::ScriptedAppServer;
use super::translate::hub_message;

impl ScriptedAppServer {
    /// Serves clients until the connection closes. Its hub has the methods `Echo(value)`, `Count(n)` (a stream of 0 to n - 1),
    /// `Sum` (of the numbers of an uploaded stream), `Broadcast(value)` (invokes `news` on all), `Join(group)`, `ToGroup(group,
    /// value)` (invokes `news`), `ToUser(user, value)` (invokes `news`), `Ask(value)` (invokes the caller's `answer` and returns
    /// its result), `Who` (the connection id) and `Abort`.
    ///
    /// # Errors
    ///
    /// If a message of the service cannot be parsed.
    pub async fn serve(mut self) -> anyhow::Result<()> {
        while let Some(payload) = self.next().await? {
            let message = service::parse(&payload)?;
            self.note(&message);
            match message {
                Message::ConnectionData { connection_id, .. } => {
                    let id = connection_id.to_owned();
                    self.introduce(&id).await?;
                }
                Message::Ping { messages } if service::ping_value(&messages, "echo").is_some() => {
                    self.send(&Message::Ping { messages }).await?;
                }
                _ => {}
            }
            while let Some((client, message)) = self.whole_message()? {
                self.answer(&client, &message).await?;
            }
        }
        Ok(())
    }

    /// Accepts the handshake of a new client.
    pub(super) async fn introduce(&mut self, id: &str) -> anyhow::Result<()> {
        let Some(client) = self.clients.get_mut(id) else { return Ok(()) };
        let is_to_be_answered = client.is_introduced && !std::mem::replace(&mut client.has_moved, true);
        if is_to_be_answered {
            self.data(id, b"{}\x1e").await?;
        }
        Ok(())
    }

    async fn answer(&mut self, client: &str, message: &Value) -> anyhow::Result<()> {
        let invocation = message["invocationId"].as_str().unwrap_or_default().to_owned();
        match message["type"].as_u64() {
            Some(1 | 4) => self.invoked(client, &invocation, message).await,
            Some(2) => {
                let state = self.clients.get_mut(client).context("no such client")?;
                if let Some((_, sum)) = state.uploads.get_mut(&invocation) {
                    *sum += message["item"].as_f64().unwrap_or_default();
                }
                Ok(())
            }
            Some(3) => self.ended(client, &invocation, message).await,
            _ => Ok(()),
        }
    }

    async fn invoked(&mut self, client: &str, invocation: &str, message: &Value) -> anyhow::Result<()> {
        let arguments = &message["arguments"];
        let text = |at: usize| arguments[at].as_str().unwrap_or_default();
        let result = match message["target"].as_str() {
            Some("Echo") => arguments[0].clone(),
            Some("Who") => json!(client),
            Some("Count") => {
                for number in 0..arguments[0].as_u64().unwrap_or_default() {
                    let item = json!({ "type": 2, "invocationId": invocation, "item": number });
                    self.tell(client, &item).await?;
                }
                Value::Null
            }
            Some("Sum") => {
                let stream = message["streamIds"][0].as_str().unwrap_or_default().to_owned();
                let state = self.clients.get_mut(client).context("no such client")?;
                state.uploads.insert(stream, (invocation.to_owned(), 0.0));
                return Ok(());
            }
            Some("Broadcast") => {
                let payloads = self.news(&arguments[0])?;
                let payloads = borrowed(&payloads);
                let (excluded, extensions) = (Vec::new(), Extensions::default());
                self.send(&Message::BroadcastData { excluded, payloads, extensions }).await?;
                Value::Null
            }
            Some("ToGroup") => {
                let payloads = self.news(&arguments[1])?;
                self.send(&Message::GroupBroadcastData {
                    group_name: text(0),
                    excluded: Vec::new(),
                    payloads: borrowed(&payloads),
                    extensions: Extensions::default(),
                    excluded_users: Vec::new(),
                    caller_user_id: None,
                })
                .await?;
                Value::Null
            }
            Some("ToUser") => {
                let payloads = self.news(&arguments[1])?;
                let (user_id, payloads) = (text(0), borrowed(&payloads));
                self.send(&Message::UserData { user_id, payloads, extensions: Extensions::default() })
                    .await?;
                Value::Null
            }
            Some("Join") => return self.join(client, invocation, text(0)).await,
            Some("Ask") => return self.ask_client(client, invocation, &arguments[0]).await,
            Some("Abort") => return self.abort(client).await,
            other => {
                let error = format!("there is no method {other:?}");
                let completion = json!({ "type": 3, "invocationId": invocation, "error": error });
                return self.tell(client, &completion).await;
            }
        };
        if invocation.is_empty() { Ok(()) } else { self.complete(client, invocation, &result).await }
    }

    /// Does not wait for the ack in place: earlier messages are handled first.
    async fn join(&mut self, client: &str, invocation: &str, group_name: &str) -> anyhow::Result<()> {
        self.acks += 1;
        let id = self.acks;
        let extensions = Extensions::default();
        let connection_id = client;
        self.send(&Message::JoinGroupWithAck { connection_id, group_name, ack_id: id, extensions }).await?;
        let is_ack = |message: &Message<'_>| match message {
            Message::Ack { ack_id, status, .. } if *ack_id == id => Some(*status == AckStatus::Ok),
            _ => None,
        };
        let joined = self.until(is_ack).await?;
        self.complete(client, invocation, &json!(joined)).await
    }

    /// The client's result is a completion whose id names the invocation that waits for it.
    async fn ask_client(&mut self, client: &str, invocation: &str, value: &Value) -> anyhow::Result<()> {
        let own = format!("{client}-ask-{invocation}");
        let call = json!({ "type": 1, "invocationId": own, "target": "answer", "arguments": [value] });
        let protocol = self.clients.get(client).context("no such client")?.protocol;
        let payload = hub_message(protocol, &call)?;
        let server = self.server.clone();
        self.send(&Message::ClientInvocation {
            invocation_id: &own,
            connection_id: client,
            caller_server_id: &server,
            payloads: vec![(protocol.name(), &payload)],
            extensions: Extensions::default(),
        })
        .await
    }

    async fn ended(&mut self, client: &str, invocation: &str, message: &Value) -> anyhow::Result<()> {
        let state = self.clients.get_mut(client).context("no such client")?;
        if let Some((invocation, sum)) = state.uploads.remove(invocation) {
            return self.complete(client, &invocation, &json!(sum)).await;
        }
        let Some(asked) = invocation.strip_prefix(&format!("{client}-ask-")) else { return Ok(()) };
        let server = self.server.clone();
        self.send(&Message::ClientCompletion {
            invocation_id: invocation,
            connection_id: client,
            caller_server_id: &server,
            protocol: None,
            payload: b"",
            extensions: Extensions::default(),
        })
        .await?;
        self.complete(client, asked, &message["result"]).await
    }

    async fn abort(&mut self, client: &str) -> anyhow::Result<()> {
        self.tell(client, &json!({ "type": 7 })).await?;
        self.clients.remove(client);
        self.send(&Message::CloseConnection {
            connection_id: client,
            error_message: Some(""),
            headers: Vec::new(),
            extensions: Extensions::default(),
        })
        .await
    }

    /// An invocation of `news`, in each protocol.
    fn news(&self, value: &Value) -> anyhow::Result<Vec<(&'static str, Vec<u8>)>> {
        let call = json!({ "type": 1, "target": "news", "arguments": [value] });
        let protocols = [HubProtocol::Json, HubProtocol::MessagePack, HubProtocol::BlazorPack];
        protocols.into_iter().map(|protocol| Ok((protocol.name(), hub_message(protocol, &call)?))).collect()
    }
}

fn borrowed<'a>(payloads: &'a [(&'static str, Vec<u8>)]) -> Vec<(&'a str, &'a [u8])> {
    payloads.iter().map(|(name, payload)| (*name, payload.as_slice())).collect()
}
