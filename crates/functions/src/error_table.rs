//! What each error of the functions host means, by the page sections of `docs/errors`: responses, declarations, invocations, workers,
//! and the start of the app.

pub(crate) mod app;
pub(crate) mod declaration;
pub(crate) mod invocation;
pub(crate) mod response;
pub(crate) mod worker;

use http_messages::ErrorDescription;

/// All errors of this crate by the name of their table in `docs/errors`.
pub static ERRORS: &[(&str, &[&ErrorDescription])] = &[
    ("functions-responses", response::ERRORS),
    ("functions-declarations", declaration::ERRORS),
    ("functions-invocations", invocation::ERRORS),
    ("functions-workers", worker::ERRORS),
    ("functions-app", app::ERRORS),
];
