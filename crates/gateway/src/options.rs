//! The gateway's configuration, as it is written.

use serde::{Deserialize, Serialize};

use crate::matching::Table;
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

    /// The route that a path gets, and the rest of the path below it: the longest route on complete segments.
    pub fn route_of<'a>(&'a self, path: &'a str) -> Option<(&'a Route, &'a str)> {
        let table = Table::new(self.routes.iter().map(|route| (route.path.clone(), route)));
        let found = table.find(path)?;
        Some((*found.target, &path[path.len() - found.rest.len()..]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_gets_the_longest_route_and_the_rest_below_it() {
        let options = Options { routes: vec![Route::to_service("/", "a"), Route::to_service("/api/", "b")] };
        let found =
            |path| options.route_of(path).map(|(route, rest)| (route.service.as_deref(), rest.to_owned()));
        assert_eq!(found("/api/x"), Some((Some("b"), "/x".to_owned())));
        assert_eq!(found("/apix"), Some((Some("a"), "/apix".to_owned())));
    }
}
