//! The routes of an app, in the order of matching.

use http::Method;

use super::{RouteTemplate, RouteValues};

/// Routes with their targets.
#[derive(Clone, Debug)]
pub(crate) struct RouteTable<T> {
    entries: Vec<Entry<T>>,
}

#[derive(Clone, Debug)]
struct Entry<T> {
    template: RouteTemplate,
    /// Empty = all.
    methods: Vec<Method>,
    target: T,
}

/// A matching route.
#[derive(Debug)]
pub(crate) struct MatchedRoute<'a, T> {
    /// The target of the route.
    pub(crate) target: &'a T,
    /// The template that matched.
    pub(crate) template: &'a RouteTemplate,
    /// Its parameters' values.
    pub(crate) values: RouteValues,
}

impl<T> RouteTable<T> {
    /// A table of these routes in the order of matching.
    pub(crate) fn new(routes: impl IntoIterator<Item = (RouteTemplate, Vec<Method>, T)>) -> Self {
        let entries =
            routes.into_iter().map(|(template, methods, target)| Entry { template, methods, target });
        Self { entries: entries.collect() }
    }

    /// Finds the route for a request. `path` starts with `/` and is decoded except for `%2F`. A route that does not allow the method is
    /// skipped: the host responds with 404 then, not 405.
    pub(crate) fn find(&self, method: &Method, path: &str) -> Option<MatchedRoute<'_, T>> {
        self.entries.iter().find_map(|entry| {
            let values = entry.allows(method).then(|| entry.template.matches(path)).flatten()?;
            Some(MatchedRoute { target: &entry.target, template: &entry.template, values })
        })
    }

    /// Pairs of an earlier route and a more specific later one that never gets the requests that match both. ASP.NET routing would
    /// prefer the later one, so authors may expect that.
    pub(crate) fn hidden(&self) -> Vec<(&T, &T)> {
        let mut hidden = Vec::new();
        for (at, later) in self.entries.iter().enumerate() {
            let earlier = self.entries[..at].iter().filter(|earlier| {
                earlier.shares_a_method(later)
                    && later.template.precedence() < earlier.template.precedence()
                    && earlier.template.overlaps(&later.template)
            });
            hidden.extend(earlier.map(|earlier| (&earlier.target, &later.target)));
        }
        hidden
    }
}

impl<T> Entry<T> {
    /// Method names are compared without regard to case, as in the Azure Functions host.
    fn allows(&self, method: &Method) -> bool {
        let is_same = |allowed: &Method| allowed.as_str().eq_ignore_ascii_case(method.as_str());
        self.methods.is_empty() || self.methods.iter().any(is_same)
    }

    fn shares_a_method(&self, other: &Self) -> bool {
        self.methods.is_empty()
            || other.methods.is_empty()
            || self.methods.iter().any(|method| other.methods.contains(method))
    }
}
