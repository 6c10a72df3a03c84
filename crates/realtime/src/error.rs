//! What can go wrong: [`StartError`] for whoever starts the service, [`SendError`] and friends for callers in this process,
//! `Refusal` for callers over HTTP.

use http::header::{ALLOW, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderName, HeaderValue, StatusCode};

use crate::engine::{AttachError, GroupError, InvalidArguments, PublishError, Stopped};
use crate::store::keys::KeyError;
use crate::store::user_groups::{MembershipError, RestoreError};

/// Why the service does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The instance has a name that is none.
    #[error("the instance of the realtime service")]
    Instance(#[source] state::InvalidName),
    /// There is nothing to check tokens with.
    #[error("no access key is configured; set primary_key")]
    NoKey,
    /// Everybody could sign with it.
    #[error("{0} is empty")]
    EmptyKey(&'static str),
    /// Everybody knows it.
    #[error(
        "{0} is a key that the emulators publish, which protects nothing; set another one, or serve on loopback only"
    )]
    PublicKey(&'static str),
    /// Options contradict each other.
    #[error("the options of the realtime service: {0}")]
    Options(&'static str),
    /// The keys that were kept cannot be read.
    #[error("the keys of the realtime service")]
    Keys(#[source] KeyError),
    /// A record of a key is damaged, or a newer version wrote it.
    #[error(
        "the record '{0}' holds no key that this version can read; start the version that wrote it, or remove the record"
    )]
    KeyRecord(String),
    /// Memberships of users that were kept cannot be told to the shards.
    #[error("the users' memberships in groups")]
    UserGroups(#[source] RestoreError),
    /// What was kept before cannot be read.
    #[error("read the history of the realtime service")]
    History(#[source] crate::history::HistoryError),
    /// The shards cannot be started.
    #[error("start the shards of the realtime service")]
    Engine(#[source] crate::engine::StartError),
    /// What clients call cannot be passed on as it is configured.
    #[error(transparent)]
    Upstream(#[from] crate::upstream::LoadError),
    /// What an earlier process left cannot be read.
    #[error("read which connections an earlier process left")]
    Records(#[source] state::RegistryError),
}

/// A hub name outside the pattern of the service.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "'{0}' is no hub name: a hub has a letter first and at most 127 letters, digits and characters of _`,.[] after it"
)]
pub struct InvalidHub(pub(crate) String);

/// Why a message from this process was not sent. Nobody got it.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// The hub cannot exist.
    #[error(transparent)]
    Hub(#[from] InvalidHub),
    /// The message names no method.
    #[error("the message has no target")]
    NoTarget,
    /// The arguments are no JSON array.
    #[error(transparent)]
    Arguments(#[from] InvalidArguments),
    /// The engine did not take it.
    #[error(transparent)]
    Publish(#[from] PublishError),
}

/// Why nobody can be shown what happens.
#[derive(Debug, thiserror::Error)]
pub enum TraceError {
    /// Too many look already.
    #[error("as many watch as may: {0} (realtime.watchers_max)")]
    TooMany(usize),
    /// The service is shutting down.
    #[error(transparent)]
    Stopped(#[from] Stopped),
}

/// Why a client cannot be given access.
#[derive(Debug, thiserror::Error)]
pub enum ClientAccessError {
    /// The hub cannot exist.
    #[error(transparent)]
    Hub(#[from] InvalidHub),
    /// No client may present a token of this length.
    #[error(
        "the client's token would have {bytes} bytes, more than the {bytes_max} allowed; give it fewer claims"
    )]
    TooLong {
        /// How long it would be.
        bytes: usize,
        /// The limit.
        bytes_max: usize,
    },
}

/// An answer over HTTP that is no success. `to_protocol` renders it.
#[derive(Debug, Clone)]
pub(crate) struct Refusal {
    pub(crate) status: StatusCode,
    /// Stable, for machines: the body's `code`.
    pub(crate) code: &'static str,
    /// For the caller.
    pub(crate) message: String,
    /// Which part of the request it is about: the body's `target`.
    pub(crate) target: Option<Box<str>>,
    /// What led to it, one by one: the body's `details`.
    pub(crate) details: Vec<Self>,
    /// One more header. Boxed, because refusals are returned by value all the way up.
    pub(crate) header: Option<Box<(HeaderName, HeaderValue)>>,
}

/// Longest text of a refusal.
const MESSAGE_BYTES_MAX: usize = 1_024;

impl Refusal {
    pub(crate) fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        let mut message = message.into();
        // What is wrong is often quoted, and may be as long as a body, with six characters for one.
        if message.len() > MESSAGE_BYTES_MAX {
            message.truncate(message.floor_char_boundary(MESSAGE_BYTES_MAX));
            message.push('\u{2026}');
        }
        Self { status, code, message, target: None, details: Vec::new(), header: None }
    }

    /// Names the part of the request that it is about.
    pub(crate) fn about(mut self, part: impl Into<Box<str>>) -> Self {
        // What is about a part of a part keeps the narrower name.
        self.target.get_or_insert_with(|| part.into());
        self
    }

    /// Says what led to it.
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

    /// The thing that a REST request asks about is not there; the SDKs tell this from a wrong address by the code.
    pub(crate) fn absent(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, code, message)
    }

    pub(crate) fn method(allow: &str) -> Self {
        let message = format!("this address takes {allow} only");
        let value = HeaderValue::from_str(allow).expect("method names are header values");
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "MethodNotAllowed", message).with(ALLOW, value)
    }

    pub(crate) fn unauthorized(code: &'static str, message: impl Into<String>) -> Self {
        let challenge = HeaderValue::from_static("Bearer");
        Self::new(StatusCode::UNAUTHORIZED, code, message).with(WWW_AUTHENTICATE, challenge)
    }

    /// The disk did not take something. Why is for the log.
    pub(crate) fn store_failed(error: &(dyn std::error::Error + 'static)) -> Self {
        tracing::error!(error, "something could not be kept on disk");
        let message = "it could not be kept on disk, and nothing was changed; the log says why";
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "StoreFailed", message)
    }

    pub(crate) fn stopping() -> Self {
        let message = "the service is shutting down; try again in a moment";
        let seconds = HeaderValue::from_static("1");
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "Stopping", message).with(RETRY_AFTER, seconds)
    }
}

impl From<InvalidHub> for Refusal {
    fn from(error: InvalidHub) -> Self {
        Self::bad_request("InvalidHub", error.to_string())
    }
}

impl From<Stopped> for Refusal {
    fn from(_: Stopped) -> Self {
        Self::stopping()
    }
}

impl From<AttachError> for Refusal {
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

impl From<PublishError> for Refusal {
    fn from(error: PublishError) -> Self {
        match error {
            PublishError::Stopped => Self::stopping(),
            PublishError::Busy => Self::new(StatusCode::SERVICE_UNAVAILABLE, "Busy", error.to_string()),
            PublishError::NotKept(_) => {
                Self::new(StatusCode::INSUFFICIENT_STORAGE, "HistoryUnavailable", error.to_string())
            }
        }
    }
}

impl From<GroupError> for Refusal {
    fn from(error: GroupError) -> Self {
        match error {
            GroupError::Stopped => Self::stopping(),
            GroupError::TooMany => {
                Self::new(StatusCode::TOO_MANY_REQUESTS, "TooManyGroups", error.to_string())
            }
        }
    }
}

impl From<MembershipError> for Refusal {
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

impl From<identity::TokenError> for Refusal {
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
