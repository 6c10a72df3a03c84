//! The names of the simulated callers' journals, keys and leases.

use state::{Instance, Key, Name};

pub(super) fn instance() -> Instance {
    Instance::new("simulated").expect("the name is good")
}

pub(super) fn journal_name(number: usize) -> Name {
    Name::new(&format!("journal/{number}")).expect("the name is good")
}

pub(super) fn lease_name(number: usize) -> Name {
    Name::new(&format!("lease/{number}")).expect("the name is good")
}

pub(super) fn key_name(number: usize) -> Key {
    Key::new(format!("keys/{number}")).expect("the name is good")
}
