//! Admin operations of the realtime service: dead letters, the live trace, account keys. The binary mounts them in its admin API, which
//! authorizes the caller.

mod error_table;

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_messages::{ADMIN_NO_SUCH_PATH, Body, ErrorChain, ErrorDescription};
use percent_encoding::percent_decode_str;
use serde_json::{Value, json};

use crate::events::DeadLettersError;
use crate::handle::Handle;
use crate::service::TraceError;
use realtime_engine::{ConnectionId, GroupName, TraceFilter, UserId};

pub use error_table::ADMIN_ERRORS;

/// Letters on a page of dead letters: the default and the limit.
const PAGE_LETTERS: usize = 100;
const PAGE_LETTERS_MAX: usize = 1000;

/// Handles the operations below the path where it is mounted. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Admin {
    realtime: Handle,
    mount: Arc<str>,
}

/// Why an operation failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum AdminError {
    NoSuchPath,
    NoSuchPosition,
    UnreadableLetters,
    NoSuchFilter,
    TooManyWatchers,
    Draining,
}

impl Admin {
    /// The operations on a service, below a path such as `/chappe/api/realtime`.
    pub fn new(realtime: Handle, mount: &str) -> Self {
        Self { realtime, mount: mount.into() }
    }

    async fn respond(self, request: Request<Body>) -> Response<Body> {
        let path = request.uri().path().strip_prefix(&*self.mount).unwrap_or_default();
        let query = request.uri().query();
        let response = match (request.method(), path) {
            (&Method::GET, "/dead-letters") => self.dead_letters(query).await,
            (&Method::GET, "/tail") => self.trace(query).await,
            (&Method::POST, "/keys") => Ok(self.realtime.answer_key_rotation(request).await),
            _ => Err(AdminError::NoSuchPath),
        };
        response.unwrap_or_else(AdminError::respond)
    }

    /// `?after=<next of the page before>&max=<letters>`.
    async fn dead_letters(&self, query: Option<&str>) -> Result<Response<Body>, AdminError> {
        let max = parameter(query, "max").and_then(|number| number.parse().ok()).unwrap_or(PAGE_LETTERS);
        let after = parameter(query, "after");
        let page = self.realtime.dead_letters(after.as_deref(), max.clamp(1, PAGE_LETTERS_MAX)).await;
        let page = page.map_err(|error| match error {
            DeadLettersError::Cursor(_) => AdminError::NoSuchPosition,
            DeadLettersError::Read(_) => {
                tracing::error!(error = %ErrorChain(&error), "the dead letters cannot be read");
                AdminError::UnreadableLetters
            }
        })?;
        Ok(json_response(&json!({ "letters": page.letters, "next": page.next })))
    }

    /// `?hub=&user=&group=&connection=`, all optional: one JSON object a line while the caller reads.
    async fn trace(&self, query: Option<&str>) -> Result<Response<Body>, AdminError> {
        let hub = parameter(query, "hub").map(|hub| self.realtime.hub(&hub)).transpose();
        let connection = parameter(query, "connection").map(|id| ConnectionId::parse(&id)).transpose();
        let filter = TraceFilter {
            hub: hub.map_err(|_| AdminError::NoSuchFilter)?,
            user: parameter(query, "user").map(|user| UserId::new(&user)),
            group: parameter(query, "group").map(|group| GroupName::new(&group)),
            connection: connection.map_err(|_| AdminError::NoSuchFilter)?,
            presence_only: false,
        };
        let body = self.realtime.trace(filter).await.map_err(|error| match error {
            TraceError::TooManyWatchers(_) => AdminError::TooManyWatchers,
            TraceError::Stopped(_) => AdminError::Draining,
        })?;
        let mut response = Response::new(body);
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/x-ndjson"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        Ok(response)
    }
}

impl tower::Service<Request<Body>> for Admin {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let admin = self.clone();
        Box::pin(async move { Ok(admin.respond(request).await) })
    }
}

impl AdminError {
    fn description(self) -> &'static ErrorDescription {
        match self {
            Self::NoSuchPath => &ADMIN_NO_SUCH_PATH,
            Self::NoSuchPosition => &error_table::NO_SUCH_POSITION,
            Self::UnreadableLetters => &error_table::UNREADABLE_LETTERS,
            Self::NoSuchFilter => &error_table::NO_SUCH_FILTER,
            Self::TooManyWatchers => &error_table::TOO_MANY_WATCHERS,
            Self::Draining => &error_table::DRAINING,
        }
    }

    fn message(self) -> &'static str {
        match self {
            Self::NoSuchPath => "The admin API has no such operation.",
            Self::NoSuchPosition => {
                "`after` must be `next` of the previous page; omit it to start with the oldest."
            }
            Self::UnreadableLetters => "The dead letters cannot be read; the log says why.",
            Self::NoSuchFilter => "`hub` is not a valid hub name, or `connection` is not a connection id.",
            Self::TooManyWatchers => "Too many watchers; end one of them, or raise realtime.watchers_max.",
            Self::Draining => "The process is shutting down; try again when it has restarted.",
        }
    }

    fn respond(self) -> Response<Body> {
        let mut response = self.description().json_response(self.message());
        response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        response
    }
}

/// The decoded value of a parameter; `None` where it is absent or empty.
fn parameter(query: Option<&str>, name: &str) -> Option<String> {
    let mut pairs = query.unwrap_or_default().split('&').filter_map(|pair| pair.split_once('='));
    let value = pairs.find(|(key, value)| *key == name && !value.is_empty()).map(|(_, value)| value)?;
    Some(percent_decode_str(value).decode_utf8_lossy().into_owned())
}

fn json_response(content: &Value) -> Response<Body> {
    let mut response = http_messages::json(StatusCode::OK, content.to_string());
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
