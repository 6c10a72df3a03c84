//! [`Rejection`]: the error response to a request, and which errors become which status and code.

use http::header::{ALLOW, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderName, HeaderValue, StatusCode};

use crate::names::{InvalidGroup, InvalidHub};
use crate::store::user_groups::MembershipError;
use realtime_engine::{AttachError, GroupError, PublishError, Stopped};

/// An error response. `to_protocol` renders it.
#[derive(Debug, Clone)]
pub(crate) struct Rejection {
    pub(crate) status: StatusCode,
    /// The body's `code`: stable, for programs.
    pub(crate) code: &'static str,
    /// The body's `message`: for people.
    pub(crate) message: String,
    /// The body's `target`: the part of the request that is wrong.
    pub(crate) target: Option<Box<str>>,
    /// The body's `details`: the errors that caused this one.
    pub(crate) details: Vec<Self>,
    /// An additional header. Boxed, because rejections are returned by value through many calls.
    pub(crate) header: Option<Box<(HeaderName, HeaderValue)>>,
}

/// Longest message of a rejection.
const MESSAGE_BYTES_MAX: usize = 1_024;

impl Rejection {
    pub(crate) fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        let mut message = message.into();
        // Messages often quote the input, which may be as long as a body, and escapes make it up to six times longer.
        if message.len() > MESSAGE_BYTES_MAX {
            message.truncate(message.floor_char_boundary(MESSAGE_BYTES_MAX));
            message.push('\u{2026}');
        }
        Self { status, code, message, target: None, details: Vec::new(), header: None }
    }

    /// Sets the part of the request that is wrong, unless a narrower one is set already.
    pub(crate) fn about(mut self, part: impl Into<Box<str>>) -> Self {
        self.target.get_or_insert_with(|| part.into());
        self
    }

    /// Sets the errors that caused this one.
    pub(crate) fn because(mut self, details: Vec<Self>) -> Self {
        self.details = details;
        self
    }

    pub(crate) fn with(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.header = Some(Box::new((name, value)));
        self
    }

    pub(crate) fn bad_request(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code, message)
    }

    pub(crate) fn not_found(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "NotFound", message)
    }

    /// The object of a REST request does not exist; the code tells the SDKs that the address is not at fault.
    pub(crate) fn absent(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, code, message)
    }

    pub(crate) fn method(allow: &str) -> Self {
        let message = format!("this address accepts {allow} only");
        let value = HeaderValue::from_str(allow).expect("method names are header values");
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "MethodNotAllowed", message).with(ALLOW, value)
    }

    pub(crate) fn unauthorized(code: &'static str, message: impl Into<String>) -> Self {
        let challenge = HeaderValue::from_static("Bearer");
        Self::new(StatusCode::UNAUTHORIZED, code, message).with(WWW_AUTHENTICATE, challenge)
    }

    /// A write to disk failed. The cause goes to the log only.
    pub(crate) fn store_failed(error: &(dyn std::error::Error + 'static)) -> Self {
        tracing::error!(error, "a change could not be written to disk");
        let message =
            "the change could not be written to disk, and nothing was changed; the log has the cause";
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "StoreFailed", message)
    }

    pub(crate) fn stopping() -> Self {
        let message = "the service is shutting down; try again in a moment";
        let seconds = HeaderValue::from_static("1");
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "Stopping", message).with(RETRY_AFTER, seconds)
    }
}

impl From<InvalidHub> for Rejection {
    fn from(error: InvalidHub) -> Self {
        Self::bad_request("InvalidHub", error.to_string())
    }
}

impl From<InvalidGroup> for Rejection {
    fn from(error: InvalidGroup) -> Self {
        Self::bad_request("InvalidGroup", error.to_string())
    }
}

impl From<Stopped> for Rejection {
    fn from(_: Stopped) -> Self {
        Self::stopping()
    }
}

impl From<AttachError> for Rejection {
    fn from(error: AttachError) -> Self {
        match error {
            AttachError::Stopped => Self::stopping(),
            AttachError::Full { .. } | AttachError::HubFull { .. } => {
                Self::new(StatusCode::TOO_MANY_REQUESTS, "TooManyConnections", error.to_string())
            }
            AttachError::Foreign(_) => Self::not_found(error.to_string()),
        }
    }
}

impl From<PublishError> for Rejection {
    fn from(error: PublishError) -> Self {
        match error {
            PublishError::Stopped => Self::stopping(),
            PublishError::Busy => Self::new(StatusCode::SERVICE_UNAVAILABLE, "Busy", error.to_string()),
            PublishError::NotRecorded(_) => {
                Self::new(StatusCode::INSUFFICIENT_STORAGE, "HistoryUnavailable", error.to_string())
            }
        }
    }
}

impl From<GroupError> for Rejection {
    fn from(error: GroupError) -> Self {
        match error {
            GroupError::Stopped => Self::stopping(),
            GroupError::TooMany => {
                Self::new(StatusCode::TOO_MANY_REQUESTS, "TooManyGroups", error.to_string())
            }
        }
    }
}

impl From<MembershipError> for Rejection {
    fn from(error: MembershipError) -> Self {
        match error {
            MembershipError::Stopped(_) => Self::stopping(),
            MembershipError::Full => {
                Self::new(StatusCode::TOO_MANY_REQUESTS, "TooManyUserGroups", error.to_string())
            }
            MembershipError::Store(_) => Self::store_failed(&error),
        }
    }
}

impl From<identity::TokenError> for Rejection {
    fn from(error: identity::TokenError) -> Self {
        use identity::TokenError;
        let message = error.to_string();
        match error {
            TokenError::TooLong { .. } => Self::new(StatusCode::PAYLOAD_TOO_LARGE, "TokenTooLong", message),
            TokenError::Malformed(_) => Self::unauthorized("TokenMalformed", message),
            TokenError::Algorithm(..) | TokenError::Critical => Self::unauthorized("TokenAlgorithm", message),
            TokenError::Signature | TokenError::IssuerSignature | TokenError::UnknownKey(_) => {
                Self::unauthorized("TokenSignature", message)
            }
            TokenError::MissingExpiry => Self::unauthorized("TokenMissingExpiry", message),
            TokenError::Expired { .. } => Self::unauthorized("TokenExpired", message),
            TokenError::NotYetValid { .. } => Self::unauthorized("TokenNotYetValid", message),
            TokenError::Issuer(_) => Self::unauthorized("TokenIssuer", message),
            TokenError::Audience(_) => Self::unauthorized("TokenAudience", message),
        }
    }
}
