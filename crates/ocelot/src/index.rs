//! Finds the candidates for a path: a tree of segments, so that the cost of a request does not grow with the number of routes.

/// The segments that every path of a template has at its start; `None` is any segment. Literals are in lower case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct IndexKey {
    pub(crate) segments: Vec<Option<String>>,
    /// No path of the template has further segments.
    pub(crate) exact: bool,
}

/// Ranks of routes by path. A rank is the position of a route in the order of precedence: the smallest that matches wins.
#[derive(Debug)]
pub(crate) struct Index {
    nodes: Vec<Node>,
}

#[derive(Debug)]
struct Node {
    /// Sorted.
    literals: Vec<(Box<str>, usize)>,
    any: Option<usize>,
    /// Ranks in ascending order.
    exact: Vec<usize>,
    below: Vec<usize>,
    /// The smallest rank here and below.
    least: usize,
}

impl Node {
    fn new() -> Self {
        Self { literals: Vec::new(), any: None, exact: Vec::new(), below: Vec::new(), least: usize::MAX }
    }
}

impl Index {
    /// The keys in the order of precedence.
    pub(crate) fn new(keys: impl IntoIterator<Item = IndexKey>) -> Self {
        let mut index = Self { nodes: vec![Node::new()] };
        for (rank, key) in keys.into_iter().enumerate() {
            let mut at = 0;
            index.nodes[at].least = index.nodes[at].least.min(rank);
            for segment in &key.segments {
                at = index.child(at, segment.as_deref());
                index.nodes[at].least = index.nodes[at].least.min(rank);
            }
            let node = &mut index.nodes[at];
            if key.exact { &mut node.exact } else { &mut node.below }.push(rank);
        }
        index
    }

    fn child(&mut self, at: usize, segment: Option<&str>) -> usize {
        let new = self.nodes.len();
        let node = &mut self.nodes[at];
        let child = match segment {
            None => *node.any.get_or_insert(new),
            Some(segment) => match node.literals.binary_search_by(|(text, _)| (**text).cmp(segment)) {
                Ok(found) => node.literals[found].1,
                Err(place) => {
                    node.literals.insert(place, (segment.into(), new));
                    new
                }
            },
        };
        if child == new {
            self.nodes.push(Node::new());
        }
        child
    }

    /// The smallest rank among the candidates of `path` that `accept` accepts.
    pub(crate) fn find(&self, path: &str, mut accept: impl FnMut(usize) -> bool) -> Option<usize> {
        let path = path.strip_prefix('/').unwrap_or(path);
        let path = path.strip_suffix('/').unwrap_or(path);
        let mut best = usize::MAX;
        self.visit(0, (!path.is_empty()).then_some(path), &mut best, &mut accept);
        (best != usize::MAX).then_some(best)
    }

    fn visit(&self, at: usize, rest: Option<&str>, best: &mut usize, accept: &mut impl FnMut(usize) -> bool) {
        let node = &self.nodes[at];
        if node.least >= *best {
            return;
        }
        consider(&node.below, best, accept);
        let Some(rest) = rest else { return consider(&node.exact, best, accept) };
        let (segment, rest) =
            rest.split_once('/').map_or((rest, None), |(segment, rest)| (segment, Some(rest)));
        let found = node.literals.binary_search_by(|(text, _)| {
            text.bytes().cmp(segment.bytes().map(|byte| byte.to_ascii_lowercase()))
        });
        if let Ok(found) = found {
            self.visit(node.literals[found].1, rest, best, accept);
        }
        if let Some(any) = node.any
            && !segment.is_empty()
        {
            self.visit(any, rest, best, accept);
        }
    }
}

fn consider(ranks: &[usize], best: &mut usize, accept: &mut impl FnMut(usize) -> bool) {
    for &rank in ranks {
        if rank >= *best {
            return;
        }
        if accept(rank) {
            *best = rank;
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(path: &str, exact: bool) -> IndexKey {
        let segments = path.split('/').filter(|segment| !segment.is_empty());
        let segments = segments.map(|segment| (segment != "*").then(|| segment.to_owned())).collect();
        IndexKey { segments, exact }
    }

    fn candidates(index: &Index, path: &str) -> Vec<usize> {
        let mut seen = Vec::new();
        index.find(path, |rank| {
            seen.push(rank);
            false
        });
        seen.sort_unstable();
        seen
    }

    #[test]
    fn only_routes_whose_segments_fit_are_candidates() {
        let index = Index::new([
            key("", true),
            key("a", true),
            key("a", false),
            key("a/*/c", true),
            key("b", false),
            key("", false),
        ]);
        assert_eq!(candidates(&index, "/"), [0, 5]);
        assert_eq!(candidates(&index, "/A"), [1, 2, 5]);
        assert_eq!(candidates(&index, "/a/x/C/"), [2, 3, 5]);
        assert_eq!(candidates(&index, "/a//c"), [2, 5]);
        assert_eq!(candidates(&index, "/c"), [5]);
    }

    #[test]
    fn the_smallest_accepted_rank_wins_wherever_it_is() {
        let index = Index::new([key("a/b", true), key("", false), key("a/*", true)]);
        assert_eq!(index.find("/a/b", |_| true), Some(0));
        assert_eq!(index.find("/a/b", |rank| rank != 0), Some(1));
        assert_eq!(index.find("/a/b", |rank| rank == 2), Some(2));
        assert_eq!(index.find("/a/b", |_| false), None);
    }

    #[test]
    fn a_thousand_routes_cost_as_few_comparisons_as_one() {
        let keys = (0..1000).map(|number| key(&format!("api/r{number}/*/x"), true));
        let index = Index::new(keys);
        assert_eq!(candidates(&index, "/api/r500/7/x"), [500]);
        assert_eq!(candidates(&index, "/api/none/7/x"), [] as [usize; 0]);
    }
}
