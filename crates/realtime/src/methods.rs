//! The hub methods that this process handles itself, for apps without a backend: joining and sending to groups by the roles of
//! the client's token, and following the history of a hub or a group.
//!
//! Their names begin with `chappe.`; every SignalR client can call them. docs/realtime-methods.md describes their arguments and
//! results.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;
use serde_json::{Value, json};
use signalr_protocol::{
    Completion, CompletionResult, HubMessage, HubProtocol, Invocation, check_json, json_to_msgpack,
    msgpack_to_json, parse,
};
use state::{Instance, Journal};

use crate::from_protocol::fields::{elements, string};
use crate::history::{Followed, History, Replay};
use crate::names::group;
use crate::upstream::Methods;
use realtime_engine::{
    ClientInvocation, EngineHandle, FollowResponse, GroupError, GroupName, Membership, OutgoingMessage,
    Publish, Roles, StreamPosition, Target,
};

/// The methods. As in a hub of ASP.NET Core, the case of method names is ignored.
const NAMES: [&str; 5] =
    ["chappe.joinGroup", "chappe.leaveGroup", "chappe.sendToGroup", "chappe.follow", "chappe.unfollow"];

/// Handles the methods. Cheap to clone.
#[derive(Clone)]
pub(crate) struct OwnMethods {
    pub(crate) engine: EngineHandle,
    pub(crate) journal: Arc<dyn Journal>,
    pub(crate) instance: Instance,
    /// `None` if no messages are stored.
    pub(crate) history: Option<Arc<History>>,
}

/// The result of a method: a value, or the text of an error.
type MethodResult = Result<Value, String>;

/// The result of `chappe.follow`, without the position.
#[derive(Debug)]
struct FollowCompletion {
    protocol: HubProtocol,
    /// `None` if the client does not wait for a completion.
    invocation_id: Option<Box<str>>,
    followed: Followed,
}

impl FollowResponse for FollowCompletion {
    fn encode(self: Box<Self>, position: StreamPosition) -> Option<OutgoingMessage> {
        let result = json!({
            "position": position.to_string(),
            "gap": self.followed.has_gap,
            "messages": self.followed.messages,
        });
        let framed = completion(self.protocol, self.invocation_id.as_deref()?, Ok(result))?;
        Some(OutgoingMessage::raw(framed, 1))
    }
}

/// A parsed invocation.
struct MethodCall<'a> {
    invocation: &'a ClientInvocation,
    /// Each argument as JSON text.
    arguments: Vec<Box<str>>,
}

#[async_trait::async_trait]
impl Methods for OwnMethods {
    async fn call(&self, method: &str, invocation: ClientInvocation) -> Option<Bytes> {
        self.answer(method, &invocation).await
    }
}

impl OwnMethods {
    /// Handles one invocation; returns a framed completion in the client's protocol, if the client waits for one.
    async fn answer(&self, method: &str, invocation: &ClientInvocation) -> Option<Bytes> {
        let protocol = invocation.client.protocol;
        let answer = match (invocation.message_type, arguments(invocation)) {
            (1, Ok(arguments)) => self.carry_out(method, &MethodCall { invocation, arguments }).await?,
            (1 | 4, Err(why)) => Err(why),
            (4, Ok(_)) => Err(format!("{method} returns one result; call it with invoke, not as a stream")),
            // Items and ends of streams that no method asked for.
            _ => return None,
        };
        completion(protocol, invocation.invocation_id.as_deref()?, answer)
    }

    /// `None` if the client has its response already.
    async fn carry_out(&self, method: &str, call: &MethodCall<'_>) -> Option<MethodResult> {
        let name = NAMES.into_iter().find(|name| name.eq_ignore_ascii_case(method)).unwrap_or_default();
        Some(match name {
            "chappe.joinGroup" => self.change(call, Membership::Join).await,
            "chappe.leaveGroup" => self.change(call, Membership::Leave).await,
            "chappe.sendToGroup" => self.send(call).await,
            "chappe.follow" => match self.follow(call).await {
                Ok(()) => return None,
                Err(why) => Err(why),
            },
            "chappe.unfollow" => self.unfollow(call).await,
            _ => {
                let (last, others) = NAMES.split_last().expect("there are several");
                let others = others.join(", ");
                Err(format!("{method} is not a method of this service; the methods are {others} and {last}"))
            }
        })
    }

    async fn change(&self, call: &MethodCall<'_>, membership: Membership) -> MethodResult {
        let group = call.group(0)?.ok_or("the first argument must be the name of a group")?;
        if !call.roles().is_some_and(|roles| roles.may_join(group.as_str())) {
            return Err(denied("joinLeaveGroup", &group));
        }
        let client = &call.invocation.client;
        match self.engine.change_connection(&client.hub, client.id, &group, membership).await {
            Ok(_) => Ok(Value::Null),
            Err(GroupError::TooMany) => Err(GroupError::TooMany.to_string()),
            Err(GroupError::Stopped) => Err(STOPPING.to_owned()),
        }
    }

    async fn send(&self, call: &MethodCall<'_>) -> MethodResult {
        let group = call.group(0)?.ok_or("the first argument must be the name of a group")?;
        if !call.roles().is_some_and(|roles| roles.may_send(group.as_str())) {
            return Err(denied("sendToGroup", &group));
        }
        let target = call.text(1).ok_or("the second argument must be the method of the clients to call")?;
        let arguments = format!("[{}]", call.arguments.get(2..).unwrap_or_default().join(","));
        let message = OutgoingMessage::invocation(&target, &arguments).map_err(|error| error.to_string())?;
        let publish = Publish {
            hub: call.invocation.client.hub.clone(),
            target: Target::Group(group),
            excluded: Vec::new(),
            excluded_users: Vec::new(),
            message,
            trace: None,
        };
        self.engine.publish(publish).await.map_err(|error| error.to_string())?;
        Ok(Value::Null)
    }

    /// If the client follows now, the response has been sent: it must arrive before the first new message.
    async fn follow(&self, call: &MethodCall<'_>) -> Result<(), String> {
        let group = call.group(0)?;
        let position = match call.argument(1) {
            None => None,
            Some(position) => Some(string(position).ok_or("the second argument must be a position or null")?),
        };
        let may_join = match (&group, call.roles()) {
            (Some(group), Some(roles)) => roles.may_join(group.as_str()),
            _ => false,
        };
        let client = &call.invocation.client;
        let replay = Replay {
            engine: &self.engine,
            journal: &*self.journal,
            instance: &self.instance,
            history: self.history.as_deref(),
            hub: &client.hub,
            connection: client.id,
        };
        let response = |followed| FollowCompletion {
            protocol: client.protocol,
            invocation_id: call.invocation.invocation_id.clone(),
            followed,
        };
        let followed = replay.follow(group.as_ref(), position.as_deref(), may_join, response).await;
        followed.map_err(|error| error.to_string())
    }

    async fn unfollow(&self, call: &MethodCall<'_>) -> MethodResult {
        let group = call.group(0)?;
        let client = &call.invocation.client;
        self.engine.unfollow(client.id, group.as_ref()).await.map_err(|_| STOPPING.to_owned())?;
        Ok(Value::Null)
    }
}

const STOPPING: &str = "the service is shutting down";

fn denied(what: &str, group: &GroupName) -> String {
    format!(
        "the client's token has no role that lets it do so: give it the role chappe.{what}.{group}, or chappe.{what} for every group"
    )
}

impl MethodCall<'_> {
    fn roles(&self) -> Option<&Roles> {
        self.invocation.roles.as_ref()
    }

    /// An argument; `None` if it is null or missing.
    fn argument(&self, index: usize) -> Option<&str> {
        self.arguments.get(index).map(AsRef::as_ref).filter(|argument| *argument != "null")
    }

    fn text(&self, index: usize) -> Option<Cow<'_, str>> {
        self.argument(index).and_then(string).filter(|text| !text.is_empty())
    }

    /// The group that an argument names; `None` if it is null or missing.
    fn group(&self, index: usize) -> Result<Option<GroupName>, String> {
        let Some(argument) = self.argument(index) else { return Ok(None) };
        let name = string(argument).ok_or("the name of a group must be a string")?;
        group(&name).map(Some).map_err(|error| error.to_string())
    }
}

fn arguments(invocation: &ClientInvocation) -> Result<Vec<Box<str>>, String> {
    let protocol = invocation.client.protocol;
    let message = parse(protocol, &invocation.payload).map_err(|error| error.to_string())?;
    let (HubMessage::Invocation(Invocation { arguments, .. })
    | HubMessage::StreamInvocation(Invocation { arguments, .. })) = message
    else {
        return Ok(Vec::new());
    };
    let unreadable = |error: &dyn std::error::Error| format!("the arguments cannot be read: {error}");
    let json = match protocol {
        HubProtocol::Json => arguments.into_owned(),
        HubProtocol::MessagePack | HubProtocol::BlazorPack => {
            let mut json = Vec::new();
            msgpack_to_json(&arguments, &mut json).map_err(|error| unreadable(&error))?;
            json
        }
    };
    check_json(&json).map_err(|error| unreadable(&error))?;
    let json = std::str::from_utf8(&json).map_err(|error| unreadable(&error))?;
    let elements = elements(json).map_err(|error| unreadable(&error))?;
    Ok(elements.into_iter().map(Into::into).collect())
}

fn completion(protocol: HubProtocol, invocation_id: &str, answer: MethodResult) -> Option<Bytes> {
    let result = match answer {
        Err(error) => CompletionResult::Error(error.into()),
        Ok(Value::Null) => CompletionResult::Void,
        Ok(value) => {
            let json = value.to_string().into_bytes();
            CompletionResult::Value(match protocol {
                HubProtocol::Json => json.into(),
                HubProtocol::MessagePack | HubProtocol::BlazorPack => {
                    let mut packed = Vec::new();
                    json_to_msgpack(&json, &mut packed).ok()?;
                    packed.into()
                }
            })
        }
    };
    let completion = Completion { headers: Vec::new(), invocation_id: invocation_id.into(), result };
    let mut framed = Vec::new();
    HubMessage::Completion(completion).encode(protocol, &mut framed);
    Some(framed.into())
}
