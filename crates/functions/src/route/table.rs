//! All routes of an app, in the order in which they are tried.

use http::Method;

use super::{RouteValues, Template};

/// Routes with what they lead to.
#[derive(Clone, Debug)]
pub(crate) struct RouteTable<T> {
    entries: Vec<Entry<T>>,
}

#[derive(Clone, Debug)]
struct Entry<T> {
    template: Template,
    /// Empty = all.
    methods: Vec<Method>,
    target: T,
}

/// What the table found.
#[derive(Debug)]
pub(crate) struct Routed<'a, T> {
    /// Where the route leads.
    pub(crate) target: &'a T,
    /// The template that matched.
    pub(crate) template: &'a Template,
    /// Its parameters' values.
    pub(crate) values: RouteValues,
}

impl<T> RouteTable<T> {
    /// A table of these routes. Equal precedence keeps the given order.
    pub(crate) fn new(routes: impl IntoIterator<Item = (Template, Vec<Method>, T)>) -> Self {
        let mut entries: Vec<Entry<T>> = routes
            .into_iter()
            .map(|(template, methods, target)| Entry { template, methods, target })
            .collect();
        entries.sort_by_cached_key(|entry| entry.template.precedence());
        Self { entries }
    }

    /// Finds the route for a request. `path` begins with `/` and is not yet percent-decoded. A route that matches but does
    /// not allow the method is passed over: the host answers 404 then, not 405.
    pub(crate) fn find(&self, method: &Method, path: &str) -> Option<Routed<'_, T>> {
        let trimmed = path.trim_matches('/');
        let segments: Vec<&str> = if trimmed.is_empty() { Vec::new() } else { trimmed.split('/').collect() };
        self.entries.iter().find_map(|entry| {
            let allowed = entry.methods.is_empty() || entry.methods.contains(method);
            let values = allowed.then(|| entry.template.matches(&segments)).flatten()?;
            Some(Routed { target: &entry.target, template: &entry.template, values })
        })
    }
}
