//! [`InvocationError`]: an invocation failed.

use functions_contract::BindingError;
use http_messages::{ErrorDescription, error_chain};
use worker_protocol::StatusResult;

use crate::error_table::invocation;
use crate::expression::ResolveError;
use crate::worker::InvokeError;

/// An invocation failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum InvocationError {
    /// An expression had no value.
    #[error("binding '{binding}'")]
    Expression {
        binding: String,
        #[source]
        cause: ResolveError,
    },
    /// An input could not be read.
    #[error("cannot read input '{binding}'")]
    Input {
        binding: String,
        #[source]
        cause: BindingError,
    },
    /// The function failed, with this message and stack.
    #[error("{}", describe(result))]
    Function {
        /// The result that the worker sent.
        result: Box<StatusResult>,
    },
    /// There is no response.
    #[error("{cause}")]
    Worker {
        /// The reason. It is part of the message, so it is not a `source`.
        cause: InvokeError,
    },
    /// An output could not be written; the function itself succeeded.
    #[error("cannot write output '{binding}'")]
    Output {
        binding: String,
        #[source]
        cause: BindingError,
    },
}

impl InvocationError {
    /// Whether the invocation was interrupted: whether the function did anything is unknown, so a batch has to be processed again.
    pub(crate) fn is_interrupted(&self) -> bool {
        matches!(
            self,
            Self::Worker {
                cause: InvokeError::WorkerGone { .. } | InvokeError::NoWorker { .. } | InvokeError::Draining
            }
        )
    }

    /// Its code, and what to do.
    pub(crate) fn description(&self) -> &'static ErrorDescription {
        match self {
            Self::Expression { .. } => &invocation::NO_EXPRESSION_VALUE,
            Self::Input { cause, .. } | Self::Output { cause, .. } => cause.description(),
            Self::Function { .. } => &invocation::EXCEPTION,
            Self::Worker { cause } => cause.description(),
        }
    }

    /// The message with all its causes.
    pub(crate) fn with_causes(&self) -> String {
        error_chain(self)
    }
}

/// A failure as text: type and source of the exception, its message and its stack.
fn describe(result: &StatusResult) -> String {
    let Some(exception) = &result.exception else { return result.message().to_owned() };
    let message = result.message();
    let stack = exception.stack_trace.trim_end();
    // A JavaScript stack starts with the message, others do not contain it.
    let text = match stack {
        "" => message.to_owned(),
        stack if stack.contains(message) => stack.to_owned(),
        stack => format!("{message}\n{stack}"),
    };
    let first = text.lines().next().unwrap_or_default();
    let kind = Some(exception.kind.as_str()).filter(|kind| !kind.is_empty() && !first.contains(kind));
    match (kind, exception.source.as_str()) {
        (None, "") => text,
        (Some(kind), "") => format!("{kind}: {text}"),
        (Some(kind), source) => format!("{kind} in {source}: {text}"),
        (None, source) => format!("in {source}: {text}"),
    }
}

#[cfg(test)]
mod tests {
    use worker_protocol::RpcException;

    use super::*;

    #[test]
    fn a_failure_names_type_and_source_of_its_exception_once() {
        let text = |kind: &str, source: &str, message: &str, stack: &str| {
            let mut result = StatusResult::failure(message);
            result.exception = Some(RpcException {
                kind: kind.to_owned(),
                source: source.to_owned(),
                message: message.to_owned(),
                stack_trace: stack.to_owned(),
                ..RpcException::default()
            });
            describe(&result)
        };
        assert_eq!(
            text("System.InvalidOperationException", "HttpApp", "on purpose", "   at HttpApp.Throw()"),
            "System.InvalidOperationException in HttpApp: on purpose\n   at HttpApp.Throw()"
        );
        assert_eq!(text("ValueError", "", "ValueError: bad", "line 1"), "ValueError: bad\nline 1");
        assert_eq!(text("TypeError", "", "bad", "TypeError: bad\n at f"), "TypeError: bad\n at f");
        assert_eq!(describe(&StatusResult::failure("plain")), "plain");
    }
}
