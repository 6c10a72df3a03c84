//! The embedded store as its users see it: the contracts' suites, opening, and crashes.

mod backend;
mod suites;
