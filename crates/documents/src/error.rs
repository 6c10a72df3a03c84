//! [`Error`]: why the service cannot be opened; and `RequestFailure`: the error response to a request.

use std::path::PathBuf;
use std::time::Duration;

use http_messages::{ErrorDescription, ReadError};

use crate::error_table;
use crate::partition_key::PartitionKeyError;
use crate::resource_id::IdError;

/// Why the service cannot be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The data directory cannot be created or read.
    #[error("cannot open the documents folder {path}")]
    Folder {
        /// The folder.
        path: PathBuf,
        /// The error of the operating system.
        #[source]
        cause: std::io::Error,
    },
    /// Two processes must not write the same folder.
    #[error(
        "the documents folder {path} is in use by another process; stop that process, or give this one another data directory"
    )]
    InUse {
        /// The folder.
        path: PathBuf,
    },
    /// The database file cannot be used.
    #[error("cannot open the documents database {path}")]
    Database {
        /// The file.
        path: PathBuf,
        /// The error of SQLite.
        #[source]
        cause: rusqlite::Error,
    },
    /// It is damaged, another database, or of a newer version.
    #[error(transparent)]
    File(#[from] checked_files::OpenDatabaseError),
    /// A row is invalid: another program changed the file.
    #[error("the documents database is damaged: {0}")]
    Damaged(String),
    /// The value of an option is invalid.
    #[error("option {name}: {why}")]
    Option {
        /// The option's name.
        name: &'static str,
        /// What is wrong, and what to do.
        why: String,
    },
    /// A thread cannot be started.
    #[error("cannot start a documents thread")]
    Thread(#[source] std::io::Error),
}

/// An error response, in terms of the Cosmos DB REST API. Only `to_protocol.rs` renders it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct RequestFailure {
    /// Code and status. SDKs decide by status and sub-status whether they retry.
    pub(crate) error: &'static ErrorDescription,
    /// The header `x-ms-substatus`; omitted if 0.
    pub(crate) substatus: u32,
    /// For the client: what happened, and what to do.
    pub(crate) message: String,
    /// The inner message of errors with a prescribed form (SQL).
    pub(crate) errors_json: Option<String>,
    /// The header `x-ms-retry-after-ms`: how long SDKs wait before they retry.
    pub(crate) retry_after: Option<Duration>,
}

/// Header and body have different partition keys.
pub(crate) const SUBSTATUS_KEY_MISMATCH: u32 = 1001;
/// The database or container of the resource does not exist.
pub(crate) const SUBSTATUS_OWNER_MISSING: u32 = 1003;
/// The client's cached container is outdated: it reads the container again and retries.
pub(crate) const SUBSTATUS_STALE_CONTAINER: u32 = 1024;
/// Too many concurrent requests.
pub(crate) const SUBSTATUS_REQUEST_RATE: u32 = 3200;

impl RequestFailure {
    pub(crate) fn new(error: &'static ErrorDescription, message: impl Into<String>) -> Self {
        Self {
            error,
            substatus: 0,
            message: message.into(),
            errors_json: None,
            retry_after: error.retry_after(),
        }
    }

    pub(crate) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(&error_table::BAD_REQUEST, message)
    }

    /// A feature of Cosmos DB that this service does not support.
    pub(crate) fn not_supported(what: &str) -> Self {
        Self::bad_request(format!("{what} is not supported by this service yet; nothing was done."))
    }

    pub(crate) fn not_found(what: &str) -> Self {
        Self::new(&error_table::NOT_FOUND, format!("{what} does not exist."))
    }

    /// The database or container of the resource does not exist.
    pub(crate) fn owner_missing(what: &str) -> Self {
        Self::not_found(what).with_substatus(SUBSTATUS_OWNER_MISSING)
    }

    /// The write or read queue is full.
    pub(crate) fn busy() -> Self {
        let message =
            "The request queue of the service is full. Retry after the time in x-ms-retry-after-ms.";
        Self::too_many_requests(message)
    }

    /// SDKs retry after this time, a limited number of times; they would return a 503 to the app.
    fn too_many_requests(message: impl Into<String>) -> Self {
        Self::new(&error_table::TOO_MANY_REQUESTS, message).with_substatus(SUBSTATUS_REQUEST_RATE)
    }

    /// The client no longer waits, so this response is not sent.
    pub(crate) fn caller_gone() -> Self {
        Self::new(&error_table::REQUEST_TIMEOUT, "The client disconnected before the response was ready.")
    }

    /// The service is draining, or one of its threads has ended.
    pub(crate) fn closing() -> Self {
        Self::new(
            &error_table::UNAVAILABLE,
            "The service is shutting down and accepts no more requests. Retry in a moment.",
        )
    }

    /// The disk has no space for the write.
    pub(crate) fn disk_full() -> Self {
        let message = "The disk that holds the documents is full. Nothing of this request was stored. Free some space and retry; deletes are accepted.";
        Self::new(&error_table::INSUFFICIENT_STORAGE, message)
    }

    /// The requested data is damaged.
    pub(crate) fn damaged() -> Self {
        let message = "The database file is damaged where this request reads. Intact data can still be read; writes are rejected. The operator must run `chappe check --data` and restore a backup.";
        Self::new(&error_table::DATA_DAMAGED, message)
    }

    /// The database is read-only because of damage.
    pub(crate) fn read_only() -> Self {
        let message = "The database file is damaged or incomplete, so that it is read-only; nothing of this request was stored. The log and /readyz give the details. The operator must run `chappe check --data` and restore a backup.";
        Self::new(&error_table::DATA_DAMAGED, message)
    }

    pub(crate) fn with_substatus(mut self, substatus: u32) -> Self {
        self.substatus = substatus;
        self
    }
}

impl From<ReadError> for RequestFailure {
    fn from(cause: ReadError) -> Self {
        match &cause {
            ReadError::TooLarge { bytes_max } => Self::new(
                &error_table::TOO_LARGE,
                format!("The request body has more than {bytes_max} bytes."),
            ),
            ReadError::Broken(why) => Self::bad_request(format!("The request body broke off: {why}.")),
            _ => {
                let message = "The memory for request bodies is in use (bodies.memory_bytes_max), and this \
                    body does not fit. Nothing was done. Retry after the time in x-ms-retry-after-ms.";
                Self { retry_after: cause.retry_after(), ..Self::too_many_requests(message) }
            }
        }
    }
}

/// An error of SQLite is an error of the service or of the disk. The cause is logged and not sent to the client.
impl From<rusqlite::Error> for RequestFailure {
    fn from(cause: rusqlite::Error) -> Self {
        if cause.sqlite_error_code() == Some(rusqlite::ErrorCode::DiskFull) {
            // The writer logs it at intervals: a line for each write would fill the disk of the log.
            return Self::disk_full();
        }
        if cause.sqlite_error_code() == Some(rusqlite::ErrorCode::OperationInterrupted) {
            return Self::new(
                &error_table::REQUEST_TIMEOUT,
                "The read exceeded its time limit (four times query_ms_max) and was canceled. Request less data, or retry when the machine is less busy.",
            );
        }
        tracing::error!(error = %cause, "the documents database failed");
        if checked_files::is_damage(&cause) {
            return Self::damaged();
        }
        Self::new(
            &error_table::UNAVAILABLE,
            "The documents database failed to execute the request. Nothing of it was stored. The log has the cause; retry.",
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
