//! Triggers whose events are pushed: by an HTTP request to `/runtime/webhooks/{extension}`, or by a service of this process. Whoever
//! pushes an event waits for the result of the function.

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use trace::TraceContext;

use crate::value::Value;

/// A request to the webhook of an extension. A service of this process makes one without a socket.
pub type PushRequest = Request<Bytes>;

/// The response to a [`PushRequest`].
pub type PushResponse = Response<Bytes>;

/// One event for a function.
#[derive(Clone, Debug)]
pub struct PushEvent {
    /// The value of the trigger binding.
    pub data: Value,
    /// Trigger metadata, under the names that the imitated trigger uses.
    pub metadata: Vec<(String, Value)>,
    /// The reason in the `Executing` log line, such as `EventGrid trigger fired at 2026-…`.
    pub reason: String,
    /// The span that caused the event.
    pub parent: Option<TraceContext>,
    /// Further spans that caused it, as links.
    pub links: Vec<TraceContext>,
}

/// Why an event has no result.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PushError {
    /// The function ran and failed. Contains the message of its exception, without a stack.
    #[error("{message}")]
    Function {
        /// The message.
        message: String,
    },
    /// An input, an output or an expression of the function failed, or its time limit expired. Contains the reason.
    #[error("{0}")]
    Host(String),
    /// The host is busy: too many events and requests at a time. The function was not invoked.
    #[error("the function app has too many requests at a time")]
    Overloaded,
    /// The invocation was interrupted, or could not begin: the worker exited, or the host is being stopped. Whether the function
    /// did anything is unknown. The sender may repeat the event. Contains the reason.
    #[error("{0}")]
    Unavailable(String),
}

impl PushError {
    /// The status with which a webhook without a protocol of its own reports it: temporary failures are 429 and 503.
    pub fn status(&self) -> StatusCode {
        match self {
            Self::Function { .. } | Self::Host(_) => StatusCode::INTERNAL_SERVER_ERROR,
            Self::Overloaded => StatusCode::TOO_MANY_REQUESTS,
            Self::Unavailable(_) => StatusCode::SERVICE_UNAVAILABLE,
        }
    }
}

/// A function that takes pushed events; the host implements it.
///
/// # Guarantees
///
/// 1. **One result.** Each event has exactly one result: what the function returned, or why it returned nothing. The retry policy of
///    the function runs before that.
/// 2. **Bounded.** Above the host's limit for HTTP requests, an event has the result [`PushError::Overloaded`] at once.
/// 3. **Cancellation.** Dropping the future of [`PushFunction::invoke`] cancels the invocation. Its end is still awaited and logged.
/// 4. **Drain.** An event that was accepted has its result before the host ends; later ones are [`PushError::Unavailable`].
/// 5. **One generation.** The function is that of the app as it was when the event was accepted, also if the app is reloaded meanwhile.
#[async_trait::async_trait]
pub trait PushFunction: Send + Sync {
    /// The function's name.
    fn name(&self) -> &str;

    /// Invokes the function with one event. Several events may be under way at a time.
    async fn invoke(&self, event: PushEvent) -> Result<Value, PushError>;
}

/// A trigger that waits for pushed events; a connector implements it.
///
/// # Guarantees
///
/// 1. **One response.** Each request has exactly one response, which depends on the results of all its events.
/// 2. **Verified.** What the trigger cannot verify (signature, form) reaches no function. The key of the extension was checked before,
///    except for requests of this process.
/// 3. **Errors are mapped.** Each [`PushError`] becomes a response after which the sender does what its protocol says:
///    [`PushError::Overloaded`] and [`PushError::Unavailable`] are reported as temporary.
/// 4. **Cancellation.** Dropping the future of [`PushTrigger::receive`] drops those of the functions.
#[async_trait::async_trait]
pub trait PushTrigger: Send + Sync {
    /// Under which addresses [`PushExtension::address`] finds this trigger. Two functions of an app with a common address contradict
    /// each other: only the first by name gets the events.
    fn addresses(&self) -> Vec<String>;

    /// Answers a request whose address is one of [`PushTrigger::addresses`].
    async fn receive(&self, request: PushRequest, function: &dyn PushFunction) -> PushResponse;
}

/// What the triggers of one extension have in common: its name, and how a request finds its function. Pure.
pub trait PushExtension: Send + Sync {
    /// The name in `/runtime/webhooks/{name}` and in the name of its system key, `{name}_extension`; in lower case.
    fn name(&self) -> &'static str;

    /// Whether the extension has a webhook; otherwise only services of this process push its events. Default: yes.
    fn has_webhook(&self) -> bool {
        true
    }

    /// The address of the function for which a request is. The same request always has the same address.
    ///
    /// # Errors
    ///
    /// The response to a request that is for no function.
    fn address(&self, request: &PushRequest) -> Result<String, Box<PushResponse>>;

    /// The response to a request whose address no function has.
    fn not_found(&self, request: &PushRequest) -> PushResponse;
}
