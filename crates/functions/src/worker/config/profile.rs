//! `profiles` of a worker's configuration: variants of its description, chosen by conditions. Pure.

use std::collections::BTreeMap;

use fancy_regex::RegexBuilder;
use serde_json::Value as Json;

/// Backtracking steps that the expression of a condition may take.
const STEPS_MAX: usize = 100_000;

/// Replaces values of the description with those of the first profile whose conditions all hold.
pub(super) fn apply(config: &mut Json, env: &BTreeMap<String, String>, host_version: &str) {
    let profiles = config.get("profiles").and_then(Json::as_array).cloned().unwrap_or_default();
    let holds = |profile: &&Json| {
        let conditions = profile.get("conditions").and_then(Json::as_array);
        conditions.is_some_and(|all| all.iter().all(|condition| is_met(condition, env, host_version)))
    };
    let Some(profile) = profiles.iter().find(holds) else { return };
    let Some(Json::Object(changes)) = profile.get("description") else { return };
    if let Some(Json::Object(description)) = config.get_mut("description") {
        let changes = changes.iter().filter(|(_, value)| !value.is_null());
        description.extend(changes.map(|(name, value)| (name.clone(), value.clone())));
    }
}

/// An unknown condition does not hold.
fn is_met(condition: &Json, env: &BTreeMap<String, String>, host_version: &str) -> bool {
    let text = |name: &str| condition.get(name).and_then(Json::as_str).unwrap_or_default();
    let name = text("conditionName");
    let value = match text("conditionType").to_ascii_lowercase().as_str() {
        "environment" => env.get(name).map(String::as_str),
        "hostproperty" => match name.to_ascii_lowercase().as_str() {
            "hostversion" => Some(host_version),
            "platform" => Some(std::env::consts::OS),
            _ => None,
        },
        _ => None,
    };
    let expression = RegexBuilder::new(text("conditionExpression")).backtrack_limit(STEPS_MAX).build();
    match (value, expression) {
        (Some(value), Ok(expression)) => expression.is_match(value).unwrap_or_default(),
        _ => false,
    }
}
