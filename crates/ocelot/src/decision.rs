//! What a request leads to.

use std::borrow::Cow;

use crate::header_transform::HeaderTransforms;
use crate::{AggregateRoute, ConfiguredRoute, DynamicRoute};

/// What a request leads to, as far as it can be said without live data.
#[derive(Debug)]
pub enum OcelotDecision<'r> {
    /// One route.
    Forward(OcelotForward<'r>),
    /// The routes of an aggregate, each with its own request.
    Aggregate {
        /// The aggregate.
        aggregate: &'r AggregateRoute,
        /// One request for each key, in their order. With `RouteKeysConfig`, later ones depend on the response of the first.
        forwards: Vec<OcelotForward<'r>>,
    },
    /// A service by its name, which the discovery provider must know.
    Dynamic(DynamicForward<'r>),
    /// A response of the gateway itself.
    Reject(OcelotRejection),
}

/// A request that goes downstream.
#[derive(Debug)]
pub struct OcelotForward<'r> {
    /// The route.
    pub route: &'r ConfiguredRoute,
    /// The method.
    pub method: Cow<'r, str>,
    /// The scheme; the route's own, the global one or `http`.
    pub scheme: &'r str,
    /// Path and query.
    pub target: String,
    /// What changes in the headers.
    pub transforms: &'r HeaderTransforms,
}

/// A request that goes to a service by its name.
#[derive(Debug)]
pub struct DynamicForward<'r> {
    /// The entry of `DynamicRoutes`, if the service has one.
    pub entry: Option<&'r DynamicRoute>,
    /// The name of the service.
    pub service: String,
    /// Its namespace, before a dot.
    pub namespace: Option<String>,
    /// Path and query, without the name.
    pub target: String,
}

/// Why a request is not forwarded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OcelotRejection {
    /// No route matches.
    #[error("no route matches method, host, headers and path")]
    NoRoute,
    /// `*` with another method than OPTIONS.
    #[error("the target * is for OPTIONS only")]
    AsteriskTarget,
    /// The target is no path, holds bytes that it may not hold, or names another host than the Host header.
    #[error("the request target is invalid, or names another host than the Host header")]
    Target,
    /// A value would lead out of the folder that the template names.
    #[error(
        "a value contains the path segment . or .., encoded twice or in a header, and would change the path of the template"
    )]
    DotSegment,
}

impl OcelotRejection {
    /// The status of the response.
    pub fn status(self) -> u16 {
        match self {
            Self::NoRoute => 404,
            Self::AsteriskTarget => 405,
            Self::Target | Self::DotSegment => 400,
        }
    }
}
