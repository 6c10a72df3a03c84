//! Client invocations by app servers: the message goes to the client, its result to the client's app server, and from there to the caller.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use signalr_protocol::service::{Extensions, Message};
use signalr_protocol::{Completion, CompletionResult, HubMessage};

use super::publish;
use crate::servers::invocations::PendingInvocation;
use crate::servers::request::HubPayloads;
use crate::servers::server_connection::ServerConnection;
use crate::servers::shared::{Servers, lock};
use crate::servers::to_protocol;
use realtime_engine::{
    ClientInvokeError, ClientResult, ConnectionId, InvalidArguments, OutgoingMessage, Stopped, Target,
};

impl Servers {
    pub(super) async fn invoke(
        &self,
        server: &Arc<ServerConnection>,
        invocation: Arc<str>,
        id: ConnectionId,
        caller_server: Arc<str>,
        payloads: HubPayloads,
    ) -> Result<(), Stopped> {
        let now = Instant::now();
        let pending = PendingInvocation {
            not_before: server.result_not_before(self.options(), now),
            invocation: Arc::clone(&invocation),
            hub: server.hub.clone(),
            client: id,
            caller: server.id,
            caller_server: Arc::clone(&caller_server),
        };
        if payloads.calls_reserved_method() {
            self.fail(&pending, &InvalidArguments::ReservedMethod.to_string());
            return Ok(());
        }
        let HubPayloads { json, messagepack, blazorpack } = payloads;
        let message = OutgoingMessage::ready(json, messagepack, blazorpack);
        let client = self.client(&server.hub, id);
        let protocol = client.as_ref().and_then(|client| client.protocol());
        if protocol.is_some_and(|protocol| !message.can_be_encoded(protocol)) {
            // The client would not get the invocation, and never send a result.
            self.fail(&pending, &ClientInvokeError::Untranslatable.to_string());
            return Ok(());
        }
        if let Err(why) = lock(&self.0.invocations).insert(pending.clone(), now) {
            self.fail(&pending, &why.to_string());
            return Ok(());
        }
        let owner = client.as_ref().and_then(|client| client.owner());
        let (Some(client), Some(owner)) = (client, owner) else {
            self.invoke_serverless(pending, message);
            return Ok(());
        };
        if owner.server_id == server.server_id {
            client.expect_result(&pending, now);
        } else {
            // The client's app server receives the result and needs the invocation before it.
            self.announce(server, &owner, &pending);
        }
        self.publish(server, publish(server, Target::Connection(id), message)).await
    }

    fn announce(&self, caller: &ServerConnection, owner: &ServerConnection, pending: &PendingInvocation) {
        let id = pending.client.to_string();
        owner.send_queue.push(&to_protocol::invocation(pending, &id));
        caller.send_queue.push(&Message::ServiceMapping {
            invocation_id: &pending.invocation,
            connection_id: &id,
            instance_id: self.instance(),
            extensions: Extensions::default(),
        });
    }

    /// For a client without an app server, the service itself waits for the result.
    fn invoke_serverless(&self, pending: PendingInvocation, message: OutgoingMessage) {
        let servers = self.clone();
        self.spawn(async move {
            let timeout = servers.options().invocation_timeout();
            let invocation = pending.invocation.as_ref().into();
            let engine = servers.engine();
            let result = engine.call(&pending.hub, pending.client, invocation, message, timeout).await;
            let completed = lock(&servers.0.invocations).complete(&pending.invocation, pending.client);
            // Otherwise it has expired, and the caller has got an error.
            let Some(pending) = completed else { return };
            match result {
                Ok(result) => servers.send_result(&pending, &result),
                Err(why) => servers.fail(&pending, &why.to_string()),
            }
        });
    }

    fn send_result(&self, pending: &PendingInvocation, result: &ClientResult) {
        let outcome = match &result.outcome {
            Ok(Some(value)) => CompletionResult::Value(value.as_ref().into()),
            Ok(None) => CompletionResult::Void,
            Err(why) => CompletionResult::Error(why.as_str().into()),
        };
        let completion = Completion {
            headers: Vec::new(),
            invocation_id: pending.invocation.as_ref().into(),
            result: outcome,
        };
        let mut payload = Vec::new();
        HubMessage::Completion(completion).encode(result.protocol, &mut payload);
        self.forward_result(pending, Some(result.protocol.name()), &payload);
    }

    fn forward_result(&self, pending: &PendingInvocation, protocol: Option<&str>, payload: &[u8]) {
        let Some(caller) = self.caller(pending) else { return };
        let id = pending.client.to_string();
        let completion = Message::ClientCompletion {
            invocation_id: &pending.invocation,
            connection_id: &id,
            caller_server_id: &pending.caller_server,
            protocol,
            payload,
            extensions: Extensions::default(),
        };
        caller.send_queue.push_delayed(pending.not_before, |out| completion.encode(out));
    }

    /// The app server of the client has sent a result.
    pub(in crate::servers) fn complete(
        &self,
        server: &ServerConnection,
        invocation: &str,
        id: ConnectionId,
        protocol: Option<&str>,
        result: Result<Bytes, Option<Box<str>>>,
    ) {
        // Only the client's app server has the result; others are ignored.
        let owner = self.client(&server.hub, id).and_then(|client| client.owner());
        if owner.is_none_or(|owner| owner.server_id != server.server_id) {
            return;
        }
        let Some(pending) = lock(&self.0.invocations).complete(invocation, id) else { return };
        // A caller that is also the app server of the client has the result already.
        if pending.caller_server == server.server_id {
            return;
        }
        match result {
            Ok(payload) => self.forward_result(&pending, protocol, &payload),
            Err(why) => {
                self.fail(&pending, why.as_deref().unwrap_or("the app server of the client gave no reason"));
            }
        }
    }
}
