//! What a function gives to a `signalR` output: a message, or a change of a group.

use functions_contract::{BindingError, Value};
use serde::Deserialize;
use serde_json::value::RawValue;

/// One item, read.
#[derive(Debug)]
pub(crate) enum Item {
    /// Call a method of clients.
    Message { receiver: Receiver, target: String, arguments: Box<RawValue> },
    /// Change a group.
    Group(Change),
}

/// Who gets a message. Where an item names several, the narrowest wins: connection, user, group, all.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Receiver {
    All,
    Connection(String),
    User(String),
    Group(String),
}

/// A change of a group's members.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Change {
    pub(crate) action: Action,
    pub(crate) group: Option<String>,
    pub(crate) connection: Option<String>,
    pub(crate) user: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    Add,
    Remove,
    RemoveAll,
}

pub(crate) const NO_MEMBER: &str = "a group action needs a connectionId or a userId";
pub(crate) const NO_GROUP: &str = "a group action needs a groupName, except removeAll";

/// The item as written. Names are lower camel case in JavaScript and Pascal case from .NET serialisers.
#[derive(Deserialize)]
struct Written {
    #[serde(alias = "Target")]
    target: Option<String>,
    #[serde(alias = "Arguments")]
    arguments: Option<Box<RawValue>>,
    #[serde(alias = "ConnectionId")]
    #[serde(rename = "connectionId")]
    connection_id: Option<String>,
    #[serde(alias = "UserId")]
    #[serde(rename = "userId")]
    user_id: Option<String>,
    #[serde(alias = "GroupName")]
    #[serde(rename = "groupName")]
    group_name: Option<String>,
    #[serde(alias = "Action")]
    action: Option<String>,
}

impl Item {
    pub(crate) fn parse(value: &Value) -> Result<Self, BindingError> {
        let (Value::Json(text) | Value::Text(text)) = value else {
            return Err(wrong("an item of a signalR output is an object, such as { target, arguments: [] }"));
        };
        let written: Written = serde_json::from_str(text).map_err(|error| {
            wrong(&format!("an item of a signalR output is an object with target and arguments: {error}"))
        })?;
        let filled = |text: Option<String>| text.filter(|text| !text.is_empty());
        let (connection, user, group) =
            (filled(written.connection_id), filled(written.user_id), filled(written.group_name));
        // An object that has a target is a message, also when it has an action: the extension tries that first.
        if let Some(target) = written.target {
            let arguments = written.arguments.unwrap_or_else(no_arguments);
            if !arguments.get().starts_with('[') {
                return Err(wrong("the arguments of a message are an array"));
            }
            let receiver = match (connection, user, group) {
                (Some(connection), _, _) => Receiver::Connection(connection),
                (None, Some(user), _) => Receiver::User(user),
                (None, None, Some(group)) => Receiver::Group(group),
                (None, None, None) => Receiver::All,
            };
            return Ok(Self::Message { receiver, target, arguments });
        }
        let action = match written.action.as_deref().map(str::to_ascii_lowercase).as_deref() {
            Some("add") => Action::Add,
            Some("remove") => Action::Remove,
            Some("removeall") => Action::RemoveAll,
            Some(other) => {
                return Err(wrong(&format!(
                    "{other:?} is no group action; there are add, remove and removeAll"
                )));
            }
            None => {
                return Err(wrong(
                    "an item of a signalR output needs a target (a message) or an action (a group)",
                ));
            }
        };
        if connection.is_none() && user.is_none() {
            return Err(wrong(NO_MEMBER));
        }
        if group.is_none() && action != Action::RemoveAll {
            return Err(wrong(NO_GROUP));
        }
        Ok(Self::Group(Change { action, group, connection, user }))
    }
}

fn no_arguments() -> Box<RawValue> {
    RawValue::from_string("[]".to_owned()).expect("an empty array is JSON")
}

fn wrong(what: &str) -> BindingError {
    BindingError::Value(what.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &str) {
        let found = match Item::parse(&Value::Json(text.to_owned())) {
            Ok(Item::Message { receiver, target, arguments }) => format!("{receiver:?} {target} {arguments}"),
            Ok(Item::Group(change)) => format!("{change:?}"),
            Err(error) => error.to_string(),
        };
        assert_eq!(found, expected, "{text}");
    }

    #[test]
    fn the_narrowest_receiver_wins() {
        check(r#"{"target":"t","arguments":[1, "x"]}"#, r#"All t [1, "x"]"#);
        check(r#"{"target":"t"}"#, "All t []");
        check(r#"{"target":"t","groupName":"g","userId":"u","connectionId":"c"}"#, r#"Connection("c") t []"#);
        check(r#"{"Target":"t","Arguments":[],"UserId":"u","GroupName":"g"}"#, r#"User("u") t []"#);
        check(r#"{"target":"t","userId":"","groupName":"g"}"#, r#"Group("g") t []"#);
    }

    #[test]
    fn an_action_changes_a_group() {
        check(
            r#"{"action":"add","groupName":"g","userId":"u"}"#,
            r#"Change { action: Add, group: Some("g"), connection: None, user: Some("u") }"#,
        );
        check(
            r#"{"action":"removeAll","connectionId":"c"}"#,
            r#"Change { action: RemoveAll, group: None, connection: Some("c"), user: None }"#,
        );
    }

    #[test]
    fn what_is_neither_says_so() {
        check("{}", "an item of a signalR output needs a target (a message) or an action (a group)");
        check(r#"{"action":"add","groupName":"g"}"#, NO_MEMBER);
        check(r#"{"action":"add","userId":"u"}"#, NO_GROUP);
        check(
            r#"{"action":"drop","userId":"u"}"#,
            r#""drop" is no group action; there are add, remove and removeAll"#,
        );
        check(r#"{"target":"t","arguments":{}}"#, "the arguments of a message are an array");
    }
}
