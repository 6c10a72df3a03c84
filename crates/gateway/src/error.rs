//! What can be wrong with routes, and the responses that the gateway itself sends.

use http::{Response, header};
use http_messages::{Body, ErrorDescription};

use crate::error_table;

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
        /// The services that exist.
        known: String,
    },
}

/// A response that the gateway itself sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum RouteRejection {
    NoRoute,
    NoFile,
    FileMethod,
    FileUnreadable,
}

impl RouteRejection {
    fn description(self) -> &'static ErrorDescription {
        match self {
            Self::NoRoute => &error_table::NO_ROUTE,
            Self::NoFile => &error_table::NO_FILE,
            Self::FileMethod => &error_table::FILE_METHOD,
            Self::FileUnreadable => &error_table::FILE_UNREADABLE,
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

    /// Renders the response; no other code does.
    pub(crate) fn respond(self) -> Response<Body> {
        let mut response = self.description().json_response(self.message());
        if self == Self::FileMethod {
            response.headers_mut().insert(header::ALLOW, header::HeaderValue::from_static("GET, HEAD"));
        }
        response
    }
}
