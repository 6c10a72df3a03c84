//! The operations on the functions host in the admin API of the process: the log of the app, the usage of its functions, and killing its
//! workers. The binary mounts them and decides who may call them. The host's own `/admin` is separate: it requires the master key of the app.

mod error_table;

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_messages::{ADMIN_NO_SUCH_PATH, Body, error_chain};
use serde_json::{Value, json};

use crate::handle::Handle;
use crate::usage::UsageQuery;
pub use error_table::ADMIN_ERRORS;

/// Serves the operations below the path where it is mounted. Cheap to clone.
#[derive(Clone)]
pub struct Admin {
    functions: Handle,
    mount: Arc<str>,
}

impl Admin {
    /// The operations on a host, below a path such as `/chappe/api/functions`.
    pub fn new(functions: Handle, mount: &str) -> Self {
        Self { functions, mount: mount.into() }
    }

    async fn respond(&self, request: Request<Body>) -> Response<Body> {
        let path = request.uri().path().strip_prefix(&*self.mount).unwrap_or_default();
        match (request.method(), path) {
            (&Method::GET, "/usage") => self.usage(request.uri().query()).await,
            (&Method::GET, "/logs") => json_response(&self.logs(request.uri().query())),
            (&Method::POST, "/workers/kill") => {
                json_response(&json!({ "killed": self.functions.kill_workers() }))
            }
            _ => not_stored(ADMIN_NO_SUCH_PATH.json_response("The admin API has no such operation.")),
        }
    }

    /// `?from=&to=&function=&by=`: the usage of functions.
    async fn usage(&self, query: Option<&str>) -> Response<Body> {
        let parameter = |name: &str| {
            let pairs = query.unwrap_or_default().split('&').filter_map(|pair| pair.split_once('='));
            let value = pairs.filter(|(known, _)| *known == name).map(|(_, value)| value).next()?;
            let value = percent_encoding::percent_decode_str(value).decode_utf8_lossy().into_owned();
            Some(value).filter(|value| !value.is_empty())
        };
        let query = match UsageQuery::parse(parameter) {
            Ok(query) => query,
            Err(problem) => return not_stored(error_table::INVALID_USAGE_QUERY.json_response(&problem)),
        };
        match self.functions.usage(&query).await {
            Ok(report) => json_response(&report),
            Err(error) => {
                tracing::warn!(error = error_chain(&error), "cannot read the usage of functions");
                let text = "The usage of functions cannot be read; the log has the cause.";
                not_stored(error_table::UNREADABLE_USAGE.json_response(text))
            }
        }
    }

    /// `?after=<number>`: the newest lines after that number.
    fn logs(&self, query: Option<&str>) -> Value {
        let after = query.and_then(|query| query.split('&').find_map(|pair| pair.strip_prefix("after=")));
        let after = after.and_then(|number| number.parse().ok()).unwrap_or(0);
        let lines: Vec<Value> = self
            .functions
            .logs()
            .tail(after)
            .iter()
            .map(|line| json!({ "n": line.number, "level": line.level, "function": line.function, "code": line.code, "text": line.text }))
            .collect();
        json!({ "lines": lines })
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

fn json_response(content: &Value) -> Response<Body> {
    not_stored(http_messages::json(StatusCode::OK, content.to_string()))
}

/// What the process shows of itself is not for caches.
fn not_stored(mut response: Response<Body>) -> Response<Body> {
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
