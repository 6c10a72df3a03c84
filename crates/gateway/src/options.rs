//! The gateway's configuration, as it is written.

use serde::{Deserialize, Serialize};

use crate::{Route, RouteError, RouteTarget};

/// What the gateway does. Unknown keys are refused.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// The routes. The longest matching path wins, whatever their order. Reloads. Default: none. Since 0.1.0.
    pub routes: Vec<Route>,
}

impl Options {
    /// Where each route leads, in the order in which they are written.
    ///
    /// # Errors
    ///
    /// If a route is wrong, stands there twice, or names a service that is not among `services`.
    pub fn targets(&self, services: &[&str]) -> Result<Vec<(String, RouteTarget)>, RouteError> {
        let mut targets: Vec<(String, RouteTarget)> = Vec::with_capacity(self.routes.len());
        for route in &self.routes {
            let (path, target) = (route.path.clone(), route.target()?);
            if let RouteTarget::Service(service) = &target
                && !services.contains(&service.as_str())
            {
                return Err(RouteError::UnknownService {
                    path,
                    service: service.clone(),
                    known: services.join(", "),
                });
            }
            // A slash at the end makes no other path.
            if targets.iter().any(|(other, _)| other.trim_end_matches('/') == path.trim_end_matches('/')) {
                return Err(RouteError::Duplicate { path });
            }
            targets.push((path, target));
        }
        Ok(targets)
    }
}
