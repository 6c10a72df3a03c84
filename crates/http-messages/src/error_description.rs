//! [`ErrorDescription`]: the meaning of a stable error code. Error constructors accept only descriptions, so no code is sent without
//! one, and the tables in `docs/errors` are rendered from the same values.

use std::fmt;
use std::time::Duration;

use http::header::RETRY_AFTER;
use http::{Response, StatusCode};
use serde_json::json;

use crate::message::{self, Body};

/// The meaning of an error code, the same for every error with this code. The message of one error is written where it is raised.
///
/// Made with [`error_table!`](crate::error_table), which puts it into the table of its service.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ErrorDescription {
    /// The stable code: `area-what-happened` for a code of our own; a code of an imitated protocol is as its SDKs know it.
    pub code: &'static str,
    /// The statuses of responses with this code; the first one applies unless the error names another one. Empty for an error
    /// that is not an HTTP response.
    pub statuses: &'static [StatusCode],
    /// Where the cause is.
    pub fault: Fault,
    /// Whether the same request can succeed if it is repeated.
    pub retry: RetryAdvice,
    /// What happened, in a sentence. Markdown, like the two below.
    pub happened: &'static str,
    /// Why: the causes.
    pub why: &'static str,
    /// What the reader can do about it.
    pub action: &'static str,
}

/// Where the cause of an error is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The request, or the program that sent it.
    Caller,
    /// The function app: its code, its declarations, its files.
    App,
    /// The command line, the configuration or the machine, which the operator can change.
    Operator,
    /// A system that the service needs for this request: an app server, a webhook, a login provider, a client that was asked.
    Upstream,
    /// This process: its state, its limits, its configuration, its machine.
    Service,
}

/// Whether the same request can succeed if it is repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RetryAdvice {
    /// The response is final, or a repetition could do something twice.
    No,
    /// Only after a change of the request, the configuration or the state that the error names.
    AfterChange,
    /// Later; when, is not known.
    Later,
    /// Later; the response says when (`Retry-After`), at least after this time.
    After(Duration),
}

impl ErrorDescription {
    /// A description. For [`error_table!`](crate::error_table), which also puts it into a table.
    #[doc(hidden)]
    #[must_use]
    pub const fn new(
        code: &'static str,
        statuses: &'static [StatusCode],
        (fault, retry): (Fault, RetryAdvice),
        [happened, why, action]: [&'static str; 3],
    ) -> Self {
        Self { code, statuses, fault, retry, happened, why, action }
    }

    /// The status of a response with this code, unless the error names another one of [`ErrorDescription::statuses`]. 500 for an
    /// error without a status of its own that ends a request nevertheless.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.statuses.first().copied().unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    /// The time for `Retry-After`.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        match self.retry {
            RetryAdvice::After(time) => Some(time),
            RetryAdvice::No | RetryAdvice::AfterChange | RetryAdvice::Later => None,
        }
    }

    /// The response with this code in our own protocol: `{"error": {"code", "message"}}`, and `Retry-After` in whole seconds if the
    /// description has a time.
    #[must_use]
    pub fn json_response(&self, message: &str) -> Response<Body> {
        let body = json!({ "error": { "code": self.code, "message": message } });
        let mut response = message::json(self.status(), body.to_string());
        if let Some(time) = self.retry_after() {
            let seconds = time.as_secs() + u64::from(time.subsec_nanos() > 0);
            response.headers_mut().insert(RETRY_AFTER, seconds.into());
        }
        response
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Caller => "caller",
            Self::App => "app",
            Self::Operator => "operator",
            Self::Upstream => "upstream",
            Self::Service => "service",
        })
    }
}

impl fmt::Display for RetryAdvice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::No => f.write_str("no"),
            Self::AfterChange => f.write_str("after a change"),
            Self::Later => f.write_str("later"),
            Self::After(_) => f.write_str("after `Retry-After`"),
        }
    }
}

/// The table of a page of `docs/errors`: one row for each description, in their order.
#[must_use]
pub fn error_table_markdown(errors: &[&ErrorDescription]) -> String {
    let mut table =
        "| code | status | what happened | why | what to do | fault | retry |\n|---|---|---|---|---|---|---|\n".to_owned();
    for error in errors {
        let ErrorDescription { code, fault, retry, happened, why, action, .. } = error;
        let statuses: Vec<&str> = error.statuses.iter().map(StatusCode::as_str).collect();
        let statuses = if statuses.is_empty() { "none".to_owned() } else { statuses.join(", ") };
        table += &format!("| `{code}` | {statuses} | {happened} | {why} | {action} | {fault} | {retry} |\n");
    }
    table
}

/// The admin API of the process has no operation with this method and path. Each service that mounts operations there sends it.
pub static ADMIN_NO_SUCH_PATH: ErrorDescription = ErrorDescription {
    code: "admin-no-such-path",
    statuses: &[StatusCode::NOT_FOUND],
    fault: Fault::Caller,
    retry: RetryAdvice::AfterChange,
    happened: "The admin API has no such operation.",
    why: "The path is wrong, or the operation has another method.",
    action: "See the section Admin API of [configuration](../configuration.md).",
};

/// Declares the errors of a service: a static [`ErrorDescription`] for each, and the table that has all of them in their order.
///
/// ```
/// http_messages::error_table! {
///     /// The errors of a queue.
///     pub ERRORS;
///
///     QUEUE_FULL = {
///         code: "queue-full",
///         statuses: [TOO_MANY_REQUESTS],
///         fault: Service,
///         retry: Later,
///         happened: "The queue is full.",
///         why: "`queue.items_max` is reached.",
///         action: "Try again later, or raise the limit.",
///     }
/// }
/// assert_eq!(ERRORS[0].code, "queue-full");
/// assert_eq!(QUEUE_FULL.status(), 429);
/// ```
#[macro_export]
macro_rules! error_table {
    (
        $(#[$about:meta])* $visibility:vis $table:ident;
        $($name:ident = {
            code: $code:literal,
            statuses: [$($status:ident),*],
            fault: $fault:ident,
            retry: $retry:ident $(($time:expr))?,
            happened: $happened:literal,
            why: $why:literal,
            action: $action:literal $(,)?
        })+
    ) => {
        $(
            #[doc = concat!("`", $code, "`: ", $happened)]
            pub(crate) static $name: $crate::ErrorDescription = $crate::ErrorDescription::new(
                $code,
                &[$($crate::StatusCode::$status),*],
                ($crate::Fault::$fault, $crate::RetryAdvice::$retry $(($time))?),
                [$happened, $why, $action],
            );
        )+

        $(#[$about])*
        $visibility static $table: &[&$crate::ErrorDescription] = &[$(&$name),+];
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    error_table! {
        SAMPLES;

        FULL = {
            code: "sample-full",
            statuses: [TOO_MANY_REQUESTS, SERVICE_UNAVAILABLE],
            fault: Service,
            retry: After(Duration::from_secs(2)),
            happened: "It is full.",
            why: "`max` is reached.",
            action: "Wait.",
        }

        LOST = {
            code: "lost",
            statuses: [],
            fault: Upstream,
            retry: Later,
            happened: "The connection was lost.",
            why: "The host restarted.",
            action: "Send it again.",
        }
    }

    #[test]
    fn a_table_has_a_row_for_each_description_with_status_fault_and_retry() {
        let expected = "\
| code | status | what happened | why | what to do | fault | retry |
|---|---|---|---|---|---|---|
| `sample-full` | 429, 503 | It is full. | `max` is reached. | Wait. | service | after `Retry-After` |
| `lost` | none | The connection was lost. | The host restarted. | Send it again. | upstream | later |
";
        assert_eq!(error_table_markdown(SAMPLES), expected);
    }

    #[test]
    fn the_first_status_and_the_time_of_retry_come_from_the_description() {
        assert_eq!(
            (FULL.status(), FULL.retry_after()),
            (StatusCode::TOO_MANY_REQUESTS, Some(Duration::from_secs(2)))
        );
        assert_eq!((LOST.status(), LOST.retry_after()), (StatusCode::INTERNAL_SERVER_ERROR, None));
        let response = FULL.json_response("a \"quoted\" message");
        assert_eq!(response.status(), StatusCode::TOO_MANY_REQUESTS);
        assert_eq!(response.headers()[RETRY_AFTER], "2");
        assert_eq!(LOST.json_response("").headers().get(RETRY_AFTER), None);
    }
}
