//! The embedded store as its users use it: the contracts' suites, opening, damage, a full disk, and crashes.

mod backend;
mod chance;
mod crash;
mod damage;
mod formats;
mod full_disk;
mod opening;
mod suites;
mod supervision;
