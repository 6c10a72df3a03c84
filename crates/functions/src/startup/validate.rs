//! Which functions of an app cannot run, and how their author is told. Pure.

use worker_protocol::{FunctionMetadata, StatusResult};

use crate::function::{Declaration, Trigger};
use crate::invoke::Function;
use crate::setting_use::SettingUse;

/// Parts the functions that lack a setting, with the reason, from the others.
pub(super) fn without_settings(
    metadata: Vec<FunctionMetadata>,
    settings: &[SettingUse],
) -> (Vec<FunctionMetadata>, Vec<(String, String)>) {
    let (mut whole, mut lacking) = (Vec::new(), Vec::new());
    for function in metadata {
        let missing: Vec<String> = settings
            .iter()
            .filter(|setting| !setting.is_set && setting.functions.contains(&function.name))
            .map(|setting| format!("{:?}", setting.name))
            .collect();
        match missing.as_slice() {
            [] => whole.push(function),
            [one] => lacking.push((function.name, format!("the setting {one} is missing"))),
            several => {
                lacking.push((function.name, format!("the settings {} are missing", several.join(", "))));
            }
        }
    }
    (whole, lacking)
}

/// The order of functions: by name, without case. Between two whose routes match, the first has the request.
pub(super) fn order(name: &str) -> String {
    name.to_ascii_uppercase()
}

/// Parts the functions whose route and a method of theirs belong to another function, which comes first by name, from the others. A
/// disabled function takes no route away.
pub(super) fn without_conflicts(mut declared: Vec<Declaration>) -> (Vec<Declaration>, Vec<(String, String)>) {
    declared.sort_by_key(|declaration| order(&declaration.metadata.name));
    let (mut kept, mut errors): (Vec<Declaration>, Vec<(String, String)>) = (Vec::new(), Vec::new());
    for declaration in declared {
        match kept.iter().find(|earlier| conflicts(earlier, &declaration)) {
            Some(earlier) => {
                let name = &earlier.metadata.name;
                let why =
                    format!("The route specified conflicts with the route defined by function '{name}'.");
                errors.push((declaration.metadata.name, why));
            }
            None => kept.push(declaration),
        }
    }
    (kept, errors)
}

fn conflicts(earlier: &Declaration, later: &Declaration) -> bool {
    let (Trigger::Http(a), Trigger::Http(b)) = (&earlier.trigger, &later.trigger) else { return false };
    let is_enabled = !earlier.is_disabled && !later.is_disabled;
    let is_same_route = a.template.source().eq_ignore_ascii_case(b.template.source());
    let shares_a_method = a.methods.is_empty()
        || b.methods.is_empty()
        || a.methods.iter().any(|method| b.methods.contains(method));
    is_enabled && is_same_route && shares_a_method
}

/// What the author of a function is told whose requests another function has.
pub(super) fn hidden_by(hidden: &Function, first: &Function) -> String {
    let route = |function: &Function| match &function.declaration.trigger {
        Trigger::Http(http) => http.template.source().to_owned(),
        Trigger::Timer(_) | Trigger::Manual | Trigger::Source => String::new(),
    };
    format!(
        "Requests that match the routes of both '{}' ({}) and '{}' ({}) go to '{}': the first by name has them, however general \
         its route. Rename one of the two, or narrow its route with a constraint.",
        first.name(),
        route(first),
        hidden.name(),
        route(hidden),
        first.name()
    )
}

/// Why a function is in error that the worker could not load: one line, with the place in the app's code where there is one.
pub(super) fn not_loaded(language: &str, result: &StatusResult) -> String {
    let message = result.message();
    let first = message.lines().next().unwrap_or_default().trim().trim_end_matches('.');
    let first = if first.is_empty() { "it gave no reason" } else { first };
    let stack = result.exception.as_ref().map_or("", |exception| exception.stack_trace.as_str());
    let place =
        stack.lines().map(str::trim).find(|line| line.starts_with("at ") || line.starts_with("File "));
    let place = place.map(|place| format!(" ({place})")).unwrap_or_default();
    format!(
        "the {language} worker could not load it: {first}{place}. Correct its code or its declaration, then start again"
    )
}

#[cfg(test)]
mod tests {
    use worker_protocol::RpcException;

    use super::*;

    #[test]
    fn a_function_that_does_not_load_is_reported_in_one_line_with_its_location() {
        let mut result = StatusResult::failure("SyntaxError: Unexpected token.\nand more");
        assert_eq!(
            not_loaded("node", &result),
            "the node worker could not load it: SyntaxError: Unexpected token. Correct its code or its declaration, then start again"
        );
        result.exception = Some(RpcException {
            message: "ImportError: no module named x".to_owned(),
            stack_trace: "Traceback\n  File \"/app/function_app.py\", line 3, in <module>\n    import x"
                .to_owned(),
            ..RpcException::default()
        });
        let text = not_loaded("python", &result);
        assert!(
            text.contains("no module named x (File \"/app/function_app.py\", line 3, in <module>). Correct"),
            "{text}"
        );
        assert_eq!(text.lines().count(), 1);
    }
}
