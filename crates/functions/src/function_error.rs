//! [`FunctionError`]: why a function is in error.

use std::fmt;

use http_messages::ErrorDescription;

/// Why a function cannot run. Displayed as the text for its author.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FunctionError {
    pub(crate) description: &'static ErrorDescription,
    /// What is wrong with the function, and what to do.
    pub(crate) text: String,
}

impl FunctionError {
    pub(crate) fn new(description: &'static ErrorDescription, text: impl Into<String>) -> Self {
        Self { description, text: text.into() }
    }
}

impl fmt::Display for FunctionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}
