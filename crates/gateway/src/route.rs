//! Routes as data: validated once, dumped and compared as they are.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::RouteError;

/// One route: requests below a path go to one target.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Route {
    /// The path and everything below it, on whole segments: `/api` matches `/api` and `/api/x`, not `/apix`. Since 0.1.0.
    pub path: String,
    /// A service in this process, by its name. Give this or `directory`. Since 0.1.0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// A folder of files; relative to the configuration file. Give this or `service`. Since 0.1.0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub directory: Option<PathBuf>,
}

/// Where a route leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RouteTarget {
    /// A service in this process.
    Service(String),
    /// Files below a folder; the route's own path is not part of theirs.
    Directory(PathBuf),
}

impl Route {
    /// A route to a service in this process.
    pub fn to_service(path: &str, service: &str) -> Self {
        Self { path: path.to_owned(), service: Some(service.to_owned()), directory: None }
    }

    /// A route to a folder.
    pub fn to_directory(path: &str, directory: impl Into<PathBuf>) -> Self {
        Self { path: path.to_owned(), service: None, directory: Some(directory.into()) }
    }

    /// Checks the route and says where it leads.
    pub fn target(&self) -> Result<RouteTarget, RouteError> {
        if !self.path.starts_with('/') || self.path.contains(['?', '#']) {
            return Err(RouteError::Path { path: self.path.clone() });
        }
        match (&self.service, &self.directory) {
            (Some(service), None) => Ok(RouteTarget::Service(service.clone())),
            (None, Some(directory)) => Ok(RouteTarget::Directory(directory.clone())),
            _ => Err(RouteError::Target { path: self.path.clone() }),
        }
    }
}
