//! [`check_takeover`]: whether a generation may replace the one in service.

use crate::error_table::declaration;
use crate::function_error::FunctionError;
use crate::function_info::in_error;
use crate::generation::Generation;
use crate::reload_error::ReloadError;

/// Checks that a generation may replace the one in service.
///
/// # Errors
///
/// If a function that can run in `current` is in error in `next`, or if `next` has no functions at all. Such an app is being edited at the
/// moment.
pub(crate) fn check_takeover(next: &Generation, current: &Generation) -> Result<(), ReloadError> {
    let can_run = |(name, _): &&(String, FunctionError)| current.find(name).is_some();
    let functions: Vec<(String, FunctionError)> = next.errors.iter().filter(can_run).cloned().collect();
    if let [(_, first), ..] = functions.as_slice() {
        let description = first.description;
        let lines: Vec<String> = functions.iter().map(|(name, why)| in_error(name, &why.text)).collect();
        return Err(ReloadError { description, why: lines.join("\n"), functions });
    }
    if next.functions.is_empty() && !current.functions.is_empty() {
        let why = "it has no functions any more. Add a function, or restart the host to run the app without functions";
        return Err(ReloadError { description: &declaration::NO_FUNCTIONS, why: why.to_owned(), functions });
    }
    Ok(())
}
