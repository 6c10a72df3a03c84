//! What can be wrong with routes, and the responses that the gateway itself gives.

use http::{Response, StatusCode, header};
use http_messages::Body;

/// Why a set of routes cannot be used.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RouteError {
    /// A path that no request can have.
    #[error("the route path {path:?} must start with '/' and hold neither '?' nor '#'")]
    Path {
        /// The path as written.
        path: String,
    },
    /// Neither or both targets were given.
    #[error("the route {path:?} must name exactly one of `service` and `directory`")]
    Target {
        /// The route's path.
        path: String,
    },
    /// Two routes for one path.
    #[error("two routes have the path {path:?}; keep one of them")]
    Duplicate {
        /// The path.
        path: String,
    },
    /// A service that this process does not run.
    #[error(
        "the route {path:?} leads to the service {service:?}, which does not run here; there are: {known}"
    )]
    UnknownService {
        /// The route's path.
        path: String,
        /// The service as written.
        service: String,
        /// The services that there are.
        known: String,
    },
}

/// A response of the gateway's own. Each has a page under `docs/errors/`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Refusal {
    NoRoute,
    NoFile,
    FileMethod,
    FileUnreadable,
}

impl Refusal {
    pub(crate) fn code(self) -> &'static str {
        match self {
            Self::NoRoute => "gateway-no-route",
            Self::NoFile => "gateway-no-file",
            Self::FileMethod => "gateway-file-method",
            Self::FileUnreadable => "gateway-file-unreadable",
        }
    }

    fn status(self) -> StatusCode {
        match self {
            Self::NoRoute | Self::NoFile => StatusCode::NOT_FOUND,
            Self::FileMethod => StatusCode::METHOD_NOT_ALLOWED,
            Self::FileUnreadable => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    fn message(self) -> &'static str {
        match self {
            Self::NoRoute => "No route matches this path. Add one under [[gateway.routes]] in chappe.toml.",
            Self::NoFile => "There is no such file in the folder that this route serves.",
            Self::FileMethod => "Files are only read: use GET or HEAD.",
            Self::FileUnreadable => "The file is there but cannot be read. The log says why.",
        }
    }

    /// The one place where a refusal becomes a response.
    pub(crate) fn respond(self) -> Response<Body> {
        let body = serde_json::json!({ "error": { "code": self.code(), "message": self.message() } });
        let mut response = http_messages::json(self.status(), body.to_string());
        if self == Self::FileMethod {
            response.headers_mut().insert(header::ALLOW, header::HeaderValue::from_static("GET, HEAD"));
        }
        response
    }
}
