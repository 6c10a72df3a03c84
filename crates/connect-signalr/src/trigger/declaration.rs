//! What a function declares: hub, category, event and the names of its parameters. Pure.

use functions_contract::{BindingError, BindingSpec};
use serde_json::Value as Json;

/// The declaration of a `signalRTrigger`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Declaration {
    pub(crate) hub: String,
    pub(crate) category: String,
    pub(crate) event: String,
    pub(crate) kind: TriggerEvent,
    /// The names under which the arguments of an invocation are in the trigger metadata; empty: they are not.
    pub(crate) parameter_names: Vec<String>,
}

/// The events that the function receives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TriggerEvent {
    /// Category `connections`, event `connected`.
    Connected,
    /// Category `connections`, event `disconnected`.
    Disconnected,
    /// Category `messages`: an invocation of the method that the event names.
    Message,
}

impl Declaration {
    pub(crate) fn parse(spec: &BindingSpec) -> Result<Self, BindingError> {
        let invalid = |why: String| {
            BindingError::Declaration(format!("the signalRTrigger of function '{}' {why}", spec.function))
        };
        let text = |name: &str, example: &str| {
            let found = spec.text(name).map(str::to_owned);
            found.ok_or_else(|| invalid(format!("needs {name}, such as {example}")))
        };
        let hub = text("hubName", "\"chat\"")?;
        let category = text("category", "\"messages\" or \"connections\"")?;
        let event = text("event", "\"connected\", \"disconnected\" or the name of a method")?;
        let kind = match (category.to_ascii_lowercase().as_str(), event.to_ascii_lowercase().as_str()) {
            ("messages", _) => TriggerEvent::Message,
            ("connections", "connected") => TriggerEvent::Connected,
            ("connections", "disconnected") => TriggerEvent::Disconnected,
            ("connections", _) => {
                return Err(invalid(format!(
                    "has event \"{event}\", which the category connections does not have; use connected or disconnected"
                )));
            }
            _ => {
                return Err(invalid(format!(
                    "has category \"{category}\", which does not exist; use messages or connections"
                )));
            }
        };
        let parameter_names = parameter_names(spec).map_err(invalid)?;
        Ok(Self { hub, category, event, kind, parameter_names })
    }
}

fn parameter_names(spec: &BindingSpec) -> Result<Vec<String>, String> {
    let names = match spec.property("parameterNames") {
        None | Some(Json::Null) => return Ok(Vec::new()),
        Some(Json::Array(names)) => names.iter().map(|name| name.as_str().map(str::to_owned)).collect(),
        Some(_) => None,
    };
    let names: Vec<String> = names.ok_or("needs parameterNames to be an array of texts")?;
    let mut lower: Vec<String> = names.iter().map(|name| name.to_lowercase()).collect();
    lower.sort_unstable();
    if lower.windows(2).any(|pair| pair[0] == pair[1]) {
        return Err("has a name twice in parameterNames; names must differ by more than case".to_owned());
    }
    Ok(names)
}
