//! Calls of clients by app servers: the message goes to the client, its result to the server that the client belongs to, and from there
//! back to the one who called.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use signalr_protocol::service::{Extensions, Message};
use signalr_protocol::{Completion, CompletionResult, HubMessage};

use super::publish;
use crate::engine::{
    ClientInvokeError, ClientResult, ConnectionId, InvalidArguments, OutgoingMessage, Stopped, Target,
};
use crate::servers::invocations::Pending;
use crate::servers::link::Link;
use crate::servers::order::ByProtocol;
use crate::servers::{Servers, lock, to_protocol};

impl Servers {
    pub(super) async fn invoke(
        &self,
        link: &Arc<Link>,
        invocation: Arc<str>,
        id: ConnectionId,
        caller_server: Arc<str>,
        payloads: ByProtocol,
    ) -> Result<(), Stopped> {
        let now = Instant::now();
        let pending = Pending {
            not_before: link.result_not_before(self.options(), now),
            invocation: Arc::clone(&invocation),
            hub: link.hub.clone(),
            client: id,
            caller: link.id,
            caller_server: Arc::clone(&caller_server),
        };
        if payloads.call_reserved_method() {
            self.fail(&pending, &InvalidArguments::ReservedMethod.to_string());
            return Ok(());
        }
        let ByProtocol { json, messagepack, blazorpack } = payloads;
        let message = OutgoingMessage::ready(json, messagepack, blazorpack);
        let client = self.client(&link.hub, id);
        let protocol = client.as_ref().and_then(|client| client.protocol());
        if protocol.is_some_and(|protocol| !message.can_be_encoded(protocol)) {
            // The client would not hear of the call, and so never answer it.
            self.fail(&pending, &ClientInvokeError::Untranslatable.to_string());
            return Ok(());
        }
        if let Err(why) = lock(&self.0.invocations).insert(pending.clone(), now) {
            self.fail(&pending, &why.to_string());
            return Ok(());
        }
        let owner = client.as_ref().and_then(|client| client.owner());
        let (Some(client), Some(owner)) = (client, owner) else {
            self.call_serverless(pending, message);
            return Ok(());
        };
        if owner.server == link.server {
            client.expect_result(&pending, now);
        } else {
            // The client's own server will get the result, and must know what it belongs to before it comes.
            self.announce(link, &owner, &pending);
        }
        self.publish(link, publish(link, Target::Connection(id), message)).await
    }

    fn announce(&self, caller: &Link, owner: &Link, pending: &Pending) {
        let id = pending.client.to_string();
        owner.outbox.push(&to_protocol::invocation(pending, &id));
        caller.outbox.push(&Message::ServiceMapping {
            invocation_id: &pending.invocation,
            connection_id: &id,
            instance_id: self.instance(),
            extensions: Extensions::default(),
        });
    }

    /// A client that no app server answers for: the service itself waits for its result.
    fn call_serverless(&self, pending: Pending, message: OutgoingMessage) {
        let servers = self.clone();
        self.errand(async move {
            let patience = servers.options().invocation_timeout();
            let invocation = pending.invocation.as_ref().into();
            let engine = servers.engine();
            let result = engine.call(&pending.hub, pending.client, invocation, message, patience).await;
            let taken = lock(&servers.0.invocations).complete(&pending.invocation, pending.client);
            // Otherwise its time was over, and the caller was told.
            let Some(pending) = taken else { return };
            match result {
                Ok(result) => servers.give_result(&pending, &result),
                Err(why) => servers.fail(&pending, &why.to_string()),
            }
        });
    }

    fn give_result(&self, pending: &Pending, result: &ClientResult) {
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
        self.pass_result(pending, Some(result.protocol.name()), &payload);
    }

    fn pass_result(&self, pending: &Pending, protocol: Option<&str>, payload: &[u8]) {
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
        caller.outbox.push_later(pending.not_before, |out| completion.encode(out));
    }

    /// A result has come from the server that the client belongs to.
    pub(in crate::servers) fn complete(
        &self,
        link: &Link,
        invocation: &str,
        id: ConnectionId,
        protocol: Option<&str>,
        result: Result<Bytes, Option<Box<str>>>,
    ) {
        // Only the client's own server has it; the word of another one does not count.
        let owner = self.client(&link.hub, id).and_then(|client| client.owner());
        if owner.is_none_or(|owner| owner.server != link.server) {
            return;
        }
        let Some(pending) = lock(&self.0.invocations).complete(invocation, id) else { return };
        // The caller itself says only that it need not be told.
        if pending.caller_server == link.server {
            return;
        }
        match result {
            Ok(payload) => self.pass_result(&pending, protocol, &payload),
            Err(why) => self.fail(&pending, why.as_deref().unwrap_or("the client's server gave no reason")),
        }
    }
}
