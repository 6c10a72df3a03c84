//! [`ReloadRequest`] requests a new generation of the app; [`ReloadError`] says why a changed app is not in service.

use std::sync::Arc;

use http_messages::ErrorDescription;
use tokio::sync::oneshot;

use crate::function_error::FunctionError;

/// Requests a new generation; receives the outcome of its start.
pub(crate) type ReloadRequest = oneshot::Sender<Result<(), Arc<ReloadError>>>;

/// Why a changed app is not in service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ReloadError {
    pub(crate) description: &'static ErrorDescription,
    /// The reason, for all functions.
    pub(crate) why: String,
    /// The functions that are the reason, each with its own.
    pub(crate) functions: Vec<(String, FunctionError)>,
}

impl ReloadError {
    /// The error, as text for people.
    pub(crate) fn text(&self) -> String {
        format!(
            "The changed function app did not start, and the previous version stays in service: {}",
            self.why
        )
    }

    /// Why the changed version of a function is not in service; `None` if other functions are the reason.
    pub(crate) fn of_function(&self, name: &str) -> Option<String> {
        if self.functions.is_empty() {
            return Some(self.text());
        }
        let own = self.functions.iter().find(|(other, _)| other.eq_ignore_ascii_case(name));
        own.map(|(_, why)| format!("The changed version of the function is in error, and the previous one stays in service: {why}"))
    }
}
