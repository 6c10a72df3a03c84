//! [`ConcurrencySnapshot`]: the numbers as they are stored, so that the next start does not begin with 1. Pure.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The concurrency of each function, on a machine with so many processors.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ConcurrencySnapshot {
    /// The version of this form.
    version: u32,
    processors: usize,
    functions: BTreeMap<String, usize>,
}

/// The version of the stored form that this program writes.
const VERSION: u32 = 1;

impl ConcurrencySnapshot {
    pub(super) fn new(processors: usize, functions: BTreeMap<String, usize>) -> Self {
        Self { version: VERSION, processors, functions }
    }

    pub(super) fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("names and numbers are JSON")
    }

    /// Reads what is stored; `None` for a form of a newer version, which only costs the time to find the numbers again.
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        serde_json::from_slice::<Self>(bytes).ok().filter(|snapshot| snapshot.version == VERSION)
    }

    /// The numbers for this machine: in proportion to its processors, and only those within the maximum.
    pub(super) fn functions(self, processors: usize, limit_max: Option<usize>) -> BTreeMap<String, usize> {
        let (here, there) = (processors.max(1), self.processors.max(1));
        let adjusted = self.functions.into_iter().map(|(name, limit)| (name, (limit * here / there).max(1)));
        adjusted.filter(|(_, limit)| limit_max.is_none_or(|max| *limit <= max)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_is_adjusted_to_the_processors_of_the_machine_and_limited() {
        let functions = BTreeMap::from([("a".to_owned(), 1), ("b".to_owned(), 10), ("c".to_owned(), 40)]);
        let snapshot = ConcurrencySnapshot::new(4, functions);
        let stored = ConcurrencySnapshot::parse(&snapshot.to_bytes()).expect("its own form");
        assert_eq!(stored, snapshot);
        let on = |processors, limit_max| {
            let functions = snapshot.clone().functions(processors, limit_max);
            functions.into_iter().map(|(name, limit)| format!("{name}{limit}")).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(on(4, None), "a1 b10 c40");
        assert_eq!(on(2, None), "a1 b5 c20");
        assert_eq!(on(8, Some(20)), "a2 b20");
    }

    #[test]
    fn a_newer_form_is_ignored() {
        assert_eq!(ConcurrencySnapshot::parse(br#"{"version":2,"processors":1,"functions":{}}"#), None);
        assert_eq!(ConcurrencySnapshot::parse(b"?"), None);
        let stored = br#"{"version":1,"processors":2,"functions":{"f":3}}"#;
        let snapshot = ConcurrencySnapshot::parse(stored).expect("the form of version 0.1.0");
        assert_eq!(snapshot.to_bytes(), stored);
    }
}
