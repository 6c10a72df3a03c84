//! What goes wrong: [`Error`] when the service cannot be opened, and `RequestFailure`, the answer to a request that is refused.

use std::path::PathBuf;

use http::StatusCode;
use http_messages::ReadError;

use crate::partition_key::PartitionKeyError;
use crate::resource_id::IdError;

/// Why the service could not be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The data directory could not be made or read.
    #[error("open the documents folder {path}")]
    Folder {
        /// The folder.
        path: PathBuf,
        /// What the system said.
        #[source]
        cause: std::io::Error,
    },
    /// Two processes must not write the same folder.
    #[error(
        "the documents folder {path} is in use by another process; stop that one, or give this one another data directory"
    )]
    InUse {
        /// The folder.
        path: PathBuf,
    },
    /// The database file cannot be used.
    #[error("open the documents database {path}")]
    Database {
        /// The file.
        path: PathBuf,
        /// What SQLite said.
        #[source]
        cause: rusqlite::Error,
    },
    /// It is damaged, not the one that was there, or of a newer version.
    #[error(transparent)]
    File(#[from] checked_files::OpenDatabaseError),
    /// A row cannot be understood: the file was changed by somebody else.
    #[error("the documents database is damaged: {0}")]
    Damaged(String),
    /// An option cannot be used.
    #[error("option {name}: {why}")]
    Option {
        /// The option's name.
        name: &'static str,
        /// What is wrong, and what to do.
        why: String,
    },
    /// A thread could not be started.
    #[error("start a documents thread")]
    Thread(#[source] std::io::Error),
}

/// A refused request, in the dialect's terms. Rendered in `to_protocol.rs` and nowhere else.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct RequestFailure {
    pub(crate) kind: FailureKind,
    /// The header `x-ms-substatus`; 0 is left out.
    pub(crate) substatus: u32,
    /// For the caller: what happened, and what to do.
    pub(crate) message: String,
    /// A ready inner message, for errors whose shape the dialect prescribes (SQL).
    pub(crate) errors_json: Option<String>,
    /// The header `x-ms-retry-after-ms`, by which SDKs wait before they try again.
    pub(crate) retry_after_ms: Option<u64>,
}

/// What kind of refusal. SDKs decide by these whether they try again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum FailureKind {
    BadRequest,
    Unauthorized,
    /// The signature is right, and its date is not accepted.
    Forbidden,
    NotFound,
    MethodNotAllowed,
    Conflict,
    PreconditionFailed,
    TooLarge,
    /// It took too long; may be tried again.
    RequestTimeout,
    Gone,
    FailedDependency,
    TooManyRequests,
    /// Our fault; may be tried again.
    Unavailable,
    /// The database file is damaged: reads of what is sound are answered, and nothing is written.
    Damaged,
    /// The disk is full. Trying again does not help before somebody makes room.
    InsufficientStorage,
}

/// The header and the body disagree about the partition key.
pub(crate) const SUBSTATUS_KEY_MISMATCH: u32 = 1001;
/// The database or container that should hold the resource is missing.
pub(crate) const SUBSTATUS_OWNER_MISSING: u32 = 1003;
/// The client's idea of the container is out of date: it reads the container again and retries.
pub(crate) const SUBSTATUS_STALE_CONTAINER: u32 = 1024;
/// Too many requests at once.
pub(crate) const SUBSTATUS_REQUEST_RATE: u32 = 3200;

/// A queue is shorter in a moment.
const QUEUE_RETRY_AFTER_MS: u64 = 50;

impl FailureKind {
    pub(crate) fn status(self) -> StatusCode {
        match self {
            Self::BadRequest => StatusCode::BAD_REQUEST,
            Self::Unauthorized => StatusCode::UNAUTHORIZED,
            Self::Forbidden => StatusCode::FORBIDDEN,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::Conflict => StatusCode::CONFLICT,
            Self::PreconditionFailed => StatusCode::PRECONDITION_FAILED,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::RequestTimeout => StatusCode::REQUEST_TIMEOUT,
            Self::Gone => StatusCode::GONE,
            Self::FailedDependency => StatusCode::FAILED_DEPENDENCY,
            Self::TooManyRequests => StatusCode::TOO_MANY_REQUESTS,
            Self::Unavailable | Self::Damaged => StatusCode::SERVICE_UNAVAILABLE,
            Self::InsufficientStorage => StatusCode::INSUFFICIENT_STORAGE,
        }
    }

    /// The `code` of the body.
    pub(crate) fn code(self) -> &'static str {
        match self {
            Self::BadRequest => "BadRequest",
            Self::Unauthorized => "Unauthorized",
            Self::Forbidden => "Forbidden",
            Self::NotFound => "NotFound",
            Self::MethodNotAllowed => "MethodNotAllowed",
            Self::Conflict => "Conflict",
            Self::PreconditionFailed => "PreconditionFailed",
            Self::TooLarge => "RequestEntityTooLarge",
            Self::RequestTimeout => "RequestTimeout",
            Self::Gone => "Gone",
            Self::FailedDependency => "FailedDependency",
            Self::TooManyRequests => "TooManyRequests",
            Self::Unavailable => "ServiceUnavailable",
            Self::Damaged => "DataDamaged",
            Self::InsufficientStorage => "InsufficientStorage",
        }
    }
}

impl RequestFailure {
    pub(crate) fn new(kind: FailureKind, message: impl Into<String>) -> Self {
        Self { kind, substatus: 0, message: message.into(), errors_json: None, retry_after_ms: None }
    }

    pub(crate) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(FailureKind::BadRequest, message)
    }

    /// A construct of the dialect that this service does not offer.
    pub(crate) fn not_supported(what: &str) -> Self {
        Self::bad_request(format!("{what} is not supported by this service yet; nothing was done."))
    }

    pub(crate) fn not_found(what: &str) -> Self {
        Self::new(FailureKind::NotFound, format!("{what} does not exist."))
    }

    /// The database or container on the way to the resource is missing.
    pub(crate) fn owner_missing(what: &str) -> Self {
        Self::not_found(what).with_substatus(SUBSTATUS_OWNER_MISSING)
    }

    /// The write or read queue is full.
    pub(crate) fn busy() -> Self {
        let message = "The service has more requests waiting than it may hold. Retry after the time in x-ms-retry-after-ms.";
        Self::too_many_requests(message, QUEUE_RETRY_AFTER_MS)
    }

    /// SDKs try again after the time, by themselves and a limited number of times; a 503 they would pass on.
    fn too_many_requests(message: impl Into<String>, retry_after_ms: u64) -> Self {
        let failure = Self::new(FailureKind::TooManyRequests, message).with_substatus(SUBSTATUS_REQUEST_RATE);
        Self { retry_after_ms: Some(retry_after_ms), ..failure }
    }

    /// Nobody waits for the answer any more; it is never seen.
    pub(crate) fn caller_gone() -> Self {
        Self::new(FailureKind::RequestTimeout, "The caller went away before the answer was ready.")
    }

    /// The service is draining, or a thread of it is gone.
    pub(crate) fn closing() -> Self {
        Self::new(
            FailureKind::Unavailable,
            "The service is shutting down and takes no more requests. Retry in a moment.",
        )
    }

    /// There is no room for what was to be written.
    pub(crate) fn disk_full() -> Self {
        let message = "The disk that holds the documents is full. Nothing of this request was stored. Make room and retry; deleting works.";
        Self::new(FailureKind::InsufficientStorage, message)
    }

    /// What was asked for is not as it was written.
    pub(crate) fn damaged() -> Self {
        let message = "The database file is damaged where this request reads. What is sound is still answered; writes are refused. The operator must run `chappe check --data` and restore a backup.";
        Self::new(FailureKind::Damaged, message)
    }

    /// Nothing is written because damage was found.
    pub(crate) fn read_only() -> Self {
        let message = "The database file is damaged or incomplete, so nothing is written any more; nothing of this request was stored. The log and /readyz say what is wrong. The operator must run `chappe check --data` and restore a backup.";
        Self::new(FailureKind::Damaged, message)
    }

    pub(crate) fn with_substatus(mut self, substatus: u32) -> Self {
        self.substatus = substatus;
        self
    }
}

impl From<ReadError> for RequestFailure {
    fn from(cause: ReadError) -> Self {
        match &cause {
            ReadError::TooLarge { bytes_max } => {
                Self::new(FailureKind::TooLarge, format!("The request body has more than {bytes_max} bytes."))
            }
            ReadError::Broken(why) => Self::bad_request(format!("The request body broke off: {why}.")),
            _ => {
                let retry_after = cause.retry_after().unwrap_or_default();
                let message = "The service holds as many bytes of request bodies as it may (bodies.memory_bytes_max), and there was \
                    no room for this one. Nothing was done. Retry after the time in x-ms-retry-after-ms.";
                Self::too_many_requests(message, u64::try_from(retry_after.as_millis()).unwrap_or(u64::MAX))
            }
        }
    }
}

/// What SQLite reports is ours (or the disk's) to answer for. The cause goes to the log, not to the caller.
impl From<rusqlite::Error> for RequestFailure {
    fn from(cause: rusqlite::Error) -> Self {
        if cause.sqlite_error_code() == Some(rusqlite::ErrorCode::DiskFull) {
            // The writer logs it, once in a while: a line for each write would fill the disk that holds the log.
            return Self::disk_full();
        }
        if cause.sqlite_error_code() == Some(rusqlite::ErrorCode::OperationInterrupted) {
            return Self::new(
                FailureKind::RequestTimeout,
                "The read took longer than it may (four times query_ms_max) and was ended. Ask for less, or retry when the machine has less to do.",
            );
        }
        tracing::error!(error = %cause, "the documents database failed");
        if checked_files::is_damage(&cause) {
            return Self::damaged();
        }
        Self::new(
            FailureKind::Unavailable,
            "The documents database could not carry out the request. Nothing of it was stored. The log says why; retry.",
        )
    }
}

impl From<PartitionKeyError> for RequestFailure {
    fn from(cause: PartitionKeyError) -> Self {
        Self::bad_request(sentence(&cause.to_string()))
    }
}

impl From<IdError> for RequestFailure {
    fn from(cause: IdError) -> Self {
        Self::bad_request(sentence(&cause.to_string()))
    }
}

/// An error's text as a sentence.
pub(crate) fn sentence(text: &str) -> String {
    let mut characters = text.chars();
    characters
        .next()
        .map_or_else(String::new, |first| format!("{}{}.", first.to_uppercase(), characters.as_str()))
}
