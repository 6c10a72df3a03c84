//! The services of this process: one table with one row each. Every list of the binary (configuration, ports, routes, guard, keys,
//! admin, readiness, drain) is a loop over it.
//!
//! - `row.rs`: the fields of a row, and the three interfaces of a running service.
//! - one file for each service: its row, and the code that starts it.
//!
//! To add a service: a crate with `Options` and `start(options, dependencies, metrics) -> (Service, Handle, Join)`, a file here with its
//! row, and the row's name in [`TABLE`]. `docs/configuration.md` follows from the row (`cargo xtask reference`).

mod admin;
mod documents;
mod functions;
mod gateway;
mod realtime;
mod row;

pub(crate) use gateway::{effective_routes, missing_folder};
#[cfg(test)]
pub(crate) use row::Drain;
pub(crate) use row::{
    Findings, Phase, Problem, Resources, Row, ServiceHandle, ServiceJoin, Stage, Started, Starting,
};

use crate::config::{Section, Sections};
use crate::wiring;

/// The services of a process.
pub(crate) type Table = &'static [&'static Row];

/// The services of this process, in display order.
pub(crate) static TABLE: Table =
    &[&gateway::ROW, &functions::ROW, &realtime::ROW, &documents::ROW, &admin::ROW];

/// The sections of the services and connectors in `chappe.toml`.
pub(crate) fn sections(table: Table) -> Sections {
    Sections { services: table.iter().map(|row| &row.section).collect(), connectors: wiring::sections() }
}

/// The row of a section.
pub(crate) fn row(table: Table, section: &Section) -> &'static Row {
    let row = table.iter().find(|row| row.section.name == section.name);
    row.expect("a configured service has a row, because its section comes from the table")
}

/// A configuration from flags only.
#[cfg(test)]
pub(crate) fn config(flags: &[String]) -> crate::config::Config {
    let none = std::collections::BTreeMap::new();
    let layers = crate::config::Layers::load(sections(TABLE), None, &none, flags).expect("they can be read");
    layers.config().expect("each was read before")
}
