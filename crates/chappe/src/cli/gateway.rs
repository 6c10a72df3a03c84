//! `chappe gateway`: its commands and their arguments.

use std::path::PathBuf;

use clap::{Args, Subcommand};

#[derive(Debug, Subcommand)]
pub(crate) enum GatewayCommand {
    /// Print everything that is wrong with an Ocelot configuration or the gateway routes of chappe.toml, and what has no effect
    Check(GatewayFileArgs),
    /// List the routes in the order in which they are tried
    Routes(GatewayFileArgs),
    /// Print which route a request gets, why, and what would be sent; no request is made
    Explain(ExplainArgs),
}

#[derive(Debug, Args)]
pub(crate) struct GatewayFileArgs {
    /// An Ocelot configuration (a file, or a folder with ocelot.NAME.json) or a chappe.toml. Without it, the current folder is
    /// searched for ocelot.json, ocelot.NAME.json and chappe.toml, in this order
    #[arg(value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,
    /// The environment whose file ocelot.ENVIRONMENT.json is not merged from a folder, as in Ocelot
    #[arg(long, value_name = "NAME", env = "ASPNETCORE_ENVIRONMENT", default_value = "Development")]
    pub(crate) environment: String,
}

#[derive(Debug, Args)]
pub(crate) struct ExplainArgs {
    /// The method, such as GET
    pub(crate) method: String,
    /// The path with its query, or a complete address, whose host becomes the Host header
    pub(crate) target: String,
    /// A header of the request, such as 'Host: api.example.com'; may be repeated
    #[arg(long = "header", short = 'H', value_name = "NAME: VALUE")]
    pub(crate) headers: Vec<String>,
    /// An Ocelot configuration (a file, or a folder with ocelot.NAME.json) or a chappe.toml; found as by `routes` without it
    #[arg(long, value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,
    /// The environment whose file ocelot.ENVIRONMENT.json is not merged from a folder, as in Ocelot
    #[arg(long, value_name = "NAME", env = "ASPNETCORE_ENVIRONMENT", default_value = "Development")]
    pub(crate) environment: String,
}
