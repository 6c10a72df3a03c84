//! Finds the route of a path. Pure.

/// Paths with their targets, longest first.
#[derive(Clone, Debug)]
pub(crate) struct Table<T> {
    rows: Vec<(String, T)>,
}

/// A match: the target of the route, and the rest of the path below it (empty, or starting with `/`).
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Matched<'a, T> {
    pub(crate) target: &'a T,
    pub(crate) rest: &'a str,
}

impl<T> Table<T> {
    /// Sorts the rows once, so that the first match is the longest one.
    pub(crate) fn new(rows: impl IntoIterator<Item = (String, T)>) -> Self {
        let mut rows: Vec<_> =
            rows.into_iter().map(|(path, target)| (path.trim_end_matches('/').to_owned(), target)).collect();
        rows.sort_by(|(left, _), (right, _)| right.len().cmp(&left.len()).then_with(|| left.cmp(right)));
        Self { rows }
    }

    /// The longest route that covers `path`.
    pub(crate) fn find<'a>(&'a self, path: &'a str) -> Option<Matched<'a, T>> {
        self.rows.iter().find_map(|(prefix, target)| {
            let rest = path.strip_prefix(prefix.as_str())?;
            // `/apix` starts with `/api` but is another segment.
            (rest.is_empty() || rest.starts_with('/')).then_some(Matched { target, rest })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(path: &str, expected: Option<(&str, &str)>) {
        let rows = ["/", "/api", "/api/v1/", "/client"].map(|path| (path.to_owned(), path));
        let table = Table::new(rows);
        let found = table.find(path).map(|matched| (*matched.target, matched.rest));
        assert_eq!(found, expected, "{path}");
    }

    #[test]
    fn the_longest_matching_path_prefix_wins() {
        check("/", Some(("/", "/")));
        check("/index.html", Some(("/", "/index.html")));
        check("/api", Some(("/api", "")));
        check("/api/", Some(("/api", "/")));
        check("/apix", Some(("/", "/apix")));
        check("/api/v1", Some(("/api/v1/", "")));
        check("/api/v1/hubs", Some(("/api/v1/", "/hubs")));
        check("/api/v2", Some(("/api", "/v2")));
        check("/client/negotiate", Some(("/client", "/negotiate")));
    }

    #[test]
    fn a_path_without_a_route_does_not_match() {
        let table = Table::new([("/api".to_owned(), ())]);
        assert_eq!(table.find("/"), None);
    }
}
