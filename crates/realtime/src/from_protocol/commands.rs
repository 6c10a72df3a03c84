//! Parses the body of `:execute`: commands for the connections that a filter selects.

use bytes::Bytes;

use super::fields::{Fields, FieldsError, elements, json_text};
use super::message::{Payload, invalid};
use crate::error_table;
use crate::names::group;
use crate::rejection::Rejection;
use realtime_engine::{Action, CloseRequest};

/// Most commands in one request.
const COMMANDS_MAX: usize = 100;

/// Parses all commands, or returns an error for each invalid one: none is executed unless all are valid.
pub(crate) fn commands(body: &Bytes) -> Result<Vec<Action>, Rejection> {
    let commands = json_text(body).and_then(elements);
    let commands =
        commands.map_err(|error| invalid(format!("the body is not an array of commands: {error}")))?;
    if commands.len() > COMMANDS_MAX {
        let message = format!("there are {} commands, more than the {COMMANDS_MAX} allowed", commands.len());
        return Err(invalid(message));
    }
    let (mut actions, mut refused) = (Vec::with_capacity(commands.len()), Vec::new());
    for (index, command) in commands.into_iter().enumerate() {
        match action(command, index) {
            Ok(action) => actions.push(action),
            Err(rejection) => refused.push(rejection),
        }
    }
    if refused.is_empty() {
        return Ok(actions);
    }
    let first = &refused[0];
    let message = format!("{}: {}", first.target.as_deref().unwrap_or("commands"), first.message);
    Err(Rejection::new(&error_table::INVALID_COMMANDS, message).about("commands").because(refused))
}

fn action(command: &str, index: usize) -> Result<Action, Rejection> {
    let here = format!("commands[{index}]");
    let malformed = |error: FieldsError| invalid(format!("it is not a command: {error}"));
    let read = || -> Result<Action, Rejection> {
        let fields = Fields::parse(command).map_err(malformed)?;
        let kind = fields.string("type").map_err(malformed)?.unwrap_or_default();
        let text = |name| fields.string(name).map_err(malformed);
        match kind.to_ascii_lowercase().as_str() {
            "sendmessage" => {
                let message = fields.raw("message").ok_or_else(|| invalid("SendMessage needs a message"))?;
                let payload = Payload::from_json_value(message).map_err(|error| invalid(error.to_string()));
                Ok(Action::Send(payload?.message()?))
            }
            "joingroup" => Ok(Action::Join(group(&text("group")?.unwrap_or_default())?)),
            "leavegroup" => Ok(Action::Leave(group(&text("group")?.unwrap_or_default())?)),
            "closeconnection" => {
                let reason = text("reason")?.filter(|reason| !reason.is_empty());
                let allow_reconnect = fields.boolean("allowReconnect").map_err(malformed)?.unwrap_or(true);
                Ok(Action::Close(CloseRequest { reason: reason.as_deref().map(Into::into), allow_reconnect }))
            }
            _ => Err(invalid("its type must be SendMessage, JoinGroup, LeaveGroup or CloseConnection")),
        }
    };
    read().map_err(|rejection| rejection.about(here))
}
