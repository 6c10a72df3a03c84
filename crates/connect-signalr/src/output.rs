//! What a function writes to a `signalR` output: messages and group actions.

use functions_contract::{BindingError, Value};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::endpoint_settings::EndpointType;

/// One item of an output.
#[derive(Debug)]
pub(crate) struct OutputItem {
    pub(crate) content: ItemContent,
    /// The endpoints to which it is sent; `None`: all.
    pub(crate) endpoints: Option<Vec<NamedEndpoint>>,
}

/// What an item does.
#[derive(Debug)]
pub(crate) enum ItemContent {
    Message(SignalRMessage),
    GroupAction(SignalRGroupAction),
}

/// An endpoint as an item names it: with the facts that `signalREndpoints` and `signalRNegotiation` show.
#[derive(Debug)]
pub(crate) struct NamedEndpoint {
    pub(crate) name: String,
    pub(crate) kind: EndpointType,
    pub(crate) url: String,
}

/// A method to invoke on clients.
#[derive(Debug)]
pub struct SignalRMessage {
    /// The clients.
    pub recipient: Recipient,
    /// The method's name.
    pub target: String,
    /// Its arguments: a JSON array, as the function wrote it.
    pub arguments: Box<RawValue>,
}

/// The clients that receive a message. If an item names several, the narrowest wins: connection, user, group, all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Recipient {
    /// All clients of the hub.
    All,
    /// One connection, by its id.
    Connection(String),
    /// All connections of a user.
    User(String),
    /// All members of a group.
    Group(String),
}

/// A change of group membership.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignalRGroupAction {
    /// The connection or user whose membership changes.
    pub member: GroupMember,
    /// The change.
    pub action: GroupAction,
}

/// The member of a group. If an item names both, the connection wins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GroupMember {
    /// One connection, by its id.
    Connection(String),
    /// A user: all connections, including later ones.
    User(String),
}

/// The kind of change, with the group that it concerns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GroupAction {
    /// Add the member to this group.
    Add(String),
    /// Remove the member from this group.
    Remove(String),
    /// Remove the member from all groups.
    RemoveAll,
}

const NO_MEMBER: &str = "a group action needs a connectionId or a userId";
const NO_GROUP: &str = "a group action needs a groupName, except removeAll";

/// The item as the function wrote it. Names are in lower camel case from JavaScript and in Pascal case from .NET serialisers.
#[derive(Deserialize)]
struct WrittenItem {
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
    #[serde(alias = "Endpoints")]
    endpoints: Option<Vec<WrittenEndpoint>>,
}

#[derive(Deserialize)]
struct WrittenEndpoint {
    #[serde(alias = "EndpointType")]
    #[serde(rename = "endpointType")]
    kind: Option<WrittenType>,
    #[serde(alias = "Name")]
    name: Option<String>,
    #[serde(alias = "Endpoint")]
    endpoint: String,
}

/// The serialiser of the extension accepts names and numbers.
#[derive(Deserialize)]
#[serde(untagged)]
enum WrittenType {
    Name(String),
    Number(u8),
}

impl WrittenEndpoint {
    fn named(self) -> Result<NamedEndpoint, BindingError> {
        let kind = match &self.kind {
            None | Some(WrittenType::Number(0)) => Some(EndpointType::Primary),
            Some(WrittenType::Number(1)) => Some(EndpointType::Secondary),
            Some(WrittenType::Name(name)) => EndpointType::parse(name),
            Some(WrittenType::Number(_)) => None,
        };
        let kind = kind.ok_or_else(|| {
            invalid("the endpointType of an endpoint of a signalR output must be Primary or Secondary")
        })?;
        Ok(NamedEndpoint { name: self.name.unwrap_or_default(), kind, url: self.endpoint })
    }
}

impl OutputItem {
    pub(crate) fn parse(value: &Value) -> Result<Self, BindingError> {
        let (Value::Json(text) | Value::Text(text)) = value else {
            return Err(invalid(
                "an item of a signalR output must be an object, such as { target, arguments: [] }",
            ));
        };
        let written: WrittenItem = serde_json::from_str(text).map_err(|error| {
            invalid(&format!(
                "an item of a signalR output must be an object with target and arguments: {error}"
            ))
        })?;
        let named = written.endpoints.map(|all| all.into_iter().map(WrittenEndpoint::named).collect());
        let endpoints = named.transpose()?;
        let non_empty = |text: Option<String>| text.filter(|text| !text.is_empty());
        let connection = non_empty(written.connection_id);
        let user = non_empty(written.user_id);
        let group = non_empty(written.group_name);
        // An object with a target is a message even if it has an action: the extension tries that first.
        if let Some(target) = written.target {
            let arguments = written.arguments.unwrap_or_else(no_arguments);
            if !arguments.get().starts_with('[') {
                return Err(invalid("the arguments of a message must be an array"));
            }
            let recipient = match (connection, user, group) {
                (Some(connection), _, _) => Recipient::Connection(connection),
                (None, Some(user), _) => Recipient::User(user),
                (None, None, Some(group)) => Recipient::Group(group),
                (None, None, None) => Recipient::All,
            };
            let content = ItemContent::Message(SignalRMessage { recipient, target, arguments });
            return Ok(Self { content, endpoints });
        }
        let Some(action) = written.action else {
            return Err(invalid(
                "an item of a signalR output needs a target (a message) or an action (a group action)",
            ));
        };
        let change = SignalRGroupAction::parse(&action, connection, user, group)?;
        Ok(Self { content: ItemContent::GroupAction(change), endpoints })
    }
}

impl SignalRGroupAction {
    fn parse(
        action: &str,
        connection: Option<String>,
        user: Option<String>,
        group: Option<String>,
    ) -> Result<Self, BindingError> {
        let (needs_group, constructor): (bool, fn(String) -> GroupAction) =
            match action.to_ascii_lowercase().as_str() {
                "add" => (true, GroupAction::Add),
                "remove" => (true, GroupAction::Remove),
                "removeall" => (false, |_| GroupAction::RemoveAll),
                other => {
                    return Err(invalid(&format!(
                        "unknown group action {other:?}; use add, remove or removeAll"
                    )));
                }
            };
        let member = match (connection, user) {
            (Some(connection), _) => GroupMember::Connection(connection),
            (None, Some(user)) => GroupMember::User(user),
            (None, None) => return Err(invalid(NO_MEMBER)),
        };
        if needs_group && group.is_none() {
            return Err(invalid(NO_GROUP));
        }
        Ok(Self { member, action: constructor(group.unwrap_or_default()) })
    }
}

fn no_arguments() -> Box<RawValue> {
    RawValue::from_string("[]".to_owned()).expect("an empty array is JSON")
}

fn invalid(why: &str) -> BindingError {
    BindingError::Value(why.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &str) {
        let parsed = OutputItem::parse(&Value::Json(text.into()));
        let found = match parsed.map(|item| item.content) {
            Ok(ItemContent::Message(SignalRMessage { recipient, target, arguments })) => {
                format!("{recipient:?} {target} {arguments}")
            }
            Ok(ItemContent::GroupAction(change)) => format!("{:?} {:?}", change.member, change.action),
            Err(error) => error.to_string(),
        };
        assert_eq!(found, expected, "{text}");
    }

    #[test]
    fn a_message_with_several_recipients_goes_to_the_narrowest() {
        check(r#"{"target":"t","arguments":[1, "x"]}"#, r#"All t [1, "x"]"#);
        check(r#"{"target":"t"}"#, "All t []");
        check(r#"{"target":"t","groupName":"g","userId":"u","connectionId":"c"}"#, r#"Connection("c") t []"#);
        check(r#"{"Target":"t","Arguments":[],"UserId":"u","GroupName":"g"}"#, r#"User("u") t []"#);
        check(r#"{"target":"t","userId":"","groupName":"g"}"#, r#"Group("g") t []"#);
    }

    #[test]
    fn an_item_with_an_action_changes_group_membership() {
        check(r#"{"action":"add","groupName":"g","userId":"u"}"#, r#"User("u") Add("g")"#);
        check(
            r#"{"action":"Remove","groupName":"g","userId":"u","connectionId":"c"}"#,
            r#"Connection("c") Remove("g")"#,
        );
        check(r#"{"action":"removeAll","connectionId":"c"}"#, r#"Connection("c") RemoveAll"#);
        check(r#"{"action":"removeAll","groupName":"g","userId":"u"}"#, r#"User("u") RemoveAll"#);
    }

    #[test]
    fn an_item_may_name_its_endpoints() {
        let named = |text: &str| {
            let item = OutputItem::parse(&Value::Json(text.into())).map_err(|error| error.to_string())?;
            let text = |one: &NamedEndpoint| format!("{} {} {}", one.name, one.kind.name(), one.url);
            Ok(item.endpoints.map(|all| all.iter().map(text).collect::<Vec<_>>().join(", ")))
        };
        assert_eq!(named(r#"{"target":"t"}"#), Ok(None));
        assert_eq!(named(r#"{"target":"t","endpoints":null}"#), Ok(None));
        assert_eq!(named(r#"{"target":"t","endpoints":[]}"#), Ok(Some(String::new())));
        let several = r#"{"action":"removeAll","userId":"u","endpoints":[
            {"endpointType":"Secondary","name":"a","endpoint":"http://a","online":true},
            {"EndpointType":1,"Name":"b","Endpoint":"http://b"}, {"endpoint":"http://c"}]}"#;
        let expected = "a Secondary http://a, b Secondary http://b,  Primary http://c";
        assert_eq!(named(several), Ok(Some(expected.to_owned())));
        let wrong = r#"{"target":"t","endpoints":[{"endpoint":"http://a","endpointType":"third"}]}"#;
        let error: String = named(wrong).expect_err("no such type");
        assert!(error.ends_with("must be Primary or Secondary"), "{error}");
    }

    #[test]
    fn an_invalid_item_is_rejected_with_the_reason() {
        check("{}", "an item of a signalR output needs a target (a message) or an action (a group action)");
        check(r#"{"action":"add","groupName":"g"}"#, NO_MEMBER);
        check(r#"{"action":"add","userId":"u"}"#, NO_GROUP);
        check(
            r#"{"action":"drop","userId":"u"}"#,
            r#"unknown group action "drop"; use add, remove or removeAll"#,
        );
        check(r#"{"target":"t","arguments":{}}"#, "the arguments of a message must be an array");
    }
}
