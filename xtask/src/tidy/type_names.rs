//! A type name means one thing in the workspace (style rule N1).
//!
//! A name that other crates can use may not be declared a second time, and no name may be declared twice in one crate. The repetitions
//! below are allowed: each has the same meaning everywhere.

use std::collections::BTreeMap;

use super::modules::{Modules, Visible};

/// Names that several crates declare, each with the same meaning.
const AGREED: &[&str] = &[
    // The shape of every service (crates/chappe/src/services).
    "Admin",
    "Dependencies",
    "Handle",
    "Join",
    "Options",
    "Service",
    // A source of time that tests control; the direction of a binding; what reads and what writes a store.
    "Clock",
    "Direction",
    // Types that every crate has.
    "Error",
    "Metrics",
    "OptionsError",
    "Shared",
    "StartError",
    // A contract of `state`, and the backend's implementation of it.
    "Journal",
    "Lease",
    "Registry",
];

/// Where each name is declared.
#[derive(Default)]
pub(super) struct TypeNames(BTreeMap<String, Vec<Declaration>>);

struct Declaration {
    package: String,
    visible: Visible,
    file: String,
}

impl TypeNames {
    pub(super) fn add(&mut self, package: &str, modules: &Modules) {
        for (name, visible, file) in modules.types() {
            let declaration =
                Declaration { package: package.to_owned(), visible, file: file.display().to_string() };
            self.0.entry(name.to_owned()).or_default().push(declaration);
        }
    }

    pub(super) fn check(&self, complaints: &mut Vec<String>) {
        for (name, declarations) in &self.0 {
            if AGREED.contains(&name.as_str()) || !is_ambiguous(declarations) {
                continue;
            }
            let places: Vec<String> =
                declarations.iter().map(|one| format!("{}/{}", one.package, one.file)).collect();
            complaints.push(format!(
                "style rule N1: the type name {name} is declared {} times ({}); give each its own, or agree on it in \
                 xtask/src/tidy/type_names.rs",
                declarations.len(),
                places.join(", ")
            ));
        }
    }
}

/// Whether two declarations can be confused: both in one crate, or one of them visible everywhere.
fn is_ambiguous(declarations: &[Declaration]) -> bool {
    declarations.iter().enumerate().any(|(index, one)| {
        declarations[index + 1..].iter().any(|other| {
            one.package == other.package
                || one.visible == Visible::Everywhere
                || other.visible == Visible::Everywhere
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn declaration(package: &str, visible: Visible) -> Declaration {
        Declaration { package: package.to_owned(), visible, file: "lib.rs".to_owned() }
    }

    fn complaints(name: &str, declarations: Vec<Declaration>) -> usize {
        let mut complaints = Vec::new();
        TypeNames(BTreeMap::from([(name.to_owned(), declarations)])).check(&mut complaints);
        complaints.len()
    }

    #[test]
    fn a_public_name_is_declared_once_and_a_private_one_once_in_its_crate() {
        use Visible::{Everywhere, InCrate};
        assert_eq!(complaints("Page", vec![declaration("a", InCrate), declaration("b", InCrate)]), 0);
        assert_eq!(complaints("Page", vec![declaration("a", Everywhere), declaration("b", InCrate)]), 1);
        assert_eq!(complaints("Page", vec![declaration("a", InCrate), declaration("a", InCrate)]), 1);
        assert_eq!(
            complaints("Options", vec![declaration("a", Everywhere), declaration("b", Everywhere)]),
            0
        );
    }
}
