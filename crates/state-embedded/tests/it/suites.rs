//! The contracts' suites on this backend.

use crate::backend::make;

mod journal {
    state::journal_suite!(super::make);
}
mod registry {
    state::registry_suite!(super::make);
}
mod lease {
    state::lease_suite!(super::make);
}
