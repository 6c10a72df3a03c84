//! [`Rejection`]: the error response to a request, and which errors become which status and code.

use http::header::{ALLOW, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderName, HeaderValue, StatusCode};
use http_messages::ErrorDescription;

use crate::error_table;
use crate::names::{InvalidGroup, InvalidHub};
use crate::store::user_groups::MembershipError;
use realtime_engine::{AttachError, GroupError, PublishError, Stopped};

/// An error response. `to_protocol` renders it.
#[derive(Debug, Clone)]
pub(crate) struct Rejection {
    /// The description of its code.
    pub(crate) error: &'static ErrorDescription,
    pub(crate) status: StatusCode,
    /// The body's `message`, in plain language.
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
    pub(crate) fn new(error: &'static ErrorDescription, message: impl Into<String>) -> Self {
        let mut message = message.into();
        // Messages often quote the input, which may be as long as a body, and escapes make it up to six times longer.
        if message.len() > MESSAGE_BYTES_MAX {
            message.truncate(message.floor_char_boundary(MESSAGE_BYTES_MAX));
            message.push('\u{2026}');
        }
        let status = error.status();
        let header = if status == StatusCode::UNAUTHORIZED {
            Some((WWW_AUTHENTICATE, HeaderValue::from_static("Bearer")))
        } else {
            error.retry_after().map(|time| (RETRY_AFTER, HeaderValue::from(time.as_secs())))
        };
        Self { error, status, message, target: None, details: Vec::new(), header: header.map(Box::new) }
    }

    /// Replaces the status by another one that the description lists.
    pub(crate) fn with_status(mut self, status: StatusCode) -> Self {
        debug_assert!(self.error.statuses.contains(&status), "{} describes no {status}", self.error.code);
        self.status = status;
        self
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

    pub(crate) fn not_found(message: impl Into<String>) -> Self {
        Self::new(&error_table::NOT_FOUND, message)
    }

    pub(crate) fn method(allow: &str) -> Self {
        let message = format!("this address accepts {allow} only");
        let value = HeaderValue::from_str(allow).expect("method names are header values");
        Self::new(&error_table::METHOD_NOT_ALLOWED, message).with(ALLOW, value)
    }

    /// A write to disk failed. The cause goes to the log only.
    pub(crate) fn store_failed(error: &(dyn std::error::Error + 'static)) -> Self {
        tracing::error!(error, "a change could not be written to disk");
        let message =
            "the change could not be written to disk, and nothing was changed; the log has the cause";
        Self::new(&error_table::STORE_FAILED, message)
    }

    pub(crate) fn stopping() -> Self {
        let message = "the service is shutting down; try again in a moment";
        Self::new(&error_table::STOPPING, message)
    }
}

impl From<InvalidHub> for Rejection {
    fn from(error: InvalidHub) -> Self {
        Self::new(&error_table::INVALID_HUB, error.to_string())
    }
}

impl From<InvalidGroup> for Rejection {
    fn from(error: InvalidGroup) -> Self {
        Self::new(&error_table::INVALID_GROUP, error.to_string())
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
                Self::new(&error_table::TOO_MANY_CONNECTIONS, error.to_string())
            }
            AttachError::Foreign(_) => Self::not_found(error.to_string()),
        }
    }
}

impl From<PublishError> for Rejection {
    fn from(error: PublishError) -> Self {
        match error {
            PublishError::Stopped => Self::stopping(),
            PublishError::Busy => Self::new(&error_table::BUSY, error.to_string()),
            PublishError::NotRecorded(_) => Self::new(&error_table::HISTORY_UNAVAILABLE, error.to_string()),
        }
    }
}

impl From<GroupError> for Rejection {
    fn from(error: GroupError) -> Self {
        match error {
            GroupError::Stopped => Self::stopping(),
            GroupError::TooMany => Self::new(&error_table::TOO_MANY_GROUPS, error.to_string()),
        }
    }
}

impl From<MembershipError> for Rejection {
    fn from(error: MembershipError) -> Self {
        match error {
            MembershipError::Stopped(_) => Self::stopping(),
            MembershipError::Full => Self::new(&error_table::TOO_MANY_USER_GROUPS, error.to_string()),
            MembershipError::Store(_) => Self::store_failed(&error),
        }
    }
}

impl From<identity::TokenError> for Rejection {
    fn from(error: identity::TokenError) -> Self {
        use identity::TokenError;
        let message = error.to_string();
        match error {
            TokenError::TooLong { .. } => Self::new(&error_table::TOKEN_TOO_LONG, message),
            TokenError::Malformed(_) => Self::new(&error_table::TOKEN_MALFORMED, message),
            TokenError::Algorithm(..) | TokenError::Critical => {
                Self::new(&error_table::TOKEN_ALGORITHM, message)
            }
            TokenError::Signature | TokenError::IssuerSignature | TokenError::UnknownKey(_) => {
                Self::new(&error_table::TOKEN_SIGNATURE, message)
            }
            TokenError::MissingExpiry => Self::new(&error_table::TOKEN_MISSING_EXPIRY, message),
            TokenError::Expired { .. } => Self::new(&error_table::TOKEN_EXPIRED, message),
            TokenError::NotYetValid { .. } => Self::new(&error_table::TOKEN_NOT_YET_VALID, message),
            TokenError::Issuer(_) => Self::new(&error_table::TOKEN_ISSUER, message),
            TokenError::Audience(_) => Self::new(&error_table::TOKEN_AUDIENCE, message),
        }
    }
}
