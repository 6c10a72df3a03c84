//! Functions that cannot run, with the reason for their author. Pure.

use worker_protocol::{FunctionMetadata, StatusResult};

use crate::error_table::declaration;
use crate::function::{Declaration, Trigger};
use crate::function_error::FunctionError;
use crate::invoke::Function;
use crate::setting_use::SettingUse;

/// Splits off the functions that lack a setting, with the reason.
pub(super) fn without_settings(
    metadata: Vec<FunctionMetadata>,
    settings: &[SettingUse],
) -> (Vec<FunctionMetadata>, Vec<(String, FunctionError)>) {
    let (mut complete, mut lacking) = (Vec::new(), Vec::new());
    for function in metadata {
        let missing: Vec<String> = settings
            .iter()
            .filter(|setting| !setting.is_set && setting.functions.contains(&function.name))
            .map(|setting| format!("{:?}", setting.name))
            .collect();
        match missing.as_slice() {
            [] => complete.push(function),
            [one] => lacking.push((function.name, missing_setting(format!("the setting {one} is missing")))),
            several => {
                let text = format!("the settings {} are missing", several.join(", "));
                lacking.push((function.name, missing_setting(text)));
            }
        }
    }
    (complete, lacking)
}

fn missing_setting(text: String) -> FunctionError {
    FunctionError::new(&declaration::MISSING_SETTING, text)
}

/// The sort key of functions: by name without case. Of two functions whose routes match, the first gets the request.
pub(super) fn order(name: &str) -> String {
    name.to_ascii_uppercase()
}

/// Splits off the functions that share a route and a method with another function that is first by name. The routes of disabled
/// functions do not count.
pub(super) fn without_conflicts(
    mut declared: Vec<Declaration>,
) -> (Vec<Declaration>, Vec<(String, FunctionError)>) {
    declared.sort_by_key(|declaration| order(&declaration.metadata.name));
    let (mut valid, mut errors): (Vec<Declaration>, Vec<(String, FunctionError)>) = (Vec::new(), Vec::new());
    for declaration in declared {
        match valid.iter().find(|earlier| conflicts(earlier, &declaration)) {
            Some(earlier) => {
                let name = &earlier.metadata.name;
                let why =
                    format!("The route specified conflicts with the route defined by function '{name}'.");
                errors
                    .push((declaration.metadata.name, FunctionError::new(&declaration::ROUTE_CONFLICT, why)));
            }
            None => valid.push(declaration),
        }
    }
    (valid, errors)
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

/// The warning for a function whose requests another function gets.
pub(super) fn hidden_by(hidden: &Function, first: &Function) -> String {
    let route = |function: &Function| match &function.declaration.trigger {
        Trigger::Http(http) => http.template.source().to_owned(),
        Trigger::Timer(_) | Trigger::Manual | Trigger::Source | Trigger::Push => String::new(),
    };
    format!(
        "Requests that match the routes of both '{}' ({}) and '{}' ({}) go to '{}': the first by name gets them, even if its route is \
         more general. Rename one of the two, or restrict its route with a constraint.",
        first.name(),
        route(first),
        hidden.name(),
        route(hidden),
        first.name()
    )
}

/// Why a function that the worker could not load is in error: one line, with the location in the app's code if known.
pub(super) fn not_loaded(language: &str, result: &StatusResult) -> FunctionError {
    let message = result.message();
    let first = message.lines().next().unwrap_or_default().trim().trim_end_matches('.');
    let first = if first.is_empty() { "the worker gave no reason" } else { first };
    let stack = result.exception.as_ref().map_or("", |exception| exception.stack_trace.as_str());
    let location =
        stack.lines().map(str::trim).find(|line| line.starts_with("at ") || line.starts_with("File "));
    let location = location.map(|location| format!(" ({location})")).unwrap_or_default();
    let text = format!(
        "the {language} worker could not load it: {first}{location}. Correct its code or its declaration, then start again"
    );
    FunctionError::new(&declaration::NOT_LOADED, text)
}

#[cfg(test)]
mod tests {
    use worker_protocol::RpcException;

    use super::*;

    #[test]
    fn a_function_that_does_not_load_is_reported_in_one_line_with_its_location() {
        let mut result = StatusResult::failure("SyntaxError: Unexpected token.\nand more");
        assert_eq!(
            not_loaded("node", &result).text,
            "the node worker could not load it: SyntaxError: Unexpected token. Correct its code or its declaration, then start again"
        );
        result.exception = Some(RpcException {
            message: "ImportError: no module named x".to_owned(),
            stack_trace: "Traceback\n  File \"/app/function_app.py\", line 3, in <module>\n    import x"
                .to_owned(),
            ..RpcException::default()
        });
        let text = not_loaded("python", &result).text;
        assert!(
            text.contains("no module named x (File \"/app/function_app.py\", line 3, in <module>). Correct"),
            "{text}"
        );
        assert_eq!(text.lines().count(), 1);
    }
}
