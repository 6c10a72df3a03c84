//! Reads the configuration of the Ocelot gateway (`ocelot.json` and split files) and decides what a request leads to.
//!
//! Pure: no sockets, no clock, no runtime. Three steps, each usable alone:
//!
//! 1. [`OcelotConfiguration::read`] merges the files and reads every property. What nobody reads is kept and reported.
//! 2. [`OcelotConfiguration::problems`] validates as Ocelot does at its start; every [`OcelotProblem`] names file, route and property.
//! 3. [`OcelotRouter::compile`] prepares everything that can be prepared, and [`OcelotRouter::decide`] finds the route of one
//!    request and builds the target that goes downstream.
//!
//! The rules were read in Ocelot's source after version 25.0 and compared with recordings of the running program
//! (`tests/replay.rs`); what is deliberately different is listed in `docs/compatibility/ocelot.md`.

mod configuration;
mod decision;
mod downstream_template;
mod header_template;
mod header_transform;
mod index;
mod json;
mod location;
mod merge;
mod path_template;
mod percent;
mod query;
mod read;
mod request_path;
mod router;
mod schema;
mod validate;

pub use configuration::{
    AggregateRoute, ConfiguredRoute, DiscoveryProvider, DownstreamHost, DynamicRoute, GlobalConfiguration,
    OcelotConfiguration, Surroundings,
};
pub use decision::{DynamicForward, OcelotDecision, OcelotForward, OcelotRejection};
pub use header_transform::{HeaderTransforms, TransformContext};
pub use location::{OcelotLocation, OcelotNotice, OcelotProblem};
pub use merge::{ConfigurationFile, OcelotReadError};
pub use router::{IncomingRequest, NearMiss, OcelotRouter, RouteSummary};
