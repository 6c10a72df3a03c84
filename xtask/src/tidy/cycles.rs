//! The modules of a crate form no cycle (invariant 13), file by file.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

type Edges<'a> = BTreeMap<&'a Path, BTreeMap<&'a Path, String>>;

/// One error for each group of files that reach each other, with one cycle as an example.
pub(super) fn check(package: &str, edges: &Edges<'_>, complaints: &mut Vec<String>) {
    let reachable: BTreeMap<&Path, BTreeSet<&Path>> =
        edges.keys().map(|from| (*from, reached(from, edges))).collect();
    let mut seen = BTreeSet::new();
    for (from, to) in &reachable {
        if seen.contains(from) || !to.contains(from) {
            continue;
        }
        let group: Vec<&Path> = to
            .iter()
            .copied()
            .filter(|other| reachable.get(other).is_some_and(|back| back.contains(from)))
            .collect();
        seen.extend(group.iter().copied());
        complaints.push(format!(
            "invariant 13: {} files of {package} form a cycle, one way around: {}",
            group.len(),
            shortest_cycle(from, edges)
        ));
    }
}

/// The files that can be reached from a file by one step or more.
fn reached<'a>(from: &'a Path, edges: &Edges<'a>) -> BTreeSet<&'a Path> {
    let mut found = BTreeSet::new();
    let mut open = vec![from];
    while let Some(at) = open.pop() {
        for to in edges.get(at).into_iter().flat_map(BTreeMap::keys) {
            if found.insert(*to) {
                open.push(to);
            }
        }
    }
    found
}

/// The shortest cycle from a file back to itself, with the names that each file uses of the next.
fn shortest_cycle<'a>(start: &'a Path, edges: &Edges<'a>) -> String {
    let mut before: BTreeMap<&Path, &Path> = BTreeMap::new();
    let mut open = std::collections::VecDeque::from([start]);
    'search: while let Some(at) = open.pop_front() {
        for to in edges.get(at).into_iter().flat_map(BTreeMap::keys) {
            if !before.contains_key(to) {
                before.insert(to, at);
                open.push_back(to);
            }
            if *to == start {
                break 'search;
            }
        }
    }
    let mut files = vec![start];
    let mut at = start;
    while let Some(from) = before.get(at) {
        files.push(from);
        at = from;
        if at == start {
            break;
        }
    }
    files.reverse();
    let mut text = start.display().to_string();
    for pair in files.windows(2) {
        let name = edges.get(pair[0]).and_then(|to| to.get(pair[1])).map_or("", String::as_str);
        text.push_str(&format!(" -({name})-> {}", pair[1].display()));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edges(list: &[(&'static str, &'static str)]) -> Edges<'static> {
        let mut edges = Edges::new();
        for (from, to) in list {
            edges.entry(Path::new(*from)).or_default().insert(Path::new(*to), "Item".to_owned());
        }
        edges
    }

    fn complaints(list: &[(&'static str, &'static str)]) -> Vec<String> {
        let mut complaints = Vec::new();
        check("sample", &edges(list), &mut complaints);
        complaints
    }

    #[test]
    fn files_that_depend_in_one_direction_pass() {
        assert!(complaints(&[("a.rs", "b.rs"), ("a.rs", "c.rs"), ("b.rs", "c.rs")]).is_empty());
    }

    #[test]
    fn each_cycle_is_reported_once_with_its_shortest_path() {
        let found = complaints(&[
            ("a.rs", "b.rs"),
            ("b.rs", "c.rs"),
            ("c.rs", "a.rs"),
            ("d.rs", "e.rs"),
            ("e.rs", "d.rs"),
        ]);
        assert_eq!(
            found,
            [
                "invariant 13: 3 files of sample form a cycle, one way around: a.rs -(Item)-> b.rs -(Item)-> c.rs -(Item)-> a.rs",
                "invariant 13: 2 files of sample form a cycle, one way around: d.rs -(Item)-> e.rs -(Item)-> d.rs",
            ]
        );
    }
}
